//! What a connector asks for, cut down to what the operator has consented to.

use std::collections::BTreeSet;

use mantle_egress::{Holds, Policy, Rule};

use crate::load::Grants;
use crate::manifest::Manifest;

/// The rules that the connector's calls are judged by.
///
/// # Errors
/// One text that lists what is asked for, in a form to copy into `plugins.toml`.
pub(crate) fn decide(plugin: &str, grants: Option<&Grants>, manifest: &Manifest) -> Result<Policy, String> {
    match grants {
        None => Err(format!(
            "[plugins.{plugin}] has no `grants`, and consent is always written down. {}",
            asked(plugin, manifest)
        )),
        Some(Grants::Asked) => Ok(Policy {
            rules: manifest.egress.clone(),
        }),
        Some(Grants::Egress(hosts)) => {
            let mut rules = Vec::new();
            for host in hosts {
                let granted = manifest
                    .egress
                    .iter()
                    .filter_map(|rule| narrow(rule, host))
                    .collect::<Vec<_>>();
                if granted.is_empty() {
                    return Err(format!(
                        "[plugins.{plugin}] grants `{host}`, which the connector does not ask for; remove it. {}",
                        asked(plugin, manifest)
                    ));
                }
                rules.extend(granted);
            }
            Ok(Policy { rules })
        }
    }
}

/// The part of the rule that lies within the granted host or `*.suffix`.
fn narrow(rule: &Rule, granted: &str) -> Option<Rule> {
    let granted = granted.to_ascii_lowercase();
    let within = |host: &str, pattern: &str| {
        host == pattern
            || pattern
                .strip_prefix('*')
                .is_some_and(|suffix| host.trim_start_matches('*').ends_with(suffix) && host != suffix)
    };
    if within(&rule.host, &granted) {
        return Some(rule.clone());
    }
    within(&granted, &rule.host).then(|| Rule {
        host: granted,
        ..rule.clone()
    })
}

fn asked(plugin: &str, manifest: &Manifest) -> String {
    let mut lines = String::from("It asks to reach:\n");
    for rule in &manifest.egress {
        let methods = if rule.methods.is_empty() {
            "any method".to_owned()
        } else {
            rule.methods.join(", ")
        };
        let port = if rule.port == 443 {
            String::new()
        } else {
            format!(":{}", rule.port)
        };
        let paths = if rule.paths.is_empty() {
            "/".to_owned()
        } else {
            rule.paths.join(" ")
        };
        let secrets = rule
            .credentials
            .iter()
            .filter_map(|name| manifest.credentials.iter().find(|credential| credential.name == *name))
            .flat_map(|credential| credential.inject.iter().flat_map(|inject| inject.secrets()))
            .collect::<BTreeSet<_>>();
        let with = if secrets.is_empty() {
            String::new()
        } else {
            format!(", with {}", secrets.into_iter().collect::<Vec<_>>().join(", "))
        };
        let only = match rule.holds {
            Holds::Always => "",
            Holds::Redirected => ", only while [egress.redirect] sends it elsewhere",
        };
        lines.push_str(&format!(
            "  {methods} {}://{}{port} {paths}{with}{only}\n",
            rule.scheme, rule.host
        ));
    }
    let hosts = manifest
        .egress
        .iter()
        .map(|rule| rule.host.as_str())
        .collect::<BTreeSet<_>>();
    let hosts = hosts
        .iter()
        .map(|host| format!("\"{host}\""))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "{lines}To allow all of it, write:\n\n[plugins.{plugin}]\ngrants = \"asked\"\n\nor less, by host:\n\n\
         [plugins.{plugin}]\ngrants = {{ egress = [{hosts}] }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whatsapp() -> Manifest {
        Manifest::parse(include_str!("../../../connectors/whatsapp/connector.toml")).unwrap()
    }

    fn check(grants: &[&str], expected: &[&str]) {
        let grants = Grants::Egress(grants.iter().map(|host| (*host).to_owned()).collect());
        let policy = decide("whatsapp", Some(&grants), &whatsapp()).unwrap();
        let hosts = policy.rules.iter().map(|rule| rule.host.as_str()).collect::<Vec<_>>();
        assert_eq!(hosts, expected);
    }

    #[test]
    fn less_than_asked_is_less() {
        // A host that the manifest names in several rules is granted in all.
        check(&["graph.facebook.com"], &["graph.facebook.com"; 4]);
        check(
            &["lookaside.fbsbx.com"],
            &["lookaside.fbsbx.com", "lookaside.fbsbx.com"],
        );
        check(&["cdn.fbsbx.com"], &["cdn.fbsbx.com"]);
        check(&["*.fbsbx.com"], &["lookaside.fbsbx.com", "*.fbsbx.com"]);
        check(&[], &[]);
    }

    #[test]
    fn nothing_is_granted_silently() {
        let problem = decide("whatsapp", None, &whatsapp()).unwrap_err();
        for part in [
            "[plugins.whatsapp] has no `grants`",
            "GET https://graph.facebook.com /v<digits>.0/<digits><end>",
            "  DELETE https://graph.facebook.com /v<digits>.0/<digits>/subscribed_apps<end>, with access_token, app_secret\n",
            "GET https://graph.facebook.com /, with access_token, only while [egress.redirect] sends it elsewhere\n",
            "[plugins.whatsapp]\ngrants = \"asked\"",
            "grants = { egress = [\"*.fbsbx.com\", \"graph.facebook.com\", \"lookaside.fbsbx.com\"] }",
        ] {
            assert!(problem.contains(part), "{problem}\n does not hold\n{part}");
        }
        let more = Grants::Egress(vec!["evil.example".to_owned()]);
        let problem = decide("whatsapp", Some(&more), &whatsapp()).unwrap_err();
        assert!(
            problem.contains("grants `evil.example`, which the connector does not ask for"),
            "{problem}"
        );
    }
}

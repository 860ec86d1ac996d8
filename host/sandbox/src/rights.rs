//! What a version may do, as lines that people read and that two versions are compared by.
//!
//! A line is a call to one kind of path, a secret that goes somewhere, a secret that the guest may compute with, or the
//! lack of a signature. More of them than an operator has consented to is a difference that needs consent.

use std::collections::BTreeSet;

use mantle_egress::{Holds, Policy, Rule};

use crate::manifest::{Manifest, Verification};

/// The port that is not written.
const HTTPS_PORT: u16 = 443;
/// What ends the pattern of a path that must fit whole.
const END: &str = "<end>";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    pub lines: BTreeSet<String>,
    /// Of one call, in MiB; None: the operator set the limit.
    pub memory_mib: Option<u32>,
}

impl Rights {
    pub(crate) fn of(manifest: &Manifest, policy: &Policy, memory_mib: Option<u32>) -> Self {
        let mut lines = BTreeSet::new();
        for rule in &policy.rules {
            let (while_redirected, origin) = (condition(rule), origin(rule));
            let any = ["any method".to_owned()];
            let methods = if rule.methods.is_empty() {
                &any[..]
            } else {
                &rule.methods
            };
            let root = ["/".to_owned()];
            let paths = if rule.paths.is_empty() { &root[..] } else { &rule.paths };
            for method in methods {
                lines.extend(
                    paths
                        .iter()
                        .map(|path| format!("call{while_redirected} {method} {origin}{path}")),
                );
            }
            let used = manifest
                .credentials
                .iter()
                .filter(|credential| rule.credentials.contains(&credential.name));
            for secret in used.flat_map(|credential| credential.inject.iter().flat_map(|inject| inject.secrets())) {
                lines.insert(format!("send{while_redirected} the secret {secret} to {origin}"));
            }
        }
        lines.extend(
            manifest
                .secret_names()
                .map(|name| format!("compute with the secret {name}")),
        );
        if matches!(manifest.verification, Verification::None) {
            lines.insert("take hooks that nothing proves".to_owned());
        }
        Self { lines, memory_mib }
    }

    /// What these have that the others have not, one line each.
    #[must_use]
    pub fn beyond(&self, consented: &Self) -> Vec<String> {
        let covered = |line: &String| consented.lines.iter().any(|known| covers(known, line));
        let mut more: Vec<String> = self.lines.iter().filter(|line| !covered(line)).cloned().collect();
        if let (Some(asked), Some(known)) = (self.memory_mib, consented.memory_mib)
            && asked > known
        {
            more.push(format!("use {asked} MiB of memory for a call, in place of {known}"));
        }
        more
    }
}

fn condition(rule: &Rule) -> &'static str {
    match rule.holds {
        Holds::Always => "",
        Holds::Redirected => ", only while [egress.redirect] leads it elsewhere,",
    }
}

fn origin(rule: &Rule) -> String {
    let port = if rule.port == HTTPS_PORT {
        String::new()
    } else {
        format!(":{}", rule.port)
    };
    format!("{}://{}{port}", rule.scheme, rule.host)
}

/// A path that need not fit whole covers every longer one.
fn covers(known: &str, line: &str) -> bool {
    known == line || (known.starts_with("call") && !known.ends_with(END) && line.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::decide;
    use crate::load::Grants;

    fn rights(text: &str) -> Rights {
        let manifest = Manifest::parse(text).unwrap();
        let policy = decide("telegram", Some(&Grants::Asked), &manifest).unwrap();
        Rights::of(&manifest, &policy, Some(manifest.memory_mib))
    }

    #[test]
    fn d19_every_kind_of_more_is_told_and_less_is_not() {
        let text = include_str!("../../../tests/guests/connector.toml");
        let before = rights(text);
        assert_eq!(
            before.lines.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "call GET https://api.granted.example/v1/",
                "call POST https://api.granted.example/v1/",
                "call any method https://other.granted.example/v1/",
                "compute with the secret key",
                "compute with the secret token",
                "send the secret key to https://api.granted.example",
                "send the secret token to https://api.granted.example",
                "take hooks that nothing proves",
            ]
        );
        let check = |from: &str, to: &str, expected: &[&str]| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "`{from}` is not in the manifest");
            assert_eq!(rights(&changed).beyond(&before), expected, "{to}");
        };
        check(
            "\"https://api.granted.example\"",
            "\"https://api.granted.example:8443\"",
            &[
                "call GET https://api.granted.example:8443/v1/",
                "call POST https://api.granted.example:8443/v1/",
                "send the secret key to https://api.granted.example:8443",
                "send the secret token to https://api.granted.example:8443",
            ],
        );
        check(
            "[\"GET\", \"POST\"]",
            "[\"GET\", \"DELETE\"]",
            &["call DELETE https://api.granted.example/v1/"],
        );
        check(
            "paths = [\"/v1/\"]",
            "paths = [\"/\"]",
            &[
                "call GET https://api.granted.example/",
                "call POST https://api.granted.example/",
            ],
        );
        check(
            "memory_mib = 8",
            "memory_mib = 16",
            &["use 16 MiB of memory for a call, in place of 8"],
        );
        check(
            "[verification]",
            "[[fields]]\nname = \"other\"\nlabel = \"O\"\nkind = \"text\"\nsecret = true\n\n[verification]",
            &["compute with the secret other"],
        );
        check("paths = [\"/v1/\"]", "paths = [\"/v1/messages\"]", &[]);
        check("[\"GET\", \"POST\"]", "[\"POST\"]", &[]);
        check("memory_mib = 8", "memory_mib = 4", &[]);
        check("version = \"1.0.0\"", "version = \"9.0.0\"", &[]);
    }

    #[test]
    fn a_path_that_must_fit_whole_covers_no_longer_one() {
        assert!(covers("call GET https://a.example/x", "call GET https://a.example/x/y"));
        assert!(!covers(
            "call GET https://a.example/x<end>",
            "call GET https://a.example/x<end>/y"
        ));
        assert!(!covers(
            "send the secret a to https://a.example",
            "send the secret a to https://a.example.evil"
        ));
        assert!(!covers(
            "call GET https://a.example/",
            "call GET https://a.example.evil/"
        ));
    }
}

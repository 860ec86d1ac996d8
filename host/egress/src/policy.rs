//! Whether a rule allows a request. Rules are compared with the address as written, before any secret is in it.

use http::Method;
use url::Host;

use crate::destination::{Destination, Origin};
use crate::{EgressError, Holds, Policy, Rule, path};

/// Whether the calls for an origin go there, or where the operator sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Led {
    Nowhere,
    ByOperator,
}

impl Policy {
    /// Finds the rule that allows the request, so that the caller sees what it rests upon.
    pub(crate) fn allow(
        &self,
        method: &Method,
        to: &Destination,
        credential: Option<&str>,
        led: Led,
    ) -> Result<&Rule, EgressError> {
        let holds = |rule: &&Rule| rule.holds == Holds::Always || led == Led::ByOperator;
        let reachable: Vec<&Rule> = self
            .rules
            .iter()
            .filter(holds)
            .filter(|rule| rule.covers(&to.origin))
            .collect();
        if reachable.is_empty() {
            return Err(EgressError::denied(format!("no rule allows calls to {}", to.origin)));
        }
        let allowed: Vec<&Rule> = reachable
            .into_iter()
            .filter(|rule| rule.takes(method, &to.path))
            .collect();
        if allowed.is_empty() {
            return Err(EgressError::denied(format!(
                "no rule allows {method} of this path at {}",
                to.origin
            )));
        }
        allowed
            .into_iter()
            .find(|rule| credential.is_none_or(|name| rule.credentials.iter().any(|known| known == name)))
            .ok_or_else(|| {
                let name = credential.unwrap_or_default();
                EgressError::denied(format!("the credential `{name}` may not be used at {}", to.origin))
            })
    }
}

impl Rule {
    fn covers(&self, origin: &Origin) -> bool {
        self.scheme == origin.scheme && self.port == origin.port && self.names(&origin.host)
    }

    fn names(&self, host: &Host) -> bool {
        let wanted = self.host.to_ascii_lowercase();
        if wanted == "*" {
            return true;
        }
        match (wanted.strip_prefix("*."), host) {
            (Some(suffix), Host::Domain(name)) => name
                .strip_suffix(suffix)
                .and_then(|head| head.strip_suffix('.'))
                .is_some_and(|head| !head.is_empty()),
            (Some(_), _) => false,
            (None, _) => host.to_string() == wanted,
        }
    }

    fn takes(&self, method: &Method, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method.as_str()))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| path::fits(pattern, path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str) -> Rule {
        Rule {
            scheme: "https".into(),
            host: host.into(),
            port: 443,
            methods: vec!["GET".into()],
            paths: vec!["/bot{token}/".into(), "/file/".into()],
            credentials: vec!["bot".into()],
            holds: Holds::Always,
        }
    }

    #[test]
    fn d8_only_what_a_rule_names_is_allowed() {
        let check = |host: &str, method: Method, url: &str, credential: Option<&str>, expected: bool| {
            let policy = Policy {
                rules: vec![rule(host)],
            };
            let to = Destination::parse(url).unwrap();
            let found = policy.allow(&method, &to, credential, Led::Nowhere);
            assert_eq!(found.is_ok(), expected, "{host} {url}: {found:?}");
        };
        let good = "https://api.example/file/x";
        check("api.example", Method::GET, good, None, true);
        check("API.example", Method::GET, "https://API.EXAMPLE/file/x", None, true);
        check("api.example", Method::GET, good, Some("bot"), true);
        check("api.example", Method::GET, good, Some("other"), false);
        check("api.example", Method::POST, good, None, false);
        check(
            "api.example",
            Method::GET,
            "https://api.example/bot{token}/x",
            None,
            true,
        );
        check(
            "api.example",
            Method::GET,
            "https://api.example/%62ot{token}/x",
            None,
            false,
        );
        check("api.example", Method::GET, "https://api.example/other", None, false);
        check(
            "api.example",
            Method::GET,
            "https://api.example:8443/file/x",
            None,
            false,
        );
        check("api.example", Method::GET, "http://api.example/file/x", None, false);
        check("api.example", Method::GET, "http://api.example:443/file/x", None, false);
        check("api.example", Method::GET, "https://evil.example/file/x", None, false);
        check("api.example", Method::GET, "https://аpi.example/file/x", None, false);
        check("*.example", Method::GET, good, None, true);
        check("*.example", Method::GET, "https://a.b.example/file/x", None, true);
        check("*.example", Method::GET, "https://example/file/x", None, false);
        check(
            "*.api.example",
            Method::GET,
            "https://evilapi.example/file/x",
            None,
            false,
        );
        check(
            "*.api.example",
            Method::GET,
            "https://api.example.evil/file/x",
            None,
            false,
        );
        check("*", Method::GET, "https://anything.test/file/x", None, true);
    }

    #[test]
    fn d8_a_rule_for_stand_ins_holds_for_stand_ins_alone() {
        let policy = Policy {
            rules: vec![Rule {
                holds: Holds::Redirected,
                ..rule("api.example")
            }],
        };
        let to = Destination::parse("https://api.example/file/x").unwrap();
        assert!(policy.allow(&Method::GET, &to, Some("bot"), Led::ByOperator).is_ok());
        assert!(policy.allow(&Method::GET, &to, Some("bot"), Led::Nowhere).is_err());
        assert!(policy.allow(&Method::GET, &to, None, Led::Nowhere).is_err());
    }
}

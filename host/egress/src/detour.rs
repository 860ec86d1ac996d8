//! `[egress.redirect]`: an operator sends the calls for one origin to another.
//!
//! Rules always speak of the source, dialling of the target. A stand-in that names its own address in an
//! answer (`Location`, a media address) is understood as well: its origin stands for the sources that lead to it.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use url::{Host, Url};

use crate::EgressError;
use crate::destination::{Destination, Origin};

/// Where the calls for one origin go instead.
#[derive(Debug, Clone)]
struct Target {
    origin: Origin,
    /// Put before every path; empty or without a slash at its end.
    base: String,
}

#[derive(Debug, Default)]
pub struct Detours {
    by_source: HashMap<Origin, Target>,
}

impl Detours {
    pub fn new(pairs: &[(Url, Url)]) -> Result<Self, EgressError> {
        let origin = |url: &Url| {
            Origin::of(url).ok_or_else(|| {
                EgressError::invalid(format!("egress.redirect: `{}` has no host to be called", url.scheme()))
            })
        };
        let by_source = pairs
            .iter()
            .map(|(source, target)| {
                let base = target.path().trim_end_matches('/').to_owned();
                let target = Target {
                    origin: origin(target)?,
                    base,
                };
                Ok((origin(source)?, target))
            })
            .collect::<Result<_, EgressError>>()?;
        Ok(Self { by_source })
    }

    /// What the rules are asked about: the destination itself or, for the address of a target, each of its sources.
    pub fn meanings(&self, given: Destination) -> Vec<Destination> {
        let mut sources: Vec<Destination> = self
            .by_source
            .iter()
            .filter(|(_, target)| is_same(&target.origin, &given.origin))
            .filter_map(|(source, target)| {
                let path = given.path.strip_prefix(target.base.as_str())?;
                (path.is_empty() || path.starts_with('/')).then(|| Destination {
                    origin: source.clone(),
                    path: if path.is_empty() {
                        "/".to_owned()
                    } else {
                        path.to_owned()
                    },
                    query: given.query.clone(),
                })
            })
            .collect();
        if sources.is_empty() {
            return vec![given];
        }
        sources.sort_by_key(|source| source.origin.to_string());
        sources
    }

    /// Where the allowed destination is dialled, if it is sent elsewhere: the only addresses that nobody judges.
    pub fn of(&self, allowed: &Destination) -> Option<Destination> {
        self.by_source.get(&allowed.origin).map(|target| Destination {
            origin: target.origin.clone(),
            path: format!("{}{}", target.base, allowed.path),
            query: allowed.query.clone(),
        })
    }
}

/// Whether both name one listener. A stand-in on this machine calls itself by name or by number, whatever the operator
/// wrote; the call goes to the address that the operator wrote.
fn is_same(target: &Origin, given: &Origin) -> bool {
    let is_loopback = |host: &Host| match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => *address == Ipv4Addr::LOCALHOST,
        Host::Ipv6(_) => false,
    };
    let is_one_host = target.host == given.host || (is_loopback(&target.host) && is_loopback(&given.host));
    is_one_host && target.scheme == given.scheme && target.port == given.port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detours(pairs: &[(&str, &str)]) -> Detours {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
            .collect();
        Detours::new(&pairs).unwrap()
    }

    fn to(raw: &str) -> Destination {
        Destination::parse(raw).unwrap()
    }

    #[test]
    fn calls_for_a_source_go_to_its_target() {
        let detours = detours(&[("https://api.example", "http://127.0.0.1:9101/base/")]);
        assert_eq!(
            detours.of(&to("https://api.example/x?y")),
            Some(to("http://127.0.0.1:9101/base/x?y"))
        );
        assert_eq!(detours.of(&to("https://api.example:8443/x")), None);
        assert_eq!(detours.of(&to("https://other.example/x")), None);
    }

    #[test]
    fn the_address_of_a_target_means_its_sources() {
        let detours = detours(&[
            ("https://b.example", "http://127.0.0.1:9101"),
            ("https://a.example", "http://127.0.0.1:9101"),
            ("https://c.example", "http://127.0.0.1:9102"),
        ]);
        assert_eq!(
            detours.meanings(to("http://127.0.0.1:9101/x?y")),
            [to("https://a.example/x?y"), to("https://b.example/x?y")]
        );
        assert_eq!(
            detours.meanings(to("http://127.0.0.1:1/x")),
            [to("http://127.0.0.1:1/x")]
        );
        assert_eq!(detours.meanings(to("https://c.example/x")), [to("https://c.example/x")]);
    }
}

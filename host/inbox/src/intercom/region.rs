//! The three regions of Intercom: a token belongs to one of them.

use mantle_egress::{Holds, Policy, Rule};

use crate::Access;

/// Where a workspace lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    Us,
    Eu,
    Au,
}

impl Region {
    pub const ALL: [Self; 3] = [Self::Us, Self::Eu, Self::Au];

    /// By what `/me` says; an unknown word means the first region.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "eu" => Self::Eu,
            "au" => Self::Au,
            _ => Self::Us,
        }
    }

    pub fn of(access: &Access) -> Self {
        access.facts.get("region").map_or(Self::Us, |name| Self::named(name))
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::Au => "au",
        }
    }

    pub const fn api_host(self) -> &'static str {
        match self {
            Self::Us => "api.intercom.io",
            Self::Eu => "api.eu.intercom.io",
            Self::Au => "api.au.intercom.io",
        }
    }

    pub const fn app_host(self) -> &'static str {
        match self {
            Self::Us => "app.intercom.com",
            Self::Eu => "app.eu.intercom.com",
            Self::Au => "app.au.intercom.com",
        }
    }
}

/// The name of the credential that API calls carry.
pub const CREDENTIAL: &str = "intercom";

/// The API of all regions.
pub fn api_policy() -> Policy {
    let rule = |region: Region| Rule {
        scheme: "https".to_owned(),
        host: region.api_host().to_owned(),
        port: 443,
        methods: Vec::new(),
        paths: Vec::new(),
        credentials: vec![CREDENTIAL.to_owned()],
        holds: Holds::Always,
    };
    Policy {
        rules: Region::ALL.into_iter().map(rule).collect(),
    }
}

/// Files of replies lie on hosts that Intercom does not list; the addresses are signed, so no credential goes along.
pub fn file_policy() -> Policy {
    Policy {
        rules: vec![Rule {
            scheme: "https".to_owned(),
            host: "*".to_owned(),
            port: 443,
            methods: vec!["GET".to_owned()],
            paths: Vec::new(),
            credentials: Vec::new(),
            holds: Holds::Always,
        }],
    }
}

//! The shape of `connector.toml`, as it is written. Unknown keys are refused, so that a misspelt rule is no rule.

use std::collections::BTreeMap;

use mantle_model::capabilities::{AttachmentRule, Capabilities, CaptionRule, Delivery, RefusedTypes, TextRule, Window};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub connector: Connector,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(default)]
    pub generated: Vec<Generated>,
    #[serde(default)]
    pub renewed: Vec<Renewed>,
    pub verification: Verification,
    pub challenge: Option<Challenge>,
    pub webhook: Webhook,
    #[serde(default)]
    pub credentials: Vec<Credential>,
    #[serde(default)]
    pub egress: Vec<Egress>,
    #[serde(default)]
    pub limits: Limits,
    pub capabilities: RawCapabilities,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connector {
    pub name: String,
    pub title: String,
    pub version: String,
    #[serde(default)]
    pub description: String,
    pub inboxes: Vec<String>,
    pub attribute: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Field {
    pub name: String,
    pub label: String,
    #[serde(default)]
    pub help: String,
    pub kind: FieldKind,
    #[serde(default)]
    pub choices: Vec<String>,
    #[serde(default)]
    pub secret: bool,
    #[serde(default = "yes")]
    pub required: bool,
    pub pattern: Option<String>,
    pub example: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FieldKind {
    Text,
    Choice,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generated {
    pub name: String,
    pub length: usize,
}

/// A secret that the provider renews in its answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renewed {
    pub name: String,
    /// The secret field that is its first value. None: there is none before the first answer.
    pub from: Option<String>,
    /// Where it stands in the JSON of an answer.
    pub pointer: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Verification {
    Hmac {
        algorithm: Algorithm,
        encoding: Encoding,
        header: String,
        #[serde(default)]
        prefix: String,
        secret: String,
        signed: Vec<String>,
        #[serde(default)]
        url_ports: UrlPorts,
        body_digest: Option<BodyDigest>,
        timestamp: Option<Timestamp>,
    },
    SharedSecret {
        header: String,
        secret: String,
    },
    Basic {
        user: Option<String>,
        secret: String,
    },
    None {},
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Algorithm {
    Sha1,
    Sha256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Encoding {
    Hex,
    Base64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UrlPorts {
    /// Only the address as it is registered.
    #[default]
    AsIs,
    /// With the port and without it.
    Either,
}

/// When the provider signed, so that an old hook cannot be sent again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timestamp {
    /// Unix seconds.
    pub header: String,
    /// How far it may be from the host's clock, in seconds, either way.
    pub tolerance_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyDigest {
    pub parameter: String,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Challenge {
    /// The provider asks with a query and expects one of its values back.
    Query {
        method: String,
        #[serde(default)]
        when: BTreeMap<String, String>,
        token: ChallengeToken,
        answer: ChallengeAnswer,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChallengeToken {
    pub parameter: String,
    pub secret: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChallengeAnswer {
    pub parameter: String,
    pub content_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub methods: Vec<String>,
    pub registration: Registration,
    pub answer: WebhookAnswer,
    #[serde(default)]
    pub overload: Overload,
}

/// Without it the provider is taken for one that never comes again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overload {
    pub retried_for_s: u64,
    #[serde(default)]
    pub too_many_requests: bool,
    pub status_query: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Registration {
    Automatic,
    Manual,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookAnswer {
    pub status: u16,
    pub content_type: Option<String>,
    #[serde(default)]
    pub body: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credential {
    pub name: String,
    pub inject: Vec<Inject>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Inject {
    Bearer {
        secret: String,
    },
    Basic {
        user_field: String,
        secret: String,
    },
    Header {
        name: String,
        secret: String,
    },
    Query {
        name: String,
        secret: String,
    },
    /// The HMAC of `secret` with the key `key` as a parameter.
    QueryHmac {
        name: String,
        secret: String,
        key: String,
        algorithm: Algorithm,
        encoding: Encoding,
    },
    Path {
        placeholder: String,
        secret: String,
    },
    Json {
        pointer: String,
        secret: String,
    },
}

impl Inject {
    /// Names of the secrets that it needs.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let key = match self {
            Self::QueryHmac { key, .. } => Some(key.as_str()),
            _ => None,
        };
        std::iter::once(self.secret()).chain(key)
    }

    /// The secret that is filled in, or computed with.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Self::Bearer { secret }
            | Self::Basic { secret, .. }
            | Self::Header { secret, .. }
            | Self::Query { secret, .. }
            | Self::QueryHmac { secret, .. }
            | Self::Path { secret, .. }
            | Self::Json { secret, .. } => secret,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Egress {
    pub origin: String,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default)]
    pub credentials: Vec<String>,
    #[serde(default)]
    pub holds: EgressHolds,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EgressHolds {
    #[default]
    Always,
    Redirected,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub memory_mib: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCapabilities {
    pub text: TextRule,
    pub caption: Option<CaptionRule>,
    #[serde(default)]
    pub attachments: Vec<AttachmentRule>,
    #[serde(default)]
    pub refused: Vec<RefusedTypes>,
    pub window: Option<Window>,
    pub delivery: Delivery,
}

impl From<RawCapabilities> for Capabilities {
    fn from(raw: RawCapabilities) -> Self {
        Self {
            text: raw.text,
            caption: raw.caption,
            attachments: raw.attachments,
            refused: raw.refused,
            window: raw.window,
            delivery: raw.delivery,
        }
    }
}

//! The one way out: every HTTP call of the host and of the connectors leaves here.
//!
//! Invariants: an address is resolved, judged and dialled as one; no redirect is followed unless the
//! caller asks, and then each hop is judged again and credentials stay with their origin; bytes and time
//! are capped while reading; an error says whether the request may have been applied. Secrets are put
//! in here, after the rules were checked, and never appear in an error or a log.
//! Knows nothing of WebAssembly, providers, inboxes or the database. Alone names reqwest.

mod address;
mod answer;
mod destination;
mod detour;
mod dial;
mod exchange;
mod inject;
mod path;
mod policy;

use std::sync::Arc;
use std::time::Duration;

pub use answer::collect;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use mantle_model::failure::Evidence;
use mantle_model::secret::Secret;
pub use path::check as check_path_pattern;

/// A streamed body: of files that must not be held in memory.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// How the client reaches the world; from `plugins.toml`.
#[derive(Debug, Clone, Default)]
pub struct EgressConfig {
    /// `[egress.redirect]`: calls for the first origin go to the second. Targets alone may be loopback or private.
    pub redirects: Vec<(url::Url, url::Url)>,
}

/// What a plugin or the host may reach.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    pub rules: Vec<Rule>,
}

/// One allowed destination.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `https`
    pub scheme: String,
    /// Exact, or `*.suffix` for every host below it, or `*` (the host's own downloads of public files).
    pub host: String,
    pub port: u16,
    /// Upper case; empty: all.
    pub methods: Vec<String>,
    /// Patterns of the path, placeholders unfilled; empty: all. See [`check_path_pattern`].
    pub paths: Vec<String>,
    /// Credentials that may be used here.
    pub credentials: Vec<String>,
    pub holds: Holds,
}

/// When a rule holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holds {
    #[default]
    Always,
    /// Only while `[egress.redirect]` sends the calls for its origin elsewhere.
    Redirected,
}

/// Where a secret goes once the rules have been checked.
#[derive(Debug, Clone)]
pub enum Injection {
    /// `authorization: Bearer …`
    Bearer(Secret),
    Basic {
        user: String,
        password: Secret,
    },
    Header {
        name: String,
        value: Secret,
    },
    Query {
        name: String,
        value: Secret,
    },
    /// Replaces `{placeholder}` in the path.
    Path {
        placeholder: String,
        value: Secret,
    },
    /// Sets the string at this JSON pointer of a JSON body.
    Json {
        pointer: String,
        value: Secret,
    },
}

#[derive(Debug, Clone)]
pub struct Credential {
    pub name: String,
    pub injections: Vec<Injection>,
}

pub enum Body {
    Empty,
    Bytes(Bytes),
    /// A stream of known length.
    Stream {
        bytes: u64,
        stream: ByteStream,
    },
    Multipart(Vec<Part>),
}

pub struct Part {
    pub name: String,
    pub filename: Option<String>,
    pub content_type: Option<String>,
    pub content: PartContent,
}

pub enum PartContent {
    Bytes(Bytes),
    Stream { bytes: u64, stream: ByteStream },
}

pub struct Request {
    pub method: http::Method,
    /// Absolute; placeholders of path credentials unfilled.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    pub credential: Option<Credential>,
    /// From the call to the last byte of the answer.
    pub timeout: Duration,
    /// How many redirects to follow; credentials are dropped when the origin changes.
    pub redirects_max: u8,
}

pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Ends with an error when the deadline passes or the connection breaks.
    pub body: ByteStream,
    pub content_length: Option<u64>,
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No rule allows it, or the address is one that nobody may reach.
    Denied,
    Invalid,
    Dns,
    Connect,
    Tls,
    Timeout,
    Broken,
    TooLarge,
}

/// The call brought no answer. `message` names hosts, never paths, queries or secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EgressError {
    pub kind: ErrorKind,
    pub message: String,
    pub evidence: Evidence,
}

impl EgressError {
    fn not_sent(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            evidence: Evidence::NotSent,
        }
    }

    fn sent(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            evidence: Evidence::Sent,
        }
    }

    fn denied(message: impl Into<String>) -> Self {
        Self::not_sent(ErrorKind::Denied, message)
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::not_sent(ErrorKind::Invalid, message)
    }
}

/// Calls of one plugin that may be under way at once: one plugin must not take all sockets of the host.
const CALLS_MAX: usize = 64;

/// The client. One per plugin, so that connections, TLS sessions and limits are never shared between plugins.
#[derive(Debug)]
pub struct Egress {
    dialers: dial::Dialers,
    detours: detour::Detours,
    permits: Arc<tokio::sync::Semaphore>,
}

impl Egress {
    /// # Errors
    /// The TLS back end cannot be set up.
    pub fn new(config: &EgressConfig) -> Result<Self, EgressError> {
        let detours = detour::Detours::new(&config.redirects)?;
        Ok(Self {
            dialers: dial::Dialers::new(!config.redirects.is_empty())?,
            detours,
            permits: Arc::new(tokio::sync::Semaphore::new(CALLS_MAX)),
        })
    }

    /// Checks the policy, fills the credential in, dials and returns when the head of the answer is there.
    /// The answer's body holds one of the plugin's places until it is read to its end or dropped.
    ///
    /// # Errors
    /// See [`EgressError`]; an HTTP status is not an error.
    pub async fn send(&self, request: Request, policy: &Policy) -> Result<Response, EgressError> {
        exchange::run(self, request, policy).await
    }
}

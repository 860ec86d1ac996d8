//! A provider's HTTP call, as it came.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// The raw hook: what signatures are computed over and what is kept for replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Upper case.
    pub method: String,
    /// Path and query byte for byte as received, from `/hooks/…` on.
    pub path_and_query: String,
    /// Names in lower case, in order; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    #[serde(with = "bytes_as_is")]
    pub body: Vec<u8>,
    pub received_at: Time,
}

impl Hook {
    /// The first header of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query without its question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        self.path_and_query.split_once('?').map_or("", |(_, query)| query)
    }
}

/// What the provider is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            body: Vec::new(),
        }
    }
}

/// What becomes of a hook that is not taken: how the provider treats an answer that is no success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overload {
    /// How long it tries again. Zero: what is refused once is lost.
    pub retried_for: Duration,
    /// It understands 429 as "come again"; else it is answered 503.
    pub too_many_requests: bool,
    /// The query parameter by which calls that only tell statuses are known before they are read.
    pub status_query: Option<String>,
}

impl Overload {
    /// Whether a call with this query only tells the status of what was sent.
    #[must_use]
    pub fn is_status(&self, query: &str) -> bool {
        let Some(name) = &self.status_query else { return false };
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name.as_str()))
    }
}

mod bytes_as_is {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Vec::<u8>::deserialize(from)
    }
}

//! A provider's HTTP call, as it came.

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

mod bytes_as_is {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Vec::<u8>::deserialize(from)
    }
}

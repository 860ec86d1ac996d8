//! Reading a hook and answering it.

use serde::de::DeserializeOwned;

use crate::connector::{Answer, Hook, Inbound};
use crate::exchange::{find_header, form_pairs};
use crate::values::Event;

impl Hook {
    /// # Errors
    /// The body is not that JSON.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }

    /// The fields of a form-urlencoded body, in order.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        form_pairs(&self.body)
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The first value of that query parameter.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Inbound {
    /// Nothing to tell; the provider gets the manifest's answer.
    #[must_use]
    pub fn nothing() -> Self {
        Self::events(Vec::new())
    }

    #[must_use]
    pub fn of(event: Event) -> Self {
        Self::events(vec![event])
    }

    #[must_use]
    pub fn events(events: Vec<Event>) -> Self {
        Self {
            events,
            malformed: Vec::new(),
            answer: None,
        }
    }
}

impl Answer {
    #[must_use]
    pub fn text(status: u16, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: Some(content_type.into()),
            body: body.into().into_bytes(),
        }
    }
}

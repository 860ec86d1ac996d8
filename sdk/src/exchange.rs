//! Requests and responses: builders for what providers take (JSON, forms, multipart) and readers for what they answer.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{Body, DownloadResponse, Kept, Method, Part, PartContent, Request, Response};
use crate::time;
use crate::values::{MediaId, TimeMs};

impl Request {
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Body::None,
            credential: None,
            timeout_ms: None,
            keep: Vec::new(),
        }
    }

    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url)
    }

    #[must_use]
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::Post, url)
    }

    #[must_use]
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new(Method::Delete, url)
    }

    /// A name from the manifest's `[[credentials]]`.
    #[must_use]
    pub fn credential(mut self, name: impl Into<String>) -> Self {
        self.credential = Some(name.into());
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// At most 30,000.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// The host keeps the string at this place of a good answer as the secret of this name, both as the manifest's
    /// `[[renewed]]` has them. The answer has `[secret]` there.
    #[must_use]
    pub fn keep(mut self, secret: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.keep.push(Kept {
            secret: secret.into(),
            pointer: pointer.into(),
        });
        self
    }

    /// Adds percent-encoded pairs to the address.
    #[must_use]
    pub fn query<K: AsRef<str>, V: AsRef<str>>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let encoded = encode(pairs);
        if !encoded.is_empty() {
            self.url.push(if self.url.contains('?') { '&' } else { '?' });
            self.url.push_str(&encoded);
        }
        self
    }

    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        let mut request = self.header("content-type", "application/json");
        request.body = Body::Bytes(value.to_string().into_bytes());
        request
    }

    #[must_use]
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let body = encode(pairs).into_bytes();
        let mut request = self.header("content-type", "application/x-www-form-urlencoded");
        request.body = Body::Bytes(body);
        request
    }

    /// The host sets the boundary and the content type.
    #[must_use]
    pub fn multipart(mut self, parts: Vec<Part>) -> Self {
        self.body = Body::Multipart(parts);
        self
    }

    /// The file itself as the body.
    #[must_use]
    pub fn media(self, file: MediaId, content_type: impl Into<String>) -> Self {
        let mut request = self.header("content-type", content_type);
        request.body = Body::Media(file);
        request
    }
}

impl Part {
    #[must_use]
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filename: None,
            content_type: None,
            content: PartContent::Text(value.into()),
        }
    }

    /// A file that the host streams; `filename` as the provider shall show it.
    #[must_use]
    pub fn media(
        name: impl Into<String>,
        filename: impl Into<String>,
        content_type: impl Into<String>,
        file: MediaId,
    ) -> Self {
        Self {
            name: name.into(),
            filename: Some(filename.into()),
            content_type: Some(content_type.into()),
            content: PartContent::Media(file),
        }
    }
}

impl Response {
    /// Status 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// # Errors
    /// The body is not that JSON. On a 2xx the provider has acted all the same.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }

    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// `Retry-After`, as seconds or as a date, counted from `now`.
    #[must_use]
    pub fn retry_after_ms(&self, now: TimeMs) -> Option<u64> {
        let value = self.header("retry-after")?.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            return seconds.checked_mul(1000);
        }
        let at = time::parse_http_date(value)?;
        Some(u64::try_from(at.saturating_sub(now)).unwrap_or(0))
    }
}

impl DownloadResponse {
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

/// The pairs of a form-urlencoded text, in order.
#[must_use]
pub fn form_pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn encode<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

pub(crate) fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::{Body, Request, Response, form_pairs};

    #[test]
    fn pairs_are_encoded_into_the_address_and_the_body() {
        let request = Request::post("https://api.example/x?a=1")
            .query([("to", "+49 30"), ("q", "a&b")])
            .form([("Body", "Grüße & mehr"), ("MediaUrl", "one"), ("MediaUrl", "two")]);
        assert_eq!(request.url, "https://api.example/x?a=1&to=%2B49+30&q=a%26b");
        let Body::Bytes(body) = request.body else {
            panic!("a form is bytes")
        };
        let pairs = form_pairs(&body);
        let expected = [("Body", "Grüße & mehr"), ("MediaUrl", "one"), ("MediaUrl", "two")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let answer = |value: &str| Response {
            status: 429,
            headers: vec![("Retry-After".to_owned(), value.to_owned())],
            body: Vec::new(),
        };
        let now = 1_795_000_000_000;
        assert_eq!(answer("7").retry_after_ms(now), Some(7_000));
        assert_eq!(
            answer("Wed, 18 Nov 2026 11:07:40 GMT").retry_after_ms(now),
            Some(60_000)
        );
        assert_eq!(answer("Wed, 18 Nov 2026 11:05:40 GMT").retry_after_ms(now), Some(0));
        assert_eq!(answer("soon").retry_after_ms(now), None);
    }
}

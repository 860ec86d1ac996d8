//! Keeps a channel's secrets out of what a guest sends, reads, logs and reports.
//!
//! A guest is never given a secret, but a provider may tell one back. Only secrets of some length are searched
//! for, as they are and percent-encoded; see [`LEAK_BYTES_MIN`].

use std::borrow::Cow;

use memchr::memmem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use mantle_model::secret::Secrets;

use crate::limits::LEAK_BYTES_MIN;

const REPLACEMENT: &[u8] = b"[secret]";

/// The values to search for: made once for all that is looked through at a time.
pub(crate) struct Needles<'s>(Vec<Cow<'s, str>>);

impl<'s> Needles<'s> {
    pub(crate) fn of(secrets: &'s Secrets) -> Self {
        let values = secrets.values().map(|secret| secret.expose());
        let long = values.filter(|value| value.len() >= LEAK_BYTES_MIN);
        Self(long.flat_map(spellings).collect())
    }

    /// Whether these bytes hold a secret of the channel.
    pub(crate) fn found(&self, bytes: &[u8]) -> bool {
        self.0
            .iter()
            .any(|needle| memmem::find(bytes, needle.as_bytes()).is_some())
    }

    /// The bytes with every secret of the channel replaced.
    pub(crate) fn scrub(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        for needle in &self.0 {
            if memmem::find(&bytes, needle.as_bytes()).is_some() {
                bytes = replaced(&bytes, needle.as_bytes());
            }
        }
        bytes
    }

    /// As [`Needles::scrub`], for text.
    pub(crate) fn scrub_text(&self, text: &str) -> String {
        let clean = self.scrub(text.as_bytes().to_vec());
        // Whole characters are replaced by whole characters.
        String::from_utf8(clean).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// As it is, and percent-encoded where that is something else.
fn spellings(plain: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let differs = !plain.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let encoded = differs.then(|| utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string());
    std::iter::once(Cow::Borrowed(plain)).chain(encoded.map(Cow::Owned))
}

fn replaced(bytes: &[u8], needle: &[u8]) -> Vec<u8> {
    let finder = memmem::Finder::new(needle);
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = finder.find(rest) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(REPLACEMENT);
        rest = &rest[at + needle.len()..];
    }
    clean.extend_from_slice(rest);
    clean
}

/// The bytes with every secret of the channel replaced.
pub(crate) fn scrub(secrets: &Secrets, bytes: Vec<u8>) -> Vec<u8> {
    Needles::of(secrets).scrub(bytes)
}

/// As [`scrub`], for text.
pub(crate) fn scrub_text(secrets: &Secrets, text: &str) -> String {
    Needles::of(secrets).scrub_text(text)
}

#[cfg(test)]
mod tests {
    use mantle_model::secret::Secret;

    use super::*;

    #[test]
    fn secrets_are_found_and_replaced() {
        let mut secrets = Secrets::default();
        secrets.add("token", Secret::new("123456789:AAF0bCdEfGhIjKl".to_owned()));
        secrets.add("word", Secret::new("hello".to_owned()));
        let needles = Needles::of(&secrets);
        assert!(needles.found(b"https://x/bot123456789:AAF0bCdEfGhIjKl/send"));
        assert!(needles.found(b"https://x/bot123456789%3AAAF0bCdEfGhIjKl/send"));
        assert!(!needles.found(b"hello, https://x/bot{bot_token}/send"));
        let text = "a 123456789:AAF0bCdEfGhIjKl b 123456789:AAF0bCdEfGhIjKl";
        assert_eq!(scrub_text(&secrets, text), "a [secret] b [secret]");
        assert_eq!(scrub_text(&secrets, "hello"), "hello");
    }
}

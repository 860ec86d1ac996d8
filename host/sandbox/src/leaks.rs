//! Keeps a channel's secrets out of what a guest sends, reads, logs and reports.
//!
//! A guest is never given a secret, but a provider may tell one back. Only secrets of some length are searched
//! for, as they are and percent-encoded; see [`LEAK_BYTES_MIN`].

use memchr::memmem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use mantle_model::secret::Secrets;

use crate::limits::LEAK_BYTES_MIN;

const REPLACEMENT: &[u8] = b"[secret]";

/// The values to search for.
fn needles(secrets: &Secrets) -> impl Iterator<Item = String> {
    let long = secrets
        .values()
        .filter(|secret| secret.expose().len() >= LEAK_BYTES_MIN);
    long.flat_map(|secret| {
        let plain = secret.expose().to_owned();
        let encoded = utf8_percent_encode(&plain, NON_ALPHANUMERIC).to_string();
        let encoded = (encoded != plain).then_some(encoded);
        std::iter::once(plain).chain(encoded)
    })
}

/// Whether these bytes hold a secret of the channel.
pub(crate) fn found(secrets: &Secrets, bytes: &[u8]) -> bool {
    needles(secrets).any(|needle| memmem::find(bytes, needle.as_bytes()).is_some())
}

/// The bytes with every secret of the channel replaced.
pub(crate) fn scrub(secrets: &Secrets, mut bytes: Vec<u8>) -> Vec<u8> {
    for needle in needles(secrets) {
        let finder = memmem::Finder::new(needle.as_bytes());
        if finder.find(&bytes).is_none() {
            continue;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let Some(at) = finder.find(rest) {
            clean.extend_from_slice(&rest[..at]);
            clean.extend_from_slice(REPLACEMENT);
            rest = &rest[at + needle.len()..];
        }
        clean.extend_from_slice(rest);
        bytes = clean;
    }
    bytes
}

/// As [`scrub`], for text.
pub(crate) fn scrub_text(secrets: &Secrets, text: &str) -> String {
    let clean = scrub(secrets, text.as_bytes().to_vec());
    // Whole characters are replaced by whole characters.
    String::from_utf8(clean).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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
        assert!(found(&secrets, b"https://x/bot123456789:AAF0bCdEfGhIjKl/send"));
        assert!(found(&secrets, b"https://x/bot123456789%3AAAF0bCdEfGhIjKl/send"));
        assert!(!found(&secrets, b"hello, https://x/bot{bot_token}/send"));
        let text = "a 123456789:AAF0bCdEfGhIjKl b 123456789:AAF0bCdEfGhIjKl";
        assert_eq!(scrub_text(&secrets, text), "a [secret] b [secret]");
        assert_eq!(scrub_text(&secrets, "hello"), "hello");
    }
}

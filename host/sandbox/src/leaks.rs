//! Keeps a channel's secrets out of what a guest sends, reads, logs and reports.
//!
//! A guest is never given a secret, but a provider may tell one back, in the spelling it was sent in or in one of its
//! own. Only secrets of some length are searched for; see [`LEAK_BYTES_MIN`].

use std::borrow::Cow;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use mantle_model::secret::Secrets;

use crate::limits::LEAK_BYTES_MIN;

/// What stands where a secret stood.
pub(crate) const REPLACEMENT: &str = "[secret]";

/// The values to search for. Made once of a set of secrets: a hook is looked through at a dozen places for a dozen
/// spellings of each, and in one pass each.
pub(crate) struct Needles(Search);

enum Search {
    Nothing,
    For(AhoCorasick),
    /// What cannot be searched for is taken to be everywhere.
    Everything,
}

impl Needles {
    pub(crate) fn of(secrets: &Secrets) -> Arc<Self> {
        secrets.derived(|secrets| {
            let values = secrets.values().map(|secret| secret.expose());
            let long = values.filter(|value| value.len() >= LEAK_BYTES_MIN);
            let spellings: Vec<_> = long.flat_map(spellings).collect();
            if spellings.is_empty() {
                return Self(Search::Nothing);
            }
            let search = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // A table of all transitions would take a megabyte a channel.
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(spellings.iter().map(|spelling| spelling.as_bytes()));
            Self(search.map_or(Search::Everything, Search::For))
        })
    }

    /// Whether these bytes hold a secret of the channel.
    pub(crate) fn found(&self, bytes: &[u8]) -> bool {
        match &self.0 {
            Search::Nothing => false,
            Search::For(search) => search.is_match(bytes),
            Search::Everything => true,
        }
    }

    /// The bytes with every secret of the channel replaced.
    pub(crate) fn scrub(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.0 {
            Search::For(search) if search.is_match(&bytes) => {
                search.replace_all_bytes(&bytes, &vec![REPLACEMENT.as_bytes(); search.patterns_len()])
            }
            Search::Nothing | Search::For(_) => bytes,
            Search::Everything => REPLACEMENT.as_bytes().to_vec(),
        }
    }

    /// As [`Needles::scrub`], for text.
    pub(crate) fn scrub_text(&self, text: &str) -> String {
        let clean = self.scrub(text.as_bytes().to_vec());
        // Whole characters are replaced by whole characters.
        String::from_utf8(clean).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// What the host leaves as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');
/// Letters of base64 that hold bits of what stands before, by how many bytes of it share the first group of three.
const SHARED_LETTERS: [usize; 3] = [0, 2, 3];

/// As it is, and as paths, queries, JSON and Basic credentials write it.
fn spellings(plain: &str) -> Vec<Cow<'_, str>> {
    let mut all = vec![Cow::Borrowed(plain)];
    if !plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        all.push(utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string().into());
        all.push(utf8_percent_encode(plain, SEGMENT).to_string().into());
        all.push(
            form_urlencoded::byte_serialize(plain.as_bytes())
                .collect::<String>()
                .into(),
        );
        all.push(plain.replace('\\', "\\\\").replace('"', "\\\"").into());
        all.push(plain.replace('/', "\\/").into());
    }
    for before in 0..SHARED_LETTERS.len() {
        all.push(inside_base64(&STANDARD, before, plain).into());
        all.push(inside_base64(&URL_SAFE, before, plain).into());
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The letters that base64 writes for nothing but the secret, with so many bytes of something else before it.
fn inside_base64(alphabet: &impl Engine, before: usize, plain: &str) -> String {
    let whole = alphabet.encode([&[0; 3][..before], plain.as_bytes()].concat());
    let letters = (before + plain.len()) * 8 / 6;
    whole[SHARED_LETTERS[before]..letters].to_owned()
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

    #[test]
    fn d13_a_secret_is_found_in_every_spelling_that_it_is_sent_in() {
        let secret = "p/ss-w\"rd: a+b\\c=0123";
        let mut secrets = Secrets::default();
        secrets.add("password", Secret::new(secret.to_owned()));
        let check = |text: &str, expected: &str| assert_eq!(scrub_text(&secrets, text), expected, "{text}");
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("a", secret)
            .finish();
        check(&form, "a=[secret]");
        check(
            &format!("/bot{}/send", utf8_percent_encode(secret, SEGMENT)),
            "/bot[secret]/send",
        );
        check(r#"{"a":"p/ss-w\"rd: a+b\\c=0123"}"#, r#"{"a":"[secret]"}"#);
        // What a hook or an echo brings of Basic credentials, whatever the name before the password is long.
        for user in ["", "u", "us", "use", "user-4711"] {
            for (engine, after) in [(&STANDARD, ""), (&URL_SAFE, ""), (&STANDARD, ", and more")] {
                let pair = format!("{user}:{secret}{after}");
                let header = format!("Basic {}", engine.encode(&pair));
                let clean = scrub_text(&secrets, &header);
                assert!(clean.contains("[secret]"), "{user}: {header}");
                let rest = clean.replace("[secret]", "").replace("Basic ", "");
                // A letter or two at either end, which the secret shares with its neighbours.
                assert!(
                    rest.len() <= header.len() - "Basic ".len() - secret.len() * 8 / 6 + 4,
                    "{clean}"
                );
            }
        }
    }
}

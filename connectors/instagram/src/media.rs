//! The file of an inbound message. Its address is signed and wants no token; it dies after a while, that of a story with
//! the story. The message itself, asked for again, has a fresh one.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, ErrorKind, Request};
use mantle_sdk::values::{CallError, MediaId, Refusal, RefusalReason};
use serde::Deserialize;

use crate::graph::{Graph, Repeat};

/// A file of 25 MB over a slow line.
const DOWNLOAD_TIMEOUT_MS: u32 = 20_000;

/// Stands where the number of an attachment would.
const STORY: &str = "story";

/// Longest source that the host keeps, in bytes. A longer address is left out: the message has a fresh one.
const SOURCE_BYTES_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Told {
    attachments: Option<List>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Vec<Kept>,
}

/// One file as the conversation shows it.
#[derive(Deserialize)]
struct Kept {
    file_url: Option<String>,
    image_data: Option<Place>,
    video_data: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    url: Option<String>,
}

impl Kept {
    fn url(self) -> Option<String> {
        let of = |place: Option<Place>| place.and_then(|place| place.url);
        self.file_url.or(of(self.image_data)).or(of(self.video_data))
    }
}

/// `<message id> <number among its attachments> <address>`
pub fn source(mid: &str, number: usize, url: &str) -> String {
    let whole = format!("{mid} {number} {url}");
    match whole.len() <= SOURCE_BYTES_MAX {
        true => whole,
        false => format!("{mid} {number} "),
    }
}

/// A story is no attachment of the message that answers it, so its address is all there is. None: it is too long.
pub fn story_source(mid: &str, url: &str) -> Option<String> {
    let whole = format!("{mid} {STORY} {url}");
    (whole.len() <= SOURCE_BYTES_MAX).then_some(whole)
}

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    let mut words = source.splitn(3, ' ');
    let (mid, number) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let url = words.next().unwrap_or_default();
    if !url.is_empty()
        && let Some(fetched) = download(url, host)?
    {
        return Ok(fetched);
    }
    if number == STORY {
        return Err(gone("story-gone"));
    }
    let number: usize = number.parse().map_err(|_| nameless())?;
    let url = fresh(mid, number, host)?;
    download(&url, host)?.ok_or_else(|| gone("404"))
}

/// None: the address has died, or was never one of Meta's.
fn download(url: &str, host: &dyn Host) -> Result<Option<Fetched>, CallError> {
    if !may_be_metas(url) {
        return Ok(None);
    }
    let request = Request::get(url).timeout_ms(DOWNLOAD_TIMEOUT_MS);
    let response = match host.download(request) {
        Ok(response) => response,
        Err(error) if error.kind == ErrorKind::Denied => return Ok(None),
        Err(error) => return Err(CallError::reading(error)),
    };
    let content_type = response.header("content-type").map(str::to_owned);
    match response.body {
        DownloadBody::Media(file) => Ok(Some(Fetched {
            file,
            name: name(url),
            content_type,
        })),
        DownloadBody::Bytes(_) => match unavailable(&response) {
            Some(error) => Err(error),
            None => Ok(None),
        },
    }
}

/// A picture beside the messages, such as an avatar. None: there is none to be had.
pub fn picture(url: &str, host: &dyn Host) -> Option<MediaId> {
    download(url, host).ok().flatten().map(|fetched| fetched.file)
}

/// None: asking the message for a fresh address may help.
fn unavailable(response: &DownloadResponse) -> Option<CallError> {
    let code = response.status.to_string();
    match response.status {
        429 => Some(CallError::rate_limited(None, code, "Instagram asks to slow down.")),
        500.. => Some(CallError::transient(
            code,
            "Instagram could not deliver the file just now.",
        )),
        _ => None,
    }
}

fn fresh(mid: &str, number: usize, host: &dyn Host) -> Result<String, CallError> {
    // The id goes into an address of ours: nothing in it may end or leave the path.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'=');
    if mid.is_empty() || !mid.bytes().all(plain) {
        return Err(nameless());
    }
    let graph = Graph::of(host)?;
    let request = graph.get(mid).query([("fields", "attachments")]);
    let told: Told = graph.call(request, Repeat::Harmless).map_err(|error| match error {
        CallError::Refused(refusal) => gone(&refusal.code),
        other => other,
    })?;
    let kept = told.attachments.and_then(|list| list.data.into_iter().nth(number));
    kept.and_then(Kept::url).ok_or_else(|| gone("no-attachment"))
}

/// The last part of the path, where it looks like a file's name.
fn name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty() && name.bytes().all(plain)).then(|| name.to_owned())
}

fn nameless() -> CallError {
    Refusal::new(
        RefusalReason::Invalid,
        "invalid-source",
        "The message does not name its file properly.",
    )
    .next_step("Ask the customer to send the file again.")
    .into()
}

fn gone(code: &str) -> CallError {
    Refusal::new(RefusalReason::Invalid, code, "Instagram no longer has the file.")
        .next_step("Ask the customer to send the file again.")
        .into()
}

/// Hosts under Meta's domains for files, over TLS, on the default port.
///
/// An address without TLS is left to the host: it calls none, unless the operator has sent Meta's calls there
/// (`[egress.redirect]`) and what answers names itself.
fn may_be_metas(url: &str) -> bool {
    if url.starts_with("http://") {
        return true;
    }
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    // Nothing that address parsers read in more than one way.
    let is_plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let domains = [".fbsbx.com", ".fbcdn.net", ".cdninstagram.com"];
    is_plain && domains.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::{SOURCE_BYTES_MAX, may_be_metas, name, source};

    #[test]
    fn at_8_files_are_fetched_from_metas_hosts_only() {
        assert!(may_be_metas("https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1"));
        assert!(may_be_metas("https://scontent.cdninstagram.com/v/p.jpg?oe=66"));
        assert!(may_be_metas("https://cdn.fbsbx.com/v/contract.pdf?oe=66"));
        for foreign in [
            "https://cdninstagram.com.evil.example/a",
            "https://evil.example/?.fbcdn.net",
            "https://evil.example#.fbsbx.com",
            "https://user@evil.example:443/.fbsbx.com",
            "https://evilcdninstagram.com/",
            "https://evil.example\\.fbcdn.net/",
            "/reel/123",
            "fb://photo/1",
        ] {
            assert!(!may_be_metas(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_name_is_told_only_where_the_address_has_one() {
        assert_eq!(
            name("https://cdn.fbsbx.com/v/contract.pdf?oe=66").as_deref(),
            Some("contract.pdf")
        );
        assert_eq!(name("https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1.5"), None);
        assert_eq!(name("https://cdn.fbsbx.com/v/a%2Fb.pdf"), None);
    }

    #[test]
    fn an_address_that_is_too_long_is_asked_for_again() {
        let long = "x".repeat(SOURCE_BYTES_MAX);
        assert_eq!(source("aWdA", 2, &long), "aWdA 2 ");
    }
}

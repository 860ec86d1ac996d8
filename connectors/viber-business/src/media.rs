//! The file of an inbound message. Where it lies at Infobip it may want the API key, which goes nowhere else.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, ErrorKind, Request, Response};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::api::{self, Repeat};
use crate::errors;

/// A file of 100 MB over a slow line.
const DOWNLOAD_TIMEOUT_MS: u32 = 25_000;

/// Whose the address is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Infobip,
    /// Viber's own, or one that the host will judge: without the key.
    Elsewhere,
}

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    let request = Request::get(source).timeout_ms(DOWNLOAD_TIMEOUT_MS);
    let request = match place(source) {
        Some(Place::Infobip) => request.credential(api::ACCOUNT),
        Some(Place::Elsewhere) => request,
        None => return Err(foreign()),
    };
    let answer = host.download(request).map_err(|error| match error.kind {
        ErrorKind::Denied => foreign(),
        _ => CallError::reading(error),
    })?;
    let content_type = answer.header("content-type").map(str::to_owned);
    match answer.body {
        DownloadBody::Media(file) => Ok(Fetched {
            file,
            name: None,
            content_type,
        }),
        DownloadBody::Bytes(_) => Err(refused(answer, host)),
    }
}

fn refused(answer: DownloadResponse, host: &dyn Host) -> CallError {
    let code = answer.status.to_string();
    match answer.status {
        429 | 500.. => {
            let response = Response {
                status: answer.status,
                headers: answer.headers,
                body: Vec::new(),
            };
            errors::of(&response, Repeat::Harmless, host.now())
        }
        // A key that may not read files is still good for messages.
        401 | 403 => gone(&code, "The API key may not fetch the file, or its address has ended."),
        _ => gone(&code, "Infobip no longer has the file."),
    }
}

fn gone(code: &str, message: &str) -> CallError {
    Refusal::new(RefusalReason::Invalid, code, message)
        .next_step("Ask the customer to send the file again.")
        .into()
}

fn foreign() -> CallError {
    gone(
        "foreign-address",
        "The message names an address for its file that is neither Infobip's nor Viber's.",
    )
}

/// Hosts under `infobip.com` and `viber.com`, over TLS, on the default port. None: anybody else's.
///
/// An address without TLS is left to the host: it calls none, unless the operator has sent these calls there
/// (`[egress.redirect]`) and what answers names itself.
fn place(address: &str) -> Option<Place> {
    if address.starts_with("http://") {
        return Some(Place::Elsewhere);
    }
    let rest = address.strip_prefix("https://")?;
    let host = rest
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    // Nothing that address parsers read in more than one way.
    let is_plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    match is_plain {
        true if host.ends_with(".infobip.com") => Some(Place::Infobip),
        true if host.ends_with(".viber.com") => Some(Place::Elsewhere),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, place};

    #[test]
    fn at_8_the_key_goes_to_infobips_hosts_only() {
        assert_eq!(place("https://api.infobip.com/a"), Some(Place::Infobip));
        assert_eq!(place("https://xyz12.api.infobip.com/a?b"), Some(Place::Infobip));
        assert_eq!(place("https://dl-media.viber.com/a"), Some(Place::Elsewhere));
        for foreign in [
            "https://infobip.com.evil.example/a",
            "https://evil.example/?.infobip.com",
            "https://evil.example#.infobip.com",
            "https://user@evil.example:443/.infobip.com",
            "https://evilinfobip.com/",
            "https://evil.example\\.infobip.com/",
            "",
        ] {
            assert_eq!(place(foreign), None, "{foreign}");
        }
    }
}

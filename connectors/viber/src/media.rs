//! The file of an inbound message. Its address is signed, wants no token, and lives an hour.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, ErrorKind, Request};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// A video of 50 MB over a slow line.
const DOWNLOAD_TIMEOUT_MS: u32 = 25_000;

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    if !may_be_vibers(source) {
        return Err(foreign());
    }
    let answer = host
        .download(Request::get(source).timeout_ms(DOWNLOAD_TIMEOUT_MS))
        .map_err(|error| match error.kind {
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
        DownloadBody::Bytes(_) => Err(refused(&answer)),
    }
}

fn refused(answer: &DownloadResponse) -> CallError {
    let code = answer.status.to_string();
    match answer.status {
        429 => {
            let seconds = answer
                .header("retry-after")
                .and_then(|value| value.trim().parse::<u64>().ok());
            let wait = seconds.and_then(|seconds| seconds.checked_mul(1_000));
            CallError::rate_limited(wait, code, "Viber asks to slow down.")
        }
        500.. => CallError::transient(code, "Viber could not deliver the file just now."),
        _ => gone(
            &code,
            "Viber no longer has the file: it keeps files of customers for an hour.",
        ),
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
        "The message names an address for its file that is not Viber's.",
    )
}

/// Hosts under `viber.com`, over TLS, on the default port.
///
/// An address without TLS is left to the host: it calls none, unless the operator has sent Viber's calls there
/// (`[egress.redirect]`) and what answers names itself.
pub fn may_be_vibers(address: &str) -> bool {
    if address.starts_with("http://") {
        return true;
    }
    let Some(rest) = address.strip_prefix("https://") else {
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
    is_plain && host.ends_with(".viber.com")
}

#[cfg(test)]
mod tests {
    use super::may_be_vibers;

    #[test]
    fn at_8_only_vibers_hosts_are_asked() {
        assert!(may_be_vibers("https://dl-media.viber.com/5/media/a?Expires=1"));
        assert!(may_be_vibers(
            "https://media-direct.cdn.viber.com/download_photo?dlid=abc"
        ));
        for foreign in [
            "https://viber.com.evil.example/a",
            "https://evil.example/?.viber.com",
            "https://evil.example#.viber.com",
            "https://user@evil.example:443/.viber.com",
            "https://evilviber.com/",
            "https://evil.example\\.viber.com/",
            "ftp://dl-media.viber.com/a",
        ] {
            assert!(!may_be_vibers(foreign), "{foreign}");
        }
    }
}

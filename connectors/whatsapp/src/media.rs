//! The file of an inbound message, in two steps: its id gives an address that lives five minutes, the address gives
//! the bytes. Both want the access token, which goes to Meta's own hosts only.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, ErrorKind, Request};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};
use serde::Deserialize;

use crate::fields;
use crate::graph::{self, Repeat};

/// The address may have died between the two steps; a second one is enough to tell that from a file that is gone.
const TRIES: usize = 2;

/// A file of 100 MB over a slow line.
const DOWNLOAD_TIMEOUT_MS: u32 = 25_000;

#[derive(Deserialize)]
struct Address {
    url: String,
    mime_type: Option<String>,
}

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    let number = fields::phone_number_id(host)?;
    if source.is_empty()
        || !source
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err(gone("invalid-media-id", "The message does not name its file properly."));
    }
    for _ in 0..TRIES {
        let step = graph::get(source).query([("phone_number_id", number.as_str())]);
        let address: Address = graph::call(host, step, Repeat::Harmless).map_err(unavailable)?;
        if !may_be_metas(&address.url) {
            return Err(foreign());
        }
        let request = Request::get(address.url.as_str())
            .credential(graph::FILES)
            .timeout_ms(DOWNLOAD_TIMEOUT_MS);
        let response = host.download(request).map_err(|error| match error.kind {
            ErrorKind::Denied => foreign(),
            _ => CallError::reading(error),
        })?;
        match response.body {
            DownloadBody::Media(file) => {
                return Ok(Fetched {
                    file,
                    name: None,
                    content_type: address.mime_type,
                });
            }
            DownloadBody::Bytes(_) if response.status == 404 => {}
            DownloadBody::Bytes(_) => return Err(refused(&response)),
        }
    }
    Err(gone("404", "WhatsApp no longer has the file."))
}

/// A media id that WhatsApp does not know is a file that is gone, not a fault of the message.
fn unavailable(error: CallError) -> CallError {
    match error {
        CallError::Refused(refusal) if refusal.code == "100" || refusal.code == "33" || refusal.code == "404" => gone(
            &refusal.code,
            "WhatsApp no longer has the file: it keeps files of customers for 7 days.",
        ),
        other => other,
    }
}

fn refused(response: &DownloadResponse) -> CallError {
    let code = response.status.to_string();
    match response.status {
        401 => CallError::unauthorized(code, "WhatsApp no longer accepts the access token."),
        429 => CallError::rate_limited(None, code, "WhatsApp asks to slow down."),
        500.. => CallError::transient(code, "WhatsApp could not deliver the file just now."),
        _ => gone(
            &code,
            &format!("WhatsApp refused the file with the HTTP status {}.", response.status),
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
        "WhatsApp named an address for the file that is not Meta's.",
    )
}

/// `graph.facebook.com` and hosts under `fbsbx.com`, over TLS, on the default port.
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
    is_plain && (host == "graph.facebook.com" || host.ends_with(".fbsbx.com"))
}

#[cfg(test)]
mod tests {
    use super::may_be_metas;

    #[test]
    fn at_8_the_token_goes_to_metas_hosts_only() {
        assert!(may_be_metas(
            "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"
        ));
        assert!(may_be_metas("https://graph.facebook.com/v25.0/1"));
        for foreign in [
            "https://fbsbx.com.evil.example/a",
            "https://evil.example/?.fbsbx.com",
            "https://evil.example#.fbsbx.com",
            "https://user@evil.example:443/.fbsbx.com",
            "https://evilfbsbx.com/",
            "https://evil.example\\.fbsbx.com/",
        ] {
            assert!(!may_be_metas(foreign), "{foreign}");
        }
    }
}

//! The file of an inbound message. Its address wants the account's credentials and leads on to a signed address on
//! another host, which must not get them.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, ErrorKind, Request};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::api;

const DOWNLOAD_TIMEOUT_MS: u32 = 15_000;

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    if !api::is_media_url(source) {
        return Err(gone(
            "foreign-address",
            "The message names an address for its file that is not Twilio's.",
        ));
    }
    let first = download(Request::get(source).credential(api::ACCOUNT), host)?;
    let answer = match first.status {
        // The target lives four hours and is never kept.
        301 | 302 | 303 | 307 | 308 => {
            let target = first.header("location").and_then(api::absolute).ok_or_else(nowhere)?;
            download(Request::get(target), host)?
        }
        _ => first,
    };
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

fn download(request: Request, host: &dyn Host) -> Result<DownloadResponse, CallError> {
    host.download(request.timeout_ms(DOWNLOAD_TIMEOUT_MS))
        .map_err(|error| match error.kind {
            ErrorKind::Denied => nowhere(),
            _ => CallError::reading(error),
        })
}

fn nowhere() -> CallError {
    gone("redirect", "Twilio does not say where the file is.")
}

fn refused(answer: &DownloadResponse) -> CallError {
    let code = answer.status.to_string();
    match answer.status {
        401 => CallError::unauthorized(code, "Twilio does not accept the account SID and auth token."),
        404 | 410 => gone(&code, "The file was deleted from the Twilio account."),
        429 => CallError::rate_limited(
            answer.header("retry-after").and_then(api::seconds_as_ms),
            code,
            "Twilio asks to slow down.",
        ),
        // The signed address was too old, or the store had a fault: a new one is made the next time.
        403 | 500.. => CallError::transient(code, "Twilio could not deliver the file just now."),
        _ => gone(
            &code,
            &format!("Twilio refused the file with the HTTP status {}.", answer.status),
        ),
    }
}

fn gone(code: &str, message: &str) -> CallError {
    Refusal::new(RefusalReason::Invalid, code, message)
        .next_step("Ask the customer to send the file again.")
        .into()
}

//! The file of an inbound message, by the message's id. LINE prepares videos and sounds first, and deletes files after a
//! time that it does not tell.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, Response};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};
use serde::Deserialize;

use crate::api::{self, Repeat};
use crate::errors;

/// A video of some minutes over a slow line.
const DOWNLOAD_TIMEOUT_MS: u32 = 25_000;

/// LINE's answer while it prepares the file.
const NOT_READY: u16 = 202;

#[derive(Deserialize)]
struct Preparation {
    #[serde(default)]
    status: String,
}

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    if source.is_empty() || !source.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(gone(
            "invalid-message-id",
            "The message does not name its file properly.",
        ));
    }
    let answer = download(source, host)?;
    if answer.status != NOT_READY {
        return fetched(answer, host);
    }
    let preparation: Preparation = api::ask(host, api::content(source, "/transcoding"))?;
    match preparation.status.as_str() {
        "succeeded" => match download(source, host)? {
            still if still.status == NOT_READY => Err(not_ready()),
            ready => fetched(ready, host),
        },
        "failed" => Err(gone("transcoding-failed", "LINE could not prepare the file.")),
        _ => Err(not_ready()),
    }
}

fn download(source: &str, host: &dyn Host) -> Result<DownloadResponse, CallError> {
    host.download(api::content(source, "").timeout_ms(DOWNLOAD_TIMEOUT_MS))
        .map_err(CallError::reading)
}

fn fetched(answer: DownloadResponse, host: &dyn Host) -> Result<Fetched, CallError> {
    let content_type = answer.header("content-type").map(str::to_owned);
    match answer.body {
        DownloadBody::Media(file) => Ok(Fetched {
            file,
            name: None,
            content_type,
        }),
        DownloadBody::Bytes(_) if answer.status == 404 => Err(gone(
            "404",
            "LINE no longer has the file: it deletes files after a while.",
        )),
        DownloadBody::Bytes(_) if answer.status == 410 => Err(gone("410", "The customer has taken the message back.")),
        DownloadBody::Bytes(body) => {
            let response = Response {
                status: answer.status,
                headers: answer.headers,
                body,
            };
            Err(errors::of(&response, Repeat::Harmless, host.now()))
        }
    }
}

fn not_ready() -> CallError {
    CallError::transient("202", "LINE is still preparing the file.")
}

fn gone(code: &str, message: &str) -> CallError {
    Refusal::new(RefusalReason::Invalid, code, message)
        .next_step("Ask the customer to send the file again.")
        .into()
}

//! The files of customers. Slack gives them to whoever shows the bot token; without a good one, or without the scope, it
//! answers 200 or a redirect, and a page to sign in at.

use mantle_sdk::Host;
use mantle_sdk::connector::Fetched;
use mantle_sdk::http::{DownloadBody, DownloadResponse, Request, Response};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{self, BOT, Repeat};

/// The first byte of a large file may take a while.
const DOWNLOAD_TIMEOUT_MS: u32 = 25_000;
/// Slack sends a call to another of its hosts once at most; one more costs little.
const REDIRECTS_MAX: usize = 2;
/// The host keeps so many bytes of a source.
const SOURCE_BYTES_MAX: usize = 4_096;
/// Where a file's bytes may lie, apart from the workspace's own host. No token goes there.
const STORE: &str = "slack-files.com";
const PAGE: &str = "text/html";

/// What `receive` knows of a file.
#[derive(Serialize, Deserialize, Default)]
struct Source {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Deserialize)]
struct About {
    file: File,
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    mimetype: Option<String>,
    size: Option<u64>,
    mode: Option<String>,
    url_private: Option<String>,
    url_private_download: Option<String>,
}

/// The other half of [`fetch`]. An address that is too long is asked for anew.
pub fn source(id: &str, bytes: Option<u64>, content_type: Option<&str>, url: Option<&str>) -> String {
    let source = Source {
        id: id.to_owned(),
        bytes,
        content_type: content_type.map(str::to_owned),
        url: url.map(str::to_owned),
    };
    let written = serde_json::to_string(&source).unwrap_or_default();
    if written.is_empty() || written.len() > SOURCE_BYTES_MAX {
        return id.to_owned();
    }
    written
}

pub fn fetch(source: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    let known: Source = serde_json::from_str(source).unwrap_or_else(|_| Source {
        id: source.to_owned(),
        ..Source::default()
    });
    let (file, name) = match known.url {
        Some(_) => (known, None),
        None => look_up(known.id, host)?,
    };
    let url = file
        .url
        .clone()
        .ok_or_else(|| gone("no-address", "Slack gives no address for the file."))?;
    let answer = download(url, host)?;
    let content_type = answer.header("content-type").map(str::to_owned);
    match answer.body {
        DownloadBody::Media(media) => {
            if is_sign_in(&file, content_type.as_deref(), media, host) {
                return Err(signed_out(host)?);
            }
            Ok(Fetched {
                file: media,
                name,
                content_type: file.content_type.or(content_type),
            })
        }
        DownloadBody::Bytes(_) if is_redirect(answer.status) => Err(signed_out(host)?),
        DownloadBody::Bytes(body) => Err(refused(
            &Response {
                status: answer.status,
                headers: answer.headers,
                body,
            },
            host,
        )),
    }
}

/// In channels that two firms share, an event holds the file's id alone.
fn look_up(id: String, host: &dyn Host) -> Result<(Source, Option<String>), CallError> {
    let request = api::get("files.info", [("file", id.as_str())]);
    let about: About = api::aside(host, request, Repeat::Harmless)?;
    let file = about.file;
    match file.mode.as_deref() {
        Some("tombstone") => return Err(gone("tombstone", "The customer has deleted the file.")),
        Some("hidden_by_limit") => return Err(gone("hidden_by_limit", "The workspace's plan hides the file.")),
        Some("external") => return Err(gone("external", "The file lies outside Slack.")),
        _ => {}
    }
    let source = Source {
        id,
        bytes: file.size,
        content_type: file.mimetype,
        url: file.url_private_download.or(file.url_private),
    };
    Ok((source, file.name))
}

fn download(url: String, host: &dyn Host) -> Result<DownloadResponse, CallError> {
    let mut url = url;
    let mut answer = one(&url, host)?;
    for _ in 0..REDIRECTS_MAX {
        let Some(next) = onward(&answer) else { break };
        url = next;
        answer = one(&url, host)?;
    }
    Ok(answer)
}

fn one(url: &str, host: &dyn Host) -> Result<DownloadResponse, CallError> {
    let mut request = Request::get(url).timeout_ms(DOWNLOAD_TIMEOUT_MS);
    if !is_store(url) {
        request = request.credential(BOT);
    }
    host.download(request).map_err(CallError::reading)
}

/// Where a redirect leads, if a file may lie there. None: it is no redirect, or leads to the page to sign in at.
fn onward(answer: &DownloadResponse) -> Option<String> {
    let next = answer.header("location").filter(|_| is_redirect(answer.status))?;
    let (_, path) = next.strip_prefix("https://")?.split_once('/')?;
    (is_store(next) || path.starts_with("files-")).then(|| next.to_owned())
}

fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status)
}

fn is_store(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host == STORE || host.strip_suffix(STORE).is_some_and(|before| before.ends_with('.'))
}

/// A page where no page was sent, or one of another size than the one that was.
fn is_sign_in(file: &Source, content_type: Option<&str>, media: u32, host: &dyn Host) -> bool {
    if !content_type.is_some_and(|kind| kind.starts_with(PAGE)) {
        return false;
    }
    let is_page = file.content_type.as_deref() == Some(PAGE);
    let is_whole = || host.media_stat(media).is_ok_and(|info| Some(info.bytes) == file.bytes);
    !(is_page && is_whole())
}

/// The token is no longer good, or its scopes do not suffice: `auth.test` tells which.
fn signed_out(host: &dyn Host) -> Result<CallError, CallError> {
    let _good: Value = api::call(host, api::form::<&str>("auth.test", []), Repeat::Harmless)?;
    let refusal = Refusal::new(
        RefusalReason::Account,
        "sign-in-page",
        "Slack shows a page to sign in at instead of the file: the app may not read files.",
    );
    Ok(refusal
        .next_step("Add the scope files:read under OAuth & Permissions, install the app again, and try again.")
        .into())
}

fn refused(response: &Response, host: &dyn Host) -> CallError {
    match response.status {
        404 | 410 => gone(&response.status.to_string(), "Slack no longer has the file."),
        401 | 403 => match signed_out(host) {
            Ok(error) | Err(error) => error,
        },
        _ => match api::told::<Value>(response, Repeat::Harmless, host) {
            Ok(Err(told)) => told.error,
            Err(error) => error,
            Ok(Ok(_)) => CallError::transient(response.status.to_string(), "Slack gave no file."),
        },
    }
}

fn gone(code: &str, message: &str) -> CallError {
    Refusal::new(RefusalReason::Invalid, code, message)
        .next_step("Ask the customer to send the file again.")
        .into()
}

//! A file that goes out: an address is asked for, the bytes go there, and a last call makes the message of them. Only that
//! last one is seen by anybody; a file that is not shared stays the app's own.

use mantle_sdk::Host;
use mantle_sdk::http::Request;
use mantle_sdk::values::{CallError, Outgoing, OutgoingAttachment, Sent, TimeMs};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::errors;
use crate::place::{self, Destination};
use crate::{mrkdwn, names};

/// Most of the 30 s of a call.
const UPLOAD_TIMEOUT_MS: u32 = 24_000;

/// Slack now and then loses a file between the calls: once more from the first one, as it advises.
const ATTEMPTS: usize = 2;
const LOST: &str = "file_update_failed";

/// The host asks about a message in doubt for some minutes. Longer ones would fill the channel's small store.
const IN_DOUBT_MS: u64 = 3_600_000;

#[derive(Deserialize)]
struct Upload {
    upload_url: String,
    file_id: String,
}

#[derive(Deserialize)]
struct About {
    file: Value,
}

pub fn send(message: &Outgoing, attachment: &OutgoingAttachment, host: &dyn Host) -> Result<Sent, CallError> {
    let place = place::of(message, host)?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let file = upload(attachment, host)?;
        // Before the one call that may be in doubt: without it nobody could tell what became of the message.
        host.kv_set(
            &in_doubt(&message.id),
            format!("{file} {}", place.channel).as_bytes(),
            Some(IN_DOUBT_MS),
        )
        .map_err(|_| CallError::transient("kv", "The store does not keep the file's name now."))?;
        match api::probe::<Value>(host, complete(&file, attachment, &place), Repeat::Doubles)? {
            // Slack makes the message a moment later, and hardly ever names it here: the file's id names it as well.
            Ok(answer) => {
                let named = answer["files"].get(0).and_then(|shared| shown(shared, &place.channel));
                return Ok(Sent::new(named.unwrap_or(file)));
            }
            Err(told) if told.problem.error == LOST && attempts > 0 => {}
            Err(told) => return Err(errors::aside(&told.problem, told.error)),
        }
    }
}

fn upload(attachment: &OutgoingAttachment, host: &dyn Host) -> Result<String, CallError> {
    let length = attachment.bytes.to_string();
    let pairs = [("filename", attachment.name.as_str()), ("length", length.as_str())];
    let upload: Upload = api::aside(host, api::form("files.getUploadURLExternal", pairs), Repeat::Harmless)?;
    let request = Request::post(upload.upload_url)
        .media(attachment.media, "application/octet-stream")
        .timeout_ms(UPLOAD_TIMEOUT_MS);
    let response = api::exchange(host, request, Repeat::Harmless)?;
    match response.status {
        200 => Ok(upload.file_id),
        429 => Err(CallError::rate_limited(
            response.retry_after_ms(host.now()),
            "429",
            "Slack asks to slow down.",
        )),
        status => Err(CallError::transient(
            status.to_string(),
            format!("Slack's store did not take the file, with the HTTP status {status}."),
        )),
    }
}

fn complete(file: &str, attachment: &OutgoingAttachment, place: &Destination) -> Request {
    let files = json!([{ "id": file, "title": attachment.name }]).to_string();
    let mut pairs = vec![("files", files), ("channel_id", place.channel.clone())];
    pairs.extend(place.thread.clone().map(|thread| ("thread_ts", thread)));
    let caption = attachment.caption.as_ref().map(mrkdwn::write);
    let caption = caption.filter(|caption| !caption.trim().is_empty());
    pairs.extend(caption.map(|caption| ("initial_comment", caption)));
    api::form("files.completeUploadExternal", pairs)
}

/// The name of the message that shows this file in this channel. None: Slack shares files a little later.
pub fn share(file: &str, channel: &str, host: &dyn Host) -> Result<Option<String>, CallError> {
    let about: About = api::call(host, api::get("files.info", [("file", file)]), Repeat::Harmless)?;
    Ok(shown(&about.file, channel))
}

fn shown(file: &Value, channel: &str) -> Option<String> {
    let shares = &file["shares"];
    let ts = ["public", "private"]
        .into_iter()
        .find_map(|kind| shares[kind][channel][0]["ts"].as_str())?;
    Some(names::message(channel, ts))
}

/// What is known of the last call for a file, the one that makes a message.
pub enum LastCall {
    /// The file that it was to show, and where.
    Begun {
        file: String,
        channel: String,
    },
    NeverMade,
    /// What was kept cannot be read, or has ended by now.
    Unknown,
}

/// `announced_at`: when the host was about to send the message of this id.
pub fn last_call(id: &str, announced_at: TimeMs, host: &dyn Host) -> LastCall {
    let Ok(kept) = host.kv_get(&in_doubt(id)) else {
        return LastCall::Unknown;
    };
    match kept.map(String::from_utf8) {
        None if host.now().abs_diff(announced_at) < IN_DOUBT_MS => LastCall::NeverMade,
        None | Some(Err(_)) => LastCall::Unknown,
        Some(Ok(kept)) => kept
            .split_once(' ')
            .map_or(LastCall::Unknown, |(file, channel)| LastCall::Begun {
                file: file.to_owned(),
                channel: channel.to_owned(),
            }),
    }
}

fn in_doubt(id: &str) -> String {
    format!("upload:{id}")
}

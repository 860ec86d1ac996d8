//! A reply: free of charge, once, within about a minute of the event. It knows no key against doubles, so a mark in `kv`
//! says before the call that it is under way, and afterwards what it made: after silence nothing is sent again.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, Sent};
use serde_json::{Value, json};

use super::{SEND_TIMEOUT_MS, accepted};
use crate::api::{self, Repeat};
use crate::errors;

/// Longer than the host tries a message again; the marks of a busy day fit into the channel's store.
const MARK_MS: u64 = 6 * 3_600_000;

/// None: it is to be pushed.
pub fn make(id: &str, token: &str, messages: &[Value], host: &dyn Host) -> Result<Option<Sent>, CallError> {
    let mark = format!("reply:{id}");
    match host.kv_get(&mark) {
        Ok(None) => {}
        Ok(Some(made)) if !made.is_empty() => return Ok(Some(Sent::new(String::from_utf8_lossy(&made)))),
        Ok(Some(_)) => {
            return Err(CallError::ambiguous(
                "reply-in-doubt",
                "An earlier reply was left without an answer, and LINE does not tell what became of it.",
            ));
        }
        // An earlier reply may be in doubt, and a push would double it.
        Err(_) => {
            return Err(CallError::transient(
                "kv",
                "The marks of earlier replies cannot be read now.",
            ));
        }
    }
    // Without a mark a reply could be doubled, a push cannot.
    if host.kv_set(&mark, b"", Some(MARK_MS)).is_err() {
        return Ok(None);
    }
    match call(id, token, messages, host) {
        Ok(sent) => {
            // If it cannot be kept, the empty mark stays: then a repetition is in doubt and not sent.
            let _kept = host.kv_set(&mark, sent.id.as_bytes(), Some(MARK_MS));
            Ok(Some(sent))
        }
        Err(error @ CallError::Ambiguous(_)) => Err(error),
        Err(error) => {
            let _forgotten = host.kv_delete(&mark);
            match error {
                CallError::Refused(Refusal { code, .. }) if code == errors::REPLY_TOKEN => Ok(None),
                other => Err(other),
            }
        }
    }
}

fn call(id: &str, token: &str, messages: &[Value], host: &dyn Host) -> Result<Sent, CallError> {
    let request = api::post("/message/reply")
        .json(&json!({ "replyToken": token, "messages": messages }))
        .timeout_ms(SEND_TIMEOUT_MS);
    let response = api::exchange(host, request, Repeat::Doubles)?;
    if response.is_success() {
        return accepted(&response, id);
    }
    Err(errors::of(&response, Repeat::Doubles, host.now()))
}

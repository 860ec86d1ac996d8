//! From one outgoing message to the call that makes it: a push, or a reply where the host hands a reply token on.
//!
//! A push carries a key that is made of the host's id, from the first attempt on: LINE answers a repetition with 409 and
//! the message that it made before. A reply is free of charge and knows no key, see [`reply`].

mod duration;
mod kinds;
mod reply;

use mantle_sdk::Host;
use mantle_sdk::http::Response;
use mantle_sdk::values::{CallError, Outgoing, RefusalReason, Sent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::errors;

/// The token of the event that is answered, from `extras`.
const REPLY_TOKEN: &str = "reply_token";
/// The token of the message that is quoted, from `extras`: LINE takes no ids for that.
const QUOTE_TOKEN: &str = "quote_token";

const RETRY_KEY_HEADER: &str = "x-line-retry-key";
/// LINE's answers come within seconds; ten of the call's thirty are left for what comes before.
const SEND_TIMEOUT_MS: u32 = 20_000;

#[derive(Deserialize, Default)]
struct Accepted {
    #[serde(default, rename = "sentMessages")]
    sent_messages: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    id: String,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let to = recipient(message)?;
    let mut messages = kinds::messages(&message.content, host)?;
    if let (Some(token), Some("text")) = (extra(message, QUOTE_TOKEN), messages[0]["type"].as_str()) {
        messages[0]["quoteToken"] = json!(token);
    }
    let free = match extra(message, REPLY_TOKEN) {
        Some(token) => reply::make(&message.id, token, &messages, host)?,
        None => None,
    };
    match free {
        Some(sent) => Ok(sent),
        None => push(&message.id, to, &messages, host),
    }
}

/// A group is one conversation: the host names it as the group or as the recipient.
fn recipient(message: &Outgoing) -> Result<&str, CallError> {
    message
        .group_id
        .as_deref()
        .or_else(|| message.recipient_id())
        .ok_or_else(|| {
            CallError::refused(
                RefusalReason::Unreachable,
                "no-recipient",
                "No LINE user id of this customer is known.",
            )
        })
}

fn extra<'a>(message: &'a Outgoing, name: &str) -> Option<&'a str> {
    let found = message.extras.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn push(id: &str, to: &str, messages: &[Value], host: &dyn Host) -> Result<Sent, CallError> {
    let request = api::post("/message/push")
        .header(RETRY_KEY_HEADER, retry_key(id))
        .json(&json!({ "to": to, "messages": messages }))
        .timeout_ms(SEND_TIMEOUT_MS);
    let response = api::exchange(host, request, Repeat::Doubles)?;
    match response.status {
        // Accepted before: the answer names what was made then.
        409 => Ok(named(response.json().unwrap_or_default(), id)),
        _ if response.is_success() => accepted(&response, id),
        _ => Err(errors::of(&response, Repeat::Doubles, host.now())),
    }
}

fn accepted(response: &Response, id: &str) -> Result<Sent, CallError> {
    Ok(named(api::read(response, Repeat::Doubles)?, id))
}

/// What LINE made. It has surely made it: a message without a name gets the host's own.
fn named(accepted: Accepted, id: &str) -> Sent {
    let made = accepted.sent_messages.into_iter().next();
    let name = made.map(|made| made.id).filter(|name| !name.is_empty());
    Sent::new(name.unwrap_or_else(|| id.to_owned()))
}

/// A UUID (RFC 9562, version 8) of the host's id: the same on every attempt, and another one for another message.
fn retry_key(id: &str) -> String {
    const VERSION: u128 = 0x8 << 76;
    const VARIANT: u128 = 0b10 << 62;
    let hash = fnv(id.as_bytes()) & !(0xf << 76) & !(0b11 << 62) | VERSION | VARIANT;
    let hex = format!("{hash:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// FNV-1a of 128 bits (RFC 9923): ids are made by the host, so nobody chooses two of one hash.
fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes
        .iter()
        .fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::{fnv, retry_key};

    #[test]
    fn xt_1_a_retry_key_is_a_uuid_that_only_the_id_decides() {
        assert_eq!(fnv(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        let key = retry_key("msg_7_1.0.0");
        assert_eq!(key, retry_key("msg_7_1.0.0"));
        assert_ne!(key, retry_key("msg_7_1.1.0"));
        let parts: Vec<usize> = key.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&key[14..15], "8");
        assert!(matches!(&key[19..20], "8" | "9" | "a" | "b"), "{key}");
        assert!(key.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
    }
}

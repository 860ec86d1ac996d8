//! From one outgoing message to the call that makes it. A file is uploaded first, which may be repeated without harm;
//! only the last call, `POST /{page}/messages`, can leave the outcome unknown.
//!
//! A plain answer is tried first. Meta's clear no has a second way in two cases: after 24 hours the message is marked
//! as a person's answer, which is allowed for 7 days; and a conversation that another app controls is taken back.

mod content;

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Outgoing, OutgoingContent, Reaction, Refusal, RefusalReason, Sent};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::graph::{self, Repeat, Told};
use crate::wire::{self, Loose};
use crate::{errors, fields};

/// Time for the message itself; with the upload it stays within the call's thirty seconds.
const SEND_TIMEOUT_MS: u32 = 12_000;

/// A small call beside the message.
const CONTROL_TIMEOUT_MS: u32 = 5_000;

/// `metadata` holds at most so many characters.
const METADATA_CHARS_MAX: usize = 1_000;

/// What our `metadata` begins with: other apps of the Page set some too.
pub const CORRELATION_PREFIX: &str = "mantle:";

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    message_id: Loose,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let page = fields::page_id(host)?;
    let Some(person) = message.recipient_id() else {
        return Err(CallError::refused(
            RefusalReason::Unreachable,
            "no-recipient",
            "The Messenger id of this customer is not known.",
        ));
    };
    let mut body = Map::new();
    body.insert("recipient".to_owned(), json!({ "id": person }));
    if let OutgoingContent::Reaction(reaction) = &message.content {
        return react(body, (message, reaction), &page, host);
    }
    let mut content = content::object(message, &page, host)?;
    // Comes back in the echo, which settles a lost answer.
    let mark = format!("{CORRELATION_PREFIX}{}", message.id);
    content["metadata"] = json!(mark.chars().take(METADATA_CHARS_MAX).collect::<String>());
    body.insert("messaging_type".to_owned(), json!("RESPONSE"));
    body.insert("message".to_owned(), content);
    if let Some(target) = message.reply_to.as_deref().and_then(wire::mid) {
        body.insert("reply_to".to_owned(), json!({ "mid": target }));
    }
    deliver(body, person, &page, host)
}

/// Each way is tried once.
fn deliver(mut body: Map<String, Value>, person: &str, page: &str, host: &dyn Host) -> Result<Sent, CallError> {
    let (mut taken_back, mut tagged) = (false, false);
    loop {
        let told = match post(&body, page, host, Repeat::Doubles)? {
            Ok(accepted) => return sent(accepted),
            Err(told) => told,
        };
        if errors::is_held_by_another_app(&told.problem) && !taken_back {
            taken_back = true;
            take_control(person, page, host).map_err(|_| told.error)?;
        } else if errors::is_window_closed(&told.problem) && !tagged {
            tagged = true;
            body.insert("messaging_type".to_owned(), json!("MESSAGE_TAG"));
            body.insert("tag".to_owned(), json!("HUMAN_AGENT"));
        } else {
            return Err(match tagged {
                true => too_late(told),
                false => told.error,
            });
        }
    }
}

/// Whatever Meta says of the mark, the reason is that the plain answer came too late.
fn too_late(told: Told) -> CallError {
    match told.error {
        CallError::Refused(refusal) if matches!(refusal.reason, RefusalReason::Account | RefusalReason::Invalid) => {
            Refusal::new(
                RefusalReason::WindowClosed,
                refusal.code,
                "More than 24 hours have passed since the customer last wrote, and Meta does not let the app answer as \
                 a human agent.",
            )
            .next_step("Ask Meta for the feature Human Agent, or wait until the customer writes again.")
            .into()
        }
        other => other,
    }
}

fn take_control(person: &str, page: &str, host: &dyn Host) -> Result<(), CallError> {
    let request = graph::post(&format!("{page}/take_thread_control"))
        .json(&json!({ "recipient": { "id": person } }))
        .timeout_ms(CONTROL_TIMEOUT_MS);
    graph::call::<Value>(host, request, Repeat::Harmless).map(|_| ())
}

/// A repeated reaction is the same reaction.
fn react(
    mut body: Map<String, Value>,
    (message, reaction): (&Outgoing, &Reaction),
    page: &str,
    host: &dyn Host,
) -> Result<Sent, CallError> {
    let Some(target) = wire::mid(&reaction.target) else {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "no-message",
            "Messenger takes reactions to messages only.",
        ));
    };
    let mut payload = json!({ "message_id": target });
    let action = match reaction.emoji.as_deref() {
        Some(emoji) => {
            payload["reaction"] = json!(reaction_word(emoji));
            "react"
        }
        None => "unreact",
    };
    body.insert("sender_action".to_owned(), json!(action));
    body.insert("payload".to_owned(), payload);
    match post(&body, page, host, Repeat::Harmless)? {
        // Meta names no message for it.
        Ok(_) => Ok(Sent::new(format!("{target}:{action}:{}", message.id))),
        Err(told) => Err(told.error),
    }
}

/// Meta's words for its own signs; any other sign goes as it is.
fn reaction_word(emoji: &str) -> &str {
    match emoji.trim_end_matches('\u{fe0f}') {
        "❤" => "love",
        "😆" => "smile",
        "😮" => "wow",
        "😢" => "sad",
        "😠" => "angry",
        "👍" => "like",
        "👎" => "dislike",
        _ => emoji,
    }
}

fn post(
    body: &Map<String, Value>,
    page: &str,
    host: &dyn Host,
    repeat: Repeat,
) -> Result<Result<Accepted, Told>, CallError> {
    let request = graph::post(&format!("{page}/messages"))
        .json(&Value::Object(body.clone()))
        .timeout_ms(SEND_TIMEOUT_MS);
    graph::probe(host, request, repeat)
}

fn sent(accepted: Accepted) -> Result<Sent, CallError> {
    accepted
        .message_id
        .0
        .map(Sent::new)
        .ok_or_else(|| CallError::ambiguous("no-message-id", "Messenger accepted the message but did not name it."))
}

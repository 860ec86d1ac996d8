//! From one outgoing message to the call that makes it, `POST /{account}/messages`; it alone can leave the outcome
//! unknown. Instagram fetches a file from the host's own address.
//!
//! A plain answer is tried first. Meta's clear no has a second way in three cases: after 24 hours the message is marked
//! as a person's answer, which is allowed for 7 days; a conversation that another app controls is taken back, by the
//! Page's login; and a file that could not be fetched is asked for once more.

mod content;

use mantle_sdk::Host;
use mantle_sdk::http::Method;
use mantle_sdk::values::{CallError, Outgoing, OutgoingContent, Reaction, Refusal, RefusalReason, Sent};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::errors;
use crate::fields::Login;
use crate::graph::{Graph, Repeat, Told};
use crate::wire::{self, Loose};

/// Instagram answers once it has fetched the file. With a second try it stays within the call's thirty seconds.
const SEND_TIMEOUT_MS: u32 = 18_000;
const AGAIN_TIMEOUT_MS: u32 = 10_000;

/// A small call beside the message.
const CONTROL_TIMEOUT_MS: u32 = 5_000;

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    message_id: Loose,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let graph = Graph::of(host)?;
    let Some(person) = message.recipient_id() else {
        return Err(CallError::refused(
            RefusalReason::Unreachable,
            "no-recipient",
            "The Instagram id of this customer is not known.",
        ));
    };
    let mut body = Map::new();
    body.insert("recipient".to_owned(), json!({ "id": person }));
    if let OutgoingContent::Reaction(reaction) = &message.content {
        return react(body, (message, reaction), &graph);
    }
    body.insert("message".to_owned(), content::object(message, host)?);
    if let Some(target) = message.reply_to.as_deref().and_then(wire::mid) {
        body.insert("reply_to".to_owned(), json!({ "mid": target }));
    }
    deliver(body, person, &graph)
}

/// Which second ways have been taken.
#[derive(Default)]
struct Ways {
    tagged: bool,
    taken_back: bool,
    fetched_again: bool,
}

/// Each way is tried once.
fn deliver(mut body: Map<String, Value>, person: &str, graph: &Graph<'_>) -> Result<Sent, CallError> {
    let mut ways = Ways::default();
    let mut timeout_ms = SEND_TIMEOUT_MS;
    loop {
        let told = match post(&body, graph, (Repeat::Doubles, timeout_ms))? {
            Ok(accepted) => return sent(accepted),
            Err(told) => told,
        };
        timeout_ms = AGAIN_TIMEOUT_MS;
        let may_take = graph.login == Login::Page && !ways.taken_back;
        if errors::is_window_closed(&told.problem) && !ways.tagged {
            ways.tagged = true;
            body.insert("messaging_type".to_owned(), json!("MESSAGE_TAG"));
            body.insert("tag".to_owned(), json!("HUMAN_AGENT"));
        } else if errors::is_held_by_another_app(&told.problem) && may_take {
            ways.taken_back = true;
            take_control(person, graph).map_err(|_| told.error)?;
        } else if errors::is_file_unfetched(&told.problem) && !ways.fetched_again {
            ways.fetched_again = true;
        } else {
            return Err(match ways.tagged {
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

fn take_control(person: &str, graph: &Graph<'_>) -> Result<(), CallError> {
    let request = graph
        .edge(Method::Post, "take_thread_control")
        .json(&json!({ "recipient": { "id": person } }))
        .timeout_ms(CONTROL_TIMEOUT_MS);
    graph.call::<Value>(request, Repeat::Harmless).map(|_| ())
}

/// A repeated reaction is the same reaction.
fn react(
    mut body: Map<String, Value>,
    (message, reaction): (&Outgoing, &Reaction),
    graph: &Graph<'_>,
) -> Result<Sent, CallError> {
    let Some(target) = wire::mid(&reaction.target) else {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "no-message",
            "Instagram takes reactions to messages only.",
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
    match post(&body, graph, (Repeat::Harmless, AGAIN_TIMEOUT_MS))? {
        // Meta names no message for it.
        Ok(_) => Ok(Sent::new(format!("{target}:{action}:{}", message.id))),
        Err(told) => Err(told.error),
    }
}

/// The heart has a word; any other sign goes as it is.
fn reaction_word(emoji: &str) -> &str {
    match emoji.trim_end_matches('\u{fe0f}') {
        "❤" => "love",
        _ => emoji,
    }
}

fn post(
    body: &Map<String, Value>,
    graph: &Graph<'_>,
    (repeat, timeout_ms): (Repeat, u32),
) -> Result<Result<Accepted, Told>, CallError> {
    let request = graph
        .edge(Method::Post, "messages")
        .json(&Value::Object(body.clone()))
        .timeout_ms(timeout_ms);
    graph.probe(request, repeat)
}

fn sent(accepted: Accepted) -> Result<Sent, CallError> {
    accepted
        .message_id
        .0
        .map(Sent::new)
        .ok_or_else(|| CallError::ambiguous("no-message-id", "Instagram accepted the message but did not name it."))
}

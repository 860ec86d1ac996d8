//! From one outgoing message to the calls that make it: one for words, three for a file.
//!
//! Slack knows no key that makes a repetition harmless. Words carry the host's id in their metadata, and the id of an
//! uploaded file is kept until its fate is known: [`crate::reconcile`] looks for both.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Location, Outgoing, OutgoingContent, Reaction, Refusal, RefusalReason, Sent};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::{emoji, files, mrkdwn, names, place};

/// What the metadata of our messages is called, so that nobody else's are taken for ours.
pub const MARK: &str = "mantle_message";

/// Slack's answers come within seconds; ten of the call's thirty are left for opening a direct conversation.
const SEND_TIMEOUT_MS: u32 = 20_000;

/// The name of our reaction to a message is kept so long: without it Slack takes none back. The channel's store is small.
const REACTION_MS: u64 = 24 * 3_600_000;

#[derive(Deserialize)]
struct Posted {
    channel: String,
    ts: String,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    match &message.content {
        OutgoingContent::Text(text) => post(message, &mrkdwn::write(text), host),
        OutgoingContent::Location(location) => post(message, &mrkdwn::escaped(&words_of(location)), host),
        OutgoingContent::Attachment(attachment) => files::send(message, attachment, host),
        OutgoingContent::Reaction(reaction) => react(message, reaction, host),
        OutgoingContent::Template(_) => Err(unsupported("Slack has no templates to be approved.")),
    }
}

fn post(message: &Outgoing, words: &str, host: &dyn Host) -> Result<Sent, CallError> {
    let place = place::of(message, host)?;
    let mut body = json!({
        "channel": place.channel,
        "text": words,
        "unfurl_links": false,
        "unfurl_media": false,
        "metadata": { "event_type": MARK, "event_payload": { "id": message.id } },
    });
    if let Some(thread) = &place.thread {
        body["thread_ts"] = json!(thread);
    }
    let request = api::json("chat.postMessage", &body).timeout_ms(SEND_TIMEOUT_MS);
    let posted: Posted = api::call(host, request, Repeat::Doubles)?;
    Ok(Sent::new(names::message(&posted.channel, &posted.ts)))
}

/// Slack has no locations: name, address and a map.
fn words_of(location: &Location) -> String {
    let (latitude, longitude) = (location.latitude, location.longitude);
    let named = [&location.name, &location.address];
    let mut lines: Vec<String> = named
        .into_iter()
        .flatten()
        .filter(|line| !line.trim().is_empty())
        .cloned()
        .collect();
    lines.push(format!("https://maps.google.com/?q={latitude},{longitude}"));
    lines.join("\n")
}

/// One reaction to a message at a time, as the host knows it: a second one replaces the first.
fn react(message: &Outgoing, reaction: &Reaction, host: &dyn Host) -> Result<Sent, CallError> {
    let Some(target) = names::place(&reaction.target) else {
        return Err(no_target());
    };
    let key = format!("reaction:{}", reaction.target);
    let wanted = match &reaction.emoji {
        Some(sign) => Some(emoji::name(sign).ok_or_else(|| unsupported("Slack has no name for this reaction."))?),
        None => None,
    };
    let kept = host.kv_get(&key).ok().flatten();
    let before = kept.and_then(|name| String::from_utf8(name).ok());
    if let Some(before) = before.as_deref().filter(|before| Some(*before) != wanted) {
        mark(&target, before, "reactions.remove", "no_reaction", host)?;
    }
    if let Some(name) = wanted {
        mark(&target, name, "reactions.add", "already_reacted", host)?;
        // Unkept, it can no longer be taken back from here; it stands all the same.
        let _kept = host.kv_set(&key, name.as_bytes(), Some(REACTION_MS));
    } else {
        let _gone = host.kv_delete(&key);
    }
    Ok(Sent::new(message.id.clone()))
}

/// `done` is what Slack says when it is so already.
fn mark(target: &names::Place, name: &str, method: &str, done: &str, host: &dyn Host) -> Result<(), CallError> {
    let body = json!({ "channel": target.channel, "timestamp": target.ts, "name": name });
    match api::probe::<Value>(host, api::json(method, &body), Repeat::Harmless)? {
        Err(told) if told.problem.error != done => Err(crate::errors::aside(&told.problem, told.error)),
        _ => Ok(()),
    }
}

fn no_target() -> CallError {
    CallError::refused(
        RefusalReason::Invalid,
        "no-target",
        "The message that is reacted to has no name of Slack's.",
    )
}

fn unsupported(message: &str) -> CallError {
    Refusal::new(RefusalReason::Unsupported, "unsupported", message)
        .next_step("Send it as text.")
        .into()
}

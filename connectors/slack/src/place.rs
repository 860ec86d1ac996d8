//! Where an answer goes: into the thread of a Slack channel, or into the direct conversation with a person.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Outgoing, Refusal, RefusalReason};
use serde::Deserialize;
use serde_json::json;

use crate::api::{self, Repeat};
use crate::names;

/// A direct conversation keeps its id. Kept as long as people write back and forth: the channel's store is small.
const DIRECT_MS: u64 = 3_600_000;

pub struct Destination {
    pub channel: String,
    /// The `ts` of the message that begins the thread, never that of an answer in it.
    pub thread: Option<String>,
}

#[derive(Deserialize)]
struct Opened {
    channel: Conversation,
}

#[derive(Deserialize)]
struct Conversation {
    id: String,
}

/// A thread is named as the group, or, where the host knows it by its conversation alone, as the recipient.
pub fn of(message: &Outgoing, host: &dyn Host) -> Result<Destination, CallError> {
    let thread = message.group_id.as_deref().or_else(|| message.recipient_id());
    if let Some(place) = thread.and_then(names::place) {
        return Ok(Destination {
            channel: place.channel.to_owned(),
            thread: Some(place.ts.to_owned()),
        });
    }
    let user = message.recipient_id().and_then(names::user).ok_or_else(nobody)?;
    Ok(Destination {
        channel: direct(user, host)?,
        thread: None,
    })
}

/// Opening what is open already gives the same conversation.
fn direct(user: &str, host: &dyn Host) -> Result<String, CallError> {
    let key = format!("direct:{user}");
    let kept = host.kv_get(&key).ok().flatten();
    if let Some(channel) = kept.and_then(|kept| String::from_utf8(kept).ok()) {
        return Ok(channel);
    }
    let request = api::json("conversations.open", &json!({ "users": user }));
    let opened: Opened = api::call(host, request, Repeat::Harmless)?;
    // Unkept, the next message asks again.
    let _kept = host.kv_set(&key, opened.channel.id.as_bytes(), Some(DIRECT_MS));
    Ok(opened.channel.id)
}

fn nobody() -> CallError {
    Refusal::new(
        RefusalReason::Unreachable,
        "no-recipient",
        "Neither a thread nor a Slack user of this customer is known.",
    )
    .next_step("Wait until the customer writes.")
    .into()
}

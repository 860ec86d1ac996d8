//! What became of a message of ours. Its name holds the host's id, which was handed over with it. Reports come unordered;
//! ranking them is the host's.

use mantle_sdk::members::Members;
use mantle_sdk::values::{DeliveryState, Event, EventBody, Status, TimeMs};

use crate::errors::Verdict;
use crate::names::MessageName;

/// Groups of statuses. What is not listed here is on its way, or refused.
const ACCEPTED: i64 = 0;
const PENDING: i64 = 1;
const DELIVERED: i64 = 3;

pub fn delivery(fields: &Members, received_at: TimeMs) -> Option<Event> {
    let id = fields.needed_text("messageId")?;
    let status = fields.object("status")?;
    let group = status.needed_whole("groupId")?;
    let verdict = verdict(fields, &status);
    let (state, refusal) = match group {
        ACCEPTED | PENDING => (DeliveryState::Sent, None),
        DELIVERED => (DeliveryState::Delivered, None),
        // Of a call that was made twice: the first one has reports of its own.
        _ if verdict.is_duplicate() => return None,
        _ => (DeliveryState::Failed, Some(verdict.refusal())),
    };
    let at = fields
        .time_text("doneAt")
        .or_else(|| fields.time_text("sentAt"))
        .unwrap_or(received_at);
    // What the answer of the call told already is not of the message, which goes out under another name: only who knows
    // this very name is told.
    let is_of_message = state != DeliveryState::Failed || !verdict.may_pass();
    let status = Status {
        message_id: id.to_owned(),
        correlation: is_of_message.then(|| MessageName::id_of(id).to_owned()),
        state,
        refusal,
    };
    let key = format!("status:{id}:{}", verdict.status);
    Some(Event::new(key, at, EventBody::Status(status)))
}

fn verdict(fields: &Members, status: &Members) -> Verdict {
    let error = fields.object("error");
    let error_id = error.as_ref().and_then(|error| error.whole("id")).unwrap_or_default();
    let named = error.as_ref().filter(|_| error_id != 0).unwrap_or(status);
    Verdict {
        status: status.whole("id").unwrap_or_default(),
        error: error_id,
        name: named.text("name").unwrap_or_default().to_owned(),
        permanent: error.as_ref().and_then(|error| error.flag("permanent")),
    }
}

pub fn seen(fields: &Members, received_at: TimeMs) -> Option<Event> {
    let id = fields.needed_text("messageId")?;
    let at = fields.time_text("seenAt").unwrap_or(received_at);
    let status = Status {
        message_id: id.to_owned(),
        correlation: Some(MessageName::id_of(id).to_owned()),
        state: DeliveryState::Read,
        refusal: None,
    };
    Some(Event::new(format!("seen:{id}"), at, EventBody::Status(status)))
}

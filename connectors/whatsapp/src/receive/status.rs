//! What became of a message of ours. Statuses come unordered and may skip; ranking them is the host's.

use mantle_sdk::values::{DeliveryState, Event, EventBody, Refusal, RefusalReason, Status};
use serde_json::Value;

use super::Scope;
use crate::{errors, wire};

pub fn event(raw: Value, scope: &Scope) -> Result<Option<Event>, String> {
    let status: wire::Status = serde_json::from_value(raw).map_err(|error| super::unreadable(&error))?;
    let Some(id) = status.id.0 else {
        return Err("The status names no message.".to_owned());
    };
    let state = match status.status.as_str() {
        "sent" => DeliveryState::Sent,
        "delivered" => DeliveryState::Delivered,
        // A voice note that was listened to has been read.
        "read" | "played" => DeliveryState::Read,
        "failed" => DeliveryState::Failed,
        // Of older versions: neither changes what became of the message.
        "deleted" | "warning" => return Ok(None),
        other => {
            return Err(format!(
                "The status “{}” is not known.",
                other.chars().take(40).collect::<String>()
            ));
        }
    };
    // In a group every participant has statuses of its own.
    let participant = status
        .recipient_participant_user_id
        .or(status.recipient_participant_id.0)
        .or(status.participant_recipient_id.0);
    let key = match participant {
        Some(participant) => format!("{id}:{}:{participant}", status.status),
        None => format!("{id}:{}", status.status),
    };
    let refusal =
        (state == DeliveryState::Failed).then(|| status.errors.first().map_or_else(unexplained, errors::refusal));
    let body = Status {
        message_id: id,
        correlation: status.biz_opaque_callback_data.0,
        state,
        refusal,
    };
    Ok(Some(scope.event(
        key,
        status.timestamp.as_deref(),
        EventBody::Status(body),
    )))
}

fn unexplained() -> Refusal {
    Refusal {
        reason: RefusalReason::Other,
        code: "failed".to_owned(),
        message: "WhatsApp could not deliver the message and gave no reason.".to_owned(),
        next_step: Some("Send it again.".to_owned()),
    }
}

//! What became of a message of ours. Statuses come unordered, and `sent` may be the last word; ranking is the host's.

use mantle_sdk::connector::Hook;
use mantle_sdk::values::{DeliveryState, Event, EventBody, Refusal, RefusalReason, Status};

use crate::errors;
use crate::wire::Parameters;

/// The parameter that `send` puts into the address for statuses: the host's own id of the message.
pub const CORRELATION: &str = "mid";

pub fn event(sid: &str, state: &str, parameters: &Parameters, hook: &Hook) -> Result<Option<Event>, String> {
    let (state, refusal) = match state {
        // On its way inside Twilio: the host knows that much from the answer.
        "accepted" | "scheduled" | "queued" | "sending" => return Ok(None),
        "sent" | "partially_delivered" => (DeliveryState::Sent, None),
        "delivered" => (DeliveryState::Delivered, None),
        "read" => (DeliveryState::Read, None),
        "undelivered" | "failed" => (
            DeliveryState::Failed,
            Some(errors::refusal(parameters.get("ErrorCode"))),
        ),
        "canceled" => (DeliveryState::Failed, Some(canceled())),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(format!("The status “{other}” is not known (MessageStatus)."));
        }
    };
    let key = format!(
        "{sid}:{}",
        parameters
            .get("MessageStatus")
            .or(parameters.get("SmsStatus"))
            .unwrap_or_default()
    );
    let correlation = hook.query(CORRELATION).filter(|id| !id.is_empty()).map(str::to_owned);
    let status = Status {
        message_id: sid.to_owned(),
        correlation,
        state,
        refusal,
    };
    Ok(Some(Event::new(key, hook.received_at, EventBody::Status(status))))
}

fn canceled() -> Refusal {
    Refusal::new(
        RefusalReason::Other,
        "canceled",
        "The message was cancelled in Twilio before it was sent.",
    )
    .next_step("Send it again.")
}

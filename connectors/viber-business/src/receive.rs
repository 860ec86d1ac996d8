//! From one webhook to neutral events. Every body is a batch; its kind is told by the members of each item, since all
//! come to one address: messages, reports of delivery, marks of being seen. Makes no calls.

mod message;
mod report;

use mantle_sdk::Host;
use mantle_sdk::connector::{Hook, Inbound, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::members::{Members, Problems};
use mantle_sdk::values::{Event, TimeMs};
use serde_json::Value;

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let body: Value = hook
        .json()
        .map_err(|error| ReceiveError::malformed(format!("The body is not JSON: {error}.")))?;
    let Some(results) = body.get("results").and_then(Value::as_array) else {
        return Err(ReceiveError::malformed("The body has no list of results."));
    };
    let problems = Problems::default();
    let told = results.iter().enumerate().filter_map(|(number, raw)| {
        let fields = Members::of(raw, format!("results[{number}]"), &problems)?;
        item(&fields, hook.received_at, host)
    });
    let events = told.collect();
    Ok(Inbound {
        events,
        malformed: problems.into_inner(),
        answer: None,
    })
}

fn item(fields: &Members, received_at: TimeMs, host: &dyn Host) -> Option<Event> {
    // Mind who is who: a seen mark comes from the customer and is to us, a report is the other way round.
    let (event, sender) = if fields.has("message") {
        (message::event(fields, received_at), fields.text("to"))
    } else if fields.has("seenAt") {
        (report::seen(fields, received_at), fields.text("to"))
    } else if fields.has("status") {
        (report::delivery(fields, received_at), fields.text("sender"))
    } else {
        fields.note("It is no message, no report and no mark of being seen.");
        return None;
    };
    let event = event?;
    let Some(sender) = sender else { return Some(event) };
    // One subscription hears of all senders of the account.
    if host.config("sender").is_some_and(|ours| ours != sender) {
        host.log(Level::Debug, "What another sender of the account was told is left out.");
        return None;
    }
    Some(event.of_account(sender))
}

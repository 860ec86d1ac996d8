//! From one webhook to neutral events. Twilio tells one thing a request: a message that came in, or what became of one
//! of ours. Makes no calls. The host answers with an empty document: Twilio sends a plain text to the customer.

mod content;
mod status;

pub use status::CORRELATION;

use mantle_sdk::Host;
use mantle_sdk::connector::{Hook, Inbound, ReceiveError};
use mantle_sdk::phone;
use mantle_sdk::values::{Alias, AliasKind, Event, EventBody, Message, Person, Reach, Reachability};

use crate::wire::Parameters;

/// Keywords that Twilio itself acts upon; the message is shown all the same.
const STOP_WORDS: [&str; 8] = [
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let parameters = Parameters::of(hook);
    let sid = ["MessageSid", "SmsMessageSid", "SmsSid"]
        .iter()
        .find_map(|name| parameters.get(name));
    let sid = sid.ok_or_else(|| ReceiveError::malformed("The webhook names no message (MessageSid)."))?;
    belongs_here(&parameters, host)?;

    let state = parameters.get("MessageStatus").or(parameters.get("SmsStatus"));
    let events = match state {
        Some(state) if !matches!(state, "received" | "receiving") => status::event(sid, state, &parameters, hook)
            .map_err(ReceiveError::malformed)?
            .into_iter()
            .collect(),
        _ => message(sid, &parameters, hook)?,
    };
    let account = account(&parameters, state, host);
    let events = events.into_iter().map(|event: Event| match &account {
        Some(account) => event.of_account(account.as_str()),
        None => event,
    });
    Ok(Inbound::events(events.collect()))
}

/// Other accounts and other channels share the address of the API, not this channel's.
fn belongs_here(parameters: &Parameters, host: &dyn Host) -> Result<(), ReceiveError> {
    if let (Some(told), Some(ours)) = (parameters.get("AccountSid"), host.config("account_sid"))
        && !told.eq_ignore_ascii_case(&ours)
    {
        return Err(ReceiveError::malformed(
            "The webhook belongs to another Twilio account (AccountSid).",
        ));
    }
    for name in ["From", "To"] {
        if let Some((channel, _)) = parameters.get(name).and_then(|address| address.split_once(':')) {
            let channel: String = channel.chars().take(20).collect();
            return Err(ReceiveError::malformed(format!(
                "The message belongs to Twilio's channel “{channel}”, not to SMS ({name})."
            )));
        }
    }
    Ok(())
}

/// As the field `from` names the channel: its messaging service or its number.
fn account(parameters: &Parameters, state: Option<&str>, host: &dyn Host) -> Option<String> {
    let is_inbound = state.is_none_or(|state| matches!(state, "received" | "receiving"));
    let number = parameters.get(if is_inbound { "To" } else { "From" });
    let service = parameters.get("MessagingServiceSid");
    let named = match host.config("from") {
        Some(from) if from.starts_with("MG") => service,
        Some(_) => number,
        None => service.or(number),
    };
    named.map(str::to_owned)
}

fn message(sid: &str, parameters: &Parameters, hook: &Hook) -> Result<Vec<Event>, ReceiveError> {
    let from = parameters
        .get("From")
        .ok_or_else(|| ReceiveError::malformed("The message has no sender (From)."))?;
    let person = Person {
        aliases: vec![alias(from)],
        name: None,
        language: None,
    };
    let message = Message::new(sid, person.clone(), content::of(parameters));
    let mut events = vec![Event::new(sid, hook.received_at, EventBody::Message(message))];
    if let Some((key, reach)) = wish(parameters) {
        let reachability = EventBody::Reachability(Reachability { person, reach });
        events.push(Event::new(format!("{sid}:{key}"), hook.received_at, reachability));
    }
    Ok(events)
}

/// Short codes and names of senders are no numbers.
fn alias(from: &str) -> Alias {
    match from.starts_with('+').then(|| phone::normalise(from)).flatten() {
        Some(phone) => Alias::new(AliasKind::Phone, phone),
        None => Alias::new(AliasKind::Id, from),
    }
}

/// What the person asked for. A service with Advanced Opt-Out says it; elsewhere the keyword alone in a message does.
fn wish(parameters: &Parameters) -> Option<(&'static str, Reach)> {
    let word = parameters.get("Body").unwrap_or_default().trim().to_uppercase();
    let told = parameters.get("OptOutType").map(str::to_uppercase);
    let is_stop = told
        .as_deref()
        .map_or_else(|| STOP_WORDS.contains(&word.as_str()), |told| told == "STOP");
    let is_start = told
        .as_deref()
        .map_or_else(|| START_WORDS.contains(&word.as_str()), |told| told == "START");
    match (is_stop, is_start) {
        (true, _) => Some(("opted-out", Reach::OptedOut)),
        (_, true) => Some(("opted-in", Reach::OptedIn)),
        _ => None,
    }
}

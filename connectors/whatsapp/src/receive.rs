//! From a webhook to neutral events. One body may hold up to 1,000 updates of several accounts and numbers, on
//! three levels; each item is read by itself and what cannot be read is named with its place. Makes no calls.
//!
//! Left out on purpose: `history` and `smb_app_state_sync` (imports of old chats and address books), calls and
//! the administration of groups.

mod account;
mod lines;
mod message;
mod people;
mod status;

use std::collections::BTreeSet;

use mantle_sdk::connector::{Hook, Inbound, Malformed, ReceiveError};
use mantle_sdk::time;
use mantle_sdk::values::{Event, EventBody, Notice, NoticeLevel, TimeMs};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::{Change, Contact, Entry, Envelope, Metadata, Problem, Traffic};

pub fn receive(hook: &Hook) -> Result<Inbound, ReceiveError> {
    let envelope: Envelope = hook.json().map_err(|error| {
        ReceiveError::malformed(format!("The body is not a webhook of Meta. {}", unreadable(&error)))
    })?;
    if envelope.object != "whatsapp_business_account" {
        return Err(ReceiveError::malformed(format!(
            "The body is about “{}”, not about a WhatsApp Business Account.",
            envelope.object.chars().take(40).collect::<String>()
        )));
    }
    let mut found = Found {
        received_at: hook.received_at,
        events: Vec::new(),
        keys: BTreeSet::new(),
        malformed: Vec::new(),
    };
    for (number, entry) in envelope.entry.into_iter().enumerate() {
        found.entry(entry, &format!("entry[{number}]"));
    }
    Ok(Inbound {
        events: found.events,
        malformed: found.malformed,
        answer: None,
    })
}

/// What the body held so far.
struct Found {
    received_at: TimeMs,
    events: Vec<Event>,
    /// A batch that Meta repeats within a batch is told once.
    keys: BTreeSet<String>,
    malformed: Vec<Malformed>,
}

/// What the items of one change have in common.
struct Scope<'a> {
    metadata: &'a Metadata,
    contacts: &'a [Contact],
    received_at: TimeMs,
}

impl Scope<'_> {
    fn event(&self, key: String, timestamp: Option<&str>, body: EventBody) -> Event {
        Event {
            key,
            at: milliseconds(timestamp).unwrap_or(self.received_at),
            account: self.metadata.phone_number_id.clone(),
            body,
        }
    }
}

impl Found {
    fn entry(&mut self, raw: Value, place: &str) {
        let Some(entry) = self.read::<Entry>(raw, place) else {
            return;
        };
        for (number, raw) in entry.changes.into_iter().enumerate() {
            let place = format!("{place}.changes[{number}]");
            let Some(change) = self.read::<Change>(raw, &place) else {
                continue;
            };
            match change.field.as_str() {
                "messages" | "smb_message_echoes" => self.traffic(change.value, &place),
                field => {
                    let told_at = milliseconds(entry.time.as_deref());
                    let waba = entry.id.as_deref();
                    self.keep(account::notices(field, &change.value, waba, told_at, self.received_at));
                }
            }
        }
    }

    fn traffic(&mut self, value: Value, place: &str) {
        let place = format!("{place}.value");
        let Some(traffic) = self.read::<Traffic>(value, &place) else {
            return;
        };
        let metadata = traffic.metadata.unwrap_or_default();
        // A contact that cannot be read costs a name, not a message.
        let contacts: Vec<Contact> = traffic
            .contacts
            .into_iter()
            .filter_map(|raw| serde_json::from_value(raw).ok())
            .collect();
        let scope = Scope {
            metadata: &metadata,
            contacts: &contacts,
            received_at: self.received_at,
        };
        let about_messages = !traffic.messages.is_empty();

        self.items(traffic.messages, &format!("{place}.messages"), |raw| {
            message::incoming(raw, &scope)
        });
        self.items(traffic.message_echoes, &format!("{place}.message_echoes"), |raw| {
            message::echo(raw, &scope)
        });
        self.items(traffic.statuses, &format!("{place}.statuses"), |raw| {
            status::event(raw, &scope)
        });
        // Beside a message they say why its body is missing, which the message shows by itself.
        if !about_messages {
            self.keep(traffic.errors.iter().map(|problem| trouble(problem, &scope)));
        }
    }

    fn keep(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if self.keys.insert(event.key.clone()) {
                self.events.push(event);
            }
        }
    }

    fn items(&mut self, items: Vec<Value>, place: &str, read: impl Fn(Value) -> Result<Option<Event>, String>) {
        for (number, raw) in items.into_iter().enumerate() {
            match read(raw) {
                Ok(event) => self.keep(event),
                Err(problem) => self
                    .malformed
                    .push(Malformed::new(format!("{place}[{number}]"), problem)),
            }
        }
    }

    fn read<T: DeserializeOwned>(&mut self, raw: Value, place: &str) -> Option<T> {
        serde_json::from_value(raw)
            .map_err(|error| {
                self.malformed.push(Malformed::new(place, unreadable(&error)));
            })
            .ok()
    }
}

/// Trouble of the number as a whole that came without a message.
fn trouble(problem: &Problem, scope: &Scope) -> Event {
    let refusal = crate::errors::refusal(problem);
    // The provider gives these neither an id nor a time: the same trouble counts once an hour.
    let hour = scope.received_at / 3_600_000;
    let notice = Notice::new(NoticeLevel::Warning, refusal.code, refusal.message);
    scope.event(
        format!("error:{}:{hour}", problem.code),
        None,
        EventBody::Notice(notice),
    )
}

/// Without the value that was found: it may be what a customer wrote.
fn unreadable(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.split_once(", expected ") {
        Some((_, expected)) => format!("It does not have the documented form: expected {expected}."),
        None => format!("It does not have the documented form: {words}."),
    }
}

/// Seconds as text to milliseconds.
fn milliseconds(seconds: Option<&str>) -> Option<TimeMs> {
    Some(time::from_unix_seconds(seconds?.trim().parse().ok()?))
}

//! From a webhook to neutral events. One body may hold up to 1,000 updates of several accounts, on two levels; each item
//! is read by itself and what cannot be read is named with its place. Makes no calls.
//!
//! Left out on purpose: comments and mentions, in `changes` or in the entry itself; the test button of Meta's dashboard,
//! which sends `changes` too; messages of the account to itself; and reactions and deletions of the account's own side.

mod attachments;
mod control;
mod event;
mod message;
mod referral;

use std::collections::BTreeSet;

use mantle_sdk::Host;
use mantle_sdk::connector::{Hook, Inbound, Malformed, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::values::{Event, TimeMs};
use serde_json::{Map, Value};

use crate::wire::{self, Loose, Parts, unreadable};

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let envelope: Map<String, Value> = hook.json().map_err(|error| {
        ReceiveError::malformed(format!("The body is not a webhook of Meta. {}", unreadable(&error)))
    })?;
    let object = envelope.get("object").and_then(Value::as_str).unwrap_or_default();
    if object != "instagram" {
        return Err(ReceiveError::malformed(format!(
            "The body is about “{}”, not about an Instagram account.",
            object.chars().take(40).collect::<String>()
        )));
    }
    let Some(entries) = envelope.get("entry").and_then(Value::as_array) else {
        return Err(ReceiveError::malformed("The body has no list of entries."));
    };
    let mut found = Found {
        host,
        received_at: hook.received_at,
        events: Vec::new(),
        keys: BTreeSet::new(),
        malformed: Vec::new(),
    };
    for (number, entry) in entries.iter().enumerate() {
        found.entry(entry, format!("entry[{number}]"));
    }
    Ok(Inbound {
        events: found.events,
        malformed: found.malformed,
        answer: None,
    })
}

/// What the body held so far.
struct Found<'a> {
    host: &'a dyn Host,
    received_at: TimeMs,
    events: Vec<Event>,
    /// What Meta repeats within a batch is told once.
    keys: BTreeSet<String>,
    malformed: Vec<Malformed>,
}

impl Found<'_> {
    fn entry(&mut self, raw: &Value, place: String) {
        let Some(entry) = wire::object(raw, place, &mut self.malformed) else {
            return;
        };
        let account = entry.take::<Loose>("id", &mut self.malformed).and_then(|id| id.0);
        let time = entry.take::<Loose>("time", &mut self.malformed);
        let told_at = time.and_then(|time| milliseconds(&time)).unwrap_or(self.received_at);
        // `standby` instead of `messaging`: another app controls the thread. What a customer says is told all the same.
        for list in ["messaging", "standby"] {
            for (place, raw) in entry.items(list, &mut self.malformed) {
                let Some(parts) = wire::object(raw, place, &mut self.malformed) else {
                    continue;
                };
                let item = event::Item::new(parts, account.as_deref(), told_at, &mut self.malformed);
                let events = item.events(self.host, &mut self.malformed);
                self.keep(events);
            }
        }
        if entry.has("changes") || entry.has("field") {
            self.host.log(
                Level::Debug,
                "Comments, mentions and tests of the webhook have nothing for an inbox.",
            );
        }
    }

    fn keep(&mut self, events: Vec<Event>) {
        for event in events {
            if self.keys.insert(event.key.clone()) {
                self.events.push(event);
            }
        }
    }
}

/// Meta's times here are milliseconds already, as a number.
fn milliseconds(time: &Loose) -> Option<TimeMs> {
    time.as_deref()?.trim().parse().ok()
}

/// Words of the provider, for one line.
fn short(words: &str) -> String {
    words.chars().take(100).collect()
}

/// The parts of a thing that are there, filled in, in order.
fn joined<'a>(parts: impl IntoIterator<Item = Option<&'a str>>, between: &str) -> String {
    parts
        .into_iter()
        .flatten()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(between)
}

type Unread = Vec<Malformed>;

/// The text of a key, when there is any.
fn text(parts: &Parts<'_>, key: &str, unread: &mut Unread) -> Option<String> {
    parts.take::<String>(key, unread).filter(|text| !text.trim().is_empty())
}

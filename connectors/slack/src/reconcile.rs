//! Looking for a message whose answer was lost: words by the host's id in their metadata, a file by its own id.
//!
//! Slack lets apps that are sold outside its Marketplace read one page of 15 messages a minute; an app of one's own
//! workspace has no such bound. So one page is all that is asked for, and one that is not the whole tells nothing.

use mantle_sdk::Host;
use mantle_sdk::connector::{Finding, Query};
use mantle_sdk::values::{CallError, OutgoingContent, Sent, TimeMs};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{self, Repeat};
use crate::files::{self, LastCall};
use crate::place::Destination;
use crate::send::MARK;
use crate::{names, place};

/// As many as every app gets.
const LOOKED_AT: &str = "15";
/// How far Slack's clock may be behind the host's.
const CLOCKS_APART_MS: TimeMs = 5_000;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    messages: Vec<Value>,
    #[serde(default)]
    has_more: bool,
}

pub fn find_sent(query: &Query, host: &dyn Host) -> Result<Finding, CallError> {
    match &query.message.content {
        OutgoingContent::Text(_) | OutgoingContent::Location(_) => words(query, host),
        OutgoingContent::Attachment(_) => file(query, host),
        OutgoingContent::Reaction(_) | OutgoingContent::Template(_) => Ok(Finding::CannotTell),
    }
}

fn words(query: &Query, host: &dyn Host) -> Result<Finding, CallError> {
    let place = place::of(&query.message, host)?;
    let listed: Listed = api::aside(host, listing(&place, query.announced_at), Repeat::Harmless)?;
    let is_ours = |one: &&Value| {
        let metadata = &one["metadata"];
        metadata["event_type"] == MARK && metadata["event_payload"]["id"] == query.message.id.as_str()
    };
    let made: Vec<Sent> = listed
        .messages
        .iter()
        .filter(is_ours)
        .filter_map(|one| one["ts"].as_str())
        .map(|ts| Sent::new(names::message(&place.channel, ts)))
        .collect();
    if made.is_empty() && listed.has_more {
        return Ok(Finding::CannotTell);
    }
    Ok(Finding::Made(made))
}

fn listing(place: &Destination, announced_at: TimeMs) -> mantle_sdk::http::Request {
    let oldest = announced_at.saturating_sub(CLOCKS_APART_MS).max(0);
    let oldest = format!("{}.{:03}000", oldest / 1_000, oldest % 1_000);
    let mut pairs = vec![
        ("channel", place.channel.as_str()),
        ("oldest", oldest.as_str()),
        ("limit", LOOKED_AT),
        ("include_all_metadata", "true"),
    ];
    match &place.thread {
        Some(thread) => {
            pairs.push(("ts", thread));
            api::get("conversations.replies", pairs)
        }
        None => api::get("conversations.history", pairs),
    }
}

fn file(query: &Query, host: &dyn Host) -> Result<Finding, CallError> {
    match files::last_call(&query.message.id, query.announced_at, host) {
        LastCall::Begun { file, channel } => {
            let shared = files::share(&file, &channel, host)?;
            Ok(Finding::Made(shared.map(Sent::new).into_iter().collect()))
        }
        LastCall::NeverMade => Ok(Finding::Made(Vec::new())),
        LastCall::Unknown => Ok(Finding::CannotTell),
    }
}

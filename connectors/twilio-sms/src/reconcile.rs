//! Looking for a message whose answer was lost, in the account's list of messages.
//!
//! Twilio shows no id of ours there, so sender, recipient, words, number of files and time are compared. Two equal
//! messages are two: all that fit are told, and the host knows which of them it made for other replies.

use mantle_sdk::Host;
use mantle_sdk::connector::{Finding, Query};
use mantle_sdk::http::Request;
use mantle_sdk::time;
use mantle_sdk::values::{CallError, OutgoingContent, Sent, TimeMs};

use crate::api::{self, Repeat};
use crate::fields::{self, Sender};
use crate::send;
use crate::wire::{Listed, Messages};

/// The newest messages to the recipient that are looked at: within minutes nobody sends so many to one person.
const LOOKED_AT: &str = "100";
/// How far Twilio's clock may be behind the host's. An older equal message that nobody knows is not ours.
const CLOCKS_APART_MS: TimeMs = 5_000;
/// Twilio's times are in whole seconds.
const SECOND_MS: TimeMs = 1_000;

pub fn find_sent(query: &Query, host: &dyn Host) -> Result<Finding, CallError> {
    let wanted = Wanted::of(query, host)?;
    let url = api::account_url(&fields::account_sid(host)?, "/Messages.json");
    let request = Request::get(url).query([("To", wanted.to.as_str()), ("PageSize", LOOKED_AT)]);
    let page: Messages = api::call(host, request, Repeat::Harmless)?;
    let reaches_back = page.next_page_uri.is_none() || page.messages.iter().any(|listed| wanted.is_older(listed));
    if !reaches_back {
        return Ok(Finding::CannotTell);
    }
    let mut made: Vec<Listed> = page.messages.into_iter().filter(|listed| wanted.is(listed)).collect();
    made.sort_by_key(created_at);
    Ok(Finding::Made(
        made.into_iter().map(|listed| Sent::new(listed.sid)).collect(),
    ))
}

/// What the message looks like in the list.
struct Wanted {
    sender: Sender,
    to: String,
    words: String,
    files: usize,
    not_before: TimeMs,
}

impl Wanted {
    fn of(query: &Query, host: &dyn Host) -> Result<Self, CallError> {
        let message = &query.message;
        let announced = query.announced_at - query.announced_at.rem_euclid(SECOND_MS);
        Ok(Self {
            sender: fields::sender(host)?,
            to: send::recipient(message)?,
            words: send::body(&message.content)?,
            files: usize::from(matches!(message.content, OutgoingContent::Attachment(_))),
            not_before: announced - CLOCKS_APART_MS,
        })
    }

    fn is_older(&self, listed: &Listed) -> bool {
        created_at(listed).is_some_and(|at| at < self.not_before)
    }

    fn is(&self, listed: &Listed) -> bool {
        let sender = match &self.sender {
            Sender::Number(number) => listed.from.as_deref() == Some(number),
            Sender::MessagingService(sid) => listed.messaging_service_sid.as_deref() == Some(sid),
        };
        // Blanks at the end are not kept by everybody.
        let words = listed.body.as_deref().unwrap_or_default().trim_end() == self.words.trim_end();
        let files = listed
            .num_media
            .as_deref()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        let outbound = listed.direction.starts_with("outbound");
        let named = !listed.sid.is_empty() && listed.to == self.to;
        let recent = created_at(listed).is_some_and(|at| at >= self.not_before);
        sender && words && files == self.files && outbound && named && recent
    }
}

/// Twilio writes its times in UTC: with the zone spelled as in HTTP, the small reader is enough.
fn created_at(listed: &Listed) -> Option<TimeMs> {
    let at = listed.date_created.trim().strip_suffix(" +0000")?;
    time::parse_http_date(&format!("{at} GMT"))
}

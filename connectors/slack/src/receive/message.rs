//! Messages, and what Slack tells of them later.

use mantle_sdk::Host;
use mantle_sdk::log::Level;
use mantle_sdk::members::Members;
use mantle_sdk::values::{DeliveryState, Event, EventBody, Status};

use super::envelope::Envelope;
use super::post::{Post, Writer};
use super::{edit, nothing_for_an_inbox};
use crate::names;
use crate::send::MARK;

pub fn event(envelope: &Envelope, event: &Members, host: &dyn Host) -> Option<Event> {
    if event.text("channel_type") == Some("mpim") {
        nothing_for_an_inbox(host, "A conversation", "mpim");
        return None;
    }
    match event.text("subtype") {
        None | Some("file_share" | "thread_broadcast" | "me_message" | "bot_message") => written(envelope, event, host),
        Some("message_changed") => edit::changed(envelope, event, host),
        Some("message_deleted") => edit::deleted(envelope, event, host),
        Some(other) => {
            nothing_for_an_inbox(host, "A message", other);
            None
        }
    }
}

pub fn written(envelope: &Envelope, event: &Members, host: &dyn Host) -> Option<Event> {
    let channel = event.needed_text("channel")?;
    let ts = event.needed_text("ts")?;
    let post = Post::new(envelope, event, channel, ts);
    match post.writer() {
        Writer::Ourselves => return echo(&post, envelope),
        Writer::Bot => {
            host.log(Level::Debug, "A message of another app has nothing for an inbox.");
            return None;
        }
        Writer::Somebody => {}
    }
    let mut message = post.told(post.id(), post.content())?;
    message.quote = post.quote();
    Some(post.event(post.at(), message))
}

/// Our own message, told again: its mark settles a send whose answer was lost. Anything else of ours is passed over.
fn echo(post: &Post, envelope: &Envelope) -> Option<Event> {
    let metadata = post.fields.object("metadata")?;
    if metadata.text("event_type") != Some(MARK) {
        return None;
    }
    let correlation = metadata.object("event_payload")?.text("id")?.to_owned();
    let id = names::message(post.channel, post.ts);
    let key = format!("{id}:sent");
    let status = Status {
        message_id: id,
        correlation: Some(correlation),
        state: DeliveryState::Sent,
        refusal: None,
    };
    let event = Event::new(key, post.at(), EventBody::Status(status));
    Some(event.of_account(envelope.account(post.channel)))
}

//! Reactions to direct messages. Of one in a Slack channel nobody tells the thread: it would open a conversation of its
//! own, and is left out.

use mantle_sdk::Host;
use mantle_sdk::log::Level;
use mantle_sdk::members::Members;
use mantle_sdk::values::{AliasKind, Content, Event, EventBody, Message, Person, Reaction};

use super::envelope::Envelope;
use super::nothing_for_an_inbox;
use crate::{emoji, names};

pub fn event(envelope: &Envelope, event: &Members, is_added: bool, host: &dyn Host) -> Option<Event> {
    let item = event.needed_object("item")?;
    let kind = item.needed_text("type")?;
    if kind != "message" {
        nothing_for_an_inbox(host, "A reaction to something", kind);
        return None;
    }
    let user = event.needed_text("user")?;
    let name = event.needed_text("reaction")?;
    let channel = item.needed_text("channel")?;
    if !names::is_direct(channel) || Some(user) == envelope.bot {
        host.log(
            Level::Debug,
            "A reaction in a Slack channel, or our own, has nothing for an inbox.",
        );
        return None;
    }
    let target = names::message(channel, item.needed_text("ts")?);
    let told_at = event.text("event_ts").unwrap_or(envelope.id);
    let id = format!("{target}:reaction:{name}:{told_at}");
    let content = Content::Reaction(Reaction {
        target,
        emoji: is_added.then(|| emoji::sign(name)),
    });
    let person = Person::new([(AliasKind::Id, names::person(envelope.team, user))]);
    let message = Message::new(id.clone(), person, vec![content]);
    let at = names::time(told_at).unwrap_or(envelope.at);
    Some(Event::new(id, at, EventBody::Message(message)).of_account(envelope.account(channel)))
}

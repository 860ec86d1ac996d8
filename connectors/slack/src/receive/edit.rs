//! Messages that were changed or taken back. The id stands inside: the `ts` outside is that of the telling.

use mantle_sdk::Host;
use mantle_sdk::log::Level;
use mantle_sdk::members::Members;
use mantle_sdk::values::{Content, Edit, Event};

use super::content;
use super::envelope::Envelope;
use super::nothing_for_an_inbox;
use super::post::{Post, Writer};
use crate::names;

/// Slack also tells of a change when a link has got its preview, a thread its counter, and when the parent of a thread
/// was deleted.
pub fn changed(envelope: &Envelope, event: &Members, host: &dyn Host) -> Option<Event> {
    let channel = event.needed_text("channel")?;
    let present = event.needed_object("message")?;
    let previous = event.object("previous_message");
    let ts = present.needed_text("ts")?;
    match present.text("subtype") {
        Some("tombstone") => return taken_back(envelope, event, (channel, ts), host),
        None | Some("file_share" | "thread_broadcast" | "me_message" | "bot_message") => {}
        Some(other) => {
            nothing_for_an_inbox(host, "A change of a message", other);
            return None;
        }
    }
    let post = Post::new(envelope, &present, channel, ts);
    if !matches!(post.writer(), Writer::Somebody) {
        host.log(
            Level::Debug,
            "A change of an app's own message has nothing for an inbox.",
        );
        return None;
    }
    let edited = present.object("edited");
    let mut changes = Vec::new();
    let was_rewritten = match &previous {
        Some(previous) => previous.text("text").unwrap_or_default() != post.text(),
        None => edited.is_some(),
    };
    if was_rewritten {
        changes.push(Content::Edit(Edit {
            target: post.id(),
            text: content::words(&present).unwrap_or_default(),
        }));
    }
    let lost = previous.map_or(0, |previous| content::files_gone(&previous, &present));
    match lost {
        0 => {}
        1 => changes.push(Content::Line("[Took a file out of an earlier message]".to_owned())),
        lost => changes.push(Content::Line(format!("[Took {lost} files out of an earlier message]"))),
    }
    if changes.is_empty() {
        host.log(Level::Debug, "A change that nobody made has nothing for an inbox.");
        return None;
    }
    let told_at = match edited.and_then(|edited| edited.text("ts")) {
        Some(told_at) if was_rewritten => told_at,
        _ => event.needed_text("ts")?,
    };
    let message = post.told(format!("{}:edit:{told_at}", post.id()), changes)?;
    Some(post.event(names::time(told_at).unwrap_or(envelope.at), message))
}

pub fn deleted(envelope: &Envelope, event: &Members, host: &dyn Host) -> Option<Event> {
    let channel = event.needed_text("channel")?;
    let ts = event.needed_text("deleted_ts")?;
    taken_back(envelope, event, (channel, ts), host)
}

/// Whose it was, only the message before tells.
fn taken_back(envelope: &Envelope, event: &Members, (channel, ts): (&str, &str), host: &dyn Host) -> Option<Event> {
    let previous = event.needed_object("previous_message")?;
    let post = Post::new(envelope, &previous, channel, ts);
    if !matches!(post.writer(), Writer::Somebody) {
        host.log(
            Level::Debug,
            "A deletion of an app's own message has nothing for an inbox.",
        );
        return None;
    }
    let id = format!("{}:deletion", post.id());
    let message = post.told(id, vec![Content::Deletion(post.id())])?;
    let at = event.text("ts").and_then(names::time).unwrap_or(envelope.at);
    Some(post.event(at, message))
}

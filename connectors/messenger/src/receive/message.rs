//! One message: of a customer, of the Page's own side, or ours told again.

use mantle_sdk::Host;
use mantle_sdk::connector::Malformed;
use mantle_sdk::values::{Author, Choice, Content, Event, EventBody, Message, Quote};

use super::event::{Item, NATIVE_APP};
use super::{Unread, attachments, referral, text};
use crate::send::CORRELATION_PREFIX;
use crate::wire::{Loose, Parts, QuickReply, ReplyTo};

/// The Page inbox. Meta's samples print the first, its page on echoes the second.
const PAGE_INBOX: [&str; 2] = ["263902037430900", "26390203743090"];

pub fn message(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(parts) = item.parts.below("message", unread) else {
        return Vec::new();
    };
    let Some(mid) = parts.take::<Loose>("mid", unread).and_then(|mid| mid.0) else {
        unread.push(Malformed::new(parts.place(), "The message has no id."));
        return Vec::new();
    };
    let echo = parts.take::<bool>("is_echo", unread).unwrap_or_default();
    let Some(person) = item.customer(echo || item.is_ours(), unread) else {
        return Vec::new();
    };
    let content = content(&parts, &mid, unread);
    let mut message = Message::new(mid, person, content);
    message.quote = parts
        .take::<ReplyTo>("reply_to", unread)
        .and_then(|reply| reply.mid.0)
        .map(|target| Quote {
            id: Some(target),
            text: None,
        });
    message.referral = referral::of(&parts, unread);
    if echo || item.is_ours() {
        (message.author, message.correlation) = author(&parts, unread);
    }
    vec![item.event(message.id.clone(), EventBody::Message(message))]
}

/// Who wrote what the Page sent. Our own carries our mark, whichever app it says.
fn author(parts: &Parts<'_>, unread: &mut Unread) -> (Author, Option<String>) {
    let metadata = text(parts, "metadata", unread);
    let ours = metadata
        .as_deref()
        .and_then(|mark| mark.strip_prefix(CORRELATION_PREFIX));
    if let Some(correlation) = ours {
        return (Author::Ourselves, Some(correlation.to_owned()));
    }
    let app = match parts.take::<Loose>("app_id", unread).and_then(|app| app.0) {
        Some(app) if !PAGE_INBOX.contains(&app.as_str()) => format!("the app {app}"),
        _ => NATIVE_APP.to_owned(),
    };
    (Author::NativeApp(app), None)
}

/// Never empty: what has no form that is known is named.
fn content(parts: &Parts<'_>, mid: &str, unread: &mut Unread) -> Vec<Content> {
    let words = text(parts, "text", unread);
    let tapped = parts.take::<QuickReply>("quick_reply", unread);
    let files = attachments::of(parts, mid, words.as_deref(), unread);
    let words = match (words, tapped) {
        (Some(label), Some(tapped)) => Some(Content::Choice(Choice {
            label,
            payload: tapped.payload.0,
        })),
        (Some(words), None) => Some(Content::Text(words)),
        (None, _) => None,
    };
    let mut content: Vec<Content> = words.into_iter().chain(files).collect();
    if content.is_empty() {
        content.push(Content::Unsupported("unknown kind".to_owned()));
    }
    content
}

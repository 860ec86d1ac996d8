//! One message: of a customer, or of the account's own side.

use mantle_sdk::Host;
use mantle_sdk::connector::Malformed;
use mantle_sdk::log::Level;
use mantle_sdk::values::{Attachment, AttachmentKind, Author, Choice, Content, Event, EventBody, Message, Quote};

use super::event::{Item, NATIVE_APP};
use super::{Unread, attachments, referral, text};
use crate::media;
use crate::wire::{Loose, Parts, QuickReply, ReplyTo};

pub fn message(item: &Item<'_>, host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(parts) = item.parts.below("message", unread) else {
        return Vec::new();
    };
    let Some(mid) = parts.take::<Loose>("mid", unread).and_then(|mid| mid.0) else {
        unread.push(Malformed::new(parts.place(), "The message has no id."));
        return Vec::new();
    };
    let is = |key: &str, unread: &mut Unread| parts.take::<bool>(key, unread).unwrap_or_default();
    if is("is_self", unread) {
        host.log(
            Level::Debug,
            "A message of the account to itself has nothing for an inbox.",
        );
        return Vec::new();
    }
    let ours = is("is_echo", unread) || item.is_ours();
    let deleted = is("is_deleted", unread);
    if ours && deleted {
        host.log(
            Level::Debug,
            "A deletion of the account's own side has nothing for an inbox.",
        );
        return Vec::new();
    }
    let Some(person) = item.customer(ours, unread) else {
        return Vec::new();
    };
    if deleted {
        // It bears the id of the message that was taken back, and is another event than that.
        let message = Message::new(format!("{mid}:deleted"), person, vec![Content::Deletion(mid)]);
        return vec![item.event(message.id.clone(), EventBody::Message(message))];
    }
    let reply = parts.take::<ReplyTo>("reply_to", unread);
    let mut message = Message::new(mid.clone(), person, content(&parts, &mid, reply.as_ref(), unread));
    message.quote = reply.and_then(|reply| reply.mid.0).map(|target| Quote {
        id: Some(target),
        text: None,
    });
    message.referral = referral::of(&parts, unread);
    if ours {
        // Nothing here says which program wrote it; the host knows its own messages by their ids.
        message.author = Author::NativeApp(NATIVE_APP.to_owned());
    }
    vec![item.event(message.id.clone(), EventBody::Message(message))]
}

/// Never empty: what has no form that is known is named.
fn content(parts: &Parts<'_>, mid: &str, reply: Option<&ReplyTo>, unread: &mut Unread) -> Vec<Content> {
    let story = story(reply, mid);
    let words = text(parts, "text", unread);
    let tapped = parts.take::<QuickReply>("quick_reply", unread);
    let files = attachments::of(parts, mid, unread);
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
        let hidden = parts.take::<bool>("is_unsupported", unread).unwrap_or_default();
        content.push(Content::Unsupported(match hidden {
            true => "content that Instagram keeps to its app".to_owned(),
            false => "unknown kind".to_owned(),
        }));
    }
    story.into_iter().chain(content).collect()
}

/// What was shown in the story that the customer answers. Only its address is told.
fn story(reply: Option<&ReplyTo>, mid: &str) -> Vec<Content> {
    let Some(story) = reply.and_then(|reply| reply.story.as_ref()) else {
        return Vec::new();
    };
    let source = story.url.as_deref().and_then(|url| media::story_source(mid, url));
    let picture = source.map(|source| Content::Attachment(Attachment::new(AttachmentKind::Image, source)));
    let line = Content::Line("Replied to your story.".to_owned());
    std::iter::once(line).chain(picture).collect()
}

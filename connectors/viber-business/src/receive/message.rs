//! A message of a customer. Pictures, videos and sounds come as files: the name tells what they are.

use mantle_sdk::members::Members;
use mantle_sdk::phone;
use mantle_sdk::values::{
    Alias, AliasKind, Attachment, AttachmentKind, Content, Event, EventBody, Message, Person, Quote, TimeMs,
};

/// Longest name of a file for the host, in bytes; the interface says so.
const SOURCE_BYTES_MAX: usize = 4_096;

pub fn event(fields: &Members, received_at: TimeMs) -> Option<Event> {
    let id = fields.needed_text("messageId")?;
    let sender = fields.needed_text("sender")?;
    let content = content(&fields.object("message")?);
    let mut message = Message::new(id, person(sender), content);
    // Which of ours the customer has answered.
    message.quote = fields.text("pairedMessageId").map(|paired| Quote {
        id: Some(paired.to_owned()),
        text: None,
    });
    let at = fields.time_text("receivedAt").unwrap_or(received_at);
    Some(Event::new(format!("message:{id}"), at, EventBody::Message(message)))
}

/// Digits without a plus sign.
fn person(number: &str) -> Person {
    let alias = match phone::normalise(number) {
        Some(phone) => Alias::new(AliasKind::Phone, phone),
        None => Alias::new(AliasKind::Id, number),
    };
    Person {
        aliases: vec![alias],
        name: None,
        language: None,
    }
}

/// Never empty: what cannot be read, or is of a kind that nobody knows, is named.
fn content(message: &Members) -> Vec<Content> {
    let kind = message.needed_text("type").unwrap_or("message without a type");
    let content = match kind {
        "TEXT" => message.needed_text("text").map(|text| Content::Text(text.to_owned())),
        "FILE" => file(message),
        _ => None,
    };
    vec![content.unwrap_or_else(|| Content::Unsupported(kind.chars().take(40).collect::<String>().to_lowercase()))]
}

fn file(message: &Members) -> Option<Content> {
    let address = message
        .needed_text("url")
        .filter(|address| address.len() <= SOURCE_BYTES_MAX)?;
    let name = message.text("fileName");
    let mut attachment = Attachment::new(name.map_or(AttachmentKind::Document, kind), address);
    attachment.name = name.map(str::to_owned);
    attachment.caption = message.text("text").map(str::to_owned);
    Some(Content::Attachment(attachment))
}

fn kind(name: &str) -> AttachmentKind {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("jpg" | "jpeg" | "png" | "gif" | "webp" | "heic") => AttachmentKind::Image,
        Some("mp4" | "m4v" | "mov" | "3gp") => AttachmentKind::Video,
        Some("mp3" | "m4a" | "ogg" | "aac" | "amr" | "wav") => AttachmentKind::Audio,
        _ => AttachmentKind::Document,
    }
}

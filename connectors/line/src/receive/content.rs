//! What a message holds. Files are named by the id of their message; those that an app inside LINE has sent lie at
//! addresses of its own, which are shown and not fetched: they may lead anywhere.

use mantle_sdk::members::Members;
use mantle_sdk::values::{Attachment, AttachmentKind, Content, Location};

/// A sticker has up to 15 keywords; the first ones tell what it shows.
const KEYWORDS_MAX: usize = 3;

/// Never empty: what cannot be read, or is of a kind that nobody knows, is named.
pub fn of(message: &Members, id: &str) -> Vec<Content> {
    let kind = message.needed_text("type").unwrap_or("message without a type");
    let content = match kind {
        "text" => message.needed_text("text").map(|text| Content::Text(text.to_owned())),
        "image" => Some(file(message, id, AttachmentKind::Image)),
        "video" => Some(file(message, id, AttachmentKind::Video)),
        "audio" => Some(file(message, id, AttachmentKind::Audio)),
        "file" => Some(file(message, id, AttachmentKind::Document)),
        "location" => location(message),
        "sticker" => Some(Content::Line(sticker(message))),
        _ => None,
    };
    vec![content.unwrap_or_else(|| Content::Unsupported(kind.chars().take(40).collect()))]
}

fn file(message: &Members, id: &str, kind: AttachmentKind) -> Content {
    if let Some(provider) = message.object("contentProvider")
        && provider.text("type") == Some("external")
    {
        return match provider.text("originalContentUrl") {
            Some(address) => Content::Line(format!("Sent a file that lies outside LINE: {address}")),
            None => Content::Unsupported("file that lies outside LINE".to_owned()),
        };
    }
    let mut attachment = Attachment::new(kind, id);
    attachment.name = message.text("fileName").map(str::to_owned);
    attachment.bytes = message.count("fileSize");
    attachment.duration_ms = message.count("duration").and_then(|ms| u32::try_from(ms).ok());
    Content::Attachment(attachment)
}

/// None: no place on earth.
fn location(message: &Members) -> Option<Content> {
    let (latitude, longitude) = (message.needed_number("latitude"), message.needed_number("longitude"));
    let (latitude, longitude) = (latitude?, longitude?);
    let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    on_earth.then(|| {
        Content::Location(Location {
            latitude,
            longitude,
            name: message.text("title").map(str::to_owned),
            address: message.text("address").map(str::to_owned),
        })
    })
}

/// The API gives no pictures of stickers: their words have to do.
fn sticker(message: &Members) -> String {
    if let Some(text) = message.text("text") {
        return format!("Sticker: “{text}”");
    }
    let keywords: Vec<&str> = message
        .list("keywords")
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str())
        .take(KEYWORDS_MAX)
        .collect();
    if keywords.is_empty() {
        return "Sticker".to_owned();
    }
    format!("Sticker: {}", keywords.join(", "))
}

//! What a message holds. Files are named by their address, which is signed and lives an hour. Taps on buttons come as
//! plain texts, and nothing tells them apart.

use mantle_sdk::members::Members;
use mantle_sdk::values::{Attachment, AttachmentKind, ContactCard, Content, Location};

/// Longest name of a file for the host, in bytes; the interface says so.
const SOURCE_BYTES_MAX: usize = 4_096;

/// Never empty: what cannot be read, or is of a kind that nobody knows, is named.
pub fn of(message: &Members) -> Vec<Content> {
    let kind = message.needed_text("type").unwrap_or("message without a type");
    let content = match kind {
        "text" => message.needed_text("text").map(|text| Content::Text(text.to_owned())),
        "url" => message.needed_text("media").map(|url| Content::Text(url.to_owned())),
        "picture" => file(message, AttachmentKind::Image),
        "video" => file(message, AttachmentKind::Video),
        "file" => file(message, AttachmentKind::Document),
        "sticker" => sticker(message),
        "contact" => contact(message),
        "location" => location(message),
        _ => None,
    };
    vec![content.unwrap_or_else(|| Content::Unsupported(kind.chars().take(40).collect()))]
}

fn file(message: &Members, kind: AttachmentKind) -> Option<Content> {
    let address = message
        .needed_text("media")
        .filter(|address| address.len() <= SOURCE_BYTES_MAX);
    let mut attachment = Attachment::new(kind, address?);
    attachment.name = message.text("file_name").map(str::to_owned);
    attachment.bytes = message.count("size");
    // Seconds.
    let duration = message.count("duration").and_then(|seconds| seconds.checked_mul(1_000));
    attachment.duration_ms = duration.and_then(|ms| u32::try_from(ms).ok());
    attachment.caption = message.text("text").map(str::to_owned);
    Some(Content::Attachment(attachment))
}

fn sticker(message: &Members) -> Option<Content> {
    if let Some(address) = message
        .text("media")
        .filter(|address| address.len() <= SOURCE_BYTES_MAX)
    {
        return Some(Content::Attachment(Attachment::new(AttachmentKind::Sticker, address)));
    }
    message
        .count("sticker_id")
        .map(|number| Content::Line(format!("Sticker {number}")))
}

fn contact(message: &Members) -> Option<Content> {
    let card = message.needed_object("contact")?;
    let (name, phone) = (card.text("name"), card.text("phone_number"));
    Some(Content::Contact(ContactCard {
        name: name.or(phone)?.to_owned(),
        phones: phone.map(str::to_owned).into_iter().collect(),
        emails: Vec::new(),
        organization: None,
    }))
}

/// None: no place on earth.
fn location(message: &Members) -> Option<Content> {
    let place = message.needed_object("location")?;
    let (latitude, longitude) = (place.needed_number("lat"), place.needed_number("lon"));
    let (latitude, longitude) = (latitude?, longitude?);
    let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    on_earth.then_some(Content::Location(Location {
        latitude,
        longitude,
        name: None,
        address: None,
    }))
}

//! What is attached to a message: files, stories, shared posts.

use mantle_sdk::values::{Attachment, AttachmentKind, Content};

use super::{Unread, joined, short};
use crate::media;
use crate::wire::{self, Element, Parts, Payload};

/// Attachments of one message that are shown, of at most two pieces each. The host takes a hundred pieces of a message
/// and refuses a whole batch for more.
const SHOWN_MAX: usize = 45;

pub fn of(message: &Parts<'_>, mid: &str, unread: &mut Unread) -> Vec<Content> {
    let items = message.items("attachments", unread);
    let more = items.len().saturating_sub(SHOWN_MAX);
    let mut content = Vec::new();
    for (number, (place, raw)) in items.into_iter().take(SHOWN_MAX).enumerate() {
        match wire::read::<wire::Attachment>(raw, &place, unread) {
            Some(attachment) => content.extend(one(&attachment, (mid, number))),
            None => content.push(Content::Unsupported("attachment".to_owned())),
        }
    }
    if more > 0 {
        content.push(Content::Line(format!("And {more} more attachments.")));
    }
    content
}

/// What it shows, in one piece or two. `spot` is the message and the number in it.
fn one(attachment: &wire::Attachment, spot: (&str, usize)) -> Vec<Content> {
    let nothing = Payload::default();
    let payload = attachment.payload.as_ref().unwrap_or(&nothing);
    let kind = attachment.kind.as_str();
    match kind {
        "image" => alone(AttachmentKind::Image, kind, payload, spot),
        "video" => alone(AttachmentKind::Video, kind, payload, spot),
        "audio" => alone(AttachmentKind::Audio, kind, payload, spot),
        "file" => alone(AttachmentKind::Document, kind, payload, spot),
        "story_mention" => shown("Mentioned you in their story", AttachmentKind::Image, payload, spot),
        "story" | "ig_story" => shown("Shared a story", AttachmentKind::Image, payload, spot),
        // `share` is what a post was called until April 2026.
        "ig_post" | "share" | "post" | "media" => shown("Shared a post", AttachmentKind::Image, payload, spot),
        "reel" | "ig_reel" => shown("Shared a reel", AttachmentKind::Video, payload, spot),
        "like_heart" => vec![Content::Text("❤️".to_owned())],
        "template" => vec![template(payload)],
        _ => vec![Content::Unsupported(match kind {
            "" => "attachment".to_owned(),
            kind => short(kind).replace('_', " "),
        })],
    }
}

/// A file that needs no words.
fn alone(kind: AttachmentKind, word: &str, payload: &Payload, spot: (&str, usize)) -> Vec<Content> {
    let file = file(kind, payload, spot);
    vec![file.unwrap_or_else(|| Content::Unsupported(format!("{word} without an address")))]
}

/// What the customer did, and what it looks like where that is told.
fn shown(what: &str, kind: AttachmentKind, payload: &Payload, spot: (&str, usize)) -> Vec<Content> {
    let title = payload
        .title
        .as_deref()
        .map(str::trim)
        .filter(|title| !title.is_empty());
    let line = match title {
        Some(title) => format!("{what}: {title}"),
        None => format!("{what}."),
    };
    std::iter::once(Content::Line(line))
        .chain(file(kind, payload, spot))
        .collect()
}

/// Some addresses are paths, or none at all.
fn file(kind: AttachmentKind, payload: &Payload, (mid, number): (&str, usize)) -> Option<Content> {
    let is_whole = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    let url = payload.url.as_deref().filter(is_whole)?;
    Some(Content::Attachment(Attachment::new(
        kind,
        media::source(mid, number, url),
    )))
}

/// Products that a customer asks about, or the buttons and cards of another app.
fn template(payload: &Payload) -> Content {
    let products = payload.product.as_ref().map(|product| titles(&product.elements));
    if let Some(products) = products.filter(|products| !products.is_empty()) {
        return Content::Line(format!("Asks about the product {products}."));
    }
    let shown = joined(
        [
            payload.text.as_deref(),
            payload.title.as_deref(),
            Some(titles(&payload.elements).as_str()),
        ],
        " ",
    );
    match shown.is_empty() {
        true => Content::Unsupported("template".to_owned()),
        false => Content::Text(shown),
    }
}

fn titles(elements: &[Element]) -> String {
    let titles: Vec<String> = elements
        .iter()
        .take(SHOWN_MAX)
        .map(|element| joined([element.title.as_deref(), element.subtitle.as_deref()], ", "))
        .filter(|title| !title.is_empty())
        .collect();
    titles.join(" · ")
}

//! The message objects of one outgoing message. LINE fetches files itself, at a public address, and has no message for
//! files in general: what is no image, video or audio of its liking goes as a link.

use mantle_sdk::Host;
use mantle_sdk::text::{self, Unit};
use mantle_sdk::values::{
    AttachmentKind, CallError, Location, OutgoingAttachment, OutgoingContent, Refusal, RefusalReason,
};
use serde_json::{Value, json};

use super::duration;
use crate::lifecycle;

/// A preview must not be larger. The image is its own preview, since the host makes no smaller ones.
const PREVIEW_BYTES_MAX: u64 = 1_000_000;
/// Of a location's title and address, in UTF-16 units.
const PLACE_MAX: usize = 100;

/// At least one, at most two: a file and its caption go together, all or none.
pub fn messages(content: &OutgoingContent, host: &dyn Host) -> Result<Vec<Value>, CallError> {
    match content {
        OutgoingContent::Text(text) => Ok(vec![words(&text.text)]),
        OutgoingContent::Attachment(attachment) => {
            let mut messages = vec![file(attachment, host)?];
            let caption = attachment.caption.as_ref().map(|caption| caption.text.as_str());
            messages.extend(caption.filter(|caption| !caption.trim().is_empty()).map(words));
            Ok(messages)
        }
        OutgoingContent::Location(place) => Ok(vec![location(place)]),
        OutgoingContent::Template(_) => Err(unsupported("LINE has no templates to be approved.")),
        OutgoingContent::Reaction(_) => Err(unsupported("LINE takes no reactions of accounts.")),
    }
}

fn words(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn file(attachment: &OutgoingAttachment, host: &dyn Host) -> Result<Value, CallError> {
    let link = host.media_link(attachment.media).map_err(|_| {
        CallError::refused(
            RefusalReason::Other,
            "no-media-link",
            "The file is no longer there for LINE to fetch.",
        )
    })?;
    let shown = match (attachment.kind, attachment.content_type.as_str()) {
        (AttachmentKind::Image, "image/jpeg" | "image/png") if attachment.bytes <= PREVIEW_BYTES_MAX => {
            Some(json!({ "type": "image", "originalContentUrl": link, "previewImageUrl": link }))
        }
        // The account's own picture stands in for a still of the video.
        (AttachmentKind::Video, "video/mp4") => lifecycle::picture(host)
            .map(|picture| json!({ "type": "video", "originalContentUrl": link, "previewImageUrl": picture })),
        (AttachmentKind::Audio | AttachmentKind::Voice, "audio/mpeg" | "audio/mp4" | "audio/x-m4a") => {
            duration::of(attachment.media, attachment.bytes, host)
                .map(|duration| json!({ "type": "audio", "originalContentUrl": link, "duration": duration }))
        }
        _ => None,
    };
    Ok(shown.unwrap_or_else(|| words(&format!("{}\n{link}", attachment.name))))
}

/// Title and address must be there.
fn location(place: &Location) -> Value {
    let named = |name: &Option<String>, otherwise: String| {
        let name = name.clone().filter(|name| !name.trim().is_empty());
        cut(&name.unwrap_or(otherwise))
    };
    let (latitude, longitude) = (place.latitude, place.longitude);
    json!({
        "type": "location",
        "title": named(&place.name, "Location".to_owned()),
        "address": named(&place.address, format!("{latitude}, {longitude}")),
        "latitude": latitude,
        "longitude": longitude,
    })
}

fn cut(words: &str) -> String {
    let pieces = text::split(words, PLACE_MAX, Unit::Utf16);
    pieces
        .into_iter()
        .next()
        .map_or_else(String::new, |piece| piece.to_string())
}

fn unsupported(message: &str) -> CallError {
    Refusal::new(RefusalReason::Unsupported, "unsupported", message)
        .next_step("Send it as text.")
        .into()
}

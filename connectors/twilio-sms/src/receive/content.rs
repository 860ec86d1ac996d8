//! What a message shows: its text, then its files.

use mantle_sdk::values::{Attachment, AttachmentKind, Content};

use crate::wire::Parameters;

/// Twilio's own limit is ten; a forged count must not make a long loop.
const FILES_MAX: usize = 50;

pub fn of(parameters: &Parameters) -> Vec<Content> {
    let mut content = Vec::new();
    if let Some(text) = parameters.get("Body") {
        content.push(Content::Text(text.to_owned()));
    }
    let told: usize = parameters
        .get("NumMedia")
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0);
    for number in 0..told.min(FILES_MAX) {
        content.push(match parameters.get(&format!("MediaUrl{number}")) {
            Some(url) => attachment(url, parameters.get(&format!("MediaContentType{number}"))),
            None => Content::Unsupported("file that Twilio did not pass on".to_owned()),
        });
    }
    if content.is_empty() {
        content.push(Content::Unsupported("empty message".to_owned()));
    }
    content
}

fn attachment(url: &str, content_type: Option<&str>) -> Content {
    let bare = content_type
        .and_then(|told| told.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let kind = match bare.split('/').next() {
        Some("image") => AttachmentKind::Image,
        // What phones record.
        Some("audio") if matches!(bare.as_str(), "audio/amr" | "audio/amr-nb" | "audio/3gpp") => AttachmentKind::Voice,
        Some("audio") => AttachmentKind::Audio,
        Some("video") => AttachmentKind::Video,
        _ => AttachmentKind::Document,
    };
    let mut attachment = Attachment::new(kind, url);
    attachment.name = Some(name(&bare));
    attachment.content_type = content_type.map(str::to_owned);
    Content::Attachment(attachment)
}

/// MMS carries no names.
fn name(content_type: &str) -> String {
    let fixed = match content_type {
        "text/vcard" | "text/x-vcard" | "text/directory" => "contact.vcf",
        "text/calendar" => "event.ics",
        "text/csv" => "table.csv",
        "text/plain" => "text.txt",
        "application/pdf" => "document.pdf",
        "application/smil" => "layout.smil",
        "image/jpeg" => "image.jpg",
        "image/svg+xml" => "image.svg",
        "audio/mpeg" => "audio.mp3",
        "audio/mp4" => "audio.m4a",
        "audio/amr-nb" => "audio.amr",
        "audio/3gpp" => "audio.3gp",
        "video/3gpp" => "video.3gp",
        "video/3gpp2" => "video.3g2",
        "video/quicktime" => "video.mov",
        "video/mpeg" => "video.mpg",
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    let is_plain = |text: &str| !text.is_empty() && text.len() <= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match content_type.split_once('/') {
        Some((kind @ ("image" | "audio" | "video"), extension)) if is_plain(extension) => format!("{kind}.{extension}"),
        _ => "file".to_owned(),
    }
}

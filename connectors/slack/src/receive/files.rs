//! Files of a message. Not all of them have bytes that Slack would give: some lie elsewhere, some are documents of Slack's
//! own, some are gone.

use mantle_sdk::members::Members;
use mantle_sdk::values::{Attachment, AttachmentKind, Content};

use crate::media;

/// None: it has no id, which is noted.
pub fn content(file: &Members) -> Option<Content> {
    let id = file.needed_text("id")?;
    let mode = file.text("mode").unwrap_or("hosted");
    Some(match mode {
        "tombstone" => unsupported("deleted file"),
        "hidden_by_limit" => unsupported("file that the workspace's plan hides"),
        // In a channel that two firms share Slack tells the rest to whoever asks.
        "file_access" => match file.text("file_access") {
            None | Some("check_file_info") => Content::Attachment(Attachment::new(AttachmentKind::Document, id)),
            Some(_) => unsupported("file that the app may not see"),
        },
        "external" => elsewhere(file, file.text("external_url").or_else(|| file.text("url_private"))),
        "post" | "space" | "canvas" | "quip" | "list" | "docs" => elsewhere(file, file.text("permalink")),
        _ => attachment(file, id),
    })
}

/// The ids of those that are still there.
pub fn ids<'a>(post: &Members<'a>) -> Vec<&'a str> {
    post.objects("files")
        .iter()
        .filter(|file| file.text("mode") != Some("tombstone"))
        .filter_map(|file| file.text("id"))
        .collect()
}

fn attachment(file: &Members, id: &str) -> Content {
    let content_type = file.text("mimetype");
    let bytes = file.count("size");
    let url = file.text("url_private_download").or_else(|| file.text("url_private"));
    let kind = kind(content_type.unwrap_or_default(), file.text("subtype"));
    let mut attachment = Attachment::new(kind, media::source(id, bytes, content_type, url));
    attachment.name = file.text("name").or_else(|| file.text("title")).map(str::to_owned);
    attachment.content_type = content_type.map(str::to_owned);
    attachment.bytes = bytes;
    attachment.duration_ms = file.count("duration_ms").and_then(|ms| u32::try_from(ms).ok());
    Content::Attachment(attachment)
}

/// What was recorded in Slack itself says so.
fn kind(content_type: &str, subtype: Option<&str>) -> AttachmentKind {
    let family = content_type.split('/').next().unwrap_or_default();
    match (subtype, family) {
        (Some("slack_audio"), _) => AttachmentKind::Voice,
        (Some("slack_video"), _) | (_, "video") => AttachmentKind::Video,
        (_, "image") => AttachmentKind::Image,
        (_, "audio") => AttachmentKind::Audio,
        _ => AttachmentKind::Document,
    }
}

fn elsewhere(file: &Members, url: Option<&str>) -> Content {
    let name = file.text("title").or_else(|| file.text("name"));
    match (name, url) {
        (Some(name), Some(url)) => Content::Line(format!("{name}: {url}")),
        (None, Some(url)) => Content::Line(url.to_owned()),
        (_, None) => unsupported("file that lies outside Slack"),
    }
}

fn unsupported(kind: &str) -> Content {
    Content::Unsupported(kind.to_owned())
}

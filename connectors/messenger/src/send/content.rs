//! What a message holds, as Meta writes it. Text or a file, never both: the host sends a caption by itself.

use mantle_sdk::Host;
use mantle_sdk::http::Part;
use mantle_sdk::values::{AttachmentKind, CallError, Outgoing, OutgoingAttachment, OutgoingContent, RefusalReason};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::graph::{self, Repeat};
use crate::wire::Loose;

/// 25 MB take their time; the rest of the call's thirty seconds is for the message itself.
const UPLOAD_TIMEOUT_MS: u32 = 15_000;

const QUICK_REPLIES_MAX: usize = 13;
const TITLE_CHARS_MAX: usize = 20;
const PAYLOAD_CHARS_MAX: usize = 1_000;
const BUTTONS_MAX: usize = 3;
const BUTTON_TEXT_CHARS_MAX: usize = 640;

#[derive(Deserialize)]
struct Uploaded {
    #[serde(default)]
    attachment_id: Loose,
}

pub fn object(message: &Outgoing, page: &str, host: &dyn Host) -> Result<Value, CallError> {
    let replies = quick_replies(message)?;
    let mut object = match &message.content {
        OutgoingContent::Text(text) => match buttons(message)? {
            Some(buttons) => button_template(&text.text, &buttons)?,
            None => json!({ "text": text.text }),
        },
        OutgoingContent::Attachment(attachment) => uploaded(attachment, page, host)?,
        OutgoingContent::Template(_) => {
            return Err(CallError::refused(
                RefusalReason::Template,
                "no-templates",
                "This channel has no message templates.",
            ));
        }
        OutgoingContent::Location(_) | OutgoingContent::Reaction(_) => {
            return Err(CallError::refused(
                RefusalReason::Unsupported,
                "kind",
                "Messenger does not take locations. Send the address or a link to a map as text.",
            ));
        }
    };
    if !replies.is_empty() {
        object["quick_replies"] = Value::Array(replies);
    }
    Ok(object)
}

/// Uploads the file and names it. Uploading needs no public address and gives an earlier and clearer error.
fn uploaded(attachment: &OutgoingAttachment, page: &str, host: &dyn Host) -> Result<Value, CallError> {
    let kind = media_kind(attachment.kind);
    let about = json!({ "attachment": { "type": kind, "payload": { "is_reusable": true } } });
    let request = graph::post(&format!("{page}/message_attachments"))
        .multipart(vec![
            Part::text("message", about.to_string()),
            Part::media(
                "filedata",
                attachment.name.as_str(),
                attachment.content_type.as_str(),
                attachment.media,
            ),
        ])
        .timeout_ms(UPLOAD_TIMEOUT_MS);
    let uploaded: Uploaded = graph::call(host, request, Repeat::Harmless)?;
    let id = uploaded
        .attachment_id
        .0
        .ok_or_else(|| CallError::transient("no-attachment-id", "Messenger took the file but did not name it."))?;
    Ok(json!({ "attachment": { "type": kind, "payload": { "attachment_id": id } } }))
}

fn media_kind(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Image | AttachmentKind::Sticker => "image",
        AttachmentKind::Video => "video",
        AttachmentKind::Audio | AttachmentKind::Voice => "audio",
        AttachmentKind::Document => "file",
    }
}

/// Extras `quick_reply:<title>` = payload, and `ask` = `phone` or `email` for what the customer's profile holds.
fn quick_replies(message: &Outgoing) -> Result<Vec<Value>, CallError> {
    let mut replies = Vec::new();
    for (name, value) in &message.extras {
        if let Some(title) = name.strip_prefix("quick_reply:") {
            within("A quick reply's title", title, TITLE_CHARS_MAX)?;
            within("A quick reply's payload", value, PAYLOAD_CHARS_MAX)?;
            replies.push(json!({ "content_type": "text", "title": title, "payload": value }));
        } else if name == "ask" {
            let kind = match value.as_str() {
                "phone" => "user_phone_number",
                "email" => "user_email",
                _ => return Err(invalid("The extra `ask` takes `phone` or `email`.".to_owned())),
            };
            replies.push(json!({ "content_type": kind }));
        }
    }
    match replies.len() > QUICK_REPLIES_MAX {
        true => Err(invalid(format!(
            "Messenger takes at most {QUICK_REPLIES_MAX} quick replies."
        ))),
        false => Ok(replies),
    }
}

/// Extras `button:<title>` = an https address, or the payload of a tap. None: no such extras.
fn buttons(message: &Outgoing) -> Result<Option<Vec<Value>>, CallError> {
    let mut buttons = Vec::new();
    for (name, value) in &message.extras {
        let Some(title) = name.strip_prefix("button:") else {
            continue;
        };
        within("A button's title", title, TITLE_CHARS_MAX)?;
        within("A button's payload", value, PAYLOAD_CHARS_MAX)?;
        buttons.push(match value.starts_with("https://") {
            true => json!({ "type": "web_url", "url": value, "title": title }),
            false => json!({ "type": "postback", "title": title, "payload": value }),
        });
    }
    match buttons.len() {
        0 => Ok(None),
        1..=BUTTONS_MAX => Ok(Some(buttons)),
        _ => Err(invalid(format!("Messenger takes at most {BUTTONS_MAX} buttons."))),
    }
}

fn button_template(text: &str, buttons: &[Value]) -> Result<Value, CallError> {
    within("A text with buttons", text, BUTTON_TEXT_CHARS_MAX)?;
    let payload = json!({ "template_type": "button", "text": text, "buttons": buttons });
    Ok(json!({ "attachment": { "type": "template", "payload": payload } }))
}

fn within(what: &str, text: &str, chars_max: usize) -> Result<(), CallError> {
    match (1..=chars_max).contains(&text.chars().count()) {
        true => Ok(()),
        false => Err(invalid(format!("{what} has 1 to {chars_max} characters."))),
    }
}

fn invalid(message: String) -> CallError {
    CallError::refused(RefusalReason::Invalid, "extras", message)
}

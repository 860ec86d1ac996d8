//! What a message holds, as Meta writes it. Text or a file, never both: the host sends a caption by itself.

use mantle_sdk::Host;
use mantle_sdk::values::{AttachmentKind, CallError, Outgoing, OutgoingAttachment, OutgoingContent, RefusalReason};
use serde_json::{Value, json};

const QUICK_REPLIES_MAX: usize = 13;
const TITLE_CHARS_MAX: usize = 20;
const PAYLOAD_CHARS_MAX: usize = 1_000;
const BUTTONS_MAX: usize = 3;
const BUTTON_TEXT_CHARS_MAX: usize = 640;

pub fn object(message: &Outgoing, host: &dyn Host) -> Result<Value, CallError> {
    let replies = quick_replies(message)?;
    let mut object = match &message.content {
        OutgoingContent::Text(text) => match buttons(message)? {
            Some(buttons) => button_template(&text.text, &buttons)?,
            None => json!({ "text": text.text }),
        },
        OutgoingContent::Attachment(attachment) => linked(attachment, host)?,
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
                "Instagram does not take locations. Send the address or a link to a map as text.",
            ));
        }
    };
    if !replies.is_empty() {
        object["quick_replies"] = Value::Array(replies);
    }
    Ok(object)
}

/// The file by its address on this host. Uploads are described for the Page's login alone, addresses for both.
fn linked(attachment: &OutgoingAttachment, host: &dyn Host) -> Result<Value, CallError> {
    let url = host
        .media_link(attachment.media)
        .map_err(|_| CallError::transient("no-link", "The file has no address yet."))?;
    Ok(json!({ "attachment": { "type": media_kind(attachment.kind), "payload": { "url": url } } }))
}

fn media_kind(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Image | AttachmentKind::Sticker => "image",
        AttachmentKind::Video => "video",
        AttachmentKind::Audio | AttachmentKind::Voice => "audio",
        AttachmentKind::Document => "file",
    }
}

/// Extras `quick_reply:<title>` = payload.
fn quick_replies(message: &Outgoing) -> Result<Vec<Value>, CallError> {
    let mut replies = Vec::new();
    for (name, value) in &message.extras {
        let Some(title) = name.strip_prefix("quick_reply:") else {
            continue;
        };
        within("A quick reply's title", title, TITLE_CHARS_MAX)?;
        within("A quick reply's payload", value, PAYLOAD_CHARS_MAX)?;
        replies.push(json!({ "content_type": "text", "title": title, "payload": value }));
    }
    match replies.len() > QUICK_REPLIES_MAX {
        true => Err(invalid(format!(
            "Instagram takes at most {QUICK_REPLIES_MAX} quick replies."
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
        _ => Err(invalid(format!("Instagram takes at most {BUTTONS_MAX} buttons."))),
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

//! From one outgoing message to the call that makes it. Viber knows no key against doubles and no question for what was
//! made: after silence nothing is sent again. It fetches files itself, at a public address.

use mantle_sdk::Host;
use mantle_sdk::values::{
    AttachmentKind, CallError, Outgoing, OutgoingAttachment, OutgoingContent, Refusal, RefusalReason, Sent,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::{self, Repeat, Trouble};
use crate::errors::WEBHOOK_NOT_SET;
use crate::lifecycle;

/// What every Viber shows: nothing that is sent here needs a newer one.
const MIN_API_VERSION: u8 = 1;
/// Longest name of a file, in characters.
const FILE_NAME_MAX: usize = 256;
/// Viber gives it back with the customer's next message.
const TRACKING_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Made {
    /// 64 bits, more than a floating number holds.
    message_token: Option<u64>,
    billing_status: Option<i64>,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let receiver = recipient(message)?;
    let mut body = content(&message.content, host)?;
    body.insert("receiver".to_owned(), json!(receiver));
    body.insert("min_api_version".to_owned(), json!(MIN_API_VERSION));
    body.insert("sender".to_owned(), json!({ "name": lifecycle::sender_name(host)? }));
    let tracking: String = message.id.chars().take(TRACKING_MAX).collect();
    body.insert("tracking_data".to_owned(), json!(tracking));
    let body = Value::Object(body);
    let made = match make(&body, host) {
        // Viber drops the webhook of a host that was down for long, and then lets the bot send nothing.
        Err(Trouble::No(no)) if no.status == WEBHOOK_NOT_SET => {
            lifecycle::register(host).map_err(|_| CallError::from(Trouble::No(no)))?;
            make(&body, host)
        }
        other => other,
    };
    Ok(sent(&made?, &message.id))
}

fn make(body: &Value, host: &dyn Host) -> Result<Made, Trouble> {
    api::call(host, "send_message", body, Repeat::Doubles)
}

/// Viber has surely made it: a message without a token gets the host's own name.
fn sent(made: &Made, id: &str) -> Sent {
    let mut sent = Sent::new(
        made.message_token
            .map_or_else(|| id.to_owned(), |token| token.to_string()),
    );
    // Tells whether the message was free.
    let billing = made
        .billing_status
        .map(|billing| ("billing_status".to_owned(), billing.to_string()));
    sent.extras.extend(billing);
    sent
}

fn recipient(message: &Outgoing) -> Result<&str, CallError> {
    if message.group_id.is_some() {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "no-groups",
            "Viber's bots have no groups. Write to the customer directly.",
        ));
    }
    message.recipient_id().ok_or_else(|| {
        CallError::refused(
            RefusalReason::Unreachable,
            "no-recipient",
            "No Viber id of this customer is known: bots reach only people who have opened them.",
        )
    })
}

fn content(content: &OutgoingContent, host: &dyn Host) -> Result<Map<String, Value>, CallError> {
    let object = match content {
        OutgoingContent::Text(text) => json!({ "type": "text", "text": text.text }),
        OutgoingContent::Attachment(attachment) => file(attachment, host)?,
        OutgoingContent::Location(place) => json!({
            "type": "location",
            "location": { "lat": place.latitude, "lon": place.longitude },
        }),
        OutgoingContent::Template(_) => return Err(unsupported("Viber's bots have no templates.")),
        OutgoingContent::Reaction(_) => return Err(unsupported("Viber's bots have no reactions.")),
    };
    match object {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn file(attachment: &OutgoingAttachment, host: &dyn Host) -> Result<Value, CallError> {
    let link = host.media_link(attachment.media).map_err(|_| {
        CallError::refused(
            RefusalReason::Other,
            "no-media-link",
            "The file is no longer there for Viber to fetch.",
        )
    })?;
    let caption = attachment.caption.as_ref().map_or("", |caption| caption.text.as_str());
    Ok(match attachment.kind {
        // Without `text` Viber refuses the picture; empty is right.
        AttachmentKind::Image => json!({ "type": "picture", "text": caption, "media": link }),
        AttachmentKind::Video => json!({ "type": "video", "media": link, "size": attachment.bytes }),
        _ => json!({
            "type": "file",
            "media": link,
            "size": attachment.bytes,
            "file_name": short(&attachment.name),
        }),
    })
}

/// The end stays: it is the extension, without which Viber takes no file.
fn short(name: &str) -> String {
    let letters = name.chars().count();
    name.chars().skip(letters.saturating_sub(FILE_NAME_MAX)).collect()
}

fn unsupported(message: &str) -> CallError {
    Refusal::new(RefusalReason::Unsupported, "unsupported", message)
        .next_step("Send it as text.")
        .into()
}

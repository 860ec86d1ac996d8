//! From one outgoing message to the call that makes it. A file is uploaded first, which may be repeated without harm;
//! only the last call, `POST /{phone number id}/messages`, can leave the outcome unknown.

mod template;

use mantle_sdk::Host;
use mantle_sdk::http::Part;
use mantle_sdk::values::{
    Alias, AliasKind, AttachmentKind, CallError, Outgoing, OutgoingAttachment, OutgoingContent, RefusalReason, Sent,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::graph::{self, Repeat};
use crate::wire::Loose;
use crate::{fields, phone};

/// 100 MB documents take their time; ten seconds of the call's thirty are left for the message itself.
const UPLOAD_TIMEOUT_MS: u32 = 20_000;
const SEND_TIMEOUT_MS: u32 = 9_000;

/// `biz_opaque_callback_data` holds at most so many characters.
const CORRELATION_CHARS_MAX: usize = 512;

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    contacts: Vec<Recipient>,
    #[serde(default)]
    messages: Vec<Made>,
}

#[derive(Deserialize)]
struct Recipient {
    #[serde(default)]
    wa_id: Loose,
    user_id: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    id: String,
    message_status: Option<String>,
}

#[derive(Deserialize)]
struct Uploaded {
    #[serde(default)]
    id: Loose,
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let number = fields::phone_number_id(host)?;
    let mut body = addressed(message)?;
    let (kind, content) = content(message, &number, host)?;
    body.insert("type".to_owned(), json!(kind));
    body.insert(kind.to_owned(), content);
    if let (Some(target), false) = (&message.reply_to, kind == "reaction") {
        body.insert("context".to_owned(), json!({ "message_id": target }));
    }
    // Comes back in every status of the message, which settles a lost answer.
    let correlation: String = message.id.chars().take(CORRELATION_CHARS_MAX).collect();
    body.insert("biz_opaque_callback_data".to_owned(), json!(correlation));

    let request = graph::post(&format!("{number}/messages"))
        .json(&Value::Object(body))
        .timeout_ms(SEND_TIMEOUT_MS);
    sent(graph::call(host, request, Repeat::Doubles)?)
}

/// The common keys and the recipient. A phone number goes with its plus sign: without it the business's own country
/// code may be put in front. Where both are known the number is given, because `to` wins over `recipient` anyway.
fn addressed(message: &Outgoing) -> Result<Map<String, Value>, CallError> {
    let mut body = Map::new();
    body.insert("messaging_product".to_owned(), json!("whatsapp"));
    let (recipient_type, key, value) = if let Some(group) = &message.group_id {
        ("group", "to", group.as_str())
    } else if let Some(phone) = message.recipient_phone() {
        ("individual", "to", phone)
    } else if let Some(user) = message.recipient_id().or_else(|| message.alias(AliasKind::ParentId)) {
        template::refuse_authentication(message)?;
        ("individual", "recipient", user)
    } else {
        return Err(CallError::refused(
            RefusalReason::Unreachable,
            "no-recipient",
            "Neither a phone number nor a WhatsApp user id of this customer is known.",
        ));
    };
    body.insert("recipient_type".to_owned(), json!(recipient_type));
    body.insert(key.to_owned(), json!(value));
    Ok(body)
}

fn content(message: &Outgoing, number: &str, host: &dyn Host) -> Result<(&'static str, Value), CallError> {
    Ok(match &message.content {
        OutgoingContent::Text(text) => ("text", json!({ "body": text.text, "preview_url": true })),
        OutgoingContent::Attachment(attachment) => (media_kind(attachment.kind), uploaded(attachment, number, host)?),
        OutgoingContent::Template(used) => ("template", template::object(used, &message.extras, number, host)?),
        OutgoingContent::Location(place) => {
            let mut location = json!({ "latitude": place.latitude, "longitude": place.longitude });
            set(&mut location, "name", place.name.as_deref());
            set(&mut location, "address", place.address.as_deref());
            ("location", location)
        }
        OutgoingContent::Reaction(reaction) => (
            "reaction",
            // An empty emoji takes the reaction back.
            json!({ "message_id": reaction.target, "emoji": reaction.emoji.as_deref().unwrap_or_default() }),
        ),
    })
}

pub fn media_kind(kind: AttachmentKind) -> &'static str {
    match kind {
        AttachmentKind::Image => "image",
        AttachmentKind::Video => "video",
        AttachmentKind::Audio | AttachmentKind::Voice => "audio",
        AttachmentKind::Document => "document",
        AttachmentKind::Sticker => "sticker",
    }
}

/// Uploads the file and names it. Uploading gives an earlier and clearer error than a link, which fails in a status.
pub fn uploaded(attachment: &OutgoingAttachment, number: &str, host: &dyn Host) -> Result<Value, CallError> {
    let content_type = attachment.content_type.as_str();
    let request = graph::post(&format!("{number}/media"))
        .multipart(vec![
            Part::text("messaging_product", "whatsapp"),
            Part::text("type", content_type),
            Part::media("file", attachment.name.as_str(), content_type, attachment.media),
        ])
        .timeout_ms(UPLOAD_TIMEOUT_MS);
    let uploaded: Uploaded = graph::call(host, request, Repeat::Harmless)?;
    let id = uploaded
        .id
        .0
        .ok_or_else(|| CallError::transient("no-media-id", "WhatsApp took the file but did not name it."))?;

    let mut object = json!({ "id": id });
    match attachment.kind {
        AttachmentKind::Image | AttachmentKind::Video => set(&mut object, "caption", caption(attachment)),
        AttachmentKind::Document => {
            set(&mut object, "caption", caption(attachment));
            set(&mut object, "filename", Some(&attachment.name));
        }
        AttachmentKind::Voice => object["voice"] = json!(true),
        AttachmentKind::Audio | AttachmentKind::Sticker => {}
    }
    Ok(object)
}

fn caption(attachment: &OutgoingAttachment) -> Option<&str> {
    attachment.caption.as_ref().map(|caption| caption.text.as_str())
}

fn set(object: &mut Value, key: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        object[key] = json!(value);
    }
}

fn sent(accepted: Accepted) -> Result<Sent, CallError> {
    let Some(made) = accepted.messages.into_iter().next().filter(|made| !made.id.is_empty()) else {
        return Err(CallError::ambiguous(
            "no-message-id",
            "WhatsApp accepted the message but did not name it.",
        ));
    };
    let mut sent = Sent::new(made.id);
    if let Some(contact) = accepted.contacts.first() {
        sent.aliases
            .extend(contact.user_id.as_deref().map(|user| Alias::new(AliasKind::Id, user)));
        // The number as the provider spells it: Brazil and Mexico have two spellings.
        sent.aliases
            .extend(contact.wa_id.as_deref().map(|place| match phone::of(place) {
                Some(phone) => Alias::new(AliasKind::Phone, phone),
                None => Alias::new(AliasKind::Id, place),
            }));
    }
    // `held_for_quality_assessment` and `paused` explain why no status follows for a while.
    sent.extras
        .extend(made.message_status.map(|status| ("message_status".to_owned(), status)));
    Ok(sent)
}

//! One message out: the method of its kind, and one other way where Telegram's first answer is a clear no that has one.
//!
//! Nothing tells whether a lost call was made: there is no idempotency key and no look-up. So another way is only tried
//! after a no, never after silence.

use mantle_sdk::Host;
use mantle_sdk::http::{Part, Request};
use mantle_sdk::log::Level;
use mantle_sdk::text;
use mantle_sdk::values::{
    AttachmentKind, CallError, Location, Outgoing, OutgoingAttachment, OutgoingContent, Reaction, RefusalReason,
    RichText, Sent, SpanKind, TextStyle,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::{self, No, Trouble};
use crate::wire::{ChatName, MessageName};

/// Time for an upload of up to 50 MB; the interface's maximum.
const UPLOAD_TIMEOUT_MS: u32 = 30_000;
/// The first way and at most three others: a new group id, no formatting, a document instead of a photo.
const WAYS_MAX: usize = 4;

pub fn message(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let chat = recipient(message, host)?;
    if let OutgoingContent::Reaction(reaction) = &message.content {
        return react(reaction, host);
    }
    let mut call = match &message.content {
        OutgoingContent::Text(text) => Call::text(text),
        OutgoingContent::Attachment(attachment) => Call::attachment(attachment),
        OutgoingContent::Location(location) => Call::location(location),
        OutgoingContent::Template(_) | OutgoingContent::Reaction(_) => {
            return Err(CallError::refused(
                RefusalReason::Unsupported,
                "template",
                "Telegram has no message templates.",
            ));
        }
    };
    call.address(&chat, message.reply_to.as_deref());
    for _ in 1..WAYS_MAX {
        match call.make(host) {
            Ok(posted) => return Ok(sent(&posted, &chat)),
            Err(Trouble::No(no)) => match call.other_way(&no, host) {
                Some(other) => call = other,
                None => return Err(Trouble::No(no).into()),
            },
            Err(unclear) => return Err(unclear.into()),
        }
    }
    Ok(sent(&call.make(host)?, &chat))
}

#[derive(Deserialize)]
struct Posted {
    message_id: i64,
    chat: PostedChat,
}

#[derive(Deserialize)]
struct PostedChat {
    id: i64,
}

fn sent(posted: &Posted, chat: &ChatName) -> Sent {
    let chat = ChatName {
        id: posted.chat.id,
        business: chat.business.clone(),
    };
    Sent::new(chat.message(posted.message_id).to_string())
}

fn recipient(message: &Outgoing, host: &dyn Host) -> Result<ChatName, CallError> {
    let name = message.group_id.as_deref().or_else(|| message.recipient_id());
    let Some(mut chat) = name.and_then(ChatName::parse) else {
        return Err(CallError::refused(
            RefusalReason::Unreachable,
            "no-chat",
            "The customer has no Telegram id: bots reach only people who have written to them.",
        ));
    };
    // Groups have negative ids, and one that has moved keeps its old name at the host.
    if chat.id < 0
        && let Ok(Some(moved)) = host.kv_get(&moved_key(chat.id))
        && let Some(id) = String::from_utf8(moved).ok().and_then(|id| id.parse().ok())
    {
        chat.id = id;
    }
    Ok(chat)
}

fn react(reaction: &Reaction, host: &dyn Host) -> Result<Sent, CallError> {
    let Some(target) = MessageName::parse(&reaction.target) else {
        return Err(CallError::refused(
            RefusalReason::Invalid,
            "target",
            "The message to react to is not one of this bot.",
        ));
    };
    if target.chat.business.is_some() {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "business-reaction",
            "Telegram takes no reactions of bots in chats of a business account.",
        ));
    }
    let emoji = reaction
        .emoji
        .iter()
        .map(|emoji| json!({"type": "emoji", "emoji": emoji}));
    let body = json!({
        "chat_id": target.chat.id,
        "message_id": target.message_id,
        "reaction": emoji.collect::<Vec<_>>(),
    });
    // Setting the same reaction twice is setting it once.
    let _done: bool = answer::ask(host, answer::method("setMessageReaction").json(&body))?;
    Ok(Sent::new(reaction.target.clone()))
}

/// A call that makes a message.
#[derive(Clone)]
struct Call {
    method: &'static str,
    fields: Map<String, Value>,
    file: Option<Upload>,
}

#[derive(Clone)]
struct Upload {
    field: &'static str,
    attachment: OutgoingAttachment,
}

impl Call {
    fn new(method: &'static str) -> Self {
        Self {
            method,
            fields: Map::new(),
            file: None,
        }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    fn text(text: &RichText) -> Self {
        let mut call = Self::new("sendMessage").with("text", text.text.as_str());
        call.entities("entities", text);
        call
    }

    fn attachment(attachment: &OutgoingAttachment) -> Self {
        let (method, field) = match attachment.kind {
            // Telegram makes a silent, looping video of a GIF.
            AttachmentKind::Image | AttachmentKind::Video if attachment.content_type == "image/gif" => {
                ("sendAnimation", "animation")
            }
            AttachmentKind::Image => ("sendPhoto", "photo"),
            AttachmentKind::Video => ("sendVideo", "video"),
            AttachmentKind::Audio => ("sendAudio", "audio"),
            AttachmentKind::Voice => ("sendVoice", "voice"),
            AttachmentKind::Document => ("sendDocument", "document"),
            AttachmentKind::Sticker => ("sendSticker", "sticker"),
        };
        let mut call = Self::new(method);
        call.file = Some(Upload {
            field,
            attachment: attachment.clone(),
        });
        if method == "sendDocument" {
            // A picture that is to be a file stays one.
            call = call.with("disable_content_type_detection", true);
        }
        if method == "sendVideo" {
            call = call.with("supports_streaming", true);
        }
        if let Some(caption) = attachment.caption.as_ref().filter(|_| method != "sendSticker") {
            call = call.with("caption", caption.text.as_str());
            call.entities("caption_entities", caption);
        }
        call
    }

    fn location(location: &Location) -> Self {
        let method = if location.name.is_some() {
            "sendVenue"
        } else {
            "sendLocation"
        };
        let mut call = Self::new(method)
            .with("latitude", location.latitude)
            .with("longitude", location.longitude);
        if let Some(name) = &location.name {
            call = call
                .with("title", name.as_str())
                .with("address", location.address.as_deref().unwrap_or_default());
        }
        call
    }

    fn address(&mut self, chat: &ChatName, reply_to: Option<&str>) {
        self.fields.insert("chat_id".to_owned(), chat.id.into());
        if let Some(business) = &chat.business {
            self.fields
                .insert("business_connection_id".to_owned(), business.as_str().into());
        }
        // Message ids count per chat: one of another chat, or of the group before it moved, would quote a stranger.
        let replied = reply_to
            .and_then(MessageName::parse)
            .filter(|replied| replied.chat == *chat);
        if let Some(replied) = replied {
            let reply = json!({"message_id": replied.message_id, "allow_sending_without_reply": true});
            self.fields.insert("reply_parameters".to_owned(), reply);
        }
    }

    fn entities(&mut self, field: &str, text: &RichText) {
        let entities: Vec<Value> = text::utf16_spans(text)
            .into_iter()
            .map(|span| {
                let (kind, url) = match span.kind {
                    SpanKind::Style(TextStyle::Bold) => ("bold", None),
                    SpanKind::Style(TextStyle::Italic) => ("italic", None),
                    SpanKind::Style(TextStyle::Strike) => ("strikethrough", None),
                    SpanKind::Style(TextStyle::Code) => ("code", None),
                    SpanKind::Style(TextStyle::Preformatted) => ("pre", None),
                    SpanKind::Link(url) => ("text_link", Some(url)),
                };
                let mut entity = json!({"type": kind, "offset": span.offset, "length": span.length});
                if let Some(url) = url {
                    entity["url"] = url.into();
                }
                entity
            })
            .collect();
        if !entities.is_empty() {
            self.fields.insert(field.to_owned(), entities.into());
        }
    }

    fn make(&self, host: &dyn Host) -> Result<Posted, Trouble> {
        answer::make(host, self.request())
    }

    fn request(&self) -> Request {
        let request = answer::method(self.method);
        let Some(upload) = &self.file else {
            return request.json(&Value::Object(self.fields.clone()));
        };
        // In a form, strings stand as they are and everything else as JSON.
        let mut parts: Vec<Part> = self
            .fields
            .iter()
            .map(|(name, value)| Part::text(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let file = &upload.attachment;
        parts.push(Part::media(upload.field, &file.name, &file.content_type, file.media));
        request.multipart(parts).timeout_ms(UPLOAD_TIMEOUT_MS)
    }

    /// The other way that a clear no leaves open.
    fn other_way(&self, no: &No, host: &dyn Host) -> Option<Self> {
        let mut other = self.clone();
        if let Some(moved) = no.migrate_to_chat_id {
            let former = self.fields.get("chat_id").and_then(Value::as_i64)?;
            if host
                .kv_set(&moved_key(former), moved.to_string().as_bytes(), None)
                .is_err()
            {
                host.log(
                    Level::Warn,
                    "The new id of a group could not be kept; every message to it is sent twice.",
                );
            }
            other.fields.insert("chat_id".to_owned(), moved.into());
            return Some(other);
        }
        if no.code != 400 {
            return None;
        }
        if no.says("can't parse entities") || no.says("entity") {
            let before = other.fields.len();
            other
                .fields
                .retain(|name, _| !matches!(name.as_str(), "entities" | "caption_entities"));
            return (other.fields.len() < before).then_some(other);
        }
        if no.says("message to be replied not found") || no.says("replied message not found") {
            return other.fields.remove("reply_parameters").map(|_| other);
        }
        // Too wide, too high, too long a side: as a file it has no dimensions.
        if self.method == "sendPhoto" && (no.says("photo_") || no.says("image_process_failed")) {
            other.method = "sendDocument";
            other
                .fields
                .insert("disable_content_type_detection".to_owned(), true.into());
            other.file.as_mut()?.field = "document";
            return Some(other);
        }
        None
    }
}

fn moved_key(chat_id: i64) -> String {
    format!("moved:{chat_id}")
}

//! The customer's side of WhatsApp: what a person does in the app, as webhooks of Meta.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Number, Sent, wamid};
use crate::multipart::File;
use crate::webhooks::Delivered;

/// A message of the customer and what became of its delivery.
#[derive(Debug, Clone)]
pub struct Told {
    pub id: String,
    pub delivered: Delivered,
}

/// One person who writes to one number. Cheap to copy.
#[derive(Clone)]
pub struct Customer {
    number: Number,
    wa_id: Option<String>,
    user_id: Option<String>,
    name: String,
}

impl Customer {
    pub(super) fn new(number: Number, wa_id: Option<&str>, user_id: Option<&str>) -> Self {
        Self {
            number,
            wa_id: wa_id.map(str::to_owned),
            user_id: user_id.map(str::to_owned),
            name: "Jürgen".to_owned(),
        }
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same person, whose business-scoped user id is told as well.
    #[must_use]
    pub fn with_user_id(mut self, user_id: &str) -> Self {
        self.user_id = Some(user_id.to_owned());
        self
    }

    /// One message as it stands in a webhook, with a fresh id; nothing is sent. The business may answer from now on.
    #[must_use]
    pub fn compose(&self, kind: &str, content: Value) -> Value {
        let now_ms = self.number.whatsapp.0.scene.now_ms();
        let mut message = json!({"id": wamid(), "timestamp": (now_ms / 1000).to_string(), "type": kind});
        if let Some(wa_id) = &self.wa_id {
            message["from"] = json!(wa_id);
        }
        if let Some(user_id) = &self.user_id {
            message["from_user_id"] = json!(user_id);
        }
        if let (Some(message), Value::Object(fields)) = (message.as_object_mut(), content) {
            message.extend(fields);
        }
        self.number.whatsapp.with_number(&self.number.id, |number| {
            for id in [&self.wa_id, &self.user_id].into_iter().flatten() {
                number.last_inbound.insert(id.clone(), now_ms);
            }
        });
        message
    }

    /// The change that carries these messages, with this person as their contact.
    #[must_use]
    pub fn change(&self, messages: &[Value]) -> Value {
        let mut contact = json!({"profile": {"name": self.name}});
        if let Some(wa_id) = &self.wa_id {
            contact["wa_id"] = json!(wa_id);
        }
        if let Some(user_id) = &self.user_id {
            contact["user_id"] = json!(user_id);
        }
        self.number.change(json!({"contacts": [contact], "messages": messages}))
    }

    /// Any message: `content` holds the payload under the key of the kind, and whatever stands beside it.
    pub async fn message(&self, kind: &str, content: Value) -> Told {
        let message = self.compose(kind, content);
        let id = message["id"].as_str().unwrap_or("").to_owned();
        let delivered = self.number.deliver(&id, vec![self.change(&[message])]).await;
        Told { id, delivered }
    }

    /// Several messages in one POST.
    pub async fn batch(&self, messages: &[Value]) -> Delivered {
        let id = messages
            .first()
            .and_then(|message| message["id"].as_str())
            .unwrap_or("batch")
            .to_owned();
        self.number.deliver(&id, vec![self.change(messages)]).await
    }

    pub async fn writes(&self, text: &str) -> Told {
        self.message("text", json!({"text": {"body": text}})).await
    }

    pub async fn answers(&self, to: &str, text: &str) -> Told {
        let from = self.number.setup().display_phone_number;
        self.message(
            "text",
            json!({"text": {"body": text}, "context": {"from": from, "id": to}}),
        )
        .await
    }

    fn keep(&self, file: &File) -> Value {
        let id = self
            .number
            .whatsapp
            .with_number(&self.number.id, |number| number.keep(file.clone()))
            .unwrap_or_default();
        json!({"id": id, "mime_type": file.content_type, "sha256": STANDARD.encode(Sha256::digest(&file.bytes))})
    }

    async fn media(&self, kind: &str, file: &File, more: Value) -> Told {
        let mut media = self.keep(file);
        if let (Some(media), Value::Object(more)) = (media.as_object_mut(), more) {
            media.extend(more);
        }
        let mut content = json!({});
        content[kind] = media;
        self.message(kind, content).await
    }

    pub async fn sends_image(&self, file: &File, caption: Option<&str>) -> Told {
        self.media("image", file, captioned(caption)).await
    }

    pub async fn sends_video(&self, file: &File, caption: Option<&str>) -> Told {
        self.media("video", file, captioned(caption)).await
    }

    pub async fn sends_document(&self, file: &File, caption: Option<&str>) -> Told {
        let mut more = captioned(caption);
        more["filename"] = json!(file.name);
        self.media("document", file, more).await
    }

    pub async fn sends_voice(&self, file: &File) -> Told {
        let opus = File::new(&file.name, "audio/ogg; codecs=opus", file.bytes.clone());
        self.media("audio", &opus, json!({"voice": true})).await
    }

    pub async fn sends_sticker(&self, file: &File) -> Told {
        self.media("sticker", file, json!({"animated": false})).await
    }

    pub async fn sends_location(&self, latitude: f64, longitude: f64, name: &str, address: &str) -> Told {
        let location = json!({"latitude": latitude, "longitude": longitude, "name": name, "address": address});
        self.message("location", json!({"location": location})).await
    }

    pub async fn shares_contact(&self, name: &str, phone: &str) -> Told {
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        let contact = json!({"name": {"formatted_name": name, "first_name": name}, "phones": [{"phone": phone, "wa_id": digits, "type": "CELL"}]});
        self.message("contacts", json!({"contacts": [contact]})).await
    }

    /// None takes the reaction back.
    pub async fn reacts(&self, to: &str, emoji: Option<&str>) -> Told {
        self.message(
            "reaction",
            json!({"reaction": {"message_id": to, "emoji": emoji.unwrap_or("")}}),
        )
        .await
    }

    /// Taps a reply button of one of our messages.
    pub async fn taps(&self, to: &str, button: &str, title: &str) -> Told {
        let from = self.number.setup().display_phone_number;
        let interactive = json!({"type": "button_reply", "button_reply": {"id": button, "title": title}});
        self.message(
            "interactive",
            json!({"context": {"from": from, "id": to}, "interactive": interactive}),
        )
        .await
    }

    pub async fn edits(&self, original: &str, text: &str) -> Told {
        let edit = json!({"original_message_id": original, "message": {"context": {"id": "M0"}, "type": "text", "text": {"body": text}}});
        self.message("edit", json!({"edit": edit})).await
    }

    pub async fn deletes(&self, original: &str) -> Told {
        self.message("revoke", json!({"revoke": {"original_message_id": original}}))
            .await
    }

    /// Writes after a tap on an advertisement.
    pub async fn comes_from_ad(&self, text: &str) -> Told {
        let referral = json!({"source_url": "https://fb.me/ad1", "source_type": "ad", "source_id": "120210", "headline": "Summer sale", "body": "All blue ones", "media_type": "image", "ctwa_clid": "clid-1"});
        self.message("text", json!({"text": {"body": text}, "referral": referral}))
            .await
    }

    /// Sends something that the API cannot show.
    pub async fn sends_unsupported(&self, kind: &str) -> Told {
        let errors = json!([{"code": 131_051, "title": "Message type unknown", "message": "Message type unknown", "error_data": {"details": "Message type is currently not supported."}}]);
        self.message("unsupported", json!({"errors": errors, "unsupported": {"type": kind}}))
            .await
    }

    /// What the number sent to this person.
    #[must_use]
    pub fn received(&self) -> Vec<Sent> {
        let mine = |sent: &Sent| {
            [&self.wa_id, &self.user_id]
                .into_iter()
                .flatten()
                .any(|id| *id == sent.to)
        };
        self.number.sent().into_iter().filter(mine).collect()
    }
}

fn captioned(caption: Option<&str>) -> Value {
    caption.map_or_else(|| json!({}), |caption| json!({"caption": caption}))
}

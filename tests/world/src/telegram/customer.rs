//! The customer's side of Telegram: what a person does in the app, as updates for the bot.

use serde_json::{Value, json};

use super::{Bot, Sent};
use crate::multipart::File;
use crate::scene::random_hex;
use crate::webhooks::Delivered;

/// A message of the customer and what became of its delivery.
#[derive(Debug, Clone)]
pub struct Told {
    pub message_id: i64,
    pub delivered: Delivered,
}

/// One person in a private chat with one bot, or in a group with it. Cheap to copy.
#[derive(Clone)]
pub struct Customer {
    bot: Bot,
    id: i64,
    first_name: String,
    last_name: Option<String>,
    username: Option<String>,
    group: Option<(i64, String)>,
}

impl Customer {
    pub(super) fn new(bot: Bot, id: i64) -> Self {
        Self {
            bot,
            id,
            first_name: "Jana".to_owned(),
            last_name: Some("K".to_owned()),
            username: Some("janak".to_owned()),
            group: None,
        }
    }

    /// The same person under another name.
    #[must_use]
    pub fn named(mut self, first: &str, last: Option<&str>, username: Option<&str>) -> Self {
        self.first_name = first.to_owned();
        self.last_name = last.map(str::to_owned);
        self.username = username.map(str::to_owned);
        self
    }

    /// The same person, writing in a group (negative id).
    #[must_use]
    pub fn in_group(mut self, id: i64, title: &str) -> Self {
        self.group = Some((id, title.to_owned()));
        self
    }

    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    fn person(&self) -> Value {
        let mut person = json!({"id": self.id, "is_bot": false, "first_name": self.first_name, "language_code": "de"});
        if let Some(last) = &self.last_name {
            person["last_name"] = json!(last);
        }
        if let Some(username) = &self.username {
            person["username"] = json!(username);
        }
        person
    }

    fn chat(&self) -> Value {
        if let Some((id, title)) = &self.group {
            return json!({"id": id, "title": title, "type": "supergroup"});
        }
        let mut chat = self.person();
        if let Some(fields) = chat.as_object_mut() {
            fields.remove("is_bot");
            fields.remove("language_code");
        }
        chat["type"] = json!("private");
        chat
    }

    fn chat_id(&self) -> i64 {
        self.group.as_ref().map_or(self.id, |(id, _)| *id)
    }

    /// The frame of a message: id, sender, chat, date. Starts the bot where that has not happened.
    fn frame(&self) -> Value {
        let now = self.bot.telegram.0.scene.now();
        let chat = self.chat();
        let id = self.bot.telegram.with_bot(&self.bot.token, |bot| {
            bot.chats.entry(self.chat_id()).or_default().profile = chat.clone();
            bot.next_message += 1;
            bot.next_message
        });
        json!({"message_id": id.unwrap_or_default(), "from": self.person(), "chat": chat, "date": now})
    }

    /// Any message: the content's keys are put beside sender, chat and date.
    pub async fn message(&self, content: Value) -> Told {
        let mut message = self.frame();
        merge(&mut message, content);
        let message_id = message["message_id"].as_i64().unwrap_or_default();
        self.bot.telegram.with_bot(&self.bot.token, |bot| {
            bot.chats
                .entry(self.chat_id())
                .or_default()
                .messages
                .insert(message_id, message.clone());
        });
        let delivered = self.bot.update("message", message).await;
        Told { message_id, delivered }
    }

    pub async fn writes(&self, text: &str) -> Told {
        self.message(json!({"text": text})).await
    }

    pub async fn starts(&self, payload: &str) -> Told {
        self.message(json!({"text": format!("/start {payload}").trim_end(), "entities": [{"type": "bot_command", "offset": 0, "length": 6}]}))
            .await
    }

    pub async fn answers(&self, to: i64, text: &str) -> Told {
        let original = self.original(to);
        self.message(json!({"text": text, "reply_to_message": original})).await
    }

    /// A message of the chat as Telegram quotes it: without what it itself answers.
    fn original(&self, id: i64) -> Value {
        let known = self.bot.telegram.with_bot(&self.bot.token, |bot| {
            bot.chats
                .get(&self.chat_id())
                .and_then(|chat| chat.messages.get(&id).cloned())
        });
        let mut original = known
            .flatten()
            .unwrap_or_else(|| json!({"message_id": id, "chat": self.chat(), "date": 0}));
        if let Some(fields) = original.as_object_mut() {
            fields.remove("reply_to_message");
        }
        original
    }

    fn keep(&self, file: &File) -> Value {
        let id = self
            .bot
            .telegram
            .with_bot(&self.bot.token, |bot| bot.keep(file.clone()))
            .unwrap_or_default();
        json!({"file_id": id, "file_unique_id": format!("AgAD{}", random_hex(8)), "file_size": file.bytes.len()})
    }

    async fn with_caption(&self, mut content: Value, caption: Option<&str>) -> Told {
        if let Some(caption) = caption {
            content["caption"] = json!(caption);
        }
        self.message(content).await
    }

    /// As the app sends a picture: two sizes, no name.
    pub async fn sends_photo(&self, file: &File, caption: Option<&str>) -> Told {
        let mut small = self.keep(&File::new(
            "",
            "image/jpeg",
            file.bytes.slice(..file.bytes.len().min(64)),
        ));
        merge(&mut small, json!({"width": 90, "height": 56}));
        let mut large = self.keep(file);
        merge(&mut large, json!({"width": 320, "height": 200}));
        self.with_caption(json!({"photo": [small, large]}), caption).await
    }

    pub async fn sends_document(&self, file: &File, caption: Option<&str>) -> Told {
        let mut document = self.keep(file);
        merge(
            &mut document,
            json!({"file_name": file.name, "mime_type": file.content_type}),
        );
        self.with_caption(json!({"document": document}), caption).await
    }

    pub async fn sends_voice(&self, file: &File, seconds: u32) -> Told {
        let mut voice = self.keep(file);
        merge(&mut voice, json!({"duration": seconds, "mime_type": file.content_type}));
        self.message(json!({"voice": voice})).await
    }

    pub async fn sends_audio(&self, file: &File, seconds: u32) -> Told {
        let mut audio = self.keep(file);
        merge(
            &mut audio,
            json!({"duration": seconds, "mime_type": file.content_type, "file_name": file.name, "title": "A song"}),
        );
        self.message(json!({"audio": audio})).await
    }

    pub async fn sends_video(&self, file: &File, caption: Option<&str>) -> Told {
        let mut video = self.keep(file);
        merge(
            &mut video,
            json!({"width": 1280, "height": 720, "duration": 9, "mime_type": file.content_type, "file_name": file.name}),
        );
        self.with_caption(json!({"video": video}), caption).await
    }

    pub async fn sends_sticker(&self, file: &File, emoji: &str) -> Told {
        let mut sticker = self.keep(file);
        merge(
            &mut sticker,
            json!({"type": "regular", "width": 512, "height": 512, "is_animated": false, "is_video": false, "emoji": emoji, "set_name": "Set"}),
        );
        self.message(json!({"sticker": sticker})).await
    }

    pub async fn sends_location(&self, latitude: f64, longitude: f64) -> Told {
        self.message(json!({"location": {"latitude": latitude, "longitude": longitude}}))
            .await
    }

    pub async fn sends_venue(&self, title: &str, address: &str, at: (f64, f64)) -> Told {
        let location = json!({"latitude": at.0, "longitude": at.1});
        self.message(json!({"venue": {"location": location, "title": title, "address": address}, "location": location}))
            .await
    }

    pub async fn shares_contact(&self, phone: &str, name: &str, own: bool) -> Told {
        let mut contact = json!({"phone_number": phone, "first_name": name});
        if own {
            contact["user_id"] = json!(self.id);
        }
        self.message(json!({"contact": contact})).await
    }

    /// Several pictures in one go: separate messages of one album.
    pub async fn sends_album(&self, files: &[File], caption: &str) -> Vec<Told> {
        let group = format!("1350{}", self.bot.telegram.0.scene.next_id());
        let mut all = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let mut photo = self.keep(file);
            merge(&mut photo, json!({"width": 320, "height": 200}));
            let content = json!({"photo": [photo], "media_group_id": group});
            all.push(self.with_caption(content, (at == 0).then_some(caption)).await);
        }
        all
    }

    /// None takes the reaction back.
    pub async fn reacts(&self, message_id: i64, emoji: Option<&str>) -> Delivered {
        let new = emoji.map_or_else(|| json!([]), |emoji| json!([{"type": "emoji", "emoji": emoji}]));
        let now = self.bot.telegram.0.scene.now();
        let content = json!({"chat": self.chat(), "message_id": message_id, "user": self.person(), "date": now, "old_reaction": [], "new_reaction": new});
        self.bot.update("message_reaction", content).await
    }

    pub async fn edits(&self, message_id: i64, text: &str) -> Delivered {
        let now = self.bot.telegram.0.scene.now();
        let mut message = self.original(message_id);
        merge(&mut message, json!({"text": text, "edit_date": now}));
        self.bot.telegram.with_bot(&self.bot.token, |bot| {
            if let Some(chat) = bot.chats.get_mut(&self.chat_id()) {
                chat.messages.insert(message_id, message.clone());
            }
        });
        self.bot.update("edited_message", message).await
    }

    /// Taps an inline button under a message of the bot.
    pub async fn taps(&self, message_id: i64, data: &str) -> Delivered {
        let id = format!("43{}", random_hex(16));
        let content = json!({"id": id, "from": self.person(), "message": self.original(message_id), "chat_instance": "-3400", "data": data});
        self.bot.update("callback_query", content).await
    }

    pub async fn blocks(&self) -> Delivered {
        self.member("member", "kicked").await
    }

    pub async fn unblocks(&self) -> Delivered {
        self.member("kicked", "member").await
    }

    async fn member(&self, old: &str, new: &str) -> Delivered {
        let chat = self.chat();
        let (now, bot_id) = (self.bot.telegram.0.scene.now(), self.bot.id());
        self.bot.telegram.with_bot(&self.bot.token, |bot| {
            let known = bot.chats.entry(self.chat_id()).or_default();
            known.profile = chat.clone();
            known.blocked = new == "kicked";
        });
        let user = json!({"id": bot_id, "is_bot": true, "first_name": "Shop"});
        let content = json!({"chat": chat, "from": self.person(), "date": now,
            "old_chat_member": {"user": user, "status": old, "until_date": 0},
            "new_chat_member": {"user": user, "status": new, "until_date": 0}});
        self.bot.update("my_chat_member", content).await
    }

    /// What the bot put into this chat.
    #[must_use]
    pub fn received(&self) -> Vec<Sent> {
        let chat = self.chat_id();
        self.bot.sent().into_iter().filter(|sent| sent.chat == chat).collect()
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

//! The Bot API's shapes, as far as this connector reads them, and the names it gives to chats and messages.
//!
//! New fields and kinds appear at any time, so unknown ones are ignored, and the parts of a message are read one by one
//! from [`Parts`]: one that cannot be read does not take the others with it. Ids are signed and need 64 bits.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub id: i64,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub username: Option<String>,
    pub language_code: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Chat {
    pub id: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub title: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub username: Option<String>,
}

/// What every message has, and what says where it belongs.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub message_id: i64,
    pub from: Option<User>,
    pub sender_chat: Option<Chat>,
    pub sender_business_bot: Option<Value>,
    pub business_connection_id: Option<String>,
    pub chat: Chat,
    /// Unix seconds; 0 for a message that is no longer accessible.
    pub date: i64,
    pub edit_date: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    /// UTF-16 units.
    pub offset: usize,
    pub length: usize,
    pub url: Option<String>,
}

/// A file of any kind: every kind has these, or some of them.
#[derive(Debug, Deserialize)]
pub struct File {
    pub file_id: String,
    pub file_name: Option<String>,
    pub mime_type: Option<String>,
    pub file_size: Option<u64>,
    /// Seconds.
    pub duration: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub struct Sticker {
    pub file_id: String,
    #[serde(default)]
    pub is_animated: bool,
    #[serde(default)]
    pub is_video: bool,
    pub thumbnail: Option<File>,
    pub emoji: Option<String>,
    pub file_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct Point {
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Debug, Deserialize)]
pub struct Venue {
    pub location: Point,
    pub title: String,
    pub address: String,
}

#[derive(Debug, Deserialize)]
pub struct Contact {
    pub phone_number: String,
    pub first_name: String,
    pub last_name: Option<String>,
    pub user_id: Option<i64>,
    pub vcard: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct CallbackQuery {
    pub id: String,
    pub from: User,
    pub message: Option<Map<String, Value>>,
    pub data: Option<String>,
    pub game_short_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct ReactionChange {
    pub chat: Chat,
    pub message_id: i64,
    pub user: Option<User>,
    pub actor_chat: Option<Chat>,
    pub date: i64,
    pub new_reaction: Vec<ReactionType>,
}

#[derive(Debug, Deserialize)]
pub struct ReactionType {
    #[serde(rename = "type")]
    pub kind: String,
    pub emoji: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct MemberChange {
    pub chat: Chat,
    pub from: User,
    pub date: i64,
    pub new_chat_member: Member,
}

#[derive(Debug, Deserialize)]
pub struct Member {
    pub status: String,
}

#[derive(Debug, Deserialize)]
pub struct BusinessConnection {
    pub user: User,
    pub date: i64,
    pub is_enabled: bool,
}

#[derive(Debug, Deserialize)]
pub struct DeletedMessages {
    pub business_connection_id: String,
    pub chat: Chat,
    pub message_ids: Vec<i64>,
}

/// The keys of a message, each read by itself.
pub struct Parts<'a> {
    pub fields: &'a Map<String, Value>,
    /// The places that could not be read, and why.
    pub unread: Vec<(String, String)>,
}

impl<'a> Parts<'a> {
    pub fn new(fields: &'a Map<String, Value>) -> Self {
        Self {
            fields,
            unread: Vec::new(),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    /// None: absent, or unreadable and noted as such.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        match T::deserialize(value) {
            Ok(part) => Some(part),
            Err(error) => {
                self.unread.push((key.to_owned(), error.to_string()));
                None
            }
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.fields.get(key).and_then(Value::as_str)
    }
}

impl User {
    pub fn name(&self) -> Option<String> {
        joined(self.first_name.as_deref(), self.last_name.as_deref())
    }
}

impl Chat {
    pub fn is_private(&self) -> bool {
        self.kind == "private"
    }

    /// The person that a private chat is with, the name of any other.
    pub fn name(&self) -> Option<String> {
        self.title
            .clone()
            .or_else(|| joined(self.first_name.as_deref(), self.last_name.as_deref()))
    }
}

pub fn joined(first: Option<&str>, last: Option<&str>) -> Option<String> {
    let name = [first, last]
        .into_iter()
        .flatten()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    (!name.is_empty()).then_some(name)
}

/// A chat as the host knows it: `5550001234`, or `5550001234@<connection>` for a chat of a connected business account.
/// A business chat is another chat than the one with the bot itself, and to answer there the connection must be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatName {
    pub id: i64,
    pub business: Option<String>,
}

impl ChatName {
    pub fn parse(name: &str) -> Option<Self> {
        let (id, business) = match name.split_once('@') {
            Some((id, business)) => (id, Some(business.to_owned())),
            None => (name, None),
        };
        Some(Self {
            id: id.parse().ok()?,
            business,
        })
    }

    pub fn message(&self, message_id: i64) -> MessageName {
        MessageName {
            chat: self.clone(),
            message_id,
        }
    }
}

impl fmt::Display for ChatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.id)?;
        match &self.business {
            Some(business) => write!(formatter, "@{business}"),
            None => Ok(()),
        }
    }
}

/// `<chat>:<message id>`: Telegram numbers messages per chat, the host wants them unique within the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageName {
    pub chat: ChatName,
    pub message_id: i64,
}

impl MessageName {
    pub fn parse(name: &str) -> Option<Self> {
        let (chat, message_id) = name.split_once(':')?;
        Some(Self {
            chat: ChatName::parse(chat)?,
            message_id: message_id.parse().ok()?,
        })
    }
}

impl fmt::Display for MessageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.chat, self.message_id)
    }
}

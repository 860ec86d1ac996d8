//! The parts of Intercom's answers that are read, forgiving about what is left out, null, or a number for a text.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An id that may be written as a number or a text; empty when absent.
fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(id_of(&Value::deserialize(from)?).unwrap_or_default())
}

pub fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Null, or a value of another type than announced, is the default: one odd field must not hide a conversation.
fn lenient<'de, D: Deserializer<'de>, T: Default + serde::de::DeserializeOwned>(from: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

/// An answer that only matters by its status.
#[derive(Debug, Deserialize)]
pub struct Done(IgnoredAny);

#[derive(Debug, Deserialize)]
pub struct Me {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub has_inbox_seat: Option<bool>,
    pub app: App,
}

#[derive(Debug, Deserialize)]
pub struct App {
    pub id_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub region: String,
}

#[derive(Debug, Deserialize)]
pub struct Admins {
    pub admins: Vec<Admin>,
}

#[derive(Debug, Deserialize)]
pub struct Admin {
    #[serde(default, deserialize_with = "lenient")]
    pub r#type: String,
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub has_inbox_seat: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub data: Vec<T>,
}

#[derive(Debug, Deserialize)]
pub struct Attribute {
    /// Absent on built-in ones.
    #[serde(default, deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub archived: bool,
}

#[derive(Debug, Default, Deserialize)]
pub struct Contact {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub role: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub phone: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub updated_at: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub archived: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub custom_attributes: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Message {
    #[serde(default, deserialize_with = "id")]
    pub id: String,
    #[serde(deserialize_with = "id")]
    pub conversation_id: String,
}

#[derive(Debug, Deserialize)]
pub struct Conversations {
    pub conversations: Vec<Conversation>,
    #[serde(default, deserialize_with = "lenient")]
    pub pages: Pages,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pages {
    /// Absent on the last page; an address in old versions, which leads nowhere here.
    #[serde(deserialize_with = "lenient")]
    pub next: Option<NextPage>,
}

#[derive(Debug, Deserialize)]
pub struct NextPage {
    pub starting_after: String,
}

#[derive(Debug, Deserialize)]
pub struct Conversation {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub updated_at: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub state: String,
    #[serde(default, deserialize_with = "lenient")]
    pub statistics: Statistics,
    #[serde(default, deserialize_with = "id")]
    pub admin_assignee_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub source: Option<Part>,
    #[serde(default, deserialize_with = "lenient")]
    pub conversation_parts: Parts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Statistics {
    #[serde(deserialize_with = "lenient")]
    pub last_close_at: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parts {
    pub conversation_parts: Vec<Part>,
}

/// A part, or the first message, which has no type of its own.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Part {
    #[serde(default, deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub part_type: String,
    #[serde(default, deserialize_with = "lenient")]
    pub body: String,
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: i64,
    #[serde(default, deserialize_with = "lenient")]
    pub author: Author,
    #[serde(default, deserialize_with = "lenient")]
    pub attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "lenient")]
    pub redacted: bool,
}

#[derive(Debug, Default, Clone, Deserialize)]
pub struct Author {
    #[serde(default, deserialize_with = "lenient")]
    pub r#type: String,
    #[serde(default, deserialize_with = "id")]
    pub id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
pub struct Attachment {
    #[serde(default, deserialize_with = "lenient")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub url: String,
    #[serde(default, deserialize_with = "lenient")]
    pub content_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub filesize: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct Tag {
    #[serde(deserialize_with = "id")]
    pub id: String,
}

impl Conversation {
    /// The order in which the parts were made: the answer's own order is not promised.
    pub fn sorted_parts(&self) -> Vec<&Part> {
        let mut parts: Vec<&Part> = self.conversation_parts.conversation_parts.iter().collect();
        parts.sort_by_key(|part| (part.created_at, part.id.parse::<u64>().unwrap_or(u64::MAX)));
        parts
    }
}

//! What Meta sends, as far as it is read, and the names that this connector gives to events.
//!
//! New fields and kinds appear at any time, so unknown ones are ignored, and the parts of an event are read one by one
//! from [`Parts`]: one that cannot be read does not take the others with it. Nothing here knows neutral values.

use mantle_sdk::connector::Malformed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The keys of an object, each read by itself.
pub struct Parts<'a> {
    fields: &'a Map<String, Value>,
    place: String,
}

impl<'a> Parts<'a> {
    /// `place` is where the object stands: `entry[0].messaging[1]`.
    pub fn new(fields: &'a Map<String, Value>, place: impl Into<String>) -> Self {
        Self {
            fields,
            place: place.into(),
        }
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    /// None: absent, or unreadable and noted as such.
    pub fn take<T: DeserializeOwned>(&self, key: &str, unread: &mut Vec<Malformed>) -> Option<T> {
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        read(value, &format!("{}.{key}", self.place), unread)
    }

    /// The object below a key.
    pub fn below(&self, key: &str, unread: &mut Vec<Malformed>) -> Option<Parts<'a>> {
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        object(value, format!("{}.{key}", self.place), unread)
    }

    /// The items of a list, each with its place. Empty: absent, or no list and noted as such.
    pub fn items(&self, key: &str, unread: &mut Vec<Malformed>) -> Vec<(String, &'a Value)> {
        let Some(value) = self.fields.get(key).filter(|value| !value.is_null()) else {
            return Vec::new();
        };
        let place = format!("{}.{key}", self.place);
        let Some(items) = value.as_array() else {
            unread.push(Malformed::new(
                place,
                "It does not have the documented form: expected a list.",
            ));
            return Vec::new();
        };
        let places = (0..).map(|number: usize| format!("{place}[{number}]"));
        places.zip(items).collect()
    }
}

/// An item of a list as an object.
pub fn object<'a>(value: &'a Value, place: String, unread: &mut Vec<Malformed>) -> Option<Parts<'a>> {
    match value.as_object() {
        Some(fields) => Some(Parts::new(fields, place)),
        None => {
            unread.push(Malformed::new(
                place,
                "It does not have the documented form: expected an object.",
            ));
            None
        }
    }
}

pub fn read<T: DeserializeOwned>(value: &Value, place: &str, unread: &mut Vec<Malformed>) -> Option<T> {
    // Nothing that is read this way is a list, but a list can be taken for the fields of a record, in order.
    if value.is_array() {
        unread.push(Malformed::new(
            place,
            "It does not have the documented form: expected no list.",
        ));
        return None;
    }
    // By way of an owned value, as all that Meta sends is read: one way of reading keeps the component small.
    serde_json::from_value(value.clone())
        .map_err(|error| unread.push(Malformed::new(place, unreadable(&error))))
        .ok()
}

/// Without the value that was found: it may be what a customer wrote.
pub fn unreadable(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.split_once(", expected ") {
        // The names of our records say nothing to anybody else.
        Some((_, expected)) if expected.starts_with("struct ") => {
            "It does not have the documented form: expected an object.".to_owned()
        }
        Some((_, expected)) => format!("It does not have the documented form: expected {expected}."),
        None => format!("It does not have the documented form: {words}."),
    }
}

#[derive(Deserialize)]
pub struct Party {
    #[serde(default)]
    pub id: Loose,
}

#[derive(Deserialize)]
pub struct QuickReply {
    #[serde(default)]
    pub payload: Loose,
}

#[derive(Deserialize)]
pub struct ReplyTo {
    #[serde(default)]
    pub mid: Loose,
    pub story: Option<Story>,
}

#[derive(Deserialize)]
pub struct Story {
    pub url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Referral {
    /// The mark of the link or ad.
    #[serde(rename = "ref")]
    pub mark: Loose,
    pub source: Option<String>,
    pub ad_id: Loose,
    pub referer_uri: Option<String>,
    pub ads_context_data: Option<AdContext>,
    pub product: Option<ReferredProduct>,
}

#[derive(Deserialize)]
pub struct AdContext {
    pub ad_title: Option<String>,
}

#[derive(Deserialize)]
pub struct ReferredProduct {
    #[serde(default)]
    pub id: Loose,
}

#[derive(Deserialize)]
pub struct Attachment {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub payload: Option<Payload>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Payload {
    pub url: Option<String>,
    pub title: Option<String>,
    pub text: Option<String>,
    pub product: Option<Products>,
    pub elements: Vec<Element>,
}

#[derive(Deserialize)]
pub struct Products {
    #[serde(default)]
    pub elements: Vec<Element>,
}

#[derive(Deserialize)]
pub struct Element {
    pub title: Option<String>,
    pub subtitle: Option<String>,
}

#[derive(Deserialize)]
pub struct Edited {
    pub mid: Id,
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub num_edit: Loose,
}

#[derive(Deserialize)]
pub struct Reacted {
    pub mid: Id,
    #[serde(default)]
    pub action: String,
    /// Meta's word for it; `emoji` is the sign itself.
    pub reaction: Option<String>,
    pub emoji: Option<String>,
}

#[derive(Deserialize)]
pub struct Postback {
    #[serde(default)]
    pub mid: Loose,
    pub title: Option<String>,
    #[serde(default)]
    pub payload: Loose,
}

#[derive(Deserialize)]
pub struct OptIn {
    pub title: Option<String>,
    #[serde(rename = "ref", default)]
    pub mark: Loose,
}

#[derive(Deserialize)]
pub struct Seen {
    /// This message and all before it.
    pub mid: Id,
}

#[derive(Deserialize)]
pub struct ThreadControl {
    #[serde(default)]
    pub previous_owner_app_id: Loose,
    #[serde(default)]
    pub new_owner_app_id: Loose,
    #[serde(default)]
    pub requested_owner_app_id: Loose,
}

/// The error of an answer.
#[derive(Deserialize, Default, Clone)]
pub struct Problem {
    #[serde(default)]
    pub code: i64,
    /// 0: none.
    #[serde(default)]
    pub error_subcode: i64,
    #[serde(default)]
    pub is_transient: bool,
    pub message: Option<String>,
    pub error_user_msg: Option<String>,
}

impl Problem {
    /// The most telling words that the provider gives.
    pub fn words(&self) -> Option<&str> {
        [self.message.as_deref(), self.error_user_msg.as_deref()]
            .into_iter()
            .flatten()
            .find(|words| !words.trim().is_empty())
    }

    /// `10/2018278`, or `190` where there is no subcode.
    pub fn name(&self) -> String {
        match self.error_subcode {
            0 => self.code.to_string(),
            subcode => format!("{}/{subcode}", self.code),
        }
    }
}

/// An id or a count: text here, a number of up to 64 bits there, empty or absent elsewhere.
#[derive(Default)]
pub struct Loose(pub Option<String>);

impl std::ops::Deref for Loose {
    type Target = Option<String>;

    fn deref(&self) -> &Option<String> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(Self(None)),
            Value::String(text) => Ok(Self(Some(text).filter(|text| !text.trim().is_empty()))),
            Value::Number(number) => Ok(Self(Some(number.to_string()))),
            _ => Err(serde::de::Error::custom("expected text or a number")),
        }
    }
}

/// An id that must be there: without it the item says nothing.
pub struct Id(pub String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let told = Loose::deserialize(from)?;
        told.0
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected the id of a message"))
    }
}

/// What stands before the names of messages that Meta does not name.
const UNNAMED: [&str; 3] = ["postback:", "referral:", "optin:"];

/// Meta's own id within the name of a message: what quotes and reactions may point at. None: the name is ours alone.
pub fn mid(name: &str) -> Option<&str> {
    let named = !UNNAMED.iter().any(|prefix| name.starts_with(prefix));
    name.split(':').next().filter(|mid| named && !mid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::mid;

    #[test]
    fn only_metas_own_ids_are_told_to_meta() {
        assert_eq!(mid("aWdA"), Some("aWdA"));
        assert_eq!(mid("aWdA:edit:2"), Some("aWdA"));
        assert_eq!(mid("referral:7013925541234567:1795000000045"), None);
        assert_eq!(mid(""), None);
    }
}

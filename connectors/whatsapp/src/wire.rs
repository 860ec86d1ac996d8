//! What Meta sends, as far as it is read. Every part of a message is optional here: the provider leaves out
//! phone numbers, contacts, captions and whole bodies, and one odd item must not cost the rest of a batch.
//! Items of a batch stay raw JSON until their own turn. Nothing here knows neutral values.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Deserialize)]
pub struct Envelope {
    #[serde(default)]
    pub object: String,
    #[serde(default)]
    pub entry: Vec<Value>,
}

#[derive(Deserialize)]
pub struct Entry {
    /// The WhatsApp Business Account.
    #[serde(default)]
    pub id: Loose,
    /// Seconds; only account events have it.
    #[serde(default)]
    pub time: Loose,
    #[serde(default)]
    pub changes: Vec<Value>,
}

#[derive(Deserialize)]
pub struct Change {
    pub field: String,
    #[serde(default)]
    pub value: Value,
}

/// `value` of the fields `messages` and `smb_message_echoes`.
#[derive(Deserialize)]
pub struct Traffic {
    pub metadata: Option<Metadata>,
    #[serde(default)]
    pub contacts: Vec<Value>,
    #[serde(default)]
    pub messages: Vec<Value>,
    #[serde(default)]
    pub message_echoes: Vec<Value>,
    #[serde(default)]
    pub statuses: Vec<Value>,
    #[serde(default)]
    pub errors: Vec<Problem>,
}

#[derive(Deserialize, Default)]
pub struct Metadata {
    #[serde(default)]
    pub display_phone_number: Loose,
    #[serde(default)]
    pub phone_number_id: Loose,
}

#[derive(Deserialize, Default)]
pub struct Contact {
    #[serde(default)]
    pub profile: Profile,
    #[serde(default)]
    pub wa_id: Loose,
    #[serde(default)]
    pub user_id: Loose,
    #[serde(default)]
    pub parent_user_id: Loose,
}

#[derive(Deserialize, Default)]
pub struct Profile {
    pub name: Option<String>,
    pub username: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Message {
    pub id: Loose,
    pub from: Loose,
    pub from_user_id: Option<String>,
    pub from_parent_user_id: Option<String>,
    /// Echoes only.
    pub to: Loose,
    pub to_user_id: Option<String>,
    pub to_parent_user_id: Option<String>,
    /// Seconds, as text.
    pub timestamp: Loose,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub group_id: Loose,
    pub context: Option<Context>,
    pub referral: Option<Referral>,
    pub errors: Vec<Problem>,

    pub text: Option<Text>,
    pub image: Option<Media>,
    pub video: Option<Media>,
    pub audio: Option<Media>,
    pub document: Option<Media>,
    pub sticker: Option<Media>,
    pub location: Option<Location>,
    pub contacts: Option<Vec<Card>>,
    pub reaction: Option<Reaction>,
    pub interactive: Option<Interactive>,
    pub button: Option<Button>,
    pub order: Option<Order>,
    pub edit: Option<Edit>,
    pub revoke: Option<Revoke>,
    pub system: Option<System>,
    pub unsupported: Option<Unsupported>,
}

#[derive(Deserialize)]
pub struct Text {
    #[serde(default)]
    pub body: String,
}

#[derive(Deserialize)]
pub struct Media {
    #[serde(default)]
    pub id: Loose,
    pub mime_type: Option<String>,
    pub filename: Option<String>,
    pub caption: Option<String>,
    #[serde(default)]
    pub voice: bool,
}

#[derive(Deserialize)]
pub struct Location {
    #[serde(deserialize_with = "number")]
    pub latitude: f64,
    #[serde(deserialize_with = "number")]
    pub longitude: f64,
    pub name: Option<String>,
    pub address: Option<String>,
}

#[derive(Deserialize)]
pub struct Card {
    #[serde(default)]
    pub name: CardName,
    #[serde(default)]
    pub phones: Vec<CardPhone>,
    #[serde(default)]
    pub emails: Vec<CardEmail>,
    #[serde(default)]
    pub org: CardOrganization,
}

#[derive(Deserialize, Default)]
pub struct CardName {
    pub formatted_name: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
}

#[derive(Deserialize)]
pub struct CardPhone {
    pub phone: Option<String>,
    #[serde(default)]
    pub wa_id: Loose,
}

#[derive(Deserialize)]
pub struct CardEmail {
    pub email: Option<String>,
}

#[derive(Deserialize, Default)]
pub struct CardOrganization {
    pub company: Option<String>,
}

#[derive(Deserialize)]
pub struct Reaction {
    pub message_id: Id,
    /// Absent or empty: taken back.
    pub emoji: Option<String>,
}

#[derive(Deserialize)]
pub struct Interactive {
    pub button_reply: Option<Reply>,
    pub list_reply: Option<Reply>,
    pub nfm_reply: Option<FormReply>,
    pub call_permission_reply: Option<CallPermission>,
}

#[derive(Deserialize)]
pub struct Reply {
    #[serde(default)]
    pub id: Loose,
    pub title: Option<String>,
}

#[derive(Deserialize)]
pub struct FormReply {
    pub body: Option<String>,
    /// JSON inside a string, mostly an object.
    pub response_json: Option<String>,
}

#[derive(Deserialize)]
pub struct CallPermission {
    pub response: Option<String>,
}

#[derive(Deserialize)]
pub struct Button {
    pub text: Option<String>,
    pub payload: Option<String>,
}

#[derive(Deserialize)]
pub struct Order {
    pub text: Option<String>,
    #[serde(default)]
    pub product_items: Vec<OrderItem>,
}

#[derive(Deserialize)]
pub struct OrderItem {
    #[serde(default)]
    pub product_retailer_id: Loose,
    #[serde(default)]
    pub quantity: Loose,
    #[serde(default)]
    pub item_price: Loose,
    pub currency: Option<String>,
}

#[derive(Deserialize)]
pub struct Edit {
    pub original_message_id: Id,
    pub message: Option<Box<Message>>,
}

#[derive(Deserialize)]
pub struct Revoke {
    pub original_message_id: Id,
}

#[derive(Deserialize)]
pub struct System {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub body: Option<String>,
    #[serde(default)]
    pub wa_id: Loose,
    /// The name that older events use for `wa_id`.
    #[serde(default)]
    pub new_wa_id: Loose,
    pub user_id: Option<String>,
    pub parent_user_id: Option<String>,
}

#[derive(Deserialize)]
pub struct Unsupported {
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Deserialize)]
pub struct Context {
    #[serde(default)]
    pub id: Loose,
    #[serde(default)]
    pub forwarded: bool,
    #[serde(default)]
    pub frequently_forwarded: bool,
    pub referred_product: Option<Product>,
}

#[derive(Deserialize)]
pub struct Product {
    #[serde(default)]
    pub catalog_id: Loose,
    #[serde(default)]
    pub product_retailer_id: Loose,
}

#[derive(Deserialize)]
pub struct Referral {
    pub source_url: Option<String>,
    pub source_type: Option<String>,
    #[serde(default)]
    pub source_id: Loose,
    pub headline: Option<String>,
    pub body: Option<String>,
}

/// One error, in a webhook or in an answer. Some put `details` beside `title`.
#[derive(Deserialize, Default, Clone)]
pub struct Problem {
    #[serde(default)]
    pub code: i64,
    #[serde(default)]
    pub is_transient: bool,
    pub title: Option<String>,
    pub message: Option<String>,
    pub details: Option<String>,
    pub error_data: Option<ProblemData>,
}

#[derive(Deserialize, Clone)]
pub struct ProblemData {
    pub details: Option<String>,
}

impl Problem {
    /// The most telling words that the provider gives.
    pub fn words(&self) -> Option<&str> {
        let data = self.error_data.as_ref().and_then(|data| data.details.as_deref());
        [
            data,
            self.details.as_deref(),
            self.message.as_deref(),
            self.title.as_deref(),
        ]
        .into_iter()
        .flatten()
        .find(|words| !words.trim().is_empty())
    }
}

#[derive(Deserialize)]
pub struct Status {
    #[serde(default)]
    pub id: Loose,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub timestamp: Loose,
    #[serde(default)]
    pub biz_opaque_callback_data: Loose,
    #[serde(default)]
    pub recipient_participant_id: Loose,
    pub recipient_participant_user_id: Option<String>,
    /// Another name of the participant that the documents print.
    #[serde(default)]
    pub participant_recipient_id: Loose,
    #[serde(default)]
    pub errors: Vec<Problem>,
}

/// An id or a count: text here, a number there, empty or absent elsewhere. A type of its own and not a function on
/// each field, so that the generated code is there once.
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
            Value::String(text) => Ok(Self(Some(text).filter(|text| !text.is_empty()))),
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

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(from)?;
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
        .ok_or_else(|| serde::de::Error::custom("expected a number"))
}

//! What comes from a provider, in neutral form. Mirrors `wit/values.wit`.

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::failure::{Cause, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AliasKind {
    /// The provider's own lasting id of the person.
    Id,
    /// An id of the same person in a wider scope.
    ParentId,
    /// E.164, with the plus sign.
    Phone,
    /// Changeable; shown, never used to find somebody.
    Handle,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alias {
    pub kind: AliasKind,
    pub value: String,
}

impl Alias {
    pub fn new(kind: AliasKind, value: impl Into<String>) -> Self {
        Self {
            kind,
            value: value.into(),
        }
    }
}

/// The person on the other side of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub aliases: Vec<Alias>,
    pub name: Option<String>,
    pub language: Option<String>,
}

impl Person {
    /// The value of the first alias of this kind.
    #[must_use]
    pub fn alias(&self, kind: AliasKind) -> Option<&str> {
        first_alias(&self.aliases, kind)
    }

    /// How a team would call the person when there is no name.
    #[must_use]
    pub fn label(&self) -> &str {
        display_alias(&self.aliases)
    }
}

/// The value of the first alias of this kind.
#[must_use]
pub fn first_alias(aliases: &[Alias], kind: AliasKind) -> Option<&str> {
    aliases
        .iter()
        .find(|alias| alias.kind == kind)
        .map(|alias| alias.value.as_str())
}

/// The alias people recognise: phone, then handle, then id.
#[must_use]
pub fn display_alias(aliases: &[Alias]) -> &str {
    [AliasKind::Phone, AliasKind::Handle, AliasKind::Id, AliasKind::ParentId]
        .into_iter()
        .find_map(|kind| first_alias(aliases, kind))
        .unwrap_or("unknown")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: String,
    pub title: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chat {
    Direct,
    Group(Group),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    Customer,
    /// A colleague who answered in the provider's own app, by the app's name.
    NativeApp(String),
    /// This host's own message, told again.
    Ourselves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentKind {
    Image,
    Audio,
    Voice,
    Video,
    Document,
    Sticker,
}

impl AttachmentKind {
    /// How the kind is called in a conversation: `[image]`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Voice => "voice message",
            Self::Video => "video",
            Self::Document => "file",
            Self::Sticker => "sticker",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub kind: AttachmentKind,
    /// For the connector's `fetch`; opaque here.
    pub source: String,
    pub name: Option<String>,
    pub content_type: Option<String>,
    pub bytes: Option<u64>,
    pub duration_ms: Option<u32>,
    pub caption: Option<String>,
    pub emoji: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    pub latitude: f64,
    pub longitude: f64,
    pub name: Option<String>,
    pub address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactCard {
    pub name: String,
    pub phones: Vec<String>,
    pub emails: Vec<String>,
    pub organization: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    pub target: String,
    /// None: taken back.
    pub emoji: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    pub target: String,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub label: String,
    pub payload: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Text(String),
    Attachment(Attachment),
    Location(Location),
    Contact(ContactCard),
    Reaction(Reaction),
    Edit(Edit),
    /// Provider id of the message that the customer took back.
    Deletion(String),
    Choice(Choice),
    /// One readable line for what has no form of its own.
    Line(String),
    /// The kind, in a word or two.
    Unsupported(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    pub id: Option<String>,
    pub text: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referral {
    pub summary: String,
    pub url: Option<String>,
    pub id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The provider's id of the message.
    pub id: String,
    pub person: Person,
    pub chat: Chat,
    pub author: Author,
    /// In the order to show; never empty.
    pub content: Vec<Content>,
    pub quote: Option<Quote>,
    pub referral: Option<Referral>,
    pub forwarded: bool,
    /// For [`Author::Ourselves`]: the id we gave when sending.
    pub correlation: Option<String>,
}

/// What a provider says became of a message, in rising order; see [`crate::delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryReport {
    Sent,
    Delivered,
    Read,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub message_id: String,
    pub correlation: Option<String>,
    pub report: DeliveryReport,
    /// Set for [`DeliveryReport::Failed`].
    pub refusal: Option<Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    Reachable,
    Blocked,
    OptedOut,
    OptedIn,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachability {
    pub person: Person,
    pub reach: Reach,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityChange {
    pub was: Vec<Alias>,
    pub now: Vec<Alias>,
    pub summary: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeLevel {
    Info,
    Warning,
    /// The channel cannot work until somebody acts.
    Broken,
}

/// Something about the account or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub level: NoticeLevel,
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "most events are messages: a box would cost an allocation each and save room for the few others"
)]
pub enum EventBody {
    Message(Message),
    Status(Status),
    Reachability(Reachability),
    IdentityChange(IdentityChange),
    Notice(Notice),
}

impl EventBody {
    /// Whose lane the event belongs to: the aliases that find the identity. None for account affairs and statuses.
    #[must_use]
    pub fn person(&self) -> Option<&Person> {
        match self {
            Self::Message(message) => Some(&message.person),
            Self::Reachability(reachability) => Some(&reachability.person),
            Self::Status(_) | Self::IdentityChange(_) | Self::Notice(_) => None,
        }
    }
}

/// One thing that happened at the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique within the channel, the same when told again.
    pub key: String,
    /// The provider's time.
    pub at: Time,
    /// The provider's id of the account it belongs to, when told.
    pub account: Option<String>,
    pub body: EventBody,
}

/// One item of a batch that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed {
    pub place: String,
    pub problem: String,
}

//! What goes to a provider, in neutral form. Mirrors `wit/values.wit`.

use serde::{Deserialize, Serialize};

use crate::ids::MediaId;
use crate::inbound::{Alias, AttachmentKind, Location, Reaction};
use crate::text::RichText;

/// A file in the host's keeping, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub media: MediaId,
    /// A safe name with an extension.
    pub name: String,
    /// By the bytes.
    pub content_type: String,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingAttachment {
    pub file: File,
    pub kind: AttachmentKind,
    pub caption: Option<RichText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateParameter {
    Text(String),
    Media(OutgoingAttachment),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateValue {
    /// `header`, `body`, `button:0` …
    pub place: String,
    pub name: Option<String>,
    pub parameter: TemplateParameter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateUse {
    pub name: String,
    pub language: String,
    pub values: Vec<TemplateValue>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutgoingContent {
    Text(RichText),
    Attachment(OutgoingAttachment),
    Template(TemplateUse),
    Location(Location),
    Reaction(Reaction),
}

/// One provider message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The same on every attempt; some providers return it in statuses.
    pub id: String,
    pub recipient: Vec<Alias>,
    pub group_id: Option<String>,
    pub content: OutgoingContent,
    /// Provider id of the message answered to.
    pub reply_to: Option<String>,
}

/// What a provider shows of a message whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// All that are equal to it since it was announced, oldest first; none is one too.
    Made(Vec<Sent>),
    /// The provider cannot be asked about this one.
    CannotTell,
}

/// The provider has taken the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The provider's id, the one that statuses will name.
    pub id: String,
    /// Aliases of the recipient told in the answer.
    pub aliases: Vec<Alias>,
}

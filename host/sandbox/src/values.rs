//! What goes into a call and what comes out of it, in the words of the host.

use std::collections::BTreeMap;

use mantle_model::failure::Failure;
use mantle_model::hook::Answer;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Event, Malformed, Notice};
use mantle_model::secret::Secrets;

use crate::shelf::ShelfFile;

/// Everything a call needs to know of its channel.
#[derive(Debug, Clone)]
pub struct ChannelContext {
    pub channel: ChannelId,
    /// Fields of the set-up form that are not secret.
    pub fields: BTreeMap<String, String>,
    /// The channel's own secrets, then those of its plugin for names it left out.
    pub secrets: Secrets,
    /// Public address of the channel's hook, without a fragment.
    pub hook_url: String,
}

/// What `receive` made of a hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    pub events: Vec<Event>,
    pub malformed: Vec<Malformed>,
    /// None: the manifest's answer.
    pub answer: Option<Answer>,
}

/// What the host's recipe says of a hook, before any guest code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Genuine,
    /// A handshake; this is the answer and nothing else happens.
    Challenge(Answer),
    /// Answer 401: nothing proves it. The word is for the counter.
    Forged {
        why: &'static str,
    },
    /// Answer 401: it was made with another secret than the one of this name. Forged, or the name has a wrong value.
    Misfit {
        secret: String,
        why: &'static str,
    },
    /// Answer 405.
    WrongMethod,
}

/// How a call into a connector ended badly.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The connector answered with an error of its own: the provider's or its own reading.
    #[error(transparent)]
    Provider(#[from] Failure),
    /// `receive` cannot read the hook.
    #[error("the connector cannot read the hook: {0}")]
    Malformed(String),
    /// The field of the set-up form that is wrong.
    #[error("{field}: {message} ({code})")]
    Field {
        field: String,
        code: String,
        message: String,
    },
    /// Trap, panic, stack overflow, out of memory.
    #[error("the connector crashed: {0}")]
    Trapped(String),
    #[error("the connector used more than {0} ms of CPU")]
    CpuExceeded(u64),
    #[error("the connector took longer than {0} ms")]
    TimedOut(u64),
    /// What came back breaks the rules of the interface.
    #[error("the connector answered nonsense: {0}")]
    Garbage(String),
    /// Nothing ran: too many calls are under way. Ask again in a second or so.
    #[error("too many calls of {0} are under way")]
    Busy(Crowd),
    /// The connector does not export the interface.
    #[error("the connector has no {0}")]
    Unsupported(&'static str),
}

/// Whose calls are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowd {
    #[error("this connector")]
    Plugin,
    #[error("all connectors")]
    Host,
}

/// Who the credentials belong to; see `lifecycle.identify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAccount {
    pub external_id: String,
    pub name: String,
    pub foreign_webhook: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Connected,
    Pending,
    Offline,
    Disconnected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    pub health: Health,
    pub notices: Vec<Notice>,
}

/// What a connector can do beyond `receive` and `send`, by the interfaces it exports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    pub lifecycle: bool,
    pub inbound_media: bool,
    pub reconcile: bool,
    pub profile: bool,
    pub templates: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template {
    pub id: String,
    pub name: String,
    pub language: String,
    pub category: String,
    /// `approved`, `pending`, `rejected`, `paused`, `disabled`
    pub state: String,
    pub reason: Option<String>,
    /// `none`, `text`, `image`, `video`, `document`, `location`
    pub header: String,
    pub header_text: Option<String>,
    pub header_variables: Vec<String>,
    pub body: String,
    pub body_variables: Vec<String>,
    pub footer: Option<String>,
    pub buttons: Vec<TemplateButton>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TemplateButton {
    pub kind: String,
    pub text: String,
    pub variables: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: Option<String>,
    pub avatar: Option<ShelfFile>,
}

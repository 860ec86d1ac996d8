//! The customer platform: contacts, conversations, parts, webhooks, behind one trait.
//!
//! Invariants: a rule of one inbox stands in its own module; every write tells whether it was surely done,
//! surely not, or perhaps; ids of the inbox are opaque text to everybody else; foreign text is escaped
//! before it becomes HTML. Knows nothing of providers, lanes or the database.

pub mod intercom;

pub use intercom::{Intercom, IntercomConfig};

use std::collections::BTreeMap;

use async_trait::async_trait;
use mantle_egress::ByteStream;
use mantle_model::clock::Time;
use mantle_model::failure::Failure;
use mantle_model::inbound::Person;
use mantle_model::secret::Secret;
use mantle_model::text::RichText;

/// What a call needs to know of the workspace.
#[derive(Debug, Clone)]
pub struct Access {
    pub token: Secret,
    /// As returned by [`Inbox::connect`].
    pub facts: BTreeMap<String, String>,
}

/// What the platform says of a workspace when it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub platform_id: String,
    pub name: String,
    pub facts: BTreeMap<String, String>,
    /// The teammate whose token it is: shown as "Added by", and the first default operator.
    pub added_by: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    pub id: String,
    pub name: String,
    pub email: Option<String>,
    /// Active and with a seat: may be named as author.
    pub usable: bool,
}

/// What a channel is called in contact attributes and on conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLabel {
    /// `telegram`: part of attribute names.
    pub attribute: String,
    /// `Telegram`
    pub title: String,
    /// `@shop_bot`: the line that was written to.
    pub account: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub id: String,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactMatch {
    pub chosen: Option<Contact>,
    /// Others that matched as well, for one note: (id, readable name).
    pub others: Vec<(String, String)>,
}

/// A file on its way into the inbox.
pub struct Upload {
    pub name: String,
    pub content_type: String,
    pub bytes: u64,
    pub body: ByteStream,
}

/// The first message of a conversation or a further one, as the contact.
pub struct Part<'a> {
    pub contact: &'a str,
    /// Plain text, shown byte for byte. Empty only with files.
    pub text: &'a str,
    pub files: Vec<Upload>,
    /// The provider's time; cut to what the platform takes.
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub conversation: String,
    /// The platform's id of the first message, where it tells.
    pub part: Option<String>,
}

/// How a write or read at the platform ended badly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The conversation is not there any more.
    #[error("the conversation does not exist")]
    ConversationGone,
    /// The contact is not there any more.
    #[error("the contact does not exist")]
    ContactGone,
    /// The contact lives on under another id.
    #[error("the contact was merged into {into}")]
    ContactMerged { into: String },
}

/// What is looked for when the outcome of a write is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    pub contact: String,
    /// A note or comment, not the contact's words. In whose name it was made is not known for sure, and its time is
    /// the inbox's own: `at` is when it was announced.
    pub as_team: bool,
    /// None: the write was the opening of a conversation.
    pub conversation: Option<String>,
    pub text: String,
    pub files: Vec<String>,
    pub at: Time,
    /// How many writes with the same text, time and files we know to have arrived already.
    pub known_equal: u32,
    /// For an opening: conversations that are accounted for and cannot be the one.
    pub except: Vec<String>,
}

/// A verified webhook of the platform, in neutral words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEvent {
    /// Finds the workspace.
    pub platform_id: String,
    /// The same when told again.
    pub key: String,
    pub at: Time,
    pub body: InboxEventBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEventBody {
    /// Somebody of the team, or a bot, wrote. Notes are not among them.
    Reply {
        conversation: String,
        part: String,
        author: Author,
        text: String,
    },
    /// The customer wrote in the platform's own messenger, not through us.
    ContactWrote {
        conversation: String,
        part: String,
    },
    ConversationDeleted {
        conversation: String,
    },
    ContactMerged {
        from: String,
        into: String,
    },
    ContactDeleted {
        contact: String,
    },
    /// Nothing to do (ping, notes, tags …); the topic is for the counter.
    Other {
        topic: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    Teammate { id: String, name: Option<String> },
    Bot,
}

/// A reply as it stands in the platform, read afresh.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub part: String,
    pub author: Author,
    pub text: RichText,
    pub attachments: Vec<ReplyFile>,
    pub at: Time,
    /// What the team, or a bot, wrote to the customer before it in the conversation, oldest first.
    pub earlier: Vec<Spoken>,
}

/// Words of the team among others of a conversation, as a webhook tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    pub part: String,
    pub author: Author,
    pub text: String,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyFile {
    pub name: String,
    /// Short-lived.
    pub url: String,
    /// Claimed, not proven.
    pub content_type: Option<String>,
    pub bytes: Option<u64>,
}

/// Since when a conversation is at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quiet {
    /// None: it is open, or comes back by itself.
    pub closed_at: Option<Time>,
    /// When somebody last wrote in it that the customer can read, or the customer did.
    pub spoken_at: Option<Time>,
}

/// The answer to a search for a part in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    Reply(Box<Reply>),
    /// Nothing for the customer: a note, redacted, empty.
    Silent,
    /// The part is not there (yet).
    Missing,
}

/// A page of conversations that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// In no certain order.
    pub conversations: Vec<ChangedConversation>,
    /// For the next page; None: that was all.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedConversation {
    pub id: String,
    pub at: Time,
}

/// In whose name an administrative write was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub part: Option<String>,
    /// Set when the configured operator could not be used: who was taken instead.
    pub fell_back_to: Option<Operator>,
}

/// The name in which notes and other administrative writes are made, in order of choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voice {
    pub explicit: Option<String>,
    pub default_operator: Option<String>,
}

#[async_trait]
pub trait Inbox: Send + Sync {
    /// Finds out whose token it is and prepares the workspace (attributes). Repeatable.
    async fn connect(&self, token: &Secret) -> Result<Profile, InboxError>;

    /// Attributes that a channel of this label needs. Repeatable.
    async fn prepare_channel(&self, access: &Access, label: &ChannelLabel) -> Result<(), InboxError>;

    async fn operators(&self, access: &Access) -> Result<Vec<Operator>, InboxError>;

    /// Searches by every spelling of the phone, or by the attribute of the platform id.
    async fn find_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
        prefer_users: bool,
    ) -> Result<ContactMatch, InboxError>;

    async fn create_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
    ) -> Result<Contact, InboxError>;

    /// The name, if it is still the one we wrote (`written_name`), and attributes that are missing.
    async fn refresh_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        contact: &str,
        person: &Person,
        written_name: Option<&str>,
    ) -> Result<Contact, InboxError>;

    /// Keeps on the contact where the person first came from; what stands there already stays. Called once per
    /// first conversation; best effort, repeatable.
    async fn mark_origin(&self, access: &Access, contact: &str, origin: &str) -> Result<(), InboxError>;

    async fn open_conversation(&self, access: &Access, part: Part<'_>) -> Result<Opened, InboxError>;

    /// Shows channel and customer on the conversation; best effort, repeatable.
    async fn label_conversation(
        &self,
        access: &Access,
        conversation: &str,
        label: &ChannelLabel,
        person: &Person,
        tag: bool,
    ) -> Result<(), InboxError>;

    /// A further message of the customer. Reopens a closed conversation. Answers with the part's id.
    async fn append(&self, access: &Access, conversation: &str, part: Part<'_>) -> Result<Option<String>, InboxError>;

    /// Since when the conversation is at rest.
    async fn quiet_since(&self, access: &Access, conversation: &str) -> Result<Quiet, InboxError>;

    /// An internal note; `html` is ours and escaped.
    async fn note(&self, access: &Access, conversation: &str, voice: &Voice, html: &str)
    -> Result<Written, InboxError>;

    /// A message of the team that was written elsewhere (native app), as an operator.
    async fn comment(
        &self,
        access: &Access,
        conversation: &str,
        voice: &Voice,
        text: &str,
        files: Vec<Upload>,
    ) -> Result<Written, InboxError>;

    /// Looks for a write of unknown outcome. None: not there.
    async fn locate(&self, access: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError>;

    async fn fetch_reply(&self, access: &Access, conversation: &str, part: &str) -> Result<Fetched, InboxError>;

    /// Conversations of the workspace that changed at this time or later, a page at a time. Called about once a
    /// minute.
    async fn changed_conversations(
        &self,
        access: &Access,
        since: Time,
        page: Option<&str>,
    ) -> Result<Changed, InboxError>;

    /// What webhooks told, or should have told, of the words in a conversation: oldest first, under the same keys.
    async fn told_in(
        &self,
        access: &Access,
        platform_id: &str,
        conversation: &str,
    ) -> Result<Vec<InboxEvent>, InboxError>;

    /// Starts a download of a reply's file.
    async fn download(&self, file: &ReplyFile) -> Result<ByteStream, InboxError>;

    /// Whether the webhook is the platform's. False as well when no client secret is configured.
    fn verify_webhook(&self, headers: &[(String, String)], body: &[u8]) -> bool;

    /// # Errors
    /// A readable problem: the webhook is kept for a person.
    fn parse_webhook(&self, body: &[u8]) -> Result<Vec<InboxEvent>, String>;

    /// A page of a person's profile or conversation in the platform, for links in notes and pages.
    fn conversation_url(&self, platform_id: &str, facts: &BTreeMap<String, String>, conversation: &str) -> String;
}

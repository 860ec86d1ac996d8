//! What the front asks of the stories behind it, in its own words.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use mantle_flow::HookAnswer;
use mantle_flow::outbound::resend::Offer;
use mantle_model::hook::{Hook, Overload};
use mantle_model::ids::{ChannelId, MediaId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::Notice;
use mantle_model::secret::Secret;
use mantle_store::directory::{Channel, ChannelSettings, Workspace, WorkspaceSettings};

use crate::api::channels::Condition;
use crate::api::plugins::PluginBody;
use crate::api::templates::TemplateBody;

/// Why something asked for was not done. The case decides the status, `message` is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// 404
    #[error("{0}")]
    NotFound(String),
    /// 422: the caller's words are wrong.
    #[error("{message}")]
    Invalid {
        field: Option<String>,
        code: String,
        message: String,
    },
    /// 409: taken, or not possible in the present state.
    #[error("{message}")]
    Conflict { code: String, message: String },
    /// 502: the provider or inbox did not do it.
    #[error("{message}")]
    Outside { code: String, message: String },
    /// 503: not now.
    #[error("{0}")]
    Unavailable(String),
}

/// A channel to connect.
#[derive(Debug)]
pub struct ChannelDraft {
    pub workspace: WorkspaceId,
    pub plugin: String,
    pub name: String,
    /// All fields of the set-up form, secret or not.
    pub fields: BTreeMap<String, Secret>,
    /// Take the webhook over although another system has it.
    pub take_over: bool,
    pub settings: ChannelSettings,
}

/// What to change of a channel; None and absent fields stay.
#[derive(Debug, Default)]
pub struct ChannelEdit {
    pub name: Option<String>,
    pub fields: BTreeMap<String, Secret>,
    pub settings: Option<ChannelSettings>,
}

/// What to change of a workspace.
#[derive(Debug, Default)]
pub struct WorkspaceEdit {
    pub access_token: Option<Secret>,
    pub settings: Option<WorkspaceSettings>,
}

/// A file to be served.
pub struct OpenFile {
    pub name: Option<String>,
    /// By the bytes.
    pub content_type: String,
    pub bytes: u64,
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
}

/// What `plugins.toml` came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Empty: the file as it stands is in use.
    pub problems: Vec<String>,
}

/// The stories behind the front: the host implements it, the front's own tests do.
#[async_trait]
pub trait Desk: Send + Sync {
    /// How the plugin's provider treats a hook that is not taken. None: there is no such plugin. Asked before each
    /// hook is read: cheap, and without waiting.
    fn overload(&self, plugin: &str) -> Option<Overload>;
    /// A hook was refused before it was looked at; to be counted.
    fn shed(&self, channel: Option<&str>, reason: &'static str);
    /// The same for a webhook of Intercom.
    fn shed_intercom(&self, reason: &'static str);

    /// A provider called. `channel` is the text of the address: it may name none of ours.
    async fn hook(&self, plugin: &str, channel: Option<&str>, hook: Hook) -> HookAnswer;
    /// Intercom called.
    async fn intercom(&self, hook: Hook) -> HookAnswer;

    async fn connect_workspace(&self, access_token: Secret) -> Result<Workspace, DeskError>;
    async fn edit_workspace(&self, id: WorkspaceId, edit: WorkspaceEdit) -> Result<Workspace, DeskError>;
    /// Asks the inbox whether the token is still good, and keeps the answer.
    async fn check_workspace(&self, id: WorkspaceId) -> Result<Workspace, DeskError>;
    async fn archive_workspace(&self, id: WorkspaceId) -> Result<(), DeskError>;

    async fn plugins(&self) -> Vec<PluginBody>;
    /// Consents to what a version waits for. With a digest: to that version alone.
    async fn approve_plugin(&self, name: &str, digest: Option<&str>) -> Result<PluginBody, DeskError>;
    /// Returns to the version before.
    async fn roll_back_plugin(&self, name: &str) -> Result<PluginBody, DeskError>;
    fn configuration(&self) -> Configuration;
    /// What the provider calls for this channel.
    fn hook_url(&self, channel: &Channel) -> String;
    /// What the host itself has to say of the channel, beside its stored notices.
    fn notices(&self, channel: &Channel) -> Vec<Notice>;
    /// How the channel fares now: what is stored, and whether its connector is here. `heard`: something has come from
    /// its provider already.
    fn condition(&self, channel: &Channel, heard: bool) -> Condition;

    async fn connect_channel(&self, draft: ChannelDraft) -> Result<Channel, DeskError>;
    async fn edit_channel(&self, id: ChannelId, edit: ChannelEdit) -> Result<Channel, DeskError>;
    async fn archive_channel(&self, id: ChannelId) -> Result<(), DeskError>;
    /// Asks the provider how the channel is, and keeps the answer.
    async fn check_channel(&self, id: ChannelId) -> Result<Channel, DeskError>;
    async fn templates(&self, id: ChannelId) -> Result<Vec<TemplateBody>, DeskError>;

    async fn replay(&self, message: MessageId) -> Result<MessageId, DeskError>;
    /// Has a raw hook read again that no connector could read.
    async fn read_hook_again(&self, hook: ReceiptId) -> Result<(), DeskError>;

    /// What a link to send this attempt's message again offers; None: it is not there any more.
    async fn resend_offer(&self, attempt: MessageId) -> Result<Option<Offer>, DeskError>;
    /// None: it was sent again already, or there is nothing to send.
    async fn resend(&self, attempt: MessageId) -> Result<Option<MessageId>, DeskError>;
    async fn file(&self, id: MediaId) -> Result<Option<OpenFile>, DeskError>;
}

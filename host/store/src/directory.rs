//! Workspaces and channels with their settings and secrets. Secrets are encrypted at rest.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_model::inbound::Notice;
use mantle_model::secret::{Secret, Secrets};
use serde::{Deserialize, Serialize};

use crate::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    Intercom,
    Hubspot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceStatus {
    Active,
    /// The token was refused; inbound is stored and waits.
    Disconnected,
    /// The inbox does not answer or asks to wait; inbound is stored and goes on by itself.
    Waiting,
    Archived,
}

/// What an operator may set. New settings get a default, so old rows stay readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkspaceSettings {
    /// The inbox's id of the teammate in whose name we write when nobody else is named.
    pub default_operator: Option<String>,
    /// Among several matching contacts: users before leads (true), or only the newest (false).
    pub prefer_users: bool,
    /// Bot, Fin and workflow comments go out.
    pub send_bot_replies: bool,
    /// Conversations get a tag with the channel's title.
    pub tag_conversations: bool,
    /// A conversation is followed by a new one at this many parts.
    pub parts_max: u32,
    /// A customer who writes so many seconds after their conversation came to rest begins a new one; None: never.
    /// Left out of the row while nobody sets it, so that the release before this one can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_conversation_after: Option<u32>,
    /// What "came to rest" means.
    #[serde(skip_serializing_if = "Rest::is_default")]
    pub new_conversation_measure: Rest,
}

/// From when on a conversation counts as at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Since it was closed; one that is open is never at rest.
    #[default]
    SinceClosed,
    /// Since anybody wrote in it, closed or not.
    SinceLastMessage,
}

impl Rest {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            default_operator: None,
            prefer_users: true,
            send_bot_replies: true,
            tag_conversations: false,
            parts_max: 450,
            new_conversation_after: None,
            new_conversation_measure: Rest::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub platform: Platform,
    /// The inbox's name of it.
    pub name: String,
    /// The inbox's id of it; one workspace in one host at most.
    pub platform_id: String,
    /// Region or other facts that the inbox's code needs to call it.
    pub facts: BTreeMap<String, String>,
    pub status: WorkspaceStatus,
    /// Why and since when the status is what it is.
    pub status_cause: Option<String>,
    pub status_since: Time,
    pub added_by: String,
    pub settings: WorkspaceSettings,
    /// Something the operator should look at, such as a default operator who left.
    pub warning: Option<String>,
    pub token: Secret,
    pub created_at: Time,
    pub updated_at: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelStatus {
    /// Being set up; takes hooks already, since providers try them while connecting.
    Connecting,
    Connected,
    PendingVerification,
    Offline,
    Disconnected,
    Archived,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupPolicy {
    /// Group messages make no conversation; they are counted and hinted at.
    #[default]
    Refuse,
    Group,
}

/// What stands below a teammate's words when the customer reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    #[default]
    None,
    /// The teammate's name in the inbox, as a last line.
    Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelSettings {
    pub groups: GroupPolicy,
    pub signature: Signature,
    /// So many seconds after it was written a reply is not sent any more if the channel is away, or was away until
    /// then. Left out of the row while nobody changes it, so that the release before this one can read it.
    #[serde(skip_serializing_if = "is_held_for_default")]
    pub held_for: u32,
    /// The digest of the connector's version that this channel uses, whatever is newest. Left out as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}

/// Half an hour: what comes later the customer would not understand.
const HELD_FOR_DEFAULT: u32 = 30 * 60;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn is_held_for_default(seconds: &u32) -> bool {
    *seconds == HELD_FOR_DEFAULT
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            groups: GroupPolicy::default(),
            signature: Signature::default(),
            held_for: HELD_FOR_DEFAULT,
            pin: None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Channel {
    pub id: ChannelId,
    pub workspace: WorkspaceId,
    pub plugin: String,
    pub name: String,
    /// The provider's id of the bot, number or page; unique per plugin among channels that are not archived.
    pub external_id: String,
    /// How people know the account: `@shop_bot`.
    pub external_name: String,
    pub fields: BTreeMap<String, String>,
    /// The channel's own secrets; those of its plugin are not among them.
    pub secrets: Secrets,
    pub status: ChannelStatus,
    pub status_cause: Option<String>,
    pub status_since: Time,
    pub notices: Vec<Notice>,
    pub settings: ChannelSettings,
    /// Group messages refused so far.
    pub refused_groups: u64,
    pub created_at: Time,
    pub updated_at: Time,
}

/// Which parts of a channel to change; None leaves it.
#[derive(Debug, Clone, Default)]
pub struct ChannelChange {
    pub name: Option<String>,
    pub external_id: Option<String>,
    pub external_name: Option<String>,
    pub fields: Option<BTreeMap<String, String>>,
    pub secrets: Option<Secrets>,
    pub status: Option<(ChannelStatus, Option<String>)>,
    pub notices: Option<Vec<Notice>>,
    pub settings: Option<ChannelSettings>,
    /// Added to the count.
    pub refused_groups: u64,
}

/// What becomes of a secret that a renewed one takes the place of.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub until: Time,
    /// Values of one name, the one in use included; the oldest go.
    pub held_max: usize,
}

#[derive(Debug, Clone, Default)]
pub struct WorkspaceChange {
    pub name: Option<String>,
    pub token: Option<Secret>,
    pub facts: Option<BTreeMap<String, String>>,
    pub status: Option<(WorkspaceStatus, Option<String>)>,
    pub settings: Option<WorkspaceSettings>,
    /// Some(None) takes the warning away.
    pub warning: Option<Option<String>>,
}

#[async_trait]
pub trait Directory: Send + Sync {
    /// # Errors
    /// [`StoreError::Conflict`]: the inbox workspace is connected already; exactly one of two racing calls wins.
    async fn create_workspace(&self, workspace: &Workspace) -> Result<(), StoreError>;
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, StoreError>;
    /// All that are not archived, oldest first.
    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError>;
    async fn change_workspace(
        &self,
        id: WorkspaceId,
        change: WorkspaceChange,
        now: Time,
    ) -> Result<Workspace, StoreError>;

    /// # Errors
    /// [`StoreError::Conflict`]: the account is a channel already; exactly one of two racing calls wins.
    async fn create_channel(&self, channel: &Channel) -> Result<(), StoreError>;
    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StoreError>;
    /// All that are not archived, of one workspace or of all, oldest first.
    async fn channels(&self, workspace: Option<WorkspaceId>) -> Result<Vec<Channel>, StoreError>;
    async fn change_channel(&self, id: ChannelId, change: ChannelChange, now: Time) -> Result<Channel, StoreError>;
    /// Secrets that a provider has renewed take the place of those in use, all or none; the others of the channel stay.
    /// Of two hosts that renew at once the later one's are in use and the earlier one's are known.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there is no such channel.
    async fn renew_secrets(
        &self,
        id: ChannelId,
        renewed: Vec<(String, Secret)>,
        known: Known,
        now: Time,
    ) -> Result<(), StoreError>;
    /// A channel whose set-up failed leaves no trace.
    async fn forget_channel(&self, id: ChannelId) -> Result<(), StoreError>;
    /// Resolves when any host has changed a workspace or channel, with the number of that state; `known` is the number
    /// that the caller has seen, 0 at first. Called in a loop. Never resolves on a database that one host has for itself.
    async fn changed_elsewhere(&self, known: i64) -> Result<i64, StoreError>;
}

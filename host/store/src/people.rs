//! Identities, their contacts and their conversations in the inbox.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, WorkspaceId};
use mantle_model::inbound::{Alias, Reach};

use crate::StoreError;

/// One sender on one channel, as known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: IdentityId,
    pub channel: ChannelId,
    pub aliases: Vec<Alias>,
    pub name: Option<String>,
    pub language: Option<String>,
    pub reach: Reach,
    /// Provider time of the last message the person wrote; opens and measures windows.
    pub last_inbound_at: Option<Time>,
    /// The provider said that the window is closed although our measure says otherwise; a new message clears it.
    pub window_closed: bool,
    pub contact: Option<ContactLink>,
    pub thread: Option<ThreadLink>,
}

/// The identity's contact in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactLink {
    pub identity: IdentityId,
    /// The inbox's id.
    pub contact: String,
    /// The name we last wrote there; a name somebody else gave is left alone.
    pub written_name: Option<String>,
}

/// The identity's present conversation. Earlier ones still lead to the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadLink {
    pub identity: IdentityId,
    pub workspace: WorkspaceId,
    /// The inbox's id.
    pub conversation: String,
    pub opened_at: Time,
    /// Provider time of the newest part we wrote.
    pub last_part_at: Time,
    /// Parts written by us, to stay below the inbox's limit.
    pub parts: u32,
}

/// Where a conversation of the inbox leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationOwner {
    pub identity: IdentityId,
    pub channel: ChannelId,
    /// False: the identity has moved on to a newer conversation.
    pub current: bool,
}

#[async_trait]
pub trait People: Send + Sync {
    async fn identity(&self, id: IdentityId) -> Result<Option<Identity>, StoreError>;

    /// The identity that any of the aliases (handles aside) names.
    async fn identity_of(&self, channel: ChannelId, aliases: &[Alias]) -> Result<Option<Identity>, StoreError>;

    /// Who the conversation belongs to; None: not ours.
    async fn conversation_owner(
        &self,
        workspace: WorkspaceId,
        conversation: &str,
    ) -> Result<Option<ConversationOwner>, StoreError>;

    /// Whether we wrote this part ourselves.
    async fn is_own_part(&self, workspace: WorkspaceId, part: &str) -> Result<bool, StoreError>;

    /// A contact was merged into another or is gone: moves or cuts every link in the workspace.
    async fn relink_contact(&self, workspace: WorkspaceId, from: &str, into: Option<&str>) -> Result<u32, StoreError>;

    /// Adds `now` to the identity that has one of `was`, joining two identities into the older one if both exist.
    async fn join_aliases(
        &self,
        channel: ChannelId,
        was: &[Alias],
        now: &[Alias],
    ) -> Result<Option<IdentityId>, StoreError>;

    /// Identities of a channel whose alias equals the text, for the trace by customer.
    async fn find_identities(&self, channel: Option<ChannelId>, customer: &str) -> Result<Vec<IdentityId>, StoreError>;
}

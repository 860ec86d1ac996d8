//! What must be done by one alone, of all lanes and hosts: making a person's contact, opening a conversation, looking
//! a workspace through for replies that nobody told us.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, WorkspaceId};

use crate::StoreError;
use crate::intake::Direction;

/// Who may make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Making {
    /// It is there already: the inbox's id.
    Made(String),
    /// Another message is making it, and has not come to its end.
    Others,
    /// The asker, until [`crate::lanes::Change::Made`] or the end of its event.
    Yours {
        /// When a call for it was announced whose outcome nobody knows; it may have been another maker's, who was given up.
        announced_at: Option<Time>,
    },
}

/// A workspace to be looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Everything up to here has been seen.
    pub seen_until: Time,
}

/// Where an event stands that was told under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its first attempt.
    pub message: MessageId,
    /// That attempt has come to its end.
    pub finished: bool,
}

#[async_trait]
pub trait Single: Send + Sync {
    /// Asks for the right to make what goes by any of these names. Whoever gets it holds all of them: two askers who
    /// share one name exclude each other. Called before something is looked for and made, which is rare.
    async fn begin_making(
        &self,
        workspace: WorkspaceId,
        keys: &[String],
        by: MessageId,
        now: Time,
    ) -> Result<Making, StoreError>;

    /// Hands out the workspace's sweep if it is due (or `at_once`) and nobody has it; `until` bounds how long the
    /// asker has it. The first call ever only notes the time: what was before is not ours.
    async fn begin_sweep(
        &self,
        workspace: WorkspaceId,
        now: Time,
        until: Time,
        at_once: bool,
    ) -> Result<Option<Sweep>, StoreError>;

    /// Ends it. `seen_until` None: it broke off, and begins at the same place again.
    async fn end_sweep(
        &self,
        workspace: WorkspaceId,
        seen_until: Option<Time>,
        next_at: Time,
    ) -> Result<(), StoreError>;

    /// Which of these keys have been stored before.
    async fn told_before(
        &self,
        channel: ChannelId,
        direction: Direction,
        keys: &[String],
    ) -> Result<Vec<bool>, StoreError>;

    /// Where the event of this key stands; None: it was never stored. Called for each reply.
    async fn standing(
        &self,
        channel: ChannelId,
        direction: Direction,
        key: &str,
    ) -> Result<Option<Standing>, StoreError>;
}

//! Looking after what is stored: what goes when it is old, what waits for a person, what a restore leaves in doubt,
//! and the figures that tell how things stand.

use std::time::Duration;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, ReceiptId, WorkspaceId};

use crate::StoreError;
use crate::intake::{Direction, Origin};
use crate::lanes::Effect;

/// What grows with every message and goes when it is old. Identities, their aliases, contacts and threads are not
/// among it: a live mapping is never pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Raw hooks, the parked ones too. One that is still to be read stays.
    Receipts,
    /// Finished events with their effects, endings, hops, ids and reports. A message goes after its replays.
    Messages,
    /// The keys by which an event that is told again is known.
    Keys,
    /// The inbox's parts that we wrote.
    OwnParts,
    /// Reports of the provider about messages that are not known here.
    Reports,
}

impl Kept {
    /// In the order of a pass.
    pub const ALL: [Self; 5] = [
        Self::Receipts,
        Self::Messages,
        Self::Keys,
        Self::OwnParts,
        Self::Reports,
    ];
}

/// What one step of pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    pub gone: u32,
    /// Where the next step begins; None: nothing old is left.
    pub next: Option<i64>,
}

/// How things stand, for the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Ready lanes that nobody works yet, by channel, and how long the oldest has been ready.
    pub ready: Vec<(ChannelId, u64, Duration)>,
    /// Writes of unfinished events of which nobody knows yet whether they arrived.
    pub effects_ambiguous: u64,
    /// Messages given up and not put in line again.
    pub dead: u64,
    /// Raw hooks that are to be read again.
    pub hooks_unread: u64,
    /// Raw hooks that wait for a person.
    pub hooks_parked: u64,
    /// Of the write-ahead log; None where the database has none of its own.
    pub log_bytes: Option<u64>,
    /// How long the oldest transaction of anybody has been open, which keeps what is dead from being cleaned up. None
    /// where a database has no such thing.
    pub oldest_transaction: Option<Duration>,
}

/// Events of a channel and direction that have not come to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub channel: ChannelId,
    pub direction: Direction,
    pub events: u64,
}

/// A raw hook that no connector could read so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHook {
    pub id: ReceiptId,
    pub origin: Origin,
    pub received_at: Time,
    /// Waits for a person; otherwise it is read again at `next_at`.
    pub parked: bool,
    pub problem: String,
    pub tries: u32,
    pub next_at: Option<Time>,
    pub deliveries: u32,
}

/// Which of them. What is None does not narrow.
#[derive(Debug, Clone, Default)]
pub struct HookFilter {
    pub parked: bool,
    pub channel: Option<ChannelId>,
    pub from: Option<Time>,
    pub to: Option<Time>,
    /// Continue behind this one.
    pub after: Option<ReceiptId>,
    /// At most 200.
    pub limit: u32,
}

/// An event that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub id: MessageId,
    pub channel: ChannelId,
    pub workspace: WorkspaceId,
    pub direction: Direction,
    pub kind: String,
    /// The lane is a person's, and the person has no conversation yet.
    pub opens: bool,
}

/// Under which channel and key of `kv` a database says that it was restored: no channel has this number.
pub(crate) const NO_CHANNEL: i64 = 0;
pub(crate) const RESTORED_KEY: &[u8] = b"restored";

/// Since when this database is a restored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Restored {
    /// What the backup holds happened before this.
    pub taken_at: Time,
    pub restored_at: Time,
    /// Whether what was under way has been put in doubt.
    pub reconciled: bool,
}

#[async_trait]
pub trait Upkeep: Send + Sync {
    /// One step: looks at no more than `rows_max` rows from `from` (0 at first) and drops those older than `before`
    /// that nobody needs. Short, since everything that is accepted waits behind it.
    async fn prune(&self, what: Kept, before: Time, from: i64, rows_max: u32) -> Result<Pruned, StoreError>;

    /// Whether nobody waits for the disk now.
    fn idle(&self) -> bool;

    /// Read every few seconds at most.
    async fn figures(&self, now: Time) -> Result<Figures, StoreError>;

    /// What waits, where anything does, with what this host has in hand; what others have in hand they tell. Read every few seconds at most: it looks at each lane that has work.
    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError>;

    /// Newest first.
    async fn hooks(&self, filter: &HookFilter) -> Result<Vec<KeptHook>, StoreError>;

    /// None: there is no such receipt, or it was read.
    async fn hook(&self, id: ReceiptId) -> Result<Option<KeptHook>, StoreError>;

    /// Has the hook read again now, with all its tries: after the connector was mended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there is no such receipt, or it was read.
    async fn read_hook_again(&self, id: ReceiptId, now: Time) -> Result<(), StoreError>;

    /// Events without an end, by lane and place, behind `after`.
    async fn unfinished(&self, after: Option<MessageId>, limit: u32) -> Result<Vec<Unfinished>, StoreError>;

    /// Writes that may have happened without being known here, even where an attempt is known to have failed. What
    /// is known to be done stays.
    async fn doubt(&self, effects: &[(MessageId, Effect)]) -> Result<(), StoreError>;

    /// Set when the database came out of a backup.
    async fn restored(&self) -> Result<Option<Restored>, StoreError>;

    async fn set_restored(&self, restored: Restored) -> Result<(), StoreError>;
}

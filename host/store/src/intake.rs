//! Taking in what came from outside: receipts, dedupe, lanes and events in one commit.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, IdentityId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::Alias;

use crate::StoreError;

/// Which way an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the inbox.
    In,
    /// Towards the customer.
    Out,
}

/// Who sent the raw request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Channel(ChannelId),
    Workspace(WorkspaceId),
}

/// Whether the connector could read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptState {
    Parsed,
    /// To be read again at `next_at`; `problem` says what went wrong.
    Unparsed {
        problem: String,
        next_at: Time,
    },
    /// An item of it, or all of it, will never be readable as it is; kept for a person.
    Parked {
        problem: String,
    },
}

/// The raw request, kept as evidence and for replay.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    pub id: ReceiptId,
    pub origin: Origin,
    pub hook: Hook,
    pub state: ReceiptState,
}

/// Which queue an event joins. All events of one queue are worked in order, one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneKey {
    /// The identity that any of these aliases (handles aside) names on the channel; made in the same
    /// commit if none does, and given the aliases it did not have. Name and language are refreshed.
    Person {
        aliases: Vec<Alias>,
        name: Option<String>,
        language: Option<String>,
    },
    Identity(IdentityId),
    /// A short queue beside the identity's own, for what must be worked before the event that is first there. The
    /// first one waits for it meanwhile, so that still one of them is worked at a time.
    Ahead(IdentityId),
    /// What must not wait behind an identity's messages: `status`, `note:<identity>`, `file:<identity>`.
    Chore(String),
}

/// How the key of an [`LaneKey::Ahead`] begins.
pub const AHEAD: &str = "ahead:";

#[derive(Debug, Clone)]
pub struct NewEvent {
    pub channel: ChannelId,
    pub direction: Direction,
    pub lane: LaneKey,
    /// Unique with the channel and direction; a second event of the same key is a duplicate.
    pub key: String,
    /// A word for the ledger: `message`, `status`, `reply`, `note` …
    pub kind: &'static str,
    /// The provider's or inbox's id of the message, for the ledger and for matching.
    pub remote_id: Option<String>,
    /// The provider's time.
    pub at: Time,
    pub payload: Vec<u8>,
    /// Raise the identity's last inbound time to `at` in the same commit: a customer wrote. Opens windows.
    pub opens_window: bool,
    /// Not before this time; None: now.
    pub not_before: Option<Time>,
}

/// What a commit made of the events, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub receipt: ReceiptId,
    pub events: Vec<AcceptedEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedEvent {
    New {
        message: MessageId,
        identity: Option<IdentityId>,
    },
    /// Told before; the deliveries of it are counted.
    Duplicate { of: MessageId },
}

/// A receipt to be read again.
#[derive(Debug, Clone)]
pub struct Unparsed {
    pub id: ReceiptId,
    pub origin: Origin,
    pub hook: Hook,
    /// Tries so far.
    pub tries: u32,
}

/// What waits unread for one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    pub receipts: u64,
    /// Of their bodies.
    pub bytes: u64,
}

#[async_trait]
pub trait Intake: Send + Sync {
    /// Stores the receipt and the new ones among the events. Called for every hook; batched with others into
    /// one commit. When it returns, all is on disk and the 200 may leave. A receipt that brings nothing new (all
    /// events told before, or an unread body that is kept already) is not kept again: the answer then names the
    /// earlier one.
    async fn accept(&self, receipt: NewReceipt, events: Vec<NewEvent>) -> Result<Accepted, StoreError>;

    /// Stores events that no request from outside stands behind (API, chores).
    async fn enqueue(&self, events: Vec<NewEvent>) -> Result<Vec<AcceptedEvent>, StoreError>;

    /// Receipts whose `next_at` has come, oldest first.
    async fn unparsed(&self, now: Time, limit: u32) -> Result<Vec<Unparsed>, StoreError>;

    /// Receipts of the channel that are kept and were never read whole: unparsed and parked ones. Asked before a hook is
    /// kept that nobody can judge.
    async fn unread(&self, channel: ChannelId) -> Result<Unread, StoreError>;

    /// The receipt was read after all (events, state `Parsed`), is to be tried again, or is parked.
    async fn reparsed(&self, id: ReceiptId, state: ReceiptState, events: Vec<NewEvent>)
    -> Result<Accepted, StoreError>;

    /// The raw request, for replay and for the trace.
    async fn receipt(&self, id: ReceiptId) -> Result<Option<NewReceipt>, StoreError>;
}

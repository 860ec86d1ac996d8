//! Reading the ledger: what happened to a message.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::delivery::{InboundState, OutboundState};
use mantle_model::ids::{ChannelId, IdentityId, MessageId, ReceiptId};

use crate::StoreError;
use crate::intake::Direction;
use crate::lanes::{Effect, Hop};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    In(InboundState),
    Out(OutboundState),
}

/// One message with its state, for lists.
#[derive(Debug, Clone)]
pub struct MessageRow {
    pub id: MessageId,
    pub channel: ChannelId,
    pub direction: Direction,
    pub kind: String,
    pub identity: Option<IdentityId>,
    pub remote_id: Option<String>,
    pub at: Time,
    pub accepted_at: Time,
    pub state: MessageState,
    /// Why it failed, is unknown, dead or ignored.
    pub reason: Option<String>,
    /// How often it was told, the first time included.
    pub deliveries: u32,
}

/// Everything known of one message.
#[derive(Debug, Clone)]
pub struct Trace {
    pub message: MessageRow,
    /// The newest attempt of it: itself, unless it was replayed.
    pub newest: MessageId,
    pub receipt: Option<ReceiptId>,
    pub payload: Vec<u8>,
    pub tries: u32,
    /// When it will be tried again.
    pub next_at: Option<Time>,
    /// (attempt number, effect), in order of announcement.
    pub effects: Vec<(u32, Effect)>,
    pub hops: Vec<Hop>,
    /// Reports of the provider: (remote id, report, time, code).
    pub reports: Vec<(String, mantle_model::inbound::DeliveryReport, Time, Option<String>)>,
}

#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    pub channel: Option<ChannelId>,
    pub identities: Option<Vec<IdentityId>>,
    pub from: Option<Time>,
    pub to: Option<Time>,
    /// The serde name of a state of either direction.
    pub state: Option<String>,
    /// Continue behind this message.
    pub after: Option<MessageId>,
    /// At most 200.
    pub limit: u32,
}

#[async_trait]
pub trait Ledger: Send + Sync {
    /// A message and its replays are one story: asked for by either id, the state is that of the newest attempt,
    /// and effects, hops and reports are those of all.
    async fn trace(&self, message: MessageId) -> Result<Option<Trace>, StoreError>;

    /// Newest first, by the time of storing (`from` and `to` included). A replayed message shows once. Chores show
    /// only when a state is asked for: a list of messages is not one of statuses, but a dead chore must be found.
    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>, StoreError>;

    /// The newest message of the channel with this remote id: what a reaction, edit or status names. Found by the
    /// event's own id and by the ids of [`crate::lanes::Change::Outgoing`], which go first; chores are passed over.
    async fn message_by_remote_id(&self, channel: ChannelId, remote_id: &str) -> Result<Option<Trace>, StoreError>;

    /// Last inbound and outbound times of a channel.
    async fn last_traffic(&self, channel: ChannelId) -> Result<(Option<Time>, Option<Time>), StoreError>;

    /// Events written and not finished, over all lanes but those that other hosts have in hand.
    async fn backlog(&self) -> Result<u64, StoreError>;
}

//! A store in memory that keeps what a database keeps and forgets what a process forgets.
//!
//! It is the model of `mantle_store::Store`: the same promises, written as plainly as possible, and fast enough for
//! thousands of runs. Each call is one transaction between two gates. Several hosts share one [`Memory`];
//! a claim belongs to a host, and dies with it as a lease does.

mod budgets;
mod directory;
mod intake;
mod keyed;
mod lanes;
mod ledger;
mod people;
mod single;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::failure::Cause;
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, IdSource, IdentityId, LaneId, MediaId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::{Alias, DeliveryReport, Reach};
use mantle_store::directory::{Channel, Workspace};
use mantle_store::intake::{Direction, NewReceipt};
use mantle_store::keyed::{KeptAnswer, MediaRow};
use mantle_store::lanes::{Effect, Ending, Hop};
use mantle_store::people::{ContactLink, ThreadLink};
use mantle_store::upkeep::Restored;

use crate::life::{Life, held};

/// Kept by the provider and the order of arrival: what is asked for by place is a `Vec`.
#[derive(Debug, Default)]
pub struct Memory {
    pub receipts: BTreeMap<ReceiptId, Kept>,
    pub events: BTreeMap<MessageId, Row>,
    pub dedupe: BTreeMap<(ChannelId, u8, String), (MessageId, u32)>,
    pub lanes: BTreeMap<LaneId, Lane>,
    pub lane_keys: BTreeMap<(ChannelId, u8, String), LaneId>,
    pub effects: BTreeMap<(MessageId, String), Effect>,
    pub endings: BTreeMap<MessageId, Ending>,
    pub hops: Vec<(MessageId, Hop)>,
    pub outgoing: BTreeMap<(ChannelId, String), (MessageId, String)>,
    pub reports: BTreeMap<(ChannelId, String, u8), Report>,
    pub people: BTreeMap<IdentityId, Someone>,
    pub aliases: BTreeMap<(ChannelId, Alias), IdentityId>,
    pub threads: BTreeMap<(WorkspaceId, String), ThreadLink>,
    pub own_parts: BTreeSet<(WorkspaceId, String)>,
    pub workspaces: BTreeMap<WorkspaceId, Workspace>,
    pub channels: BTreeMap<ChannelId, Channel>,
    pub values: BTreeMap<(ChannelId, String), (Vec<u8>, Option<Time>)>,
    pub answers: BTreeMap<String, KeptAnswer>,
    pub files: BTreeMap<MediaId, MediaRow>,
    pub makings: BTreeMap<(WorkspaceId, String), Made>,
    pub sweeps: BTreeMap<WorkspaceId, Swept>,
    pub restored: Option<Restored>,
    /// Tokens given out so far.
    pub tokens: u128,
}

/// What is being made, or was.
#[derive(Debug, Clone)]
pub struct Made {
    pub by: MessageId,
    pub announced_at: Option<Time>,
    pub remote_id: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Swept {
    pub seen_until: Time,
    pub next_at: Time,
    pub held_until: Time,
}

/// What the provider told of a message, when, and with which code.
pub type Report = (DeliveryReport, Time, Option<String>);

#[derive(Debug)]
pub struct Kept {
    pub receipt: NewReceipt,
    pub tries: u32,
    pub deliveries: u32,
}

#[derive(Debug, Clone)]
pub struct Row {
    pub channel: ChannelId,
    pub direction: Direction,
    pub receipt: Option<ReceiptId>,
    pub kind: String,
    pub key: String,
    pub remote_id: Option<String>,
    pub at: Time,
    pub accepted_at: Time,
    pub not_before: Option<Time>,
    pub origin_seq: Option<i64>,
    pub attempt_no: u32,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub struct Lane {
    pub channel: ChannelId,
    pub direction: Direction,
    pub key: String,
    pub identity: Option<IdentityId>,
    pub tail: i64,
    pub head: i64,
    pub ready_at: Option<Time>,
    pub tries: u32,
    pub failing_since: Option<Time>,
    pub cause: Option<Cause>,
    pub last_at: Time,
    /// Token and host of whoever works it.
    pub claim: Option<(u128, u64)>,
}

#[derive(Debug, Default)]
pub struct Someone {
    pub channel: Option<ChannelId>,
    pub name: Option<String>,
    pub language: Option<String>,
    pub reach: Option<(Reach, Time)>,
    pub last_inbound_at: Option<Time>,
    pub window_closed: bool,
    pub contact: Option<ContactLink>,
    pub thread: Option<(WorkspaceId, String)>,
    pub joined_into: Option<IdentityId>,
}

impl Memory {
    /// A host is gone: what it held is free, as after the end of its lease.
    pub fn free_lanes_of(&mut self, host: u64) {
        for lane in self.lanes.values_mut() {
            if lane.claim.is_some_and(|(_, owner)| owner == host) {
                lane.claim = None;
            }
        }
    }

    /// The time at which the next waiting lane or unread hook is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let lanes = self.lanes.values().filter_map(|lane| lane.ready_at);
        let unread = self.receipts.values().filter_map(|kept| match &kept.receipt.state {
            mantle_store::intake::ReceiptState::Unparsed { next_at, .. } => Some(*next_at),
            _ => None,
        });
        lanes.chain(unread).min()
    }
}

/// One host's way to the shared memory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    pub memory: Arc<Mutex<Memory>>,
    pub life: Arc<Life>,
    pub clock: ManualClock,
    pub ids: Arc<IdSource>,
}

impl MemoryStore {
    /// One transaction: others may go before it and after it, never in between.
    async fn transact<T>(&self, run: impl FnOnce(&mut Memory, Now<'_>) -> T + Send) -> T {
        self.life.gate().await;
        let outcome = run(
            &mut held(&self.memory),
            Now {
                time: self.clock.now(),
                ids: &self.ids,
            },
        );
        self.life.gate().await;
        outcome
    }
}

/// What a transaction knows of the world.
#[derive(Clone, Copy)]
struct Now<'a> {
    time: Time,
    ids: &'a IdSource,
}

impl Now<'_> {
    fn next_id(self) -> i64 {
        self.ids.next(self.time)
    }
}

fn number(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

fn body_of(hook: &Hook) -> (&[u8], &str) {
    (&hook.body, &hook.path_and_query)
}

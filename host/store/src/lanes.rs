//! Lanes: who works what, and what became of it.
//!
//! A lane is ready when `ready_at` has come and nobody has it. Finished is
//! what lies at or below `head`. Everything a worker learns is committed through [`Lanes::commit`] under
//! the token of its claim; a token that no longer holds commits nothing.

use std::sync::Arc;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::Alias;

use crate::StoreError;
use crate::intake::{AHEAD, Direction, NewEvent};
use crate::people::{ContactLink, Identity, ThreadLink};

/// The right to work a lane, until taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub lane: LaneId,
    /// Random, so that a lost claim cannot be taken for its successor.
    pub token: u128,
}

/// A claimed lane with the events to work next.
#[derive(Debug, Clone)]
pub struct ClaimedLane {
    pub claim: Claim,
    pub channel: ChannelId,
    pub direction: Direction,
    /// Set for a person's lane.
    pub identity: Option<IdentityId>,
    /// The lane's key as text: the identity or the chore.
    pub key: String,
    /// Failed attempts at the first event.
    pub tries: u32,
    /// When the first event failed first: bounds the whole of its retries.
    pub failing_since: Option<Time>,
    /// Whose lane it is, as known when it was claimed.
    pub person: Option<Identity>,
    /// In order, at most 32.
    pub events: Vec<StoredEvent>,
}

impl ClaimedLane {
    /// Whether it stands beside an identity's own queue, and goes first.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.key.starts_with(AHEAD)
    }
}

#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub id: MessageId,
    pub receipt: Option<ReceiptId>,
    pub kind: String,
    pub key: String,
    pub remote_id: Option<String>,
    pub at: Time,
    pub accepted_at: Time,
    pub payload: Vec<u8>,
    /// 0 at first; each replay by a person raises it and opens new effects.
    pub attempt_no: u32,
    /// What earlier attempts of this number have left behind.
    pub effects: Vec<Effect>,
}

impl StoredEvent {
    /// The effect of this step, if it was begun.
    #[must_use]
    pub fn effect(&self, step: &str) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.step == step)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectState {
    /// Announced; the call may have happened.
    Intent,
    Done,
    /// The outcome is unknown and somebody must find out.
    Ambiguous,
    /// Surely not done, and not to be tried again.
    Failed,
}

/// One write to the outside, announced before it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `contact`, `conversation`, `part:0`, `send:2`, `note` …
    pub step: String,
    pub state: EffectState,
    /// What it is written to: a conversation, contact or recipient.
    pub target: String,
    /// Recognises the write when reading back.
    pub fingerprint: String,
    pub remote_id: Option<String>,
    pub announced_at: Time,
    pub ended_at: Option<Time>,
    /// The answer's code, when it ended badly.
    pub code: Option<String>,
}

/// How an event ended, where the plain end (posted, accepted) does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Inbound: in the inbox. Outbound: taken by the provider.
    Done,
    /// Deliberately without effect; the word says why (`echo`, `group-refused`).
    Ignored { why: String },
    /// Outbound: refused for good. The team has been told or is about to be.
    Failed { cause: Cause },
    /// Outbound: nobody knows whether it arrived.
    Unknown { cause: Cause },
    /// Given up; can be replayed.
    Dead { cause: Cause },
}

/// One line of the trace of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    pub at: Time,
    /// What happened, in a short phrase: `send attempt`, `contact found`.
    pub what: String,
    /// The answer's code.
    pub code: Option<String>,
    pub detail: Option<String>,
}

/// What a worker learnt. All changes of one commit happen or none does.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes or replaces the effect of this step of the event at `seq`. What is done stays done when only doubt is
    /// told: its proof may have come before its answer was given up.
    Effect {
        seq: i64,
        effect: Effect,
    },
    Hop {
        seq: i64,
        hop: Hop,
    },
    Contact(ContactLink),
    Thread(ThreadLink),
    /// A call that makes what goes by these names leaves at this time; None: it surely made nothing.
    Making {
        workspace: WorkspaceId,
        keys: Vec<String>,
        announced_at: Option<Time>,
    },
    /// It is there: whoever asks for one of these names gets its id. None: the next one is made anew.
    Made {
        workspace: WorkspaceId,
        keys: Vec<String>,
        remote_id: Option<String>,
    },
    /// A part of the inbox that we wrote: never to be sent out, never to be taken for a teammate's.
    OwnPart {
        part: String,
    },
    /// The recipient goes by these as well.
    Aliases {
        identity: IdentityId,
        aliases: Vec<Alias>,
    },
    Reach {
        identity: IdentityId,
        reach: mantle_model::inbound::Reach,
        at: Time,
    },
    /// The provider said the window is closed whatever we believed.
    WindowClosed {
        identity: IdentityId,
    },
    /// The provider's id of an outgoing message, so that statuses find it; `OutboundReport`s that came first apply at once.
    Outgoing {
        seq: i64,
        step: String,
        remote_id: String,
    },
    /// What became of a send in doubt is known: the provider named its id beside ours. The effect is done and
    /// statuses find it, whichever lane it lies on and whether or not its event has ended.
    Settle {
        message: MessageId,
        step: String,
        remote_id: String,
    },
    /// An outgoing message's status, by the provider's id.
    Report {
        remote_id: String,
        report: mantle_model::inbound::DeliveryReport,
        at: Time,
        code: Option<String>,
    },
    /// A further event, in the same commit.
    Spawn(NewEvent),
    /// The event at `seq` has ended: the head moves to it. `seq` follows the last finished one.
    Finish {
        seq: i64,
        ending: Ending,
    },
    /// The first unfinished event is to be tried at `until`; frees the lane.
    Retry {
        until: Time,
        cause: Cause,
        counts: Attempt,
    },
    /// The worker is done with what it was handed: frees the lane as [`Lanes::release`] does, without a commit of its own.
    GiveBack,
}

/// Whether a postponement uses up an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Counts,
    /// A rate limit, an offline channel: waiting is not failing.
    Free,
}

/// A lane that waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyLane {
    pub lane: LaneId,
    /// What a claim would hand out at most, at least 1.
    pub events: u32,
    /// Its first event was tried before and failed.
    pub failed: bool,
}

/// A channel with lanes that wait, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyChannel {
    pub channel: ChannelId,
    pub lanes: Vec<ReadyLane>,
}

/// What is in hand already, when it is asked whether more can be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InHand {
    /// Lanes of all channels.
    pub all: usize,
    /// Those of them that were claimed as their events came.
    pub fresh: usize,
    /// Lanes of the channel that is asked for.
    pub of_channel: usize,
    /// Those of them that were claimed as their events came.
    pub fresh_of_channel: usize,
}

/// How many lanes of a channel may be begun.
pub type Room<'a> = &'a (dyn Fn(ChannelId) -> usize + Send + Sync);

/// Who works lanes.
pub trait Hands: Send + Sync {
    /// How many more lanes of the channel may be begun beside what is in hand. Asked on the writer's thread: answers
    /// from memory.
    fn room(&self, channel: ChannelId, in_hand: InHand) -> usize;
}

#[async_trait]
pub trait Lanes: Send + Sync {
    /// What could be worked now: channels in turn, beginning behind the one that was served last, and of each as many
    /// lanes as it has room for, at least one and at most `limit`, oldest first. Lanes that failed before do not hide
    /// the others. Called in a loop: while lanes are handed over, what came in elsewhere may be told a moment later.
    async fn ready(&self, now: Time, limit: usize, room: Room<'_>) -> Result<Vec<ReadyChannel>, StoreError>;

    /// From now on a lane that is at rest is claimed in the commit that brings its event, as far as there is room, and
    /// waits in [`Lanes::handed`]: nobody need look for it. None: no more are, and those that nobody has asked for come back:
    /// they are to be released.
    fn hand_over(&self, _to: Option<Arc<dyn Hands>>) -> Vec<Claim> {
        Vec::new()
    }

    /// The lanes that were claimed as their events came. Resolves when there are some. Dropped before, it takes none.
    async fn handed(&self) -> Result<Vec<ClaimedLane>, StoreError> {
        std::future::pending().await
    }

    /// Takes these lanes. What somebody else has by now, or is not ready any more, is left out.
    async fn take(&self, now: Time, lanes: &[(ChannelId, LaneId)]) -> Result<Vec<ClaimedLane>, StoreError>;

    /// Takes up to `limit` ready lanes, one of each channel and then the next of each.
    async fn claim(&self, now: Time, limit: usize) -> Result<Vec<ClaimedLane>, StoreError> {
        let ready = self.ready(now, limit, &|_| limit).await?;
        let longest = ready.iter().map(|channel| channel.lanes.len()).max().unwrap_or(0);
        let in_turn = (0..longest).flat_map(|round| {
            let next = move |of: &ReadyChannel| Some((of.channel, of.lanes.get(round)?.lane));
            ready.iter().filter_map(next)
        });
        let lanes: Vec<_> = in_turn.take(limit).collect();
        self.take(now, &lanes).await
    }

    /// Applies the changes if the claim still holds. Called around every outside call: keep it small.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: another worker has the lane; stop and drop what was learnt.
    /// [`StoreError::Busy`]: the claim still holds and the same commit may be repeated, whether or not it happened.
    async fn commit(&self, claim: Claim, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Whether a call that was announced under the claim may still leave: the process may have stood still since, for
    /// longer than others wait for it. Asked right before each call.
    fn may_act(&self, claim: Claim) -> bool;

    /// Gives the lane back: ready at once if events are left, else at rest. After a `Retry` or `GiveBack` it is free already.
    async fn release(&self, claim: Claim) -> Result<(), StoreError>;

    /// Keeps the claims of this host. Called every 5 s with all that are held.
    async fn heartbeat(&self, claims: &[Claim], now: Time) -> Result<(), StoreError>;

    /// Resolves when lanes may have become ready, or after a short while. Lost wake-ups cost delay, nothing else.
    async fn wait_ready(&self);

    /// The time at which the next waiting lane becomes ready.
    async fn next_ready(&self) -> Result<Option<Time>, StoreError>;

    /// How many lanes are in somebody's hands: they have no time to be seen until they are given back.
    fn lanes_in_work(&self) -> usize;

    /// Makes every waiting lane of the channel ready now (it came back, a person asked).
    async fn wake_channel(&self, channel: ChannelId, now: Time) -> Result<(), StoreError>;

    /// A dead, failed or unknown message again: a new attempt number, behind what is queued.
    ///
    /// # Errors
    /// [`StoreError::NotReplayable`]: it has not failed, or is on its way again already.
    async fn replay(&self, message: MessageId, now: Time) -> Result<MessageId, StoreError>;

    /// As [`Lanes::replay`], but only if no attempt has come after this one: for a link that is good once.
    ///
    /// # Errors
    /// [`StoreError::NotReplayable`]: it has not failed, or has been sent again already.
    async fn resend(&self, attempt: MessageId, now: Time) -> Result<MessageId, StoreError>;

    /// When the lane's newest write of such a step (`send:`) was announced. Called before each send that is paced.
    async fn last_announced(&self, lane: LaneId, steps: &str) -> Result<Option<Time>, StoreError>;

    /// Unfinished effects (`Intent`, `Ambiguous`) of a target, other than those of `except`: what may still echo back.
    async fn open_effects(&self, target: &str, except: Option<MessageId>) -> Result<Vec<Effect>, StoreError>;
}

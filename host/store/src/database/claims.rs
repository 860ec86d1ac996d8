//! Who works which lane, in memory. On SQLite that is all: nothing is written for a claim, and a crash frees every
//! lane at once. On PostgreSQL it is this host's share, and the rows say the same to the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mantle_model::ids::{ChannelId, LaneId};
use tokio::sync::Notify;

use super::known::{Known, Waits};
use super::touch::{self, Touch};
use crate::StoreError;
use crate::intake::AcceptedEvent;
use crate::lanes::{Claim, ClaimedLane, Hands, InHand, ReadyChannel, Room};

/// A claim that no heartbeat names for this long belonged to a worker that is gone.
const LEASE: Duration = Duration::from_secs(30);

/// How long a wait for ready lanes lasts when nobody wakes it: bounds the delay of a time that has come.
const POLL: Duration = Duration::from_millis(250);

/// How long a claim that may stand in a row and that nobody here has is taken back, heartbeat by heartbeat, from the first
/// one that reached the server: longer than a statement runs on there after its connection was lost.
const DOUBTED_FOR: Duration = Duration::from_secs(60);

/// From so many lanes that are known to wait other hosts are told of them: fewer are begun with the next look.
const BEHIND_FROM: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Claims {
    table: Mutex<Table>,
    ready: Notify,
    /// There are lanes for whoever asks for those that were claimed as their events came.
    handed: Notify,
}

#[derive(Default)]
struct Table {
    held: HashMap<LaneId, Held>,
    /// The channel served last; the next turn begins behind it.
    last_channel: Option<ChannelId>,
    /// Who takes lanes over as their events come.
    hands: Option<Arc<dyn Hands>>,
    /// Claimed as their events came; nobody has asked for them yet. At most what there was room for.
    handed: Vec<ClaimedLane>,
    known: Known,
    /// Claims that a row may hold and nobody here has, and since when the server has been told.
    doubted: HashMap<Claim, Option<Instant>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Held {
    token: u128,
    channel: ChannelId,
    /// What a commit of it locks, once the lane is read.
    touch: Option<Touch>,
    seen: Instant,
    /// Commits in the writer's hands. The lane is given to nobody else before they are through.
    in_flight: u32,
    given_back: bool,
    /// More stands in it than was handed out: whoever waits is woken when it is given back.
    wanted: bool,
    /// Claimed as its event came.
    fresh: bool,
}

impl Held {
    fn new(token: u128, channel: ChannelId) -> Self {
        Self {
            token,
            channel,
            touch: None,
            seen: Instant::now(),
            in_flight: 0,
            given_back: false,
            wanted: false,
            fresh: false,
        }
    }
}

/// How a commit leaves the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum After {
    Kept,
    /// The turn is over and the lane free.
    GivenBack,
    /// Free, with a time of its own: whoever waits must look when that is.
    Postponed,
}

impl Claims {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes of the channel that are held.
    pub(super) fn held_of(&self, channel: ChannelId) -> Vec<LaneId> {
        let table = self.table();
        let of_channel = table.held.iter().filter(|(_, held)| held.channel == channel);
        of_channel.map(|(lane, _)| *lane).collect()
    }

    pub(super) fn is_held(&self, lane: LaneId) -> bool {
        self.table().held.contains_key(&lane)
    }

    /// More stands in the lane than was handed out, if it is held: whoever waits is told when it is given back. Tells
    /// whether it is held.
    pub(super) fn wants(&self, lane: LaneId) -> bool {
        match self.table().held.get_mut(&lane) {
            Some(held) => {
                held.wanted = true;
                true
            }
            None => false,
        }
    }

    /// Every lane that somebody has.
    pub(super) fn held(&self) -> Vec<LaneId> {
        self.table().held.keys().copied().collect()
    }

    pub(super) fn last_channel(&self) -> Option<ChannelId> {
        self.table().last_channel
    }

    /// What is known to be ready, where that will do. None: the table is to be looked at, as it always is by who does not
    /// ask again and again.
    pub(super) fn known(&self, limit: usize, room: Room<'_>) -> Option<Vec<ReadyChannel>> {
        let mut table = self.table();
        table.hands.as_ref()?;
        let last = table.last_channel;
        table.known.enough(last, limit, room)
    }

    /// Whether more waits than is begun here at once: others may help.
    pub(super) fn is_behind(&self) -> bool {
        let table = self.table();
        table.hands.is_none() || table.known.len() > BEHIND_FROM
    }

    /// The lane has events that may be worked now, or when it is given back.
    pub(super) fn waits(&self, waits: Waits) {
        let mut table = self.table();
        if let Some(held) = table.held.get_mut(&waits.lane) {
            held.wanted = true;
            return;
        }
        table.known.add(waits);
        drop(table);
        self.ready.notify_one();
    }

    /// Takes the lane if nobody has it. The token is that of a call for several lanes.
    pub(super) fn take(&self, lane: LaneId, channel: ChannelId, token: u128) -> Option<Claim> {
        let mut table = self.table();
        if table.held.contains_key(&lane) {
            return None;
        }
        table.last_channel = Some(channel);
        table.known.remove(lane);
        table.held.insert(lane, Held::new(token, channel));
        Some(Claim { lane, token })
    }

    /// Says who takes lanes over as their events come. Where that is nobody, those that waited come back.
    pub(super) fn hand_over(&self, to: Option<Arc<dyn Hands>>) -> Vec<Claim> {
        let mut table = self.table();
        let left = match &to {
            Some(_) => Vec::new(),
            None => table.handed.drain(..).map(|lane| lane.claim).collect(),
        };
        table.hands = to;
        left
    }

    /// They were asked for and not taken.
    pub(super) fn hand_again(&self, mut lanes: Vec<ClaimedLane>) {
        if lanes.is_empty() {
            return;
        }
        let mut table = self.table();
        lanes.append(&mut table.handed);
        table.handed = lanes;
        drop(table);
        self.handed.notify_one();
    }

    /// How many lanes of the channel may be claimed as their events come, beside so many that a group claims already.
    pub(super) fn room(&self, channel: ChannelId, wanted: usize) -> usize {
        let (hands, in_hand) = {
            let table = self.table();
            let Some(hands) = table.hands.clone() else { return 0 };
            let mut in_hand = InHand {
                all: wanted,
                fresh: wanted,
                ..InHand::default()
            };
            for held in table.held.values() {
                in_hand.all += 1;
                in_hand.fresh += usize::from(held.fresh);
                if held.channel == channel {
                    in_hand.of_channel += 1;
                    in_hand.fresh_of_channel += usize::from(held.fresh);
                }
            }
            (hands, in_hand)
        };
        hands.room(channel, in_hand)
    }

    /// The lane was claimed in the commit that brought its events. Where rows hold the claims (`in_row`), the row has
    /// decided; else whoever took the lane since has read the events too.
    pub(super) fn hand(&self, lane: ClaimedLane, in_row: bool) {
        let mut table = self.table();
        if table.held.contains_key(&lane.claim.lane) && !in_row {
            drop(table);
            self.wants(lane.claim.lane);
            return;
        }
        if table.hands.is_none() {
            // Nobody asks any more since the group began.
            drop(table);
            if in_row {
                self.doubt([lane.claim]);
            }
            self.wake();
            return;
        }
        table.known.remove(lane.claim.lane);
        let held = Held {
            touch: Some(touch::lane(&lane)),
            fresh: true,
            ..Held::new(lane.claim.token, lane.channel)
        };
        table.held.insert(lane.claim.lane, held);
        table.handed.push(lane);
        drop(table);
        self.handed.notify_one();
    }

    /// Resolves when lanes were handed over.
    pub(super) async fn handed(&self) -> Vec<ClaimedLane> {
        loop {
            let handed = std::mem::take(&mut self.table().handed);
            if !handed.is_empty() {
                return handed;
            }
            self.handed.notified().await;
        }
    }

    /// A row may hold the claims, and nobody here has them: they are to be taken back.
    pub(super) fn doubt(&self, claims: impl IntoIterator<Item = Claim>) {
        self.table()
            .doubted
            .extend(claims.into_iter().map(|claim| (claim, None)));
    }

    /// The server was told to take these back. Each is named for a while on: what was sent before the connection was lost may
    /// still come to its end. However long the server was away, none is forgotten before.
    pub(super) fn taken_back(&self, claims: &[Claim], now: Instant) {
        let mut table = self.table();
        for claim in claims {
            match table.doubted.get_mut(claim) {
                Some(since @ None) => *since = Some(now),
                Some(Some(since)) if now.duration_since(*since) >= DOUBTED_FOR => {
                    table.doubted.remove(claim);
                }
                _ => {}
            }
        }
    }

    /// No row says who has a lane.
    pub(super) fn no_rows(&self) {
        self.table().doubted.clear();
    }

    /// The claims that a row may hold without reason.
    pub(super) fn doubted(&self) -> Vec<Claim> {
        let table = self.table();
        let Table { held, doubted, .. } = &*table;
        let is_held = |claim: &&Claim| held.get(&claim.lane).is_some_and(|held| held.token == claim.token);
        doubted.keys().filter(|claim| !is_held(claim)).copied().collect()
    }

    /// What a commit of the lane locks.
    pub(super) fn touches(&self, claim: Claim, touch: Touch) {
        if let Some(held) = self.table().held.get_mut(&claim.lane)
            && held.token == claim.token
        {
            held.touch = Some(touch);
        }
    }

    /// A commit under the claim goes to the writer. The answer ends it when dropped, however the commit ended.
    pub(super) fn begin(self: &Arc<Self>, claim: Claim) -> Result<InFlight, StoreError> {
        let mut table = self.table();
        match table.held.get_mut(&claim.lane) {
            Some(held) if held.token == claim.token && !held.given_back => {
                held.in_flight += 1;
                Ok(InFlight {
                    claims: Arc::clone(self),
                    claim,
                    channel: held.channel,
                    touch: held.touch.clone(),
                    after: After::Kept,
                })
            }
            _ => Err(StoreError::Fenced),
        }
    }

    /// The writer is about to run the commit: does the claim still hold? Tells the lane's channel.
    pub(super) fn check(&self, claim: Claim) -> Result<ChannelId, StoreError> {
        match self.table().held.get(&claim.lane) {
            Some(held) if held.token == claim.token => Ok(held.channel),
            _ => Err(StoreError::Fenced),
        }
    }

    /// The commit is through, well or not.
    fn end(&self, claim: Claim, after: After) {
        let mut table = self.table();
        if let Some(held) = table.held.get_mut(&claim.lane)
            && held.token == claim.token
        {
            held.in_flight = held.in_flight.saturating_sub(1);
            held.given_back |= after != After::Kept;
            held.wanted |= after == After::Postponed;
        }
        self.let_go(table, claim);
    }

    /// Forgets the lane once it is given back and nothing of it is under way. What waits in it was told by the commit that
    /// gave it back; whoever waits asks for the next time all the same.
    fn let_go(&self, mut table: MutexGuard<'_, Table>, claim: Claim) {
        let gone = table
            .held
            .get(&claim.lane)
            .is_some_and(|held| held.token == claim.token && held.given_back && held.in_flight == 0);
        let wanted = gone && table.held.remove(&claim.lane).is_some_and(|held| held.wanted);
        drop(table);
        if wanted {
            self.ready.notify_one();
        }
    }

    /// What writing the lane locks. None: the claim is not known here any more.
    pub(super) fn touch_of(&self, claim: Claim) -> Option<Option<Touch>> {
        let table = self.table();
        let held = table.held.get(&claim.lane).filter(|held| held.token == claim.token)?;
        Some(held.touch.clone())
    }

    /// The worker is done with the lane. Giving back what one no longer has is no mistake.
    pub(super) fn give_back(&self, claim: Claim) {
        let mut table = self.table();
        if let Some(held) = table.held.get_mut(&claim.lane)
            && held.token == claim.token
        {
            held.given_back = true;
            // No commit tells what is left in it.
            if held.wanted {
                table.known.look();
            }
        }
        self.let_go(table, claim);
    }

    /// Nobody here may go on with anything.
    pub(super) fn lose_all(&self) {
        let lost: Vec<Claim> = {
            let mut table = self.table();
            table.handed.clear();
            let held = table.held.drain();
            held.map(|(lane, held)| Claim {
                lane,
                token: held.token,
            })
            .collect()
        };
        self.doubt(lost);
        self.wake();
    }

    /// Renews the named claims and frees what nobody has named for a lease.
    pub(super) fn renew(&self, claims: &[Claim]) {
        let now = Instant::now();
        let mut table = self.table();
        for claim in claims {
            if let Some(held) = table.held.get_mut(&claim.lane)
                && held.token == claim.token
            {
                held.seen = now;
            }
        }
        let Table { held, doubted, .. } = &mut *table;
        held.retain(|lane, held| {
            let keep = held.in_flight > 0 || now.duration_since(held.seen) < LEASE;
            if !keep {
                tracing::warn!(lane = %lane, "Lane {lane} was given up by its worker; it is free again");
                let claim = Claim {
                    lane: *lane,
                    token: held.token,
                };
                doubted.insert(claim, None);
            }
            keep
        });
    }

    /// Lanes may have become ready that are to be looked for.
    pub(super) fn wake(&self) {
        self.table().known.look();
        // Keeps one wake-up for a waiter that is just about to wait.
        self.ready.notify_one();
    }

    /// New events are to be worked: now, or when their lane is given back.
    pub(super) fn wake_for(&self, accepted: &[AcceptedEvent]) {
        let waits = |event: &AcceptedEvent| match event {
            AcceptedEvent::New { message, .. } => !self.wants(message.lane),
            AcceptedEvent::Duplicate { .. } => false,
        };
        // Every lane is told, whether or not an earlier one wakes.
        if accepted.iter().filter(|event| waits(event)).count() > 0 {
            self.wake();
        }
    }

    pub(super) async fn wait(&self) {
        let _ = tokio::time::timeout(POLL, self.ready.notified()).await;
    }
}

/// A commit in the writer's hands.
#[derive(Debug)]
pub(super) struct InFlight {
    claims: Arc<Claims>,
    claim: Claim,
    pub channel: ChannelId,
    pub touch: Option<Touch>,
    after: After,
}

impl InFlight {
    /// It is on disk.
    pub(super) fn committed(mut self, after: After) {
        self.after = after;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.claims.end(self.claim, self.after);
    }
}

pub(super) fn token() -> Result<u128, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_a_claim_in_doubt_is_named_until_the_server_was_told_for_a_while() {
        let claims = Claims::default();
        let claim = Claim {
            lane: LaneId(1),
            token: 1,
        };
        claims.doubt([claim]);
        // However long no heartbeat got through: nothing is forgotten for the time that went by.
        let back = Instant::now() + 10 * DOUBTED_FOR;
        assert_eq!(claims.doubted(), [claim]);
        claims.taken_back(&[claim], back);
        assert_eq!(claims.doubted(), [claim], "a statement of before may still end");
        claims.taken_back(&[claim], back + DOUBTED_FOR / 2);
        assert_eq!(claims.doubted(), [claim]);
        claims.taken_back(&[claim], back + DOUBTED_FOR);
        assert_eq!(claims.doubted(), []);
    }

    #[test]
    fn a_lane_is_not_given_away_while_a_commit_of_it_is_under_way() {
        let claims = Arc::new(Claims::default());
        let (lane, channel) = (LaneId(1), ChannelId(1));
        let claim = claims.take(lane, channel, 1).unwrap();
        let commit = claims.begin(claim).unwrap();
        claims.give_back(claim);
        assert!(claims.take(lane, channel, 2).is_none());
        assert!(matches!(claims.begin(claim), Err(StoreError::Fenced)));
        drop(commit);
        assert!(claims.take(lane, channel, 3).is_some());
        assert!(matches!(claims.check(claim), Err(StoreError::Fenced)));
    }
}

//! Which lanes are begun, and what is in hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mantle_model::ids::ChannelId;
use mantle_store::lanes::{Claim, ClaimedLane};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{give_back, work};
use crate::Flow;
use crate::fair::Load;
use crate::schedule::{self, FRESH_HANDS, Found, HANDS, Ours};

/// How often claims are renewed; a third of what the store grants.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// After the store refused to hand out work.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);
/// The longest sleep between two looks at the lanes: lost wake-ups cost this much.
const POLL: Duration = Duration::from_secs(1);
/// While lanes are ready that nobody may begin: a hand that becomes free ends it at once.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(20);
/// How often the lanes are looked at, at most: a look for one lane costs as much as a look for many, and what came in
/// after a pause is looked at at once.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it is asked when the next lane will be ready: that looks at all that wait.
const NEXT_EVERY: Duration = Duration::from_millis(100);

/// The claims in hand: of which channel, and whether at what failed before.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    claims: Arc<Mutex<HashMap<Claim, (ChannelId, bool)>>>,
    /// A turn has ended.
    ended: Arc<Notify>,
}

pub(super) async fn claim_loop(flow: &Arc<Flow>, held: &Held, turns: &mut JoinSet<()>, soft: &CancellationToken) {
    let mut asked = None;
    let mut looked: Option<Instant> = None;
    while !soft.is_cancelled() {
        if let Some(early) = looked.and_then(|looked| LOOK_EVERY.checked_sub(looked.elapsed())) {
            pause(soft, early).await;
        }
        looked = Some(Instant::now());
        flow.looked_for_work();
        while turns.try_join_next().is_some() {}
        let free = (HANDS - FRESH_HANDS).saturating_sub(turns.len());
        let found = if free == 0 {
            Ok(Found {
                left: true,
                ..Found::default()
            })
        } else {
            schedule::claim(flow, &load(held), free).await
        };
        match found {
            Ok(found) if found.lanes.is_empty() && found.left => make_room(flow, held, soft, free).await,
            Ok(found) if found.lanes.is_empty() => rest(flow, soft, &mut asked).await,
            Ok(found) => found.lanes.into_iter().for_each(|lane| begin(flow, held, turns, lane)),
            Err(error) => {
                tracing::error!(%error, "No work could be claimed");
                pause(soft, CLAIM_PAUSE).await;
            }
        }
    }
}

/// Works the lanes that are claimed as their events come. What was not begun when the stop came is given back.
pub(super) async fn hand_loop(flow: &Arc<Flow>, held: &Held, turns: &mut JoinSet<()>, soft: &CancellationToken) {
    flow.store().hand_over(Some(Arc::new(Ours(Arc::downgrade(flow)))));
    let mut begun: Option<Instant> = None;
    loop {
        // What came in meanwhile begins together, so that it is announced and written down together.
        if let Some(early) = begun.and_then(|begun| LOOK_EVERY.checked_sub(begun.elapsed())) {
            pause(soft, early).await;
        }
        let handed = tokio::select! {
            biased;
            () = soft.cancelled() => break,
            handed = flow.store().handed() => handed,
        };
        begun = Some(Instant::now());
        while turns.try_join_next().is_some() {}
        match handed {
            Ok(lanes) => lanes.into_iter().for_each(|lane| begin(flow, held, turns, lane)),
            Err(error) => {
                tracing::error!(%error, "What has come in could not be begun at once");
                pause(soft, CLAIM_PAUSE).await;
            }
        }
    }
    for claim in flow.store().hand_over(None) {
        give_back(flow, claim).await;
    }
}

fn begin(flow: &Arc<Flow>, held: &Held, turns: &mut JoinSet<()>, lane: ClaimedLane) {
    let (flow, in_hand) = (Arc::clone(flow), InHand::take(held, &lane));
    turns.spawn(async move {
        work(&flow, &lane).await;
        drop(in_hand);
    });
}

/// A claim that is renewed as long as its turn goes on, and not for ever when a turn crashes.
struct InHand(Held, Claim);

impl InHand {
    fn take(held: &Held, lane: &ClaimedLane) -> Self {
        locked(held).insert(lane.claim, (lane.channel, lane.tries > 0));
        Self(held.clone(), lane.claim)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        locked(&self.0).remove(&self.1);
        self.0.ended.notify_one();
    }
}

fn load(held: &Held) -> Load {
    let mut load = Load::default();
    for (channel, failed) in locked(held).values() {
        *load.of_channel.entry(*channel).or_default() += 1;
        load.failed += usize::from(*failed);
    }
    load
}

/// Until work may be there.
async fn rest(flow: &Flow, soft: &CancellationToken, asked: &mut Option<Instant>) {
    let nap = match asked.map(|asked| asked.elapsed()).filter(|ago| *ago < NEXT_EVERY) {
        Some(ago) => NEXT_EVERY - ago,
        None => {
            *asked = Some(Instant::now());
            match flow.store().next_ready().await {
                Ok(Some(ready)) => ready.since(flow.now()).min(POLL).max(NO_ROOM_PAUSE),
                Ok(None) | Err(_) => POLL,
            }
        }
    };
    tokio::select! {
        biased;
        () = soft.cancelled() => {}
        () = flow.store().wait_ready() => {}
        () = tokio::time::sleep(nap) => {}
    }
}

/// Until a turn has ended, where lanes are ready that nobody may begin before.
async fn make_room(flow: &Flow, held: &Held, soft: &CancellationToken, free: usize) {
    tokio::select! {
        biased;
        () = soft.cancelled() => {}
        () = held.ended.notified() => {}
        // Another channel's lanes may be ready, which have room.
        () = flow.store().wait_ready(), if free > 0 => {}
        () = tokio::time::sleep(NO_ROOM_PAUSE) => {}
    }
}

/// For ever.
pub(super) async fn heartbeat(flow: &Flow, held: &Held) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let claims: Vec<Claim> = locked(held).keys().copied().collect();
        if let (false, Err(error)) = (claims.is_empty(), flow.store().heartbeat(&claims, flow.now()).await) {
            tracing::error!(%error, "Claims could not be renewed");
        }
    }
}

pub(crate) async fn pause(soft: &CancellationToken, wait: Duration) {
    tokio::select! {
        biased;
        () = soft.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// No task panics while holding it; were it so, the set would still be whole.
fn locked(held: &Held) -> std::sync::MutexGuard<'_, HashMap<Claim, (ChannelId, bool)>> {
    held.claims.lock().unwrap_or_else(PoisonError::into_inner)
}

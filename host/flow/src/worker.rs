//! Works the lanes: claims what is ready, takes each event to its end or to its next try.
//!
//! One lane is in one pair of hands. A stop lets the turns that have begun come to their end; what has not
//! begun stays in the store.

mod hands;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mantle_inbox::InboxError;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure, Reason};
use mantle_store::StoreError;
use mantle_store::directory::ChannelStatus;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Attempt, Change, Claim, ClaimedLane, Effect, EffectState, Ending, StoredEvent};
use mantle_store::people::Identity;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::hands::pause;
use self::hands::{Held, claim_loop, hand_loop, heartbeat};
use crate::fair::Load;
use crate::job::{Job, Stop, Turn};
use crate::payload::OutPayload;
use crate::retry::{self, Attempts, Next};
use crate::schedule::{self, HANDS};
use crate::{Flow, channels, chores, gates, inbound, outbound, sharing, standing, sweep};

/// When a channel or workspace that a lane belongs to is gone, its events are looked at again after this.
const HOMELESS_WAIT: Duration = Duration::from_secs(60 * 60);

/// How long a result is tried to be written: a server that crashed is back by then, or its standby is. Within the time
/// that an orderly end takes.
const WRITE_TIME_MAX: Duration = Duration::from_secs(20);
/// The wait before it is tried again; doubled each time, up to the second.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(50);
const WRITE_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// Lanes whose first event has a write in doubt, at once. A crash leaves one on each lane that was in hand, and they are the
/// oldest: looked for all together they would keep everybody else waiting while conversations are read.
pub(crate) const DOUBTS_AT_ONCE: usize = 16;

/// How long what was read of a person holds for the events behind the first: what else is written of them meanwhile comes
/// from turns of the other direction and from merges, which the inbox tells again.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Works until `soft` is cancelled, then finishes the turns under way; `hard` drops those too.
pub async fn run(flow: Arc<Flow>, soft: CancellationToken, hard: CancellationToken) {
    let held = Held::default();
    let (mut turns, mut fresh) = (JoinSet::new(), JoinSet::new());
    let works = async {
        tokio::join!(
            chores::run(&flow, &soft),
            claim_loop(&flow, &held, &mut turns, &soft),
            hand_loop(&flow, &held, &mut fresh, &soft),
            sharing::run(&flow, &soft),
        );
        let finished = async {
            while turns.join_next().await.is_some() {}
            while fresh.join_next().await.is_some() {}
        };
        tokio::select! {
            biased;
            () = hard.cancelled() => tracing::warn!("Turns under way are dropped; their effects will be looked for"),
            () = finished => {}
        }
    };
    // What is under way when the stop comes keeps its lanes until it has ended.
    tokio::select! {
        () = works => {}
        () = heartbeat(&flow, &held) => {}
    }
    turns.shutdown().await;
    fresh.shutdown().await;
}

impl Flow {
    /// Writes down what was learnt. A database that is away is back within seconds, mostly, and what is not written is
    /// looked for later, or asked about where nothing shows it.
    pub(crate) async fn write_down(&self, claim: Claim, changes: Vec<Change>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut again_after = WRITE_AGAIN_AFTER;
        loop {
            match self.store().commit(claim, changes.clone()).await {
                Err(StoreError::Busy(why)) if begun.elapsed() < WRITE_TIME_MAX => {
                    tracing::info!(lane = %claim.lane, "A result is written once more: {why}");
                    tokio::time::sleep(again_after).await;
                    again_after = (again_after * 2).min(WRITE_AGAIN_AFTER_MAX);
                }
                other => return other,
            }
        }
    }

    /// Works all that is ready by the clock now and returns when nothing is: for tests and one-shot commands.
    ///
    /// # Errors
    /// The store hands out no work.
    pub async fn settle(&self) -> Result<(), StoreError> {
        loop {
            chores::read_again(self).await?;
            self.tell_others().await;
            self.hear_others().await?;
            sweep::run_due(self).await;
            let found = schedule::claim(self, &Load::default(), HANDS).await?;
            if found.lanes.is_empty() {
                return Ok(());
            }
            join_all(found.lanes.iter().map(|lane| work(self, lane))).await;
        }
    }
}

/// The events of one claimed lane, in order, until one must wait.
async fn work(flow: &Flow, lane: &ClaimedLane) {
    // Before the gates: whoever waits here takes no turn of a credential from the others.
    let mut in_doubt = match lane.events.first() {
        Some(first) if first.effects.iter().any(is_open) => flow.doubts.acquire().await.ok(),
        _ => None,
    };
    let mut person = lane.person.clone().map(|person| (person, flow.now()));
    for event in &lane.events {
        let known = person.take().filter(|(_, since)| flow.now().since(*since) < KNOWN_FOR);
        match Box::pin(turn(flow, lane, event, known.clone())).await {
            Ok(After::Continue(left)) => {
                let since = known.map_or(flow.now(), |(_, since)| since);
                person = left.map(|person| (*person, since));
            }
            Ok(After::Freed) => return,
            Err(StoreError::Fenced) => {
                flow.metrics().lease_lost();
                tracing::warn!(message.id = %event.id, "Another worker has the lane by now");
                break;
            }
            Err(error) => {
                tracing::error!(message.id = %event.id, %error, "A result could not be stored");
                break;
            }
        }
        drop(in_doubt.take());
    }
    give_back(flow, lane.claim).await;
}

async fn give_back(flow: &Flow, claim: Claim) {
    if let Err(error) = flow.store().release(claim).await {
        tracing::error!(%error, "A lane could not be given back; it comes back by itself");
    }
}

fn is_open(effect: &Effect) -> bool {
    matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)
}

/// Whether the lane is still ours.
enum After {
    /// With what is known of the lane's person by now.
    Continue(Option<Box<Identity>>),
    Freed,
}

async fn turn(
    flow: &Flow,
    lane: &ClaimedLane,
    event: &StoredEvent,
    known: Option<(Identity, Time)>,
) -> Result<After, StoreError> {
    // The first event's failures are not those of the ones behind it.
    let is_first = lane.events.first().is_some_and(|first| first.id == event.id);
    let is_last = lane.events.last().is_some_and(|last| last.id == event.id);
    let person = known.map(|(person, _)| person);
    let lane = &ClaimedLane {
        tries: if is_first { lane.tries } else { 0 },
        failing_since: lane.failing_since.filter(|_| is_first),
        person: None,
        events: Vec::new(),
        key: lane.key.clone(),
        ..*lane
    };
    let Some(job) = Job::new(flow, (lane, person), (event, is_last)) else {
        return homeless(flow, lane, event).await;
    };
    match outbound::hold::turn(&job).await {
        Ok(None) => {}
        Ok(Some(turn)) => return ended(&job, turn).await,
        Err(stop) => return stopped(&job, stop).await,
    }
    // Held to the end of the turn: the gates are told how it went before it counts as over.
    let _passes = match job.enter().await {
        Ok(passes) => passes,
        Err(closed) => {
            let wait = gates::jittered(closed.wait, job.flow.chance());
            return postpone(&job, wait, closed.cause, Attempt::Free).await;
        }
    };
    let result = match lane.direction {
        Direction::In => inbound::forward(&job).await,
        Direction::Out => outbound::forward(&job).await,
    };
    flow.tell_others().await;
    match result {
        Ok(turn) => ended(&job, turn).await,
        Err(stop) => stopped(&job, stop).await,
    }
}

async fn ended(job: &Job<'_>, turn: Turn) -> Result<After, StoreError> {
    match turn {
        Turn::Finish { changes, ending } => {
            standing::recovered(job, &ending).await;
            finish(job, changes, ending).await
        }
        Turn::Retry {
            mut changes,
            wait,
            cause,
            counts,
        } => {
            changes.push(Change::Retry {
                until: job.now().after(outbound::hold::shortened(job, wait)),
                cause,
                counts,
            });
            job.flow.write_down(job.lane.claim, changes).await?;
            Ok(After::Freed)
        }
    }
}

async fn stopped(job: &Job<'_>, stop: Stop) -> Result<After, StoreError> {
    let mut look_after_then = None;
    let failure = match stop {
        Stop::Store(error @ (StoreError::Fenced | StoreError::Busy(_))) => return Err(error),
        Stop::Store(error) => Failure::Transient(Cause::new("store", error.to_string())),
        Stop::Unsettled(wait) => {
            let cause = Cause::new("unsettled", "An earlier write is being looked for.");
            return postpone(job, wait, cause, Attempt::Free).await;
        }
        Stop::Lost { cause, look_after } => {
            look_after_then = Some(look_after);
            job.flow.sweeps.troubled(job.workspace.id);
            let failure = Failure::Unknown(cause);
            if let Some(news) = job.inbox_stopped(&failure) {
                standing::heard(job, news).await;
            }
            failure
        }
        Stop::Payload(error) => return give_up(job, Cause::new("payload", error.to_string())).await,
        Stop::Inbox(InboxError::Failure(failure)) => {
            let failure = scope_lost(failure);
            if let Some(news) = job.inbox_stopped(&failure) {
                standing::heard(job, news).await;
            }
            // Told to slow down it works all the same.
            if !matches!(failure, Failure::Refused(_) | Failure::RateLimited { .. }) {
                job.flow.sweeps.troubled(job.workspace.id);
            }
            failure
        }
        Stop::Inbox(gone) => Failure::Transient(Cause::new("inbox", gone.to_string())),
        Stop::Provider(failure) => {
            if let Failure::Unauthorized(cause) = &failure {
                let told = (ChannelStatus::Disconnected, Some(cause.message.clone()));
                channels::set_status(job.flow, &job.channel, told).await;
            }
            failure
        }
    };
    // A limit or an outage, before the lane is given back: another host may be about to ask.
    job.flow.tell_others().await;
    let attempts = Attempts {
        failed: job.lane.tries,
        since: job.lane.failing_since,
        now: job.now(),
    };
    tracing::info!(message.id = %job.event.id, attempt = job.lane.tries, code = failure.cause().code, "An attempt failed");
    match retry::next(&failure, attempts, job.flow.chance()) {
        Next::Retry { until, counts } => {
            let wait = look_after_then.unwrap_or_else(|| until.since(job.now()));
            postpone(job, wait, failure.cause().clone(), counts).await
        }
        Next::GiveUp(cause) => give_up(job, cause).await,
    }
}

/// An app that lost a permission is as good as one that lost its token: nothing is given up for it. What may fail for
/// want of a permission alone was dealt with where it was asked for.
fn scope_lost(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal) if refusal.reason == Reason::Account => Failure::Unauthorized(refusal.cause),
        other => other,
    }
}

async fn postpone(job: &Job<'_>, wait: Duration, cause: Cause, counts: Attempt) -> Result<After, StoreError> {
    let until = job.now().after(outbound::hold::shortened(job, wait));
    let change = Change::Retry { until, cause, counts };
    job.flow.write_down(job.lane.claim, vec![change]).await?;
    Ok(After::Freed)
}

/// Dead, loudly; a reply's team is told in the conversation.
async fn give_up(job: &Job<'_>, cause: Cause) -> Result<After, StoreError> {
    tracing::error!(message.id = %job.event.id, code = cause.code, reason = cause.message, "A message is given up; it can be replayed");
    job.flow.metrics().dead(job.channel.id);
    standing::warn_of_dead(job).await;
    let told = match serde_json::from_slice(&job.event.payload) {
        Ok(OutPayload::Reply(told)) if job.lane.direction == Direction::Out => Some(told),
        _ => None,
    };
    let note = told.and_then(|told| outbound::given_up(job, &told, &cause));
    finish(job, note.into_iter().collect(), Ending::Dead { cause }).await
}

async fn finish(job: &Job<'_>, mut changes: Vec<Change>, ending: Ending) -> Result<After, StoreError> {
    let (outcome, done) = match &ending {
        Ending::Done => ("done", true),
        Ending::Ignored { .. } => ("ignored", false),
        Ending::Failed { .. } => ("failed", false),
        Ending::Unknown { .. } => ("unknown", false),
        Ending::Dead { .. } => ("dead", false),
    };
    let seq = job.event.id.seq;
    changes.push(Change::Finish { seq, ending });
    changes.extend(job.is_last.then_some(Change::GiveBack));
    // A reply is held against what is known right before it leaves.
    let known = (job.lane.direction == Direction::In)
        .then(|| job.identity_after(&changes))
        .flatten();
    job.flow.write_down(job.lane.claim, changes).await?;
    let direction = match job.lane.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    job.flow.metrics().event(job.channel.id, direction, outcome);
    if done && matches!(job.event.kind.as_str(), "message" | "reply") {
        job.flow
            .metrics()
            .delivered(job.channel.id, direction, job.now().since(job.event.at));
    }
    Ok(if job.is_last {
        After::Freed
    } else {
        After::Continue(known.map(Box::new))
    })
}

/// The channel or workspace was archived: nothing more reaches inbox or customer.
async fn homeless(flow: &Flow, lane: &ClaimedLane, event: &StoredEvent) -> Result<After, StoreError> {
    let archived = flow.directory().channel(lane.channel).is_none();
    let change = if archived {
        let why = "channel-archived".to_owned();
        Change::Finish {
            seq: event.id.seq,
            ending: Ending::Ignored { why },
        }
    } else {
        Change::Retry {
            until: flow.now().after(HOMELESS_WAIT),
            cause: Cause::new("no-inbox", "The workspace's inbox is not set up on this host."),
            counts: Attempt::Free,
        }
    };
    flow.store().commit(lane.claim, vec![change]).await?;
    Ok(if archived { After::Continue(None) } else { After::Freed })
}

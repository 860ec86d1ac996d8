//! Replies that go before this one: written earlier in the same conversation, but told later, or never (P3, OUT-3).
//!
//! Webhooks overtake each other and get lost, and the queue is in the order in which they came. So what the team wrote
//! before a reply is looked through when the reply is read: what is not known yet, or stands behind it, is put into a
//! short queue beside the person's own, all in one commit, and the reply waits until that is worked. It goes there under
//! a key of its own, so that a webhook which comes in this very moment takes nothing out of the middle; what stands in
//! the person's queue under the key of its webhook is passed over when its turn comes.
//!
//! The newest part that was worked ends the look: when it was its turn, what is older was looked through.

use std::time::Duration;

use mantle_inbox::Spoken;
use mantle_model::capabilities::Delivery;
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::IdentityId;
use mantle_store::intake::{Direction, LaneKey, NewEvent};
use mantle_store::lanes::{Attempt, Change};
use mantle_store::single::Standing;

use super::{part_key, spacing};
use crate::job::{Job, Stop, Turn};
use crate::payload::{OutPayload, ReplyTold, to_bytes};

/// Older parts are not asked about: the sweep has found what was not told by then, and long after this the keys of
/// what was sent are forgotten.
const LOOK_BACK: Duration = Duration::from_secs(24 * 60 * 60);
/// Parts put ahead of one reply at once, the newest ones. Beyond that the sweep finds them, behind it.
const AHEAD_MAX: usize = 50;
/// How soon it is asked whether those ahead are worked: most are in less …
const WAIT_MIN: Duration = Duration::from_secs(1);
/// … and where they are not, each question reads the conversation: this is often enough.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The wait grows to a fraction of what was waited already.
const WAIT_DIVISOR: u32 = 4;
/// An earlier one is given up in two days; nothing waits for it longer.
const WAITED_MAX: Duration = Duration::from_secs(49 * 60 * 60);

/// The key of a part that is worked ahead of the person's queue.
fn ahead_key(part: &str) -> String {
    format!("ahead:{part}")
}

/// Whether the part was put ahead since it was told: the event ahead stands for it.
pub(super) async fn went(job: &Job<'_>, part: &str) -> Result<bool, Stop> {
    if job.lane.is_ahead() {
        return Ok(false);
    }
    let key = [ahead_key(part)];
    let known = job.flow.store().told_before(job.channel.id, Direction::Out, &key);
    Ok(known.await? == [true])
}

/// How an earlier part stands to the reply.
enum Place {
    /// Nobody told it yet, or it stands behind the reply.
    Missing,
    /// It is being worked in another queue.
    UnderWay,
    Worked(Standing),
}

/// What must be done before the reply may go; None: nothing.
pub(super) async fn first(
    job: &Job<'_>,
    told: &ReplyTold,
    (earlier, at): (&[Spoken], Time),
    delivery: &Delivery,
) -> Result<Option<Turn>, Stop> {
    // A queue left over from an identity that became another's takes in nothing new, so it is nobody's to put in order.
    let Some(identity) = job.lane.identity.filter(|known| job.lane.key == known.to_string()) else {
        return Ok(None);
    };
    let mut go = Vec::new();
    let mut under_way = false;
    for spoken in earlier.iter().rev() {
        if at.since(spoken.at) > LOOK_BACK {
            break;
        }
        if go.len() >= AHEAD_MAX {
            tracing::warn!(message.id = %job.event.id, "More replies were not told than are put ahead of one at once");
            break;
        }
        if job.flow.store().is_own_part(told.workspace, &spoken.part).await? {
            continue;
        }
        match place(job, spoken).await? {
            Place::Missing => go.push(event(job, identity, told, spoken)),
            Place::UnderWay => {
                under_way = true;
                break;
            }
            Place::Worked(standing) if go.is_empty() => return pause(job, delivery, standing).await,
            Place::Worked(_) => break,
        }
    }
    if go.is_empty() && !under_way {
        return Ok(None);
    }
    Ok(behind(job, go))
}

/// The person's two queues share the pause that the provider asks for.
async fn pause(job: &Job<'_>, delivery: &Delivery, newest: Standing) -> Result<Option<Turn>, Stop> {
    let lane = newest.message.lane;
    if lane == job.lane.claim.lane {
        return Ok(None);
    }
    let wait = spacing::wait_on(job, delivery, lane).await?;
    Ok(wait.map(|wait| Turn::wait(wait, "pace", spacing::WHY)))
}

async fn place(job: &Job<'_>, spoken: &Spoken) -> Result<Place, Stop> {
    let standing = async |key: String| {
        let store = job.flow.store();
        store.standing(job.channel.id, Direction::Out, &key).await
    };
    let id = job.event.id;
    match standing(part_key(&spoken.part)).await? {
        // Those that went ahead are passed over only when they are worked there.
        Some(own) if own.finished || (own.message.lane == id.lane && own.message.seq < id.seq) => {
            return Ok(Place::Worked(own));
        }
        Some(own) if own.message.lane != id.lane => return Ok(Place::UnderWay),
        _ => {}
    }
    Ok(match standing(ahead_key(&spoken.part)).await? {
        None => Place::Missing,
        Some(ahead) if ahead.finished => Place::Worked(ahead),
        Some(_) => Place::UnderWay,
    })
}

fn event(job: &Job<'_>, identity: IdentityId, told: &ReplyTold, spoken: &Spoken) -> NewEvent {
    let earlier = ReplyTold {
        workspace: told.workspace,
        conversation: told.conversation.clone(),
        part: spoken.part.clone(),
        author: spoken.author.clone(),
        text: spoken.text.clone(),
    };
    NewEvent {
        channel: job.channel.id,
        direction: Direction::Out,
        lane: LaneKey::Ahead(identity),
        key: ahead_key(&spoken.part),
        kind: "reply",
        remote_id: Some(spoken.part.clone()),
        at: spoken.at,
        payload: to_bytes(&OutPayload::Reply(earlier)),
        opens_window: false,
        not_before: None,
    }
}

/// The reply waits behind those that were found, newest first in `found`.
fn behind(job: &Job<'_>, found: Vec<NewEvent>) -> Option<Turn> {
    let waited = job.now().since(job.event.accepted_at);
    if waited > WAITED_MAX {
        return None;
    }
    if !found.is_empty() {
        tracing::info!(message.id = %job.event.id, earlier = found.len(), "Replies that were written before this one go first");
    }
    Some(Turn::Retry {
        changes: found.into_iter().rev().map(Change::Spawn).collect(),
        wait: (waited / WAIT_DIVISOR).clamp(WAIT_MIN, WAIT_MAX),
        cause: Cause::new("in-line", "A reply that was written before this one goes first."),
        counts: Attempt::Free,
    })
}

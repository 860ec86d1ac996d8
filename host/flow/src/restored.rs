//! After a restore: what the backup shows as waiting may have happened since, and what happened since is not known.
//!
//! The host that ran on after the backup was taken has worked what was waiting, and sent replies that this database
//! never heard of. So every write of an unfinished event is put in doubt before any work begins: the inbox is read
//! before anything is written to it again, and a reply is not repeated where nobody can tell whether it arrived; the
//! team is asked instead. The same goes for replies that the inbox tells late and that were written in between.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::LaneId;
use mantle_store::StoreError;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Effect, EffectState};
use mantle_store::upkeep::{Restored, Unfinished};

use crate::Flow;
use crate::inbound::opening_target;
use crate::job::Job;
use crate::payload::send_step;

/// Unfinished events put in doubt in one commit.
const AT_ONCE: u32 = 200;
/// Clocks of the inbox and of this host differ by less than this.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// What the trace shows at an effect that nobody announced here.
const CODE: &str = "restored";

/// Puts in doubt what a restored database shows as waiting. To be called before any work begins; does nothing for a
/// database that was not restored, or whose doubts are written down already.
///
/// # Errors
/// The store cannot be read or written: no work may begin.
pub async fn reconcile(flow: &Flow) -> Result<(), StoreError> {
    let Some(restored) = flow.store().restored().await? else {
        return Ok(());
    };
    flow.remember_restore(restored);
    if restored.reconciled {
        return Ok(());
    }
    let (mut after, mut last_lane, mut events) = (None, None, 0_u64);
    loop {
        let page = flow.store().unfinished(after, AT_ONCE).await?;
        let Some(end) = page.last().map(|event| event.id) else {
            break;
        };
        let mut doubts = Vec::new();
        for event in &page {
            let first = first_message(event, &mut last_lane);
            let sent = units_sent(flow, event).await?;
            doubts.extend(steps(event, first, sent).into_iter().map(|(step, target)| {
                let effect = doubt(step, target, restored.taken_at);
                (event.id, effect)
            }));
        }
        flow.store().doubt(&doubts).await?;
        events += page.len() as u64;
        after = Some(end);
    }
    let done = Restored {
        reconciled: true,
        ..restored
    };
    flow.store().set_restored(done).await?;
    tracing::warn!(
        events,
        taken_at = %restored.taken_at,
        "This database was restored from a backup of {}. {events} waiting events are looked for before they are \
         written again; replies that may have been sent are not repeated, and the team is asked",
        restored.taken_at
    );
    Ok(())
}

/// Why a reply must not be sent although this database knows of no attempt: it was written while another host, of
/// which this database knows nothing, may have sent it.
pub(crate) fn may_have_been_sent(job: &Job<'_>) -> Option<Cause> {
    let restored = job.flow.restore()?;
    let told_since = job.event.accepted_at >= restored.restored_at;
    let between = in_between(&restored, job.event.at);
    (told_since && between && job.event.attempt_no == 0).then(|| {
        let message = format!(
            "It was written between the backup of {} and its restore, and may have been sent then",
            crate::note::moment(restored.taken_at)
        );
        Cause::new(CODE, message)
    })
}

fn in_between(restored: &Restored, at: Time) -> bool {
    at >= restored.taken_at.before(CLOCKS_DIFFER) && at < restored.restored_at
}

/// Whether it is the first message of a person without a conversation: the one that may have opened it.
fn first_message(event: &Unfinished, last_lane: &mut Option<LaneId>) -> bool {
    let opens = event.opens && event.direction == Direction::In && event.kind == "message";
    opens && last_lane.replace(event.id.lane) != Some(event.id.lane)
}

/// How many units of a reply are known to have reached the provider: what is in doubt begins behind them.
async fn units_sent(flow: &Flow, event: &Unfinished) -> Result<usize, StoreError> {
    if event.direction == Direction::In {
        return Ok(0);
    }
    let effects = flow.store().trace(event.id).await?.map(|trace| trace.effects);
    let done = |step: String| {
        let of_it = |(_, effect): &(u32, Effect)| effect.step == step && effect.state == EffectState::Done;
        effects.iter().flatten().any(of_it)
    };
    Ok((0..).take_while(|unit| done(send_step(*unit))).count())
}

/// The writes that the event may have led to: (step, target). `sent` units of a reply are known to be out.
fn steps(event: &Unfinished, first: bool, sent: usize) -> Vec<(String, String)> {
    let part = |place: u32| (format!("part:{place}"), String::new());
    match (event.direction, event.kind.as_str()) {
        (Direction::In, "message") if first => {
            vec![("conversation".to_owned(), opening_target(event.workspace)), part(1)]
        }
        (Direction::In, "message" | "late-file") => vec![part(0)],
        (Direction::In, "note") => vec![("note".to_owned(), String::new())],
        // What only teaches this database something leaves nothing outside.
        (Direction::In, _) | (Direction::Out, "learnt" | "stray") => Vec::new(),
        (Direction::Out, _) => vec![(send_step(sent), String::new())],
    }
}

fn doubt(step: String, target: String, taken_at: Time) -> Effect {
    Effect {
        step,
        state: EffectState::Ambiguous,
        target,
        fingerprint: String::new(),
        remote_id: None,
        announced_at: taken_at,
        ended_at: Some(taken_at),
        code: Some(CODE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use mantle_model::ids::{ChannelId, MessageId, WorkspaceId};

    use super::*;

    fn event(lane: i64, kind: &str, direction: Direction, opens: bool) -> Unfinished {
        Unfinished {
            id: MessageId {
                lane: LaneId(lane),
                seq: 1,
            },
            channel: ChannelId(1),
            workspace: WorkspaceId(1),
            direction,
            kind: kind.to_owned(),
            opens,
        }
    }

    #[test]
    fn a_16_one_message_of_a_lane_may_have_opened_the_conversation() {
        let mut last = None;
        let opening = event(1, "message", Direction::In, true);
        assert!(first_message(&opening, &mut last));
        assert!(!first_message(&opening, &mut last), "the second continues");
        assert!(first_message(&event(2, "message", Direction::In, true), &mut last));
        assert!(!first_message(&event(3, "message", Direction::In, false), &mut last));
        assert_eq!(steps(&opening, false, 0), [("part:0".to_owned(), String::new())]);
        assert_eq!(
            steps(&event(4, "reply", Direction::Out, false), false, 2)[0].0,
            "send:2"
        );
        assert!(steps(&event(5, "status", Direction::In, false), false, 0).is_empty());
    }

    #[test]
    fn a_16_only_what_was_written_between_backup_and_restore_is_in_doubt() {
        let restored = Restored {
            taken_at: Time::from_unix_seconds(1_000_000),
            restored_at: Time::from_unix_seconds(1_003_600),
            reconciled: true,
        };
        for (seconds, expected) in [(999_000, false), (999_950, true), (1_003_599, true), (1_003_600, false)] {
            assert_eq!(
                in_between(&restored, Time::from_unix_seconds(seconds)),
                expected,
                "{seconds}"
            );
        }
    }
}

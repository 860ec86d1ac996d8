//! One unit of a reply to the provider: announced, sent once, written down.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mantle_failpoint::{Point, reach};
use mantle_model::capabilities::RetrySafety;
use mantle_model::failure::{Cause, Failure, Reason, Refusal};
use mantle_model::inbound::DeliveryReport;
use mantle_model::outbound::{Outgoing, Sent};
use mantle_sandbox::CallError;
use mantle_store::lanes::{Change, Effect, EffectState};
use mantle_store::people::Identity;

use super::doubt::{self, Verdict};
use super::plan::Unit;
use super::spacing;
use crate::connector::Connector;
use crate::inbound::failure_word;
use crate::job::{Job, Stop};
use crate::payload::{correlation, send_step};

/// After a send without an answer, where a status may tell: it often comes within this.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How it stands with a unit.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The provider has it.
    Taken,
    Refused(Refusal),
    Unknown(Cause),
    /// Nothing has failed; the code and sentence say what is waited for.
    Wait(Duration, &'static str, &'static str),
}

/// Sends the unit unless an earlier attempt did. What may be tried later stops the turn.
pub(super) async fn unit(
    job: &Job<'_>,
    plugin: &dyn Connector,
    identity: &Identity,
    (place, unit): (usize, &Unit),
) -> Result<Outcome, Stop> {
    let step = send_step(place);
    let delivery = &plugin.capabilities().delivery;
    let outgoing = Outgoing {
        id: correlation(job.event.id, job.event.attempt_no, place),
        recipient: identity.aliases.clone(),
        group_id: None,
        content: unit.content.clone(),
        reply_to: None,
    };
    if let Some(effect) = job.event.effect(&step) {
        match effect.state {
            EffectState::Done => return Ok(Outcome::Taken),
            EffectState::Failed => {}
            EffectState::Intent | EffectState::Ambiguous => {
                match doubt::settle(job, plugin, effect, &outgoing).await? {
                    Verdict::Made(sent) => {
                        job.commit(taken(job, identity, effect.clone(), sent)).await?;
                        return Ok(Outcome::Taken);
                    }
                    Verdict::Repeat => {}
                    Verdict::Wait(wait) => return Ok(in_doubt(wait)),
                    Verdict::Unknown(cause) => return Ok(Outcome::Unknown(cause)),
                }
            }
        }
    }
    if let Some(wait) = spacing::wait(job, delivery).await? {
        return Ok(Outcome::Wait(wait, "pace", spacing::WHY));
    }
    // Until what became of it is stored.
    let _under_way = job.flow.sending.begin(identity.id);
    let effect = job.announce(&step, &identity.id.to_string(), &unit.mark).await?;
    let context = job.flow.context(&job.channel, plugin);
    let started = Instant::now();
    let result = plugin.send(&context, &outgoing).await;
    job.flow
        .metrics()
        .guest_call(&job.channel.plugin, "send", started.elapsed());
    reach(Point::AnswerRead).await;
    match result {
        Ok(sent) => {
            job.commit(taken(job, identity, effect, sent)).await?;
            Ok(Outcome::Taken)
        }
        Err(error) => {
            if !matches!(error, CallError::Provider(_)) {
                job.flow
                    .metrics()
                    .guest_failure(&job.channel.plugin, failure_word(&error));
            }
            let failure = failure_of(error);
            job.commit(vec![
                job.undone(effect, &failure),
                job.hop(
                    "send failed",
                    Some(failure.cause().code.clone()),
                    Some(failure.cause().message.clone()),
                ),
            ])
            .await?;
            match failure {
                Failure::Refused(refusal) => Ok(Outcome::Refused(refusal)),
                Failure::Unknown(cause) => unknown(delivery.retry, cause),
                other => Err(Stop::Provider(other)),
            }
        }
    }
}

/// A send that has just ended without a clear answer. Where asking or repeating settles it, it counts as an attempt, so
/// that a provider that never answers is given up some day.
fn unknown(class: RetrySafety, cause: Cause) -> Result<Outcome, Stop> {
    match class {
        RetrySafety::None => Ok(Outcome::Unknown(cause)),
        // Its time is counted when the lane is looked at next, from the end of the call.
        RetrySafety::Echo => Ok(in_doubt(FIRST_LOOK)),
        RetrySafety::Key | RetrySafety::ReadBack => Err(Stop::Provider(Failure::Unknown(cause))),
    }
}

fn in_doubt(wait: Duration) -> Outcome {
    Outcome::Wait(
        wait,
        "in-doubt",
        "Whether the provider took the message is being found out.",
    )
}

/// Step and mark of the units that earlier attempts brought to the provider and that it did not report as failed:
/// a resend is for what did not arrive.
pub(super) async fn arrived_before(job: &Job<'_>) -> Result<HashSet<(String, String)>, Stop> {
    let present = job.event.attempt_no;
    if present == 0 {
        return Ok(HashSet::new());
    }
    let Some(trace) = job.flow.store().trace(job.event.id).await? else {
        return Ok(HashSet::new());
    };
    let failed: HashSet<&str> = trace
        .reports
        .iter()
        .filter(|(_, report, ..)| *report == DeliveryReport::Failed)
        .map(|(remote_id, ..)| remote_id.as_str())
        .collect();
    let arrived = |effect: &Effect| {
        let known = effect.remote_id.as_deref().is_some_and(|id| !failed.contains(id));
        known && effect.state == EffectState::Done
    };
    Ok(trace
        .effects
        .iter()
        .filter(|(attempt, effect)| *attempt < present && arrived(effect))
        .map(|(_, effect)| (effect.step.clone(), effect.fingerprint.clone()))
        .collect())
}

fn taken(job: &Job<'_>, identity: &Identity, effect: Effect, sent: Sent) -> Vec<Change> {
    let step = effect.step.clone();
    let mut changes = vec![
        job.done(effect, Some(sent.id.clone())),
        Change::Outgoing {
            seq: job.event.id.seq,
            step,
            remote_id: sent.id,
        },
    ];
    let news: Vec<_> = sent
        .aliases
        .into_iter()
        .filter(|alias| !identity.aliases.contains(alias))
        .collect();
    if !news.is_empty() {
        changes.push(Change::Aliases {
            identity: identity.id,
            aliases: news,
        });
    }
    changes
}

/// A connector that broke off may have made its call: the outcome is unknown.
fn failure_of(error: CallError) -> Failure {
    let refused = |message: String| {
        Failure::Refused(Refusal {
            reason: Reason::Unsupported,
            cause: Cause::new("connector", message),
            next_step: None,
        })
    };
    match error {
        CallError::Provider(failure) => failure,
        CallError::Busy(_) => Failure::RateLimited {
            after: Some(Duration::from_secs(1)),
            cause: Cause::new("busy", error.to_string()),
        },
        CallError::Trapped(_) | CallError::CpuExceeded(_) | CallError::TimedOut(_) | CallError::Garbage(_) => {
            Failure::Unknown(Cause::new("connector", error.to_string()))
        }
        CallError::Malformed(_) | CallError::Field { .. } | CallError::Unsupported(_) => refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_10_a_connector_that_breaks_off_leaves_the_outcome_unknown() {
        for error in [
            CallError::Trapped("x".into()),
            CallError::TimedOut(30_000),
            CallError::CpuExceeded(200),
            CallError::Garbage("x".into()),
        ] {
            assert!(matches!(failure_of(error), Failure::Unknown(_)));
        }
        let busy = CallError::Busy(mantle_sandbox::Crowd::Plugin);
        assert!(matches!(failure_of(busy), Failure::RateLimited { .. }));
        assert!(matches!(
            failure_of(CallError::Unsupported("send")),
            Failure::Refused(_)
        ));
    }
}

//! A send whose outcome nobody knows: what tells it, and for how long that is waited for.
//!
//! The manifest names the class ([`RetrySafety`]); no provider does. While it is being found out the lane waits, so
//! that what the team wrote next does not overtake it.

use std::time::Duration;

use mantle_model::capabilities::RetrySafety;
use mantle_model::failure::{Cause, Failure};
use mantle_model::outbound::{Finding, Outgoing, Sent};
use mantle_sandbox::CallError;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Effect, EffectState};

use crate::connector::Connector;
use crate::job::{Job, Stop};

/// When the provider is asked, after the call ended.
const LOOK_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Lists of providers lag, and a request may be worked on after its caller has gone: that nothing is found counts only
/// so long after the call ended.
const ABSENT_AFTER: Duration = Duration::from_secs(60);
/// Between two questions after the first ones, while the provider does not answer them.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A provider that cannot be asked for so long holds the person's other messages no longer.
const LOOK_FOR: Duration = Duration::from_secs(15 * 60);
/// First statuses come within seconds of a send. Longer waiting holds up what the team wrote next; a status that comes
/// later still settles the message.
const ECHO_WAIT: Duration = Duration::from_secs(30);
/// The code of a send that was found announced when the host started.
const INTERRUPTED: &str = "interrupted";

/// What is done about the send.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The provider has it.
    Made(Sent),
    /// It surely has not, or knows our id: the same call again.
    Repeat,
    /// Not known yet.
    Wait(Duration),
    /// Nothing will tell now. A receipt may, later.
    Unknown(Cause),
}

/// What the provider answered to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Made(Sent),
    Nothing,
    CannotTell,
    NoAnswer,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Made(Sent),
    Repeat,
    Ask,
    Wait(Duration),
    Unknown,
}

/// Finds out about an effect that is announced or in doubt.
pub(super) async fn settle(
    job: &Job<'_>,
    plugin: &dyn Connector,
    effect: &Effect,
    outgoing: &Outgoing,
) -> Result<Verdict, Stop> {
    let class = plugin.capabilities().delivery.retry;
    let effect = &noticed(job, effect).await?;
    let waited = job.now().since(effect.ended_at.unwrap_or(effect.announced_at));
    let mut next = next(class, waited, None);
    if next == Next::Ask {
        let told = ask(job, plugin, effect, outgoing).await?;
        next = self::next(class, waited, Some(told));
    }
    Ok(match next {
        Next::Made(sent) => Verdict::Made(sent),
        Next::Repeat => Verdict::Repeat,
        Next::Wait(wait) => Verdict::Wait(wait),
        Next::Ask | Next::Unknown => Verdict::Unknown(cause(effect)),
    })
}

/// A send that the host was stopped in: the time of finding out counts from when it was noticed, since statuses could
/// not be told before.
async fn noticed(job: &Job<'_>, effect: &Effect) -> Result<Effect, Stop> {
    if effect.state != EffectState::Intent {
        return Ok(effect.clone());
    }
    let cause = Cause::new(INTERRUPTED, "The host stopped while the message was being sent.");
    job.commit(vec![job.undone(effect.clone(), &Failure::Unknown(cause))])
        .await?;
    Ok(Effect {
        state: EffectState::Ambiguous,
        ended_at: Some(job.now()),
        code: Some(INTERRUPTED.to_owned()),
        ..effect.clone()
    })
}

fn cause(effect: &Effect) -> Cause {
    match effect.code.as_deref() {
        Some(INTERRUPTED) => Cause::new(INTERRUPTED, "The host stopped while the message was being sent"),
        code => Cause::new(
            code.unwrap_or("no-answer"),
            "The provider gave no clear answer, and nothing has told since whether it took the message",
        ),
    }
}

/// `told`: the provider has been asked in this turn.
fn next(class: RetrySafety, waited: Duration, told: Option<Told>) -> Next {
    match (class, told) {
        (RetrySafety::Key, _) => Next::Repeat,
        (RetrySafety::None, _) => Next::Unknown,
        (RetrySafety::Echo, _) => match ECHO_WAIT.checked_sub(waited) {
            Some(left) if !left.is_zero() => Next::Wait(left),
            _ => Next::Unknown,
        },
        (RetrySafety::ReadBack, None) => match LOOK_AFTER[0].checked_sub(waited) {
            Some(left) if !left.is_zero() => Next::Wait(left),
            _ => Next::Ask,
        },
        (RetrySafety::ReadBack, Some(Told::Made(sent))) => Next::Made(sent),
        (RetrySafety::ReadBack, Some(Told::CannotTell)) => Next::Unknown,
        (RetrySafety::ReadBack, Some(Told::Nothing)) if waited >= ABSENT_AFTER => Next::Repeat,
        (RetrySafety::ReadBack, Some(Told::NoAnswer)) if waited >= LOOK_FOR => Next::Unknown,
        (RetrySafety::ReadBack, Some(Told::Nothing | Told::NoAnswer)) => Next::Wait(until_next_look(waited)),
    }
}

fn until_next_look(waited: Duration) -> Duration {
    let next = LOOK_AFTER.into_iter().find(|after| *after > waited);
    next.map_or(LOOK_EVERY, |after| after.saturating_sub(waited))
}

async fn ask(job: &Job<'_>, plugin: &dyn Connector, effect: &Effect, outgoing: &Outgoing) -> Result<Told, Stop> {
    let context = job.flow.context(&job.channel, plugin);
    let finding = plugin.find_sent(&context, outgoing, effect.announced_at).await;
    let made = match finding {
        Ok(Finding::Made(made)) => made,
        Ok(Finding::CannotTell) | Err(CallError::Provider(Failure::Refused(_)) | CallError::Unsupported(_)) => {
            return Ok(Told::CannotTell);
        }
        Err(error) => {
            tracing::info!(message.id = %job.event.id, %error, "The provider could not be asked for a message in doubt");
            return Ok(Told::NoAnswer);
        }
    };
    for sent in made {
        if !is_anothers(job, &sent).await? {
            return Ok(Told::Made(sent));
        }
    }
    Ok(Told::Nothing)
}

/// Two honest "ok" of one second stay two: what another reply is known to have become is not this one.
async fn is_anothers(job: &Job<'_>, sent: &Sent) -> Result<bool, Stop> {
    let known = job.flow.store().message_by_remote_id(job.channel.id, &sent.id).await?;
    Ok(known.is_some_and(|trace| trace.message.direction == Direction::Out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sent() -> Sent {
        Sent {
            id: "SM1".into(),
            aliases: Vec::new(),
        }
    }

    #[test]
    fn out_10_what_nothing_tells_of_is_unknown_at_once_and_a_known_key_is_repeated() {
        assert_eq!(next(RetrySafety::None, Duration::ZERO, None), Next::Unknown);
        assert_eq!(next(RetrySafety::Key, Duration::ZERO, None), Next::Repeat);
    }

    #[test]
    fn out_10_an_echo_is_waited_for_and_not_for_ever() {
        assert_eq!(next(RetrySafety::Echo, Duration::ZERO, None), Next::Wait(ECHO_WAIT));
        assert_eq!(next(RetrySafety::Echo, ECHO_WAIT - SECOND, None), Next::Wait(SECOND));
        assert_eq!(next(RetrySafety::Echo, ECHO_WAIT, None), Next::Unknown);
    }

    #[test]
    fn c4_absence_counts_only_after_its_time() {
        let asked = |waited, told| next(RetrySafety::ReadBack, waited, Some(told));
        assert_eq!(next(RetrySafety::ReadBack, Duration::ZERO, None), Next::Wait(SECOND));
        assert_eq!(next(RetrySafety::ReadBack, SECOND, None), Next::Ask);
        assert_eq!(asked(SECOND, Told::Made(sent())), Next::Made(sent()));
        assert_eq!(asked(SECOND, Told::CannotTell), Next::Unknown);
        for (waited, wait) in [(1, 2), (3, 7), (10, 20), (30, 30), (59, 1)] {
            assert_eq!(
                asked(SECOND * waited, Told::Nothing),
                Next::Wait(SECOND * wait),
                "{waited}"
            );
            assert_eq!(
                asked(SECOND * waited, Told::NoAnswer),
                Next::Wait(SECOND * wait),
                "{waited}"
            );
        }
        assert_eq!(asked(ABSENT_AFTER, Told::Nothing), Next::Repeat);
        assert_eq!(asked(ABSENT_AFTER, Told::NoAnswer), Next::Wait(LOOK_EVERY));
        assert_eq!(asked(LOOK_FOR, Told::NoAnswer), Next::Unknown);
    }
}

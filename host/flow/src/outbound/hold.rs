//! Replies whose channel is away: held up to the channel's limit, then failed with a note (OUT-17).
//!
//! The limit counts from when the host had the reply. It holds for what is looked at only after the channel came back,
//! too: an answer that waited for too long is not sent into a conversation that has moved on. Decided before the gates
//! are asked, since an open breaker must not put the note off.

use std::time::Duration;

use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_store::directory::ChannelStatus;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Change, EffectState, Ending};

use super::{reply, words};
use crate::job::{Job, Stop, Turn};
use crate::payload::{OutPayload, ReplyTold, SEND_STEPS};
use crate::restored;

/// How often a held reply is looked at. Its channel's return wakes it anyway.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Why the reply cannot go now, or could not go for too long.
struct Away {
    /// Since the host had the reply.
    lasted: Duration,
    code: &'static str,
    message: &'static str,
    mend: &'static str,
    /// The provider may be back at any moment: it is tried all the same.
    tried: bool,
}

fn away(job: &Job<'_>) -> Option<Away> {
    let since = job.event.accepted_at;
    let lasted = job.now().since(since);
    if job.flow.plugin_of(&job.channel).is_none() {
        return Some(Away {
            lasted,
            code: "connector-away",
            message: "The connector of this channel is not loaded",
            mend: "Have the connector brought back as the channel's page says, then send the reply again.",
            tried: false,
        });
    }
    match job.channel.status {
        ChannelStatus::Disconnected => Some(Away {
            lasted,
            code: "disconnected",
            message: "The channel is disconnected",
            mend: "Reconnect the channel, then send the reply again.",
            tried: false,
        }),
        ChannelStatus::Offline => Some(Away {
            lasted,
            code: "offline",
            message: "The provider cannot be reached",
            mend: "Send the reply again when the channel is connected.",
            tried: true,
        }),
        _ => {
            let lasted = job.channel.status_since.since(since);
            (lasted >= limit(job)).then_some(Away {
                lasted,
                code: "held-too-long",
                message: "The channel was away",
                mend: "Send the reply again if it still matters.",
                tried: true,
            })
        }
    }
}

fn limit(job: &Job<'_>) -> Duration {
    Duration::from_secs(job.channel.settings.held_for.into())
}

fn is_reply(job: &Job<'_>) -> bool {
    job.lane.direction == Direction::Out && job.event.kind == "reply"
}

/// The turn of a reply that is held, or was for too long. None: it may be tried.
pub(crate) async fn turn(job: &Job<'_>) -> Result<Option<Turn>, Stop> {
    if !is_reply(job) {
        return Ok(None);
    }
    let Some(away) = away(job) else { return Ok(None) };
    let left = limit(job).saturating_sub(away.lasted);
    // What may have gone out before a backup is a matter of its own.
    if (away.tried && !left.is_zero()) || restored::may_have_been_sent(job).is_some() {
        return Ok(None);
    }
    let OutPayload::Reply(told) = serde_json::from_slice(&job.event.payload)? else {
        return Ok(None);
    };
    if let Some(turn) = reply::set_aside(job, &told).await? {
        return Ok(Some(turn));
    }
    if left.is_zero() {
        return Ok(Some(over(job, &told, &away)));
    }
    Ok(Some(Turn::wait(
        LOOK_EVERY.min(left),
        away.code,
        &format!("{}.", away.message),
    )))
}

/// A wait that does not reach beyond the end of the holding: the note comes in time.
pub(crate) fn shortened(job: &Job<'_>, wait: Duration) -> Duration {
    let away = is_reply(job).then(|| away(job)).flatten();
    let left = away.map(|away| limit(job).saturating_sub(away.lasted));
    left.filter(|left| !left.is_zero()).map_or(wait, |left| wait.min(left))
}

fn over(job: &Job<'_>, told: &ReplyTold, away: &Away) -> Turn {
    let message = format!("{}, and replies are held for {}", away.message, in_words(limit(job)));
    let cause = Cause::new(away.code, message);
    let sends = || {
        job.event
            .effects
            .iter()
            .filter(|effect| effect.step.starts_with(SEND_STEPS))
    };
    let quoted = words::quoted(&told.text);
    if sends().any(|effect| matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)) {
        let html = words::unknown(&job.label.title, &quoted, &cause, &job.flow.resend_link(job.event.id));
        let changes: Vec<Change> = reply::failure_note(job, told, html).into_iter().collect();
        return Turn::Finish {
            changes,
            ending: Ending::Unknown { cause },
        };
    }
    let what = match sends().filter(|effect| effect.state == EffectState::Done).count() {
        0 => quoted,
        1 => format!("{quoted} Its first part was sent before."),
        sent => format!("{quoted} Its first {sent} parts were sent before."),
    };
    let refusal = Refusal {
        reason: Reason::Account,
        cause,
        next_step: Some(away.mend.to_owned()),
    };
    reply::refused(job, told, &what, &refusal, Vec::new())
}

fn in_words(limit: Duration) -> String {
    let (count, unit) = match limit.as_secs() {
        seconds if seconds % HOUR == 0 => (seconds / HOUR, "hour"),
        seconds if seconds % MINUTE == 0 => (seconds / MINUTE, "minute"),
        seconds => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_17_a_limit_in_words() {
        for (seconds, words) in [
            (60, "1 minute"),
            (90, "90 seconds"),
            (1_800, "30 minutes"),
            (3_600, "1 hour"),
            (86_400, "24 hours"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}

//! The pause between two messages to one person, where the provider asks for one.
//!
//! A lane is one person, so the newest send on it says when the next may go. Waiting is a row with a time: it costs no
//! attempt and holds nobody else.

use std::time::Duration;

use mantle_model::capabilities::Delivery;
use mantle_model::clock::Time;
use mantle_model::ids::LaneId;

use crate::job::{Job, Stop};
use crate::payload::SEND_STEPS;

/// Why a message waits, for its trace.
pub(super) const WHY: &str = "The provider asks for a pause between two messages to one person.";

/// No manifest makes a person's messages wait longer for each other: it would be an outage, not a pace.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// How long the next message to this person must wait; None: it may go now.
pub(super) async fn wait(job: &Job<'_>, delivery: &Delivery) -> Result<Option<Duration>, Stop> {
    wait_on(job, delivery, job.lane.claim.lane).await
}

/// The same where the last one lay on another lane of the person.
pub(super) async fn wait_on(job: &Job<'_>, delivery: &Delivery, lane: LaneId) -> Result<Option<Duration>, Stop> {
    let Some(pause) = pause(delivery) else {
        return Ok(None);
    };
    let last = job.flow.store().last_announced(lane, SEND_STEPS).await?;
    Ok(left(pause, last, job.now()))
}

fn pause(delivery: &Delivery) -> Option<Duration> {
    let rate = delivery.per_recipient_per_second.filter(|rate| *rate > 0.0)?;
    Some(Duration::try_from_secs_f64(rate.recip()).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX)))
}

/// A clock that went back must not make anybody wait longer than the pause.
fn left(pause: Duration, last: Option<Time>, now: Time) -> Option<Duration> {
    let left = pause.checked_sub(now.since(last?))?;
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use mantle_model::capabilities::RetrySafety;

    use super::*;

    fn at(rate: Option<f64>) -> Option<Duration> {
        pause(&Delivery {
            receipts: Vec::new(),
            proactive: false,
            templates: false,
            retry: RetrySafety::None,
            per_recipient_per_second: rate,
            per_second: None,
            recipient_limits: Vec::new(),
            unclear_limits: Vec::new(),
        })
    }

    #[test]
    fn out_9_the_pause_is_the_rate_turned_round() {
        assert_eq!(at(Some(1.0)), Some(Duration::from_secs(1)));
        assert_eq!(at(Some(4.0)), Some(Duration::from_millis(250)));
        assert_eq!(at(Some(1e-300)), Some(PAUSE_MAX));
        for none in [None, Some(0.0), Some(-1.0), Some(f64::NAN)] {
            assert_eq!(at(none), None, "{none:?}");
        }
    }

    #[test]
    fn out_9_what_is_left_of_the_pause() {
        let now = Time::from_unix_seconds(1_795_000_000);
        let pause = Duration::from_secs(1);
        assert_eq!(left(pause, None, now), None);
        assert_eq!(left(pause, Some(now), now), Some(pause));
        let before = |millis| Some(now.before(Duration::from_millis(millis)));
        assert_eq!(left(pause, before(400), now), Some(Duration::from_millis(600)));
        assert_eq!(left(pause, before(1_000), now), None);
        assert_eq!(left(pause, Some(now.after(Duration::from_secs(9))), now), Some(pause));
    }
}

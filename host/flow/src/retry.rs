//! What a failure means for the message: when it is tried again, or that it is not.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_store::lanes::Attempt;

use crate::bucket;

/// The first wait is drawn from up to this.
const BASE: Duration = Duration::from_secs(2);
/// Each further wait is drawn from up to this many times more.
const FACTOR: u32 = 3;
/// No wait is longer: after a long outage work resumes within it.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// No wait is shorter, so that a failing lane never spins.
const WAIT_MIN: Duration = Duration::from_millis(200);
/// A message that failed this long is given up: nobody waits longer for an answer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(48 * 60 * 60);
/// Between tries with credentials that were refused: somebody must act first, and recovery should show within it.
const UNAUTHORIZED_WAIT: Duration = Duration::from_secs(60);

/// What the worker does next with the event that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Retry { until: Time, counts: Attempt },
    GiveUp(Cause),
}

/// What is known of the attempts so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts {
    pub failed: u32,
    pub since: Option<Time>,
    pub now: Time,
}

/// Decides by the case alone. `chance` is a random number.
pub(crate) fn next(failure: &Failure, attempts: Attempts, chance: u64) -> Next {
    let free = |wait: Duration| Next::Retry {
        until: attempts.now.after(wait),
        counts: Attempt::Free,
    };
    match failure {
        Failure::RateLimited { after, .. } => free(bucket::believed(*after)),
        Failure::Unauthorized(_) => free(UNAUTHORIZED_WAIT),
        Failure::Refused(refusal) => Next::GiveUp(refusal.cause.clone()),
        Failure::Transient(cause) | Failure::Unknown(cause) => {
            let failing = attempts.since.map_or(Duration::ZERO, |since| attempts.now.since(since));
            if failing >= GIVE_UP_AFTER {
                return Next::GiveUp(cause.clone());
            }
            Next::Retry {
                until: attempts.now.after(back_off(attempts.failed, chance)),
                counts: Attempt::Counts,
            }
        }
    }
}

/// Full jitter: anything up to the wait of this attempt, so that what failed together does not return together.
fn back_off(failed: u32, chance: u64) -> Duration {
    let ceiling = BASE.saturating_mul(FACTOR.saturating_pow(failed)).min(WAIT_MAX);
    let millis = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(chance % millis.max(1)).max(WAIT_MIN)
}

/// A random number of the operating system for [`next`]; without one the longest wait is taken.
#[must_use]
pub fn system_chance() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use mantle_model::failure::{Reason, Refusal};

    use super::*;

    const NOW: Time = Time::from_unix_seconds(1_795_000_000);

    fn attempts(failed: u32) -> Attempts {
        Attempts {
            failed,
            since: Some(NOW),
            now: NOW,
        }
    }

    fn cause() -> Cause {
        Cause::new("503", "The provider is not available.")
    }

    #[test]
    fn out_9_a_rate_limit_waits_as_asked_and_costs_nothing() {
        let failure = Failure::RateLimited {
            after: Some(Duration::from_secs(17)),
            cause: cause(),
        };
        let expected = Next::Retry {
            until: NOW.after(Duration::from_secs(17)),
            counts: Attempt::Free,
        };
        assert_eq!(next(&failure, attempts(9), 0), expected);
    }

    #[test]
    fn th_9_waits_grow_up_to_the_hour() {
        for (failed, ceiling) in [(0, 2), (1, 6), (2, 18), (3, 54), (7, 3600), (40, 3600)] {
            for chance in [0, 1, 999, 123_456_789, u64::MAX] {
                let wait = back_off(failed, chance);
                assert!(
                    wait >= WAIT_MIN && wait <= Duration::from_secs(ceiling),
                    "{failed}: {wait:?}"
                );
            }
        }
    }

    /// Fails again and again on a clock of its own until it is given up. Answers the waits.
    fn whole_schedule(mut failure: impl FnMut(usize) -> Failure, mut random: u64) -> Vec<(Duration, Attempt)> {
        let (mut now, mut failed, mut since) = (NOW, 0, None);
        let mut waits = Vec::new();
        loop {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let attempts = Attempts { failed, since, now };
            match next(&failure(waits.len()), attempts, random >> 8) {
                Next::GiveUp(_) => return waits,
                Next::Retry { until, counts } => {
                    waits.push((until.since(now), counts));
                    // What the store keeps of it.
                    if counts == Attempt::Counts {
                        failed += 1;
                        since = since.or(Some(now));
                    }
                    now = until;
                }
            }
            assert!(waits.len() < 100_000, "it never ends");
        }
    }

    #[test]
    fn p4_the_whole_schedule_is_bounded_grows_and_ends_after_two_days() {
        for seed in 0..200 {
            let waits = whole_schedule(|_| Failure::Transient(cause()), seed);
            let total: Duration = waits.iter().map(|(wait, _)| *wait).sum();
            assert!(
                total >= GIVE_UP_AFTER && total < GIVE_UP_AFTER + WAIT_MAX,
                "{seed}: {total:?}"
            );
            for (place, (wait, counts)) in waits.iter().enumerate() {
                let exponent = u32::try_from(place).unwrap_or(u32::MAX);
                let ceiling = BASE.saturating_mul(FACTOR.saturating_pow(exponent)).min(WAIT_MAX);
                assert!((WAIT_MIN..=ceiling).contains(wait), "{seed}, {place}: {wait:?}");
                assert_eq!(*counts, Attempt::Counts);
            }
            // Full jitter halves the waits on average: some two an hour.
            assert!((60..160).contains(&waits.len()), "{seed}: {} tries", waits.len());
        }
    }

    #[test]
    fn p4_limits_in_between_use_up_no_attempt_and_six_hours_are_waited() {
        let six_hours = Duration::from_secs(6 * 60 * 60);
        let waits = whole_schedule(
            |place| match place {
                1..=4 => Failure::RateLimited {
                    after: Some(six_hours),
                    cause: cause(),
                },
                _ => Failure::Transient(cause()),
            },
            7,
        );
        assert_eq!(waits[1..=4], [(six_hours, Attempt::Free); 4]);
        // The failure behind the limits is the second one: its wait has not grown meanwhile.
        assert!(waits[5].0 <= BASE * FACTOR, "{:?}", waits[5]);
    }

    #[test]
    fn what_fails_for_two_days_or_is_refused_is_given_up() {
        let late = Attempts {
            failed: 80,
            since: Some(NOW.before(GIVE_UP_AFTER)),
            now: NOW,
        };
        assert_eq!(next(&Failure::Transient(cause()), late, 1), Next::GiveUp(cause()));
        let refused = Failure::Refused(Refusal {
            reason: Reason::Invalid,
            cause: cause(),
            next_step: None,
        });
        assert_eq!(next(&refused, attempts(0), 1), Next::GiveUp(cause()));
    }

    #[test]
    fn ws_7_refused_credentials_cost_no_attempt() {
        let next = next(&Failure::Unauthorized(cause()), attempts(0), 1);
        assert!(matches!(
            next,
            Next::Retry {
                counts: Attempt::Free,
                ..
            }
        ));
    }
}

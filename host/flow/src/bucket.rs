//! How many calls a credential may still make: a pure token bucket with a hold.
//!
//! The rate comes from the connector's manifest, the hold from what the other side answers. Who is told to wait for
//! the rate gets a place behind the others who wait, so that they come back at the rate and not at once; a place is
//! no promise. Knows no clock, lane or store.

use std::time::Duration;

use mantle_model::clock::Time;

/// The longest wait that is believed: a wrong clock or a slip on the other side must not stop a channel for days.
const HOLD_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// After a limit without a named time.
const HOLD_UNNAMED: Duration = Duration::from_secs(5);
/// A limit that names no time to wait is told too early again if it is not given this.
const HOLD_MIN: Duration = Duration::from_millis(200);
/// How much of its rate a bucket holds when nothing was used: a second's worth, one call at least.
const BURST: Duration = Duration::from_secs(1);
/// The farthest place: behind a long queue one looks again after this.
const PLACE_MAX: Duration = Duration::from_secs(10);

/// What is left for one credential.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    held_until: Time,
    /// Calls per second; none: only holds count.
    rate: Option<f64>,
    /// When the next call may be made at the rate. In the past: that much has been saved up.
    next_at_ms: f64,
    /// The last place that was given.
    told_ms: f64,
}

impl Bucket {
    /// The rate as the manifest declares it now; a new version may declare another one.
    pub(crate) fn set_rate(&mut self, rate: Option<f64>) {
        self.rate = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
    }

    /// Asks for one call. None: now, and it is counted. Else how long to wait before asking again.
    pub(crate) fn take(&mut self, now: Time) -> Option<Duration> {
        let held = self.held_until.since(now);
        if !held.is_zero() {
            return Some(held);
        }
        let rate = self.rate?;
        let now_ms = as_ms(now);
        let each_ms = 1000.0 / rate;
        // At least one call may always be saved up.
        let saved_ms = as_millis(BURST).max(each_ms);
        self.next_at_ms = self.next_at_ms.max(now_ms - saved_ms);
        if self.next_at_ms + each_ms > now_ms {
            self.told_ms = self.told_ms.max(self.next_at_ms) + each_ms;
            let wait = (self.told_ms - now_ms).clamp(1.0, as_millis(PLACE_MAX).max(each_ms));
            self.told_ms = now_ms + wait;
            return Some(Duration::from_secs_f64(wait / 1000.0));
        }
        self.next_at_ms += each_ms;
        None
    }

    /// The other side said "too much". Answers how long the credential is left alone.
    pub(crate) fn hold(&mut self, now: Time, told: Option<Duration>) -> Duration {
        let wait = believed(told);
        self.held_until = self.held_until.max(now.after(wait));
        self.held_until.since(now)
    }

    /// A call that nobody asked for here was made: it is owed.
    pub(crate) fn spend(&mut self) {
        if let Some(rate) = self.rate {
            self.next_at_ms += 1000.0 / rate;
        }
    }

    /// Nothing of it would be missed.
    pub(crate) fn is_idle(&self, now: Time) -> bool {
        self.held_until <= now && self.next_at_ms <= as_ms(now)
    }
}

/// The wait that is kept when so much was asked for.
pub(crate) fn believed(told: Option<Duration>) -> Duration {
    told.unwrap_or(HOLD_UNNAMED).clamp(HOLD_MIN, HOLD_MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time in milliseconds fits 52 bits for millennia"
)]
fn as_ms(time: Time) -> f64 {
    time.unix_ms() as f64
}

fn as_millis(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_795_000_000);

    #[test]
    fn c1_holds_are_as_told_and_capped_at_six_hours() {
        let check = |told: Option<u64>, expected: Duration| {
            let mut bucket = Bucket::default();
            assert_eq!(bucket.hold(START, told.map(Duration::from_secs)), expected, "{told:?}");
            assert_eq!(bucket.take(START), Some(expected), "{told:?}");
            assert_eq!(bucket.take(START.after(expected)), None, "{told:?}");
        };
        check(Some(17), Duration::from_secs(17));
        check(Some(21_600), Duration::from_secs(21_600));
        check(Some(9_999_999), Duration::from_secs(21_600));
        check(Some(0), Duration::from_millis(200));
        check(None, Duration::from_secs(5));
    }

    #[test]
    fn p4_a_shorter_hold_does_not_end_a_longer_one() {
        let mut bucket = Bucket::default();
        bucket.hold(START, Some(HOLD_MAX));
        bucket.hold(START, Some(Duration::from_secs(1)));
        let almost = START.after(HOLD_MAX - Duration::from_millis(1));
        assert_eq!(bucket.take(almost), Some(Duration::from_millis(1)));
        assert_eq!(bucket.take(START.after(HOLD_MAX)), None);
    }

    #[test]
    fn c1_no_second_sees_more_calls_than_the_rate_and_one_burst() {
        for rate in [0.5, 1.0, 7.0, 30.0, 80.0] {
            let mut bucket = Bucket::default();
            bucket.set_rate(Some(rate));
            let mut calls: Vec<i64> = Vec::new();
            // A hundred lanes, each coming back when told, none earlier.
            let mut lanes = vec![START; 100];
            let end = START.after(Duration::from_secs(60));
            while let Some(lane) = lanes.iter_mut().min().filter(|lane| **lane < end) {
                let now = *lane;
                *lane = match bucket.take(now) {
                    None => {
                        calls.push(now.unix_ms());
                        now.after(Duration::from_millis(1))
                    }
                    Some(wait) => now.after(wait.max(Duration::from_millis(1))),
                };
            }
            for seconds in [1, 10, 59] {
                let span = seconds * 1000;
                let most = calls
                    .iter()
                    .enumerate()
                    .map(|(place, begin)| calls[place..].iter().take_while(|at| **at < begin + span).count());
                let most = most.max().unwrap_or_default();
                let allowed = rate * (seconds as f64 + 1.0) + 1.0;
                assert!((most as f64) <= allowed, "{rate}/s: {most} within {seconds} s");
            }
            let least = (rate * 54.0).floor();
            assert!((calls.len() as f64) >= least, "{rate}/s is used up: {}", calls.len());
        }
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_none() {
        let mut bucket = Bucket::default();
        for rate in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            bucket.set_rate(Some(rate));
            assert_eq!(bucket.take(START), None);
        }
    }
}

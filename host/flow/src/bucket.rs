//! How many calls a credential may still make: a pure token bucket with a hold.
//!
//! The rate comes from the connector's manifest, the hold from what the other side answers. Who is told to wait for
//! the rate gets a place behind the others who wait, so that they come back at the rate and not at once; a place is
//! no promise. Where hosts share a credential, the calls of its rate are leased from them in chunks and spent here.
//! Knows no clock, lane or store.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_store::budgets::LEASE_LASTS;

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

/// A lease is a tenth of a second's calls: the database is asked ten times a second at most, and what a host keeps
/// unspent is not missed by the others.
const LEASE_SHARE: f64 = 0.1;
/// However high the rate, no lease is larger: a host that stops takes no more calls with it.
const LEASE_CALLS_MAX: f64 = 50.0;

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
    leased: Leased,
}

/// What this host has of the calls that hosts share.
#[derive(Debug, Default)]
struct Leased {
    calls: u32,
    until: Time,
    /// Made beyond what was leased.
    owed: u32,
    /// The others left nothing before this.
    dry_until: Time,
}

/// Whether a call may be made where calls are leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Now, and it is counted.
    Now,
    Wait(Duration),
    /// If more can be leased.
    Ask,
}

/// What is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub calls: u32,
    pub owed: u32,
    /// The time of one call; zero: there is no rate.
    pub each: Duration,
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
            return Some(self.place(self.next_at_ms, now_ms, each_ms));
        }
        self.next_at_ms += each_ms;
        None
    }

    /// A place behind those who wait, the first of which is one call after `free_ms`.
    fn place(&mut self, free_ms: f64, now_ms: f64, each_ms: f64) -> Duration {
        self.told_ms = self.told_ms.max(free_ms) + each_ms;
        let wait = (self.told_ms - now_ms).clamp(1.0, as_millis(PLACE_MAX).max(each_ms));
        self.told_ms = now_ms + wait;
        Duration::from_secs_f64(wait / 1000.0)
    }

    /// Asks for one call of those that were leased.
    pub(crate) fn take_leased(&mut self, now: Time) -> Leave {
        let held = self.held_until.since(now);
        if !held.is_zero() {
            return Leave::Wait(held);
        }
        let Some(rate) = self.rate else { return Leave::Now };
        if self.leased.calls > 0 && now < self.leased.until {
            self.leased.calls -= 1;
            return Leave::Now;
        }
        if now < self.leased.dry_until {
            let each_ms = 1000.0 / rate;
            return Leave::Wait(self.place(as_ms(self.leased.dry_until) - each_ms, as_ms(now), each_ms));
        }
        Leave::Ask
    }

    /// What to lease.
    pub(crate) fn wanted(&self) -> Wanted {
        let Some(rate) = self.rate else {
            return Wanted {
                calls: 0,
                owed: 0,
                each: Duration::ZERO,
            };
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and the largest lease"
        )]
        let calls = (rate * LEASE_SHARE).ceil().clamp(1.0, LEASE_CALLS_MAX) as u32;
        Wanted {
            calls,
            owed: self.leased.owed,
            each: Duration::from_secs_f64(1.0 / rate),
        }
    }

    /// So many calls were leased at `now`, and the debt that was told with the wish is paid; none: not before `next_at`.
    pub(crate) fn leased(&mut self, (calls, owed): (u32, u32), next_at: Time, now: Time) {
        self.leased.owed = self.leased.owed.saturating_sub(owed);
        self.leased.calls = calls;
        self.leased.until = now.after(LEASE_LASTS);
        self.leased.dry_until = if calls == 0 { next_at } else { Time::default() };
    }

    /// Another host was told to wait, or (the past) was let in again.
    pub(crate) fn held_by_others(&mut self, until: Time) {
        self.held_until = until;
    }

    pub(crate) fn held_until(&self) -> Time {
        self.held_until
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
            match self.leased.calls.checked_sub(1) {
                Some(left) => self.leased.calls = left,
                None => self.leased.owed = self.leased.owed.saturating_add(1),
            }
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
    fn c1_leased_calls_are_spent_without_asking_and_lost_when_they_are_old() {
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(30.0));
        assert_eq!(bucket.take_leased(START), Leave::Ask);
        assert_eq!((bucket.wanted().calls, bucket.wanted().owed), (3, 0));
        bucket.leased((3, 0), START, START);
        let taken = (0..5).filter(|_| bucket.take_leased(START) == Leave::Now).count();
        assert_eq!((taken, bucket.take_leased(START)), (3, Leave::Ask));
        bucket.leased((3, 0), START, START);
        assert_eq!(bucket.take_leased(START.after(LEASE_LASTS)), Leave::Ask, "too old");
        // Calls of a reply in parts: the first two are of the lease, the third is owed.
        bucket.leased((2, 0), START, START);
        (0..3).for_each(|_| bucket.spend());
        assert_eq!(bucket.wanted().owed, 1);
        bucket.leased((0, 1), START.after(Duration::from_secs(1)), START);
        assert_eq!(bucket.wanted().owed, 0);
    }

    #[test]
    fn c1_where_nothing_is_left_each_gets_a_place_and_nobody_asks() {
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(2.0));
        bucket.leased((0, 0), START.after(Duration::from_millis(700)), START);
        let places: Vec<Leave> = (0..3).map(|_| bucket.take_leased(START)).collect();
        let expected = [700, 1200, 1700].map(|ms| Leave::Wait(Duration::from_millis(ms)));
        assert_eq!(places, expected);
        assert_eq!(bucket.take_leased(START.after(Duration::from_millis(700))), Leave::Ask);
        bucket.hold(START, Some(Duration::from_secs(9)));
        assert_eq!(bucket.take_leased(START), Leave::Wait(Duration::from_secs(9)));
    }

    #[test]
    fn c1_a_lease_is_a_tenth_of_a_second_and_bounded() {
        for (rate, calls) in [(0.5, 1), (1.0, 1), (10.0, 1), (30.0, 3), (80.0, 8), (1e6, 50)] {
            let mut bucket = Bucket::default();
            bucket.set_rate(Some(rate));
            assert_eq!(bucket.wanted().calls, calls, "{rate}");
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

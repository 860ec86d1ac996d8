//! What the hosts of one database share of a credential: how many calls are left of its rate, until when the other
//! side asked to be left alone, and whether it answers at all.
//!
//! A host leases calls in chunks and spends them without asking. A limit or an outage that one host met is written
//! down at once and heard by the others. Invariants: over all hosts no more calls are leased than the rate allows; of
//! a side that does not answer one host tries at a time. [`Budget`] decides and knows neither database nor clock.
//! Where one host works alone nothing here is called: it keeps the same in memory, without a write for a call.

use std::time::Duration;

use async_trait::async_trait;
use mantle_model::clock::Time;

use crate::StoreError;

/// What a credential saves up while nobody calls, as the time in which its rate allows so much. Together with
/// [`LEASE_LASTS`] a second: no window sees more than its rate, this second and one call.
const SAVED: Duration = Duration::from_millis(500);

/// How long leased calls may be kept: what is not spent by then is lost, or they would pile up.
pub const LEASE_LASTS: Duration = Duration::from_millis(500);

/// One credential at one other side: a digest that tells nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BudgetKey(pub [u8; 16]);

/// What a host asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Who asks: another number with each start of a host, never 0.
    pub by: i64,
    /// So many calls, or fewer.
    pub calls: u32,
    /// Calls that were made beyond what was leased.
    pub owed: u32,
    /// The time of one call at the rate; zero: there is no rate.
    pub each: Duration,
    /// The asker wants to try a side that does not answer, and is at it for so long at most.
    pub probe: Option<Duration>,
}

/// What the asker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// 0: none. At most [`LEASE_LASTS`] old when they are spent.
    pub calls: u32,
    /// When there is another one, as far as the rate goes.
    pub next_at: Time,
    /// The asker, and nobody else, may try whether the side answers.
    pub probe: bool,
    pub standing: Standing,
}

/// What all hosts know of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Rises with every change: what is older is not believed.
    pub no: i64,
    pub held_until: Time,
    /// None: the side answers, as far as anybody knows.
    pub open: Option<Open>,
}

/// A side that is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub until: Time,
    /// How long it is left alone each time: grows with every try in vain.
    pub wait: Duration,
    /// Who tries, and until when nobody else does.
    pub probe: Option<(i64, Time)>,
}

/// What a host found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The side asked to wait.
    Held { until: Time },
    /// It does not answer; a try of this host, if there was one, is over.
    Opened { until: Time, wait: Duration },
    /// It answers.
    Closed,
    /// Somebody proved that the credential works: nothing is held against it any more.
    Forgiven,
}

#[async_trait]
pub trait Budgets: Send + Sync {
    /// Whether other hosts may use the same credentials. If not, nothing else here is called.
    fn shares_budgets(&self) -> bool;

    /// Asks for calls, for the right to try, or for both. Called once for a chunk of calls, not for each.
    async fn lease(&self, key: BudgetKey, ask: Ask, now: Time) -> Result<Lease, StoreError>;

    /// Tells all hosts. Answers with what holds then.
    async fn tell(&self, key: BudgetKey, by: i64, told: Told, now: Time) -> Result<Standing, StoreError>;

    /// Every credential that something is held against, or was a minute ago. Called about once a second by each host.
    async fn standings(&self, now: Time) -> Result<Vec<(BudgetKey, Standing)>, StoreError>;

    /// Returns when another host has told something, and after a second in any case. Called by one task.
    async fn budgets_told(&self);
}

/// One row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    pub no: i64,
    /// When the next call may be leased at the rate, in microseconds. In the past: so much has been saved up.
    pub next_at_us: i64,
    pub held_until: Time,
    /// 1970: it answers.
    pub open_until: Time,
    pub open_wait: Duration,
    /// 0: nobody tries.
    pub probe_by: i64,
    pub probe_until: Time,
    /// When a host last told something of it.
    pub told_at: Time,
}

impl Budget {
    /// The hold first, then the rate, the right to try last: who could not call anyway takes nothing.
    pub(crate) fn lease(&mut self, ask: &Ask, now: Time) -> Lease {
        let each_us = micros(ask.each);
        let mut lease = Lease {
            calls: 0,
            next_at: now,
            probe: false,
            standing: self.standing(),
        };
        self.next_at_us = self.next_at_us.max(us(now).saturating_sub(micros(SAVED).max(each_us)));
        self.next_at_us = self
            .next_at_us
            .saturating_add(each_us.saturating_mul(i64::from(ask.owed)));
        let left_alone = self.is_open() && !(ask.probe.is_some() && self.may_be_tried(ask.by, now));
        if self.held_until > now || left_alone {
            return lease;
        }
        if each_us > 0 {
            let there = us(now).saturating_sub(self.next_at_us).max(0) / each_us;
            lease.calls = u32::try_from(there).unwrap_or(u32::MAX).min(ask.calls);
            self.next_at_us += i64::from(lease.calls) * each_us;
            if lease.calls == 0 && ask.calls > 0 {
                // Rounded up: who comes back then finds a whole call.
                let at_us = self.next_at_us + each_us;
                lease.next_at = Time::from_unix_ms(at_us.saturating_add(999).div_euclid(1000));
                return lease;
            }
        }
        if let (true, Some(longest)) = (self.is_open(), ask.probe) {
            self.probe_by = ask.by;
            self.probe_until = now.after(longest);
            self.told_at = now;
            lease.probe = true;
            lease.standing = self.standing();
        }
        lease
    }

    pub(crate) fn hear(&mut self, by: i64, told: Told, now: Time) {
        self.told_at = now;
        match told {
            Told::Held { until } => self.held_until = self.held_until.max(until),
            Told::Opened { until, wait } => {
                if self.probe_by == by {
                    self.probe_by = 0;
                }
                // Another's try goes on; its outcome is the newer word.
                if !self.is_tried(now) {
                    self.open_until = until;
                    self.open_wait = wait;
                }
            }
            Told::Closed => self.close(),
            Told::Forgiven => {
                self.close();
                self.held_until = Time::default();
            }
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            no: self.no,
            held_until: self.held_until,
            open: self.is_open().then(|| Open {
                until: self.open_until,
                wait: self.open_wait,
                probe: (self.probe_by != 0).then_some((self.probe_by, self.probe_until)),
            }),
        }
    }

    fn close(&mut self) {
        self.open_until = Time::default();
        self.open_wait = Duration::ZERO;
        self.probe_by = 0;
    }

    fn is_open(&self) -> bool {
        self.open_until > Time::default()
    }

    fn is_tried(&self, now: Time) -> bool {
        self.probe_by != 0 && self.probe_until > now
    }

    /// Who asks again for what it has was interrupted: it begins anew.
    fn may_be_tried(&self, by: i64, now: Time) -> bool {
        self.open_until <= now && (!self.is_tried(now) || self.probe_by == by)
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn us(time: Time) -> i64 {
    time.unix_ms().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_795_000_000);
    const WAIT: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(150);

    fn ask(by: i64, calls: u32, rate: f64) -> Ask {
        Ask {
            by,
            calls,
            owed: 0,
            each: Duration::from_secs_f64(1.0 / rate),
            probe: None,
        }
    }

    fn at(ms: u64) -> Time {
        START.after(Duration::from_millis(ms))
    }

    #[test]
    fn c1_hosts_that_take_all_they_get_stay_within_the_rate() {
        for (rate, chunk) in [(0.5, 1), (1.0, 1), (7.0, 1), (30.0, 3), (80.0, 8)] {
            let mut budget = Budget::default();
            let mut leased: Vec<(u64, u32)> = Vec::new();
            for ms in (0..60_000_u64).step_by(10) {
                for host in 1..=3 {
                    let lease = budget.lease(&ask(host, chunk, rate), at(ms));
                    leased.push((ms, lease.calls));
                }
            }
            for seconds in [1, 10, 59] {
                let most = (0..leased.len()).step_by(30).map(|first| {
                    let begin = leased[first].0;
                    let within = leased[first..]
                        .iter()
                        .take_while(|(ms, _)| *ms < begin + seconds * 1000);
                    within.map(|(_, calls)| *calls).sum::<u32>()
                });
                let most = most.max().unwrap_or_default();
                let allowed = rate * (seconds as f64 + SAVED.as_secs_f64()) + 1.0;
                assert!(f64::from(most) <= allowed, "{rate}/s: {most} within {seconds} s");
            }
            let all: u32 = leased.iter().map(|(_, calls)| calls).sum();
            assert!(f64::from(all) >= (rate * 59.0).floor(), "{rate}/s is used up: {all}");
        }
    }

    #[test]
    fn c1_who_comes_back_when_told_gets_a_call() {
        let mut budget = Budget::default();
        while budget.lease(&ask(1, 3, 7.0), START).calls > 0 {}
        let told = budget.lease(&ask(1, 3, 7.0), START).next_at;
        assert!(told > START);
        assert_eq!(
            budget
                .lease(&ask(2, 3, 7.0), told.before(Duration::from_millis(2)))
                .calls,
            0
        );
        assert_eq!(budget.lease(&ask(2, 3, 7.0), told).calls, 1);
    }

    #[test]
    fn c1_what_was_called_beyond_the_lease_is_owed() {
        let mut budget = Budget::default();
        let mut asked = ask(1, 1, 10.0);
        asked.owed = 20;
        assert_eq!(budget.lease(&asked, START).calls, 0);
        assert_eq!(budget.lease(&ask(1, 1, 10.0), at(1_500)).calls, 0);
        assert_eq!(budget.lease(&ask(1, 1, 10.0), at(1_600)).calls, 1);
    }

    #[test]
    fn out_9_a_hold_of_one_host_leaves_nothing_to_the_others_until_it_is_over() {
        let mut budget = Budget::default();
        budget.hear(1, Told::Held { until: at(30_000) }, START);
        budget.hear(2, Told::Held { until: at(1_000) }, START);
        let lease = budget.lease(&ask(2, 3, 10.0), at(29_999));
        assert_eq!(
            (lease.calls, lease.standing.held_until),
            (0, at(30_000)),
            "the longer one"
        );
        assert_eq!(budget.lease(&ask(2, 3, 10.0), at(30_000)).calls, 3);
    }

    #[test]
    fn c2_one_host_tries_and_its_outcome_is_the_word() {
        let mut budget = Budget::default();
        let told = Told::Opened {
            until: at(10_000),
            wait: WAIT,
        };
        budget.hear(1, told, START);
        let wants = |by| Ask {
            probe: Some(LONGEST),
            ..ask(by, 3, 10.0)
        };
        assert!(!budget.lease(&wants(1), at(9_999)).probe, "too early");
        assert_eq!(
            budget.lease(&ask(2, 3, 10.0), at(10_000)).calls,
            0,
            "who does not know of it may not call"
        );
        let first = budget.lease(&wants(2), at(10_000));
        assert!(first.probe && first.calls == 3);
        let second = budget.lease(&wants(1), at(10_001));
        assert_eq!((second.probe, second.calls), (false, 0));
        // A straggler of another host moves nothing.
        budget.hear(
            1,
            Told::Opened {
                until: at(60_000),
                wait: WAIT * 6,
            },
            at(10_002),
        );
        budget.hear(
            2,
            Told::Opened {
                until: at(30_000),
                wait: WAIT * 2,
            },
            at(10_003),
        );
        let open = budget.standing().open.unwrap();
        assert_eq!((open.until, open.wait, open.probe), (at(30_000), WAIT * 2, None));
        assert!(budget.lease(&wants(1), at(30_000)).probe);
        budget.hear(1, Told::Closed, at(30_100));
        assert_eq!(budget.standing().open, None);
        assert!(budget.lease(&ask(2, 3, 10.0), at(30_100)).calls > 0);
    }

    #[test]
    fn c2_a_host_that_died_in_its_try_is_followed_by_another() {
        let mut budget = Budget::default();
        budget.hear(
            1,
            Told::Opened {
                until: START,
                wait: WAIT,
            },
            START,
        );
        let wants = |by| Ask {
            probe: Some(LONGEST),
            ..ask(by, 1, 10.0)
        };
        assert!(budget.lease(&wants(1), START).probe);
        assert!(!budget.lease(&wants(2), at(149_999)).probe);
        assert!(budget.lease(&wants(2), at(150_000)).probe);
    }

    #[test]
    fn c2_who_may_not_call_takes_no_right_to_try() {
        let mut budget = Budget::default();
        budget.hear(
            1,
            Told::Opened {
                until: START,
                wait: WAIT,
            },
            START,
        );
        budget.hear(1, Told::Held { until: at(5_000) }, START);
        let wants = |by| Ask {
            probe: Some(LONGEST),
            ..ask(by, 1, 10.0)
        };
        assert!(!budget.lease(&wants(1), at(1_000)).probe);
        budget.next_at_us = us(at(6_000));
        assert!(!budget.lease(&wants(1), at(5_500)).probe, "the rate is used up");
        assert!(budget.lease(&wants(2), at(6_200)).probe);
        budget.hear(1, Told::Forgiven, at(6_300));
        assert_eq!((budget.standing().open, budget.held_until), (None, Time::default()));
    }
}

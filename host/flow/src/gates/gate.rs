//! One credential's gate: whether a call may be made, and what other hosts are to be told of it.

use std::time::Duration;

use mantle_model::capabilities::LimitScope;
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::LaneId;
use mantle_store::budgets::{Standing, Told};

use crate::breaker::{Admission, Breaker, PROBE_TIME_MAX, State};
use crate::bucket::{self, Bucket, Leave};

/// Codes of what keeps a turn out.
pub(super) const BREAKER: &str = "breaker";
pub(super) const RATE_LIMIT: &str = "rate_limit";
pub(super) const UNHEARD: &str = "store";

/// Why a turn does not begin, and when it may.
#[derive(Debug)]
pub(crate) struct Closed {
    pub wait: Duration,
    pub cause: Cause,
}

/// Where a limit was met, and whom it concerns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub lane: LaneId,
    pub scope: LimitScope,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    pub bucket: Bucket,
    pub breaker: Breaker,
    pub under_way: usize,
    /// Since when no call went well, and the last reason.
    pub bad: Option<(Time, Cause)>,
    /// The lane that met a limit of unclear scope last, and until when it was told to wait.
    pub limited: Option<(LaneId, Time)>,
    /// What other hosts are not told yet, the hold and the rest apart.
    pub untold: (Option<Told>, Option<Told>),
    /// The number of the last word from other hosts.
    pub heard: i64,
    /// The database did not answer: it is not asked before this.
    pub asks_after: Time,
}

/// What keeps a turn out.
pub(super) enum Kept {
    Out(Duration, &'static str),
    /// Until other hosts were asked.
    Asking(Option<Duration>),
}

impl Gate {
    /// The bucket last: a call that the breaker keeps back uses none of the rate.
    pub fn admit_alone(&mut self, now: Time) -> Result<(), Kept> {
        if let Admission::Wait(wait) = self.breaker.admit_alone(now) {
            return Err(Kept::Out(wait, BREAKER));
        }
        match self.bucket.take(now) {
            None => Ok(()),
            Some(wait) => {
                self.breaker.ended(now);
                Err(Kept::Out(wait, RATE_LIMIT))
            }
        }
    }

    pub fn admit_among_others(&mut self, now: Time) -> Result<(), Kept> {
        match self.breaker.admit(now) {
            Admission::Wait(wait) => return Err(Kept::Out(wait, BREAKER)),
            Admission::Probe => {
                return Err(match self.bucket.held_until().since(now) {
                    Duration::ZERO => self.asking(Some(PROBE_TIME_MAX), now),
                    held => Kept::Out(held, RATE_LIMIT),
                });
            }
            Admission::Pass => {}
        }
        let kept = match self.bucket.take_leased(now) {
            Leave::Now => return Ok(()),
            Leave::Wait(wait) => Kept::Out(wait, RATE_LIMIT),
            Leave::Ask => self.asking(None, now),
        };
        self.breaker.ended(now);
        Err(kept)
    }

    fn asking(&self, probe: Option<Duration>, now: Time) -> Kept {
        match self.asks_after.since(now) {
            Duration::ZERO => Kept::Asking(probe),
            left => Kept::Out(left, UNHEARD),
        }
    }

    /// A change of the breaker is news for other hosts.
    pub fn changed(&mut self, before: State) {
        self.untold.1 = match (before, self.breaker.state()) {
            (before, after @ State::Open { until, wait }) if before != after => Some(Told::Opened { until, wait }),
            (State::Open { .. } | State::Probing { .. } | State::Elsewhere { .. }, State::Ramp { .. }) => {
                Some(Told::Closed)
            }
            _ => return,
        };
    }

    /// What other hosts know. What they are not told yet is newer.
    pub fn hear(&mut self, standing: &Standing, by: i64) {
        if standing.no <= self.heard {
            return;
        }
        self.heard = standing.no;
        if self.untold.0.is_none() {
            self.bucket.held_by_others(standing.held_until);
        }
        if self.untold.1.is_none() {
            self.breaker.hear(standing.open.map(|open| match open.probe {
                Some((prober, until)) if prober != by => State::Elsewhere { until, wait: open.wait },
                _ => State::Open {
                    until: open.until,
                    wait: open.wait,
                },
            }));
        }
    }

    pub fn closed(&self, wait: Duration, code: &'static str) -> Closed {
        let message = match (code, &self.bad) {
            (BREAKER, Some((_, why))) => {
                format!(
                    "The other side is left alone for a while. It said last: {}",
                    why.message
                )
            }
            (BREAKER, None) => "The other side is left alone for a while.".to_owned(),
            (UNHEARD, _) => "The database did not say whether the credential may be used now.".to_owned(),
            _ => "The credential's limit of calls is used up for the moment.".to_owned(),
        };
        Closed {
            wait,
            cause: Cause::new(code, message),
        }
    }

    /// Answers how long the credential is left alone, if it is.
    pub fn limit(&mut self, limit: Limit, told: Option<Duration>, now: Time) -> Option<Duration> {
        let held = match limit.scope {
            LimitScope::Credential => true,
            LimitScope::Recipient => false,
            // Two people at once who are too much: it is the credential.
            LimitScope::Unclear => self
                .limited
                .replace((limit.lane, now.after(bucket::believed(told))))
                .is_some_and(|(lane, until)| lane != limit.lane && until > now),
        };
        held.then(|| self.bucket.hold(now, told))
    }
}

//! Whether calls with one credential to one other side are worth making: a pure state machine.
//!
//! Closed, it watches the calls of the last half minute. Open, it lets nothing through until its time; then one call
//! probes. A good probe begins a ramp: room for calls grows by a step each time that all there was room for went
//! well, so that an other side which has just come back is not overrun by what waited. Where hosts share a credential
//! one of them probes, and the others hear how it went. Knows no clock, lane or store.

use std::collections::VecDeque;
use std::time::Duration;

use mantle_model::clock::Time;

/// How far back calls count.
const WINDOW: Duration = Duration::from_secs(30);
/// Fewer calls than this prove nothing.
const CALLS_MIN: usize = 10;
/// Calls remembered at most, so that a busy credential costs no more memory than this.
const CALLS_MAX: usize = 512;
/// So many calls in a row that found nobody need no window.
const CONNECT_FAILURES_MAX: u32 = 5;
/// The first time open; doubled after each failed probe …
const OPEN_FIRST: Duration = Duration::from_secs(10);
/// … up to this: an other side that came back is noticed within it.
const OPEN_MAX: Duration = Duration::from_secs(5 * 60);
/// Between probes with credentials that were refused: a person must act first, and the new ones have a breaker of
/// their own. The probe is for an other side that was mistaken.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// What one probe may take before another one is let through; the longest call there is, with room.
pub(crate) const PROBE_TIME_MAX: Duration = Duration::from_secs(150);
/// The room that a ramp begins with, and by which it grows.
const RAMP_STEP: usize = 4;
/// A ramp that has come this far is over: nobody has more hands.
const RAMP_END: usize = 64;
/// The beginning of a ramp.
const RAMP: State = State::Ramp {
    room: RAMP_STEP,
    good: 0,
};

/// How one call went, as far as the other side's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered: with what was asked for, a refusal or a limit.
    Good,
    /// An error of its own, or no answer to what was sent.
    Bad,
    /// Nobody was there: no name, no connection, no handshake.
    Unreachable,
    /// The credential is not good.
    Refused,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass,
    /// Not before this; whoever waits together should not come back together.
    Wait(Duration),
    /// It is time for one call that tries: whoever may make it calls [`Breaker::begin_probe`].
    Probe,
}

/// For metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    HalfOpen,
    Open,
}

/// How it stands; told to other hosts when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open {
        until: Time,
        wait: Duration,
    },
    /// One call is on its way since then.
    Probing {
        since: Time,
        wait: Duration,
    },
    /// Another host's call is on its way, until then at the longest.
    Elsewhere {
        until: Time,
        wait: Duration,
    },
    /// Room for so many at once, and how many went well since it grew.
    Ramp {
        room: usize,
        good: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    /// When, and whether it was bad; oldest first.
    calls: VecDeque<(Time, bool)>,
    unreachable_in_a_row: u32,
    under_way: usize,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            calls: VecDeque::new(),
            unreachable_in_a_row: 0,
            under_way: 0,
        }
    }
}

impl Breaker {
    /// Asks for one call. Each `Pass` and each [`Breaker::begin_probe`] is to be followed by one [`Breaker::ended`].
    pub(crate) fn admit(&mut self, now: Time) -> Admission {
        let admission = match self.state {
            State::Closed => Admission::Pass,
            State::Open { until, .. } => match until.since(now) {
                Duration::ZERO => Admission::Probe,
                left => Admission::Wait(left),
            },
            State::Probing { since, .. } if now.since(since) >= PROBE_TIME_MAX => Admission::Probe,
            State::Probing { .. } => Admission::Wait(OPEN_FIRST),
            State::Elsewhere { until, .. } => match until.since(now) {
                Duration::ZERO => Admission::Probe,
                left => Admission::Wait(left.min(OPEN_FIRST)),
            },
            State::Ramp { room, .. } if self.under_way < room => Admission::Pass,
            State::Ramp { .. } => Admission::Wait(Duration::from_secs(1)),
        };
        if admission == Admission::Pass {
            self.under_way += 1;
        }
        admission
    }

    /// The same where nobody else probes.
    pub(crate) fn admit_alone(&mut self, now: Time) -> Admission {
        match self.admit(now) {
            Admission::Probe => {
                self.begin_probe(now);
                Admission::Pass
            }
            other => other,
        }
    }

    /// The call that tries begins.
    pub(crate) fn begin_probe(&mut self, now: Time) {
        let wait = match self.state {
            State::Open { wait, .. } | State::Probing { wait, .. } | State::Elsewhere { wait, .. } => wait,
            State::Closed | State::Ramp { .. } => OPEN_FIRST,
        };
        self.state = State::Probing { since: now, wait };
        self.under_way += 1;
    }

    /// Another host's word: it is left alone, or (None) it answers. A try of our own goes on.
    pub(crate) fn hear(&mut self, left_alone: Option<State>) {
        match (left_alone, self.state) {
            (_, State::Probing { .. }) => {}
            (Some(state), _) => {
                self.state = state;
                self.calls.clear();
                self.unreachable_in_a_row = 0;
            }
            (None, State::Open { .. } | State::Elsewhere { .. }) => self.state = RAMP,
            (None, State::Closed | State::Ramp { .. }) => {}
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// How many more calls have room now. More than that need not be begun.
    pub(crate) fn room(&self, now: Time) -> usize {
        match self.state {
            State::Closed => usize::MAX,
            State::Open { until, .. } if until.since(now).is_zero() => 1,
            // What comes in spite of it is put off one by one, with a time of its own.
            State::Open { .. } | State::Probing { .. } | State::Elsewhere { .. } => usize::MAX,
            State::Ramp { room, .. } => room.saturating_sub(self.under_way),
        }
    }

    /// A call that was let through is over.
    pub(crate) fn ended(&mut self, now: Time) {
        self.under_way = self.under_way.saturating_sub(1);
        // A probe that made no call proved nothing: the next one may.
        if let State::Probing { wait, .. } = self.state
            && self.under_way == 0
        {
            self.state = State::Open { until: now, wait };
        }
    }

    /// Takes note of how a call went. Answers whether this opened it.
    pub(crate) fn note(&mut self, now: Time, verdict: Verdict) -> bool {
        let bad = match verdict {
            Verdict::Refused => {
                let was_open = matches!(self.state, State::Open { .. });
                self.open(now, REFUSED_WAIT);
                return !was_open;
            }
            Verdict::Good => {
                self.unreachable_in_a_row = 0;
                false
            }
            Verdict::Bad => {
                self.unreachable_in_a_row = 0;
                true
            }
            Verdict::Unreachable => {
                self.unreachable_in_a_row = self.unreachable_in_a_row.saturating_add(1);
                true
            }
        };
        match self.state {
            // The stragglers of a time before: it was opened knowing of their like.
            State::Open { .. } | State::Elsewhere { .. } => return false,
            State::Probing { wait, .. } if bad => {
                self.open(now, wait.saturating_mul(2).min(OPEN_MAX));
                return true;
            }
            State::Probing { .. } => {
                self.calls.clear();
                self.state = RAMP;
            }
            State::Ramp { .. } if bad => {}
            State::Ramp { room, good } if good + 1 < room => self.state = State::Ramp { room, good: good + 1 },
            State::Ramp { room, .. } if room + RAMP_STEP < RAMP_END => {
                self.state = State::Ramp {
                    room: room + RAMP_STEP,
                    good: 0,
                };
            }
            State::Ramp { .. } => self.state = State::Closed,
            State::Closed => {}
        }
        self.remember(now, bad);
        let opens = self.unreachable_in_a_row >= CONNECT_FAILURES_MAX || self.mostly_bad();
        if opens {
            self.open(now, OPEN_FIRST);
        }
        opens
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::Probing { .. } | State::Elsewhere { .. } | State::Ramp { .. } => Phase::HalfOpen,
        }
    }

    /// Nothing of it would be missed.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Closed && self.under_way == 0
    }

    fn open(&mut self, now: Time, wait: Duration) {
        self.state = State::Open {
            until: now.after(wait),
            wait,
        };
        self.calls.clear();
        self.unreachable_in_a_row = 0;
    }

    fn remember(&mut self, now: Time, bad: bool) {
        let begin = now.before(WINDOW);
        while self.calls.front().is_some_and(|(at, _)| *at <= begin) || self.calls.len() >= CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back((now, bad));
    }

    fn mostly_bad(&self) -> bool {
        let bad = self.calls.iter().filter(|(_, bad)| *bad).count();
        self.calls.len() >= CALLS_MIN && bad * 2 >= self.calls.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_795_000_000);

    fn at(seconds: u64) -> Time {
        START.after(Duration::from_secs(seconds))
    }

    /// One call from beginning to end.
    fn call(breaker: &mut Breaker, now: Time, verdict: Verdict) -> Admission {
        let admission = breaker.admit_alone(now);
        if admission == Admission::Pass {
            breaker.note(now, verdict);
            breaker.ended(now);
        }
        admission
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..CONNECT_FAILURES_MAX {
            call(&mut breaker, START, Verdict::Unreachable);
        }
        assert_eq!(breaker.phase(), Phase::Open);
        breaker
    }

    #[test]
    fn c2_half_of_ten_calls_within_half_a_minute_open_it() {
        let mut breaker = Breaker::default();
        for place in 0..9 {
            let verdict = if place % 2 == 0 { Verdict::Bad } else { Verdict::Good };
            call(&mut breaker, at(place), verdict);
            assert_eq!(breaker.phase(), Phase::Closed, "nine calls prove nothing");
        }
        call(&mut breaker, at(9), Verdict::Good);
        assert_eq!(breaker.phase(), Phase::Open, "five of ten");
    }

    #[test]
    fn c2_fewer_than_half_or_long_ago_leave_it_closed() {
        let mut breaker = Breaker::default();
        for place in 0..200_u64 {
            let verdict = if place % 5 > 2 { Verdict::Bad } else { Verdict::Good };
            call(&mut breaker, at(place / 4), verdict);
            assert_eq!(breaker.phase(), Phase::Closed, "{place}");
        }
        let mut breaker = Breaker::default();
        for place in 0..100 {
            call(&mut breaker, at(place * 4), Verdict::Bad);
            assert_eq!(breaker.phase(), Phase::Closed, "never ten within the window");
        }
    }

    #[test]
    fn c2_five_calls_in_a_row_that_find_nobody_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            call(&mut breaker, START, Verdict::Unreachable);
        }
        call(&mut breaker, START, Verdict::Good);
        for _ in 0..4 {
            call(&mut breaker, START, Verdict::Unreachable);
        }
        assert_eq!(breaker.phase(), Phase::Closed);
        breaker.note(START, Verdict::Unreachable);
        assert_eq!(breaker.phase(), Phase::Open);
    }

    #[test]
    fn c2_one_probe_for_each_wait_and_the_waits_double_to_five_minutes() {
        let mut breaker = opened();
        let mut probes = Vec::new();
        for second in 0..=1500 {
            // A hundred lanes knock every second.
            for _ in 0..100 {
                if call(&mut breaker, at(second), Verdict::Bad) == Admission::Pass {
                    probes.push(second);
                }
            }
        }
        assert_eq!(probes, [10, 30, 70, 150, 310, 610, 910, 1210]);
    }

    #[test]
    fn c2_while_a_probe_is_on_its_way_nobody_else_is_let_through() {
        let mut breaker = opened();
        assert_eq!(breaker.room(at(10)), 1);
        assert_eq!(breaker.admit_alone(at(10)), Admission::Pass);
        assert!(matches!(breaker.admit_alone(at(10)), Admission::Wait(_)));
        assert!(matches!(breaker.admit_alone(at(100)), Admission::Wait(_)));
        // One that made no call leaves its place to the next, one that never ends does not hold it for ever.
        breaker.ended(at(101));
        assert_eq!(breaker.admit_alone(at(101)), Admission::Pass);
        assert_eq!(breaker.admit_alone(at(101).after(PROBE_TIME_MAX)), Admission::Pass);
    }

    #[test]
    fn c2_room_grows_by_steps_after_a_good_probe() {
        let mut breaker = opened();
        call(&mut breaker, at(10), Verdict::Good);
        let mut rooms = Vec::new();
        while breaker.phase() != Phase::Closed {
            let mut passed = 0;
            while breaker.admit_alone(at(11)) == Admission::Pass {
                passed += 1;
            }
            assert_eq!(breaker.room(at(11)), 0);
            rooms.push(passed);
            for _ in 0..passed {
                breaker.note(at(11), Verdict::Good);
                breaker.ended(at(11));
            }
        }
        let expected: Vec<usize> = (1..16).map(|step| step * RAMP_STEP).collect();
        assert_eq!(rooms, expected);
    }

    #[test]
    fn c2_a_relapse_on_the_ramp_opens_it_again() {
        let mut breaker = opened();
        call(&mut breaker, at(10), Verdict::Good);
        for _ in 0..CALLS_MIN {
            call(&mut breaker, at(11), Verdict::Bad);
        }
        assert_eq!(breaker.phase(), Phase::Open);
    }

    #[test]
    fn c11_refused_credentials_are_tried_once_a_minute() {
        let mut breaker = Breaker::default();
        let mut calls = 0;
        for second in 0..600 {
            for _ in 0..100 {
                calls += usize::from(call(&mut breaker, at(second), Verdict::Refused) == Admission::Pass);
            }
        }
        assert_eq!(calls, 10);
    }

    #[test]
    fn c2_another_hosts_word_opens_it_without_a_call_and_closes_it_with_a_ramp() {
        let mut breaker = Breaker::default();
        let wait = OPEN_FIRST;
        breaker.hear(Some(State::Open { until: at(10), wait }));
        assert_eq!(breaker.admit(at(9)), Admission::Wait(Duration::from_secs(1)));
        assert_eq!(breaker.admit(at(10)), Admission::Probe, "if no other host does");
        breaker.hear(Some(State::Elsewhere { until: at(160), wait }));
        assert_eq!(breaker.admit(at(11)), Admission::Wait(OPEN_FIRST));
        assert_eq!(breaker.admit(at(155)), Admission::Wait(Duration::from_secs(5)));
        assert_eq!(breaker.admit(at(160)), Admission::Probe, "a host that died in its try");
        breaker.hear(None);
        let passed = (0..100).filter(|_| breaker.admit(at(161)) == Admission::Pass).count();
        assert_eq!((passed, breaker.phase()), (RAMP_STEP, Phase::HalfOpen));
    }

    #[test]
    fn c2_a_try_of_ones_own_is_not_talked_away() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(10)), Admission::Probe);
        breaker.begin_probe(at(10));
        breaker.hear(None);
        breaker.hear(Some(State::Open {
            until: at(60),
            wait: OPEN_FIRST,
        }));
        assert_eq!(breaker.phase(), Phase::HalfOpen);
        assert!(breaker.note(at(11), Verdict::Bad), "its outcome counts");
    }

    #[test]
    fn p6_memory_is_bounded_whatever_happens() {
        let mut breaker = Breaker::default();
        let mut chance = 0x2545_f491_4f6c_dd1d_u64;
        for place in 0..100_000_u64 {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let verdict = match chance % 10 {
                0 => Verdict::Bad,
                1 => Verdict::Unreachable,
                _ => Verdict::Good,
            };
            call(&mut breaker, START.after(Duration::from_millis(place)), verdict);
            assert!(breaker.calls.len() <= CALLS_MAX && breaker.under_way == 0);
        }
    }
}

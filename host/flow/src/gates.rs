//! One gate for each credential in use: its bucket, its breaker, and since when it fares badly.
//!
//! The worker asks before a turn and tells after each call. Nobody sleeps at a gate: who may not pass is told when to
//! come again, and the lane waits as a row with that time. A new token is another credential and finds an open gate.
//! The state is this process's own: after a restart the first calls find out again. Where hosts share a database, the
//! gates of one credential act as one: see [`crate::sharing`].

mod gate;
mod key;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_store::budgets::{Ask, BudgetKey, Lease, Standing, Told};

use self::gate::{BREAKER, Gate, Kept, UNHEARD};
pub(crate) use self::gate::{Closed, Limit};
pub(crate) use self::key::Key;
use crate::breaker::{Phase, Verdict};
use crate::bucket::Leave;

/// Idle gates are dropped when there are more than this many: old tokens leave theirs behind.
const GATES_MAX: usize = 4_096;
/// One credential never has more turns than this under way, so that one slow side leaves hands for the others.
pub(crate) const TURNS_PER_CREDENTIAL: usize = 128;
/// An other side that fares badly for so long is shown as away; shorter hiccups are nobody's business.
const SHOWN_AFTER: Duration = Duration::from_secs(60);
/// What waits for a gate comes back within a fifth of the wait after it …
const JITTER_DIVISOR: u32 = 5;
/// … and never more than this after it.
const JITTER_MAX: Duration = Duration::from_secs(30);
/// After the database did not answer, or another host was quicker, other hosts are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// All gates of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gates {
    table: Arc<Mutex<HashMap<Key, Gate>>>,
    /// What this host is to the others; None: there are none.
    by: Option<i64>,
    /// Something is untold.
    news: Arc<AtomicBool>,
}

/// The right to make the calls of one turn. Dropping it ends the turn for the gate.
#[derive(Debug)]
pub(crate) struct Pass {
    gates: Gates,
    key: Key,
    now: Time,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.gates.table().get_mut(&self.key) {
            let before = gate.breaker.state();
            gate.under_way = gate.under_way.saturating_sub(1);
            gate.breaker.ended(self.now);
            gate.changed(before);
            self.gates.note_news(gate);
        }
    }
}

/// What a call taught.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    pub phase: Phase,
    /// This call opened the breaker.
    pub opened: bool,
    /// For a limit of the credential: how long nothing is asked.
    pub held: Option<Duration>,
    /// The other side fares badly for so long that people should see it: why.
    pub away: Option<Cause>,
}

/// The answer to whoever asks for a turn.
#[derive(Debug)]
pub(crate) enum Entry {
    Pass(Pass),
    Closed(Closed),
    /// Other hosts decide: see [`Gates::settle`].
    Ask(Ask),
}

impl Gates {
    /// The gates of a host among others; `by` names it.
    pub(crate) fn among_others(by: i64) -> Self {
        Self {
            by: Some(by),
            ..Self::default()
        }
    }

    /// Whether there are other hosts, and what this one is to them.
    pub(crate) fn by(&self) -> Option<i64> {
        self.by
    }

    /// Asks for a turn. `rate`: what the manifest allows, in calls per second.
    pub(crate) fn enter(&self, key: Key, rate: Option<f64>, now: Time) -> Entry {
        let mut table = self.table();
        if table.len() >= GATES_MAX && !table.contains_key(&key) {
            table.retain(|_, gate| {
                let told = self.by.is_none() || gate.untold == (None, None);
                gate.under_way > 0 || !gate.breaker.is_idle() || !gate.bucket.is_idle(now) || !told
            });
        }
        let gate = table.entry(key).or_default();
        gate.bucket.set_rate(rate);
        let admitted = match self.by {
            None => gate.admit_alone(now),
            Some(_) => gate.admit_among_others(now),
        };
        match (admitted, self.by) {
            (Ok(()), _) => {
                gate.under_way += 1;
                Entry::Pass(self.pass(key, now))
            }
            (Err(Kept::Out(wait, code)), _) => Entry::Closed(gate.closed(wait, code)),
            (Err(Kept::Asking(probe)), by) => {
                let wanted = gate.bucket.wanted();
                Entry::Ask(Ask {
                    by: by.unwrap_or_default(),
                    calls: wanted.calls,
                    owed: wanted.owed,
                    each: wanted.each,
                    probe,
                })
            }
        }
    }

    /// What other hosts leave to this one. None: they did not answer.
    pub(crate) fn settle(&self, key: Key, ask: &Ask, lease: Option<&Lease>, now: Time) -> Result<Pass, Closed> {
        let mut table = self.table();
        let gate = table.entry(key).or_default();
        let Some(lease) = lease else {
            gate.asks_after = now.after(ASK_AGAIN_AFTER);
            return Err(gate.closed(ASK_AGAIN_AFTER, UNHEARD));
        };
        if !ask.each.is_zero() {
            gate.bucket.leased((lease.calls, ask.owed), lease.next_at, now);
        }
        gate.hear(&lease.standing, ask.by);
        let probes = lease.probe && gate.bucket.take_leased(now) == Leave::Now;
        if probes {
            gate.breaker.begin_probe(now);
        } else if let (true, Some(open)) = (lease.probe, lease.standing.open) {
            // A limit came in between: the right to try goes back.
            gate.untold.1 = Some(Told::Opened {
                until: now,
                wait: open.wait,
            });
            self.note_news(gate);
        }
        let admitted = if probes { Ok(()) } else { gate.admit_among_others(now) };
        match admitted {
            Ok(()) => {
                gate.under_way += 1;
                Ok(self.pass(key, now))
            }
            Err(Kept::Out(wait, code)) => Err(gate.closed(wait, code)),
            Err(Kept::Asking(_)) => Err(gate.closed(ASK_AGAIN_AFTER, BREAKER)),
        }
    }

    /// What other hosts are to be told. Whoever takes it tells them, or brings it back with [`Gates::not_told`].
    pub(crate) fn untold(&self) -> Vec<(Key, Told)> {
        let mut all = Vec::new();
        if !self.news.swap(false, Ordering::Relaxed) {
            return all;
        }
        for (key, gate) in self.table().iter_mut() {
            let (held, breaker) = std::mem::take(&mut gate.untold);
            all.extend(breaker.into_iter().chain(held).map(|told| (*key, told)));
        }
        all
    }

    /// It could not be told; what has happened since is newer.
    pub(crate) fn not_told(&self, key: Key, told: Told) {
        let mut table = self.table();
        let untold = &mut table.entry(key).or_default().untold;
        let place = match told {
            Told::Held { .. } => &mut untold.0,
            Told::Opened { .. } | Told::Closed | Told::Forgiven => &mut untold.1,
        };
        place.get_or_insert(told);
        self.news.store(true, Ordering::Relaxed);
    }

    /// What other hosts know of credentials. Those that were never used here need no gate.
    pub(crate) fn hear(&self, all: &[(BudgetKey, Standing)]) {
        let Some(by) = self.by else { return };
        let mut table = self.table();
        for (BudgetKey(key), standing) in all {
            let held = standing.open.is_some() || standing.held_until > Time::default();
            if held || table.contains_key(&Key(*key)) {
                table.entry(Key(*key)).or_default().hear(standing, by);
            }
        }
    }

    fn note_news(&self, gate: &Gate) {
        if gate.untold != (None, None) {
            self.news.store(true, Ordering::Relaxed);
        }
    }

    fn pass(&self, key: Key, now: Time) -> Pass {
        Pass {
            gates: self.clone(),
            key,
            now,
        }
    }

    /// How many more turns with this credential should be begun.
    pub(crate) fn room(&self, key: Key, now: Time) -> usize {
        self.table().get(&key).map_or(TURNS_PER_CREDENTIAL, |gate| {
            let hands = TURNS_PER_CREDENTIAL.saturating_sub(gate.under_way);
            hands.min(gate.breaker.room(now))
        })
    }

    /// A call went well.
    pub(crate) fn good(&self, key: Key, now: Time) -> Phase {
        let mut table = self.table();
        let gate = table.entry(key).or_default();
        let before = gate.breaker.state();
        gate.breaker.note(now, Verdict::Good);
        gate.changed(before);
        self.note_news(gate);
        gate.bad = None;
        gate.breaker.phase()
    }

    /// A call failed.
    pub(crate) fn failed(&self, key: Key, failure: &Failure, limit: Limit, now: Time) -> Lesson {
        let mut table = self.table();
        let gate = table.entry(key).or_default();
        let verdict = verdict(failure);
        let before = gate.breaker.state();
        let opened = gate.breaker.note(now, verdict);
        gate.changed(before);
        let held = match failure {
            Failure::RateLimited { after, .. } => gate.limit(limit, *after, now),
            _ => None,
        };
        if held.is_some() {
            let until = gate.bucket.held_until();
            gate.untold.0 = Some(Told::Held { until });
        }
        self.note_news(gate);
        let suffers = held.is_some() || matches!(verdict, Verdict::Bad | Verdict::Unreachable);
        if suffers {
            let since = gate.bad.as_ref().map_or(now, |(since, _)| *since);
            gate.bad = Some((since, failure.cause().clone()));
        } else if verdict == Verdict::Good {
            gate.bad = None;
        }
        let long = gate
            .bad
            .as_ref()
            .is_some_and(|(since, _)| now.since(*since) >= SHOWN_AFTER);
        let away = suffers && (opened || long || held.is_some_and(|held| held >= SHOWN_AFTER));
        Lesson {
            phase: gate.breaker.phase(),
            opened,
            held,
            away: away.then(|| failure.cause().clone()),
        }
    }

    /// One more call than the one that the turn began with.
    pub(crate) fn spend(&self, key: Key) {
        if let Some(gate) = self.table().get_mut(&key) {
            gate.bucket.spend();
        }
    }

    /// Somebody proved that the credential works again: what was held against it is over.
    pub(crate) fn forgive(&self, key: Key) {
        let mut table = self.table();
        let known = table.remove(&key);
        if self.by.is_some() {
            // Other hosts may hold something against it that this one never heard of.
            let gate = table.entry(key).or_default();
            gate.heard = known.map_or(0, |known| known.heard);
            gate.untold.1 = Some(Told::Forgiven);
            self.note_news(gate);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Gate>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit and a refusal are answers: the other side is well.
fn verdict(failure: &Failure) -> Verdict {
    match failure {
        Failure::RateLimited { .. } | Failure::Refused(_) => Verdict::Good,
        Failure::Unauthorized(_) => Verdict::Refused,
        Failure::Transient(cause) | Failure::Unknown(cause) if cause.found_nobody() => Verdict::Unreachable,
        Failure::Transient(_) | Failure::Unknown(_) => Verdict::Bad,
    }
}

/// A little later than told, so that what waits together does not return together. `chance` is a random number.
pub(crate) fn jittered(wait: Duration, chance: u64) -> Duration {
    let spread = (wait / JITTER_DIVISOR).min(JITTER_MAX);
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    wait + Duration::from_millis(chance % spread_ms.saturating_add(1))
}

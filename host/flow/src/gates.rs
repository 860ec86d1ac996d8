//! One gate for each credential in use: its bucket, its breaker, and since when it fares badly.
//!
//! The worker asks before a turn and tells after each call. Nobody sleeps at a gate: who may not pass is told when to
//! come again, and the lane waits as a row with that time. A new token is another credential and finds an open gate.
//! The state is this process's own: after a restart the first calls find out again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantle_model::capabilities::LimitScope;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::ids::LaneId;
use mantle_store::directory::{Channel, Workspace};
use sha2::{Digest, Sha256};

use crate::breaker::{Admission, Breaker, Phase, Verdict};
use crate::bucket::{self, Bucket};
use crate::connector::Connector;

/// Idle gates are dropped when there are more than this many: old tokens leave theirs behind.
const GATES_MAX: usize = 4_096;
/// One credential never has more turns than this under way, so that one slow side leaves hands for the others.
pub(crate) const TURNS_PER_CREDENTIAL: usize = 48;
/// An other side that fares badly for so long is shown as away; shorter hiccups are nobody's business.
const SHOWN_AFTER: Duration = Duration::from_secs(60);
/// What waits for a gate comes back within a fifth of the wait after it …
const JITTER_DIVISOR: u32 = 5;
/// … and never more than this after it.
const JITTER_MAX: Duration = Duration::from_secs(30);

/// Names one credential at one other side. Made of a digest: it tells nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    /// The workspace's token.
    pub(crate) fn inbox(workspace: &Workspace) -> Self {
        Self::of(["inbox", &workspace.id.to_string(), workspace.token.expose()].into_iter())
    }

    /// What the operator entered for the channel. Channels of one account at the provider share it; what the host
    /// made for one channel, such as a webhook's secret, is not among it.
    pub(crate) fn provider(channel: &Channel, plugin: &dyn Connector) -> Self {
        let entered = |name: &&str| plugin.generated().iter().all(|(made, _)| made != name);
        let mut parts = vec!["provider", channel.plugin.as_str()];
        let mut names: Vec<&str> = channel.secrets.names().filter(entered).collect();
        names.sort_unstable();
        if names.is_empty() {
            parts.push(channel.external_id.as_str());
        }
        for name in names {
            parts.push(name);
            parts.extend(channel.secrets.all(name).iter().map(|secret| secret.expose()));
        }
        Self::of(parts.into_iter())
    }

    fn of<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize()[..16]);
        Self(key)
    }
}

#[derive(Debug, Default)]
struct Gate {
    bucket: Bucket,
    breaker: Breaker,
    under_way: usize,
    /// Since when no call went well, and the last reason.
    bad: Option<(Time, Cause)>,
    /// The lane that met a limit of unclear scope last, and until when it was told to wait.
    limited: Option<(LaneId, Time)>,
}

impl Gate {
    /// Answers how long the credential is left alone, if it is.
    fn limit(&mut self, limit: Limit, told: Option<Duration>, now: Time) -> Option<Duration> {
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

/// Where a limit was met, and whom it concerns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub lane: LaneId,
    pub scope: LimitScope,
}

/// All gates of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<Key, Gate>>>);

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
            gate.under_way = gate.under_way.saturating_sub(1);
            gate.breaker.ended(self.now);
        }
    }
}

/// Why a turn does not begin, and when it may.
#[derive(Debug)]
pub(crate) struct Closed {
    pub wait: Duration,
    pub cause: Cause,
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

impl Gates {
    /// Asks for a turn. `rate`: what the manifest allows, in calls per second.
    pub(crate) fn enter(&self, key: Key, rate: Option<f64>, now: Time) -> Result<Pass, Closed> {
        let mut table = self.table();
        if table.len() >= GATES_MAX && !table.contains_key(&key) {
            table.retain(|_, gate| gate.under_way > 0 || !gate.breaker.is_idle() || !gate.bucket.is_idle(now));
        }
        let gate = table.entry(key).or_default();
        gate.bucket.set_rate(rate);
        // The bucket last: a call that the breaker keeps back uses none of the rate.
        if let Admission::Wait(wait) = gate.breaker.admit(now) {
            let why = gate.bad.as_ref().map(|(_, cause)| cause.message.as_str());
            let message = match why {
                Some(why) => format!("The other side is left alone for a while. It said last: {why}"),
                None => "The other side is left alone for a while.".to_owned(),
            };
            return Err(Closed {
                wait,
                cause: Cause::new("breaker", message),
            });
        }
        if let Some(wait) = gate.bucket.take(now) {
            gate.breaker.ended(now);
            return Err(Closed {
                wait,
                cause: Cause::new(
                    "rate_limit",
                    "The credential's limit of calls is used up for the moment.",
                ),
            });
        }
        gate.under_way += 1;
        drop(table);
        Ok(Pass {
            gates: self.clone(),
            key,
            now,
        })
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
        gate.breaker.note(now, Verdict::Good);
        gate.bad = None;
        gate.breaker.phase()
    }

    /// A call failed.
    pub(crate) fn failed(&self, key: Key, failure: &Failure, limit: Limit, now: Time) -> Lesson {
        let mut table = self.table();
        let gate = table.entry(key).or_default();
        let verdict = verdict(failure);
        let opened = gate.breaker.note(now, verdict);
        let held = match failure {
            Failure::RateLimited { after, .. } => gate.limit(limit, *after, now),
            _ => None,
        };
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
        self.table().remove(&key);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Gate>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_795_000_000);

    fn key(name: &str) -> Key {
        Key::of([name].into_iter())
    }

    const LIMIT: Limit = Limit {
        lane: LaneId(1),
        scope: LimitScope::Credential,
    };

    fn limited(seconds: Option<u64>) -> Failure {
        Failure::RateLimited {
            after: seconds.map(Duration::from_secs),
            cause: Cause::new("429", "Too many."),
        }
    }

    #[test]
    fn c1_a_limit_holds_every_lane_of_the_credential_and_no_other() {
        let gates = Gates::default();
        drop(gates.enter(key("a"), None, START).unwrap());
        let lesson = gates.failed(key("a"), &limited(Some(30)), LIMIT, START);
        assert_eq!(lesson.held, Some(Duration::from_secs(30)));
        for _ in 0..100 {
            let closed = gates.enter(key("a"), None, START).unwrap_err();
            assert_eq!(
                (closed.wait, closed.cause.code.as_str()),
                (Duration::from_secs(30), "rate_limit")
            );
        }
        assert!(gates.enter(key("b"), None, START).is_ok());
        assert!(
            gates
                .enter(key("a"), None, START.after(Duration::from_secs(30)))
                .is_ok()
        );
    }

    #[test]
    fn out_9_a_limit_of_unclear_scope_holds_the_credential_once_two_people_meet_it() {
        let gates = Gates::default();
        let met_by = |lane, scope, now| {
            let limit = Limit {
                lane: LaneId(lane),
                scope,
            };
            gates.failed(key("a"), &limited(Some(30)), limit, now).held
        };
        assert_eq!(met_by(1, LimitScope::Recipient, START), None);
        assert_eq!(met_by(2, LimitScope::Recipient, START), None);
        assert_eq!(met_by(1, LimitScope::Unclear, START), None);
        assert_eq!(met_by(1, LimitScope::Unclear, START), None, "the same person again");
        let over = START.after(Duration::from_secs(30));
        assert_eq!(
            met_by(2, LimitScope::Unclear, over),
            None,
            "the first one's time is over"
        );
        assert!(gates.enter(key("a"), None, over).is_ok());
        assert_eq!(met_by(3, LimitScope::Unclear, over), Some(Duration::from_secs(30)));
        assert!(gates.enter(key("a"), None, over).is_err());
    }

    #[test]
    fn c2_an_open_breaker_keeps_the_credential_alone_and_says_why() {
        let gates = Gates::default();
        let failure = Failure::Transient(Cause::new("503", "Nothing works."));
        let mut lesson = None;
        for _ in 0..10 {
            drop(gates.enter(key("a"), None, START).unwrap());
            lesson = Some(gates.failed(key("a"), &failure, LIMIT, START));
        }
        let lesson = lesson.unwrap();
        assert_eq!((lesson.phase, lesson.away.is_some()), (Phase::Open, true));
        let closed = gates.enter(key("a"), None, START).unwrap_err();
        assert_eq!(closed.wait, Duration::from_secs(10));
        assert!(closed.cause.message.contains("Nothing works."), "{:?}", closed.cause);
        assert!(gates.enter(key("b"), None, START).is_ok());
    }

    #[test]
    fn in_12_a_side_that_fares_badly_for_a_minute_is_shown_and_a_hiccup_is_not() {
        let gates = Gates::default();
        let failure = Failure::Unknown(Cause::new("500", "Broken."));
        assert_eq!(gates.failed(key("a"), &failure, LIMIT, START).away, None);
        let later = START.after(SHOWN_AFTER);
        assert!(gates.failed(key("a"), &failure, LIMIT, later).away.is_some());
        gates.good(key("a"), later);
        assert_eq!(gates.failed(key("a"), &failure, LIMIT, later).away, None);
        assert!(gates.failed(key("b"), &limited(Some(120)), LIMIT, START).away.is_some());
        assert!(gates.failed(key("c"), &limited(Some(2)), LIMIT, START).away.is_none());
    }

    #[test]
    fn jitter_is_behind_the_wait_and_bounded() {
        for seconds in [0, 1, 10, 300, 21_600] {
            let wait = Duration::from_secs(seconds);
            for chance in [0, 1, 77_777, u64::MAX] {
                let jittered = jittered(wait, chance);
                assert!(jittered >= wait && jittered <= wait + (wait / 5).min(JITTER_MAX));
            }
        }
    }

    #[test]
    fn gates_of_tokens_long_gone_are_dropped() {
        let gates = Gates::default();
        for place in 0..GATES_MAX * 2 {
            drop(gates.enter(key(&place.to_string()), None, START).unwrap());
        }
        assert!(gates.table().len() <= GATES_MAX);
    }
}

//! Two versions of one connector side by side: a newer one takes a share of the work, and is taken back by itself when
//! it does worse than the one before it.
//!
//! Invariants: what is chosen for a journey is used from its begin to its end; a hook that the newer version cannot
//! prove or read is judged and read by the older one at once, so that a bad version loses and delays nothing; a version
//! that was taken back is chosen no more from that moment on. What is in force after a restart is not decided here.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mantle_model::clock::{Clock, Time};
use mantle_model::failure::Failure;
use mantle_model::hook::Hook;
use mantle_model::ids::ChannelId;
use mantle_model::outbound::{Outgoing, Sent};
use mantle_model::secret::Secrets;
use tokio::sync::Notify;

use crate::plugin::Plugin;
use crate::shelf::ShelfFile;
use crate::values::{CallError, ChannelContext, Inbound, Verdict};

/// The share that a newer version has at first when the operator does not say, in percent of hooks and conversations.
pub const TRIAL_PERCENT: u8 = 10;
/// All of it.
const WHOLE: u64 = 100;
/// After so many of its calls a newer version takes the whole: a fault in one call of a hundred has shown itself.
const TRIAL_CALLS: u64 = 200;
/// Or after so long: a quiet plugin must not be on trial for ever.
const TRIAL_TIME: Duration = Duration::from_secs(10 * 60);
/// So long after that the version before still reads what the newer one cannot, and the newer one can be taken back by
/// itself: a day holds what a business sees in a day.
const WATCH_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Fewer failures are an accident of the machine or of one message.
const FAILURES_MIN: u64 = 3;
/// Hooks that are kept in memory for the self-test of the next version.
const SAMPLES: usize = 3;
/// Larger hooks are not kept.
const SAMPLE_BYTES_MAX: usize = 64 << 10;
/// How often one is kept, so that it costs busy channels nothing.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// For whom a version is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// The digest, or its begin, of the version that the channel's operator wants, whatever is newest.
    pub pin: Option<&'a str>,
    /// Equal numbers get equal versions while both run. None: what is in force, not what is on trial.
    pub share: Option<u64>,
}

impl Whom<'_> {
    /// Whatever is in force.
    pub const ANYBODY: Whom<'static> = Whom { pin: None, share: None };
}

/// The number of a channel and something of it: the conversation, the bytes of the hook.
#[must_use]
pub fn share(channel: ChannelId, of: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (channel.0, of).hash(&mut hasher);
    hasher.finish()
}

/// A newer version on its way, and the one before it.
pub(crate) struct Pair {
    pub newer: Arc<Plugin>,
    pub older: Arc<Plugin>,
    /// Percent.
    share: AtomicU64,
    begun: Time,
    tally: Tally,
    /// Why the newer one is taken back.
    stopped: OnceLock<String>,
    clock: Arc<dyn Clock>,
    /// Rings when there is something to settle.
    bell: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Tally {
    newer: Count,
    older: Count,
    /// Hooks that only the older version proved or read.
    worse: AtomicU64,
}

#[derive(Debug, Default)]
struct Count {
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Count {
    fn of(&self) -> (u64, u64) {
        (
            self.calls.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Newer,
    Older,
}

/// Where a pair stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    OnTrial,
    /// The newer one has proven itself and has the whole from now on.
    Proven,
    /// It has the whole, and the older one stands by.
    Watched,
    /// The older one is not needed any more.
    Settled,
    TakenBack(String),
}

/// How a pair fares, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    pub percent: u64,
    pub calls: u64,
    pub failures: u64,
    pub since: Time,
}

impl Pair {
    pub(crate) fn new(
        (newer, older): (Arc<Plugin>, Arc<Plugin>),
        percent: u8,
        clock: Arc<dyn Clock>,
        bell: Arc<Notify>,
    ) -> Self {
        Self {
            newer,
            older,
            share: AtomicU64::new(u64::from(percent).min(WHOLE)),
            begun: clock.now(),
            tally: Tally::default(),
            stopped: OnceLock::new(),
            clock,
            bell,
        }
    }

    pub(crate) fn has_the_whole(&self) -> bool {
        self.share.load(Ordering::Relaxed) >= WHOLE
    }

    pub(crate) fn trial(&self) -> Trial {
        let (calls, failures) = self.tally.newer.of();
        Trial {
            percent: self.share.load(Ordering::Relaxed),
            calls,
            failures: failures + self.tally.worse.load(Ordering::Relaxed),
            since: self.begun,
        }
    }

    /// Takes the newer version back; the first reason counts.
    pub(crate) fn stop(&self, why: String) {
        let _ = self.stopped.set(why);
        self.bell.notify_one();
    }

    /// The side that this one's journey takes.
    pub(crate) fn side(&self, whom: &Whom<'_>) -> Side {
        if self.stopped.get().is_some() {
            return Side::Older;
        }
        let share = self.share.load(Ordering::Relaxed);
        match whom.share {
            _ if share >= WHOLE => Side::Newer,
            Some(number) if number % WHOLE < share => Side::Newer,
            _ => Side::Older,
        }
    }

    /// Where it stands now; [`Standing::Proven`] is told once.
    pub(crate) fn standing(&self) -> Standing {
        if let Some(why) = self.stopped.get() {
            return Standing::TakenBack(why.clone());
        }
        let age = self.clock.now().since(self.begun);
        if self.has_the_whole() {
            return if age >= WATCH_TIME {
                Standing::Settled
            } else {
                Standing::Watched
            };
        }
        let (calls, _) = self.tally.newer.of();
        if calls < TRIAL_CALLS && age < TRIAL_TIME {
            return Standing::OnTrial;
        }
        self.share.store(WHOLE, Ordering::Relaxed);
        Standing::Proven
    }

    fn note(&self, side: Side, failed: bool) {
        let count = match side {
            Side::Newer => &self.tally.newer,
            Side::Older => &self.tally.older,
        };
        let calls = count.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if failed {
            count.failures.fetch_add(1, Ordering::Relaxed);
            self.judge();
        } else if side == Side::Newer && calls == TRIAL_CALLS {
            self.bell.notify_one();
        }
    }

    /// A hook that the newer version failed at and the older one did not.
    fn note_worse(&self) {
        self.tally.worse.fetch_add(1, Ordering::Relaxed);
        self.judge();
    }

    fn judge(&self) {
        let worse = self.tally.worse.load(Ordering::Relaxed);
        if worse >= FAILURES_MIN {
            self.stop(format!(
                "{worse} hooks that it failed at were read by the version before it"
            ));
            return;
        }
        let ((calls, failures), (calls_before, failures_before)) = (self.tally.newer.of(), self.tally.older.of());
        // Multiplied out: rates without division by nothing.
        let exceeds = failures * calls_before.max(1) > failures_before * calls;
        if failures >= FAILURES_MIN && exceeds {
            self.stop(format!(
                "{failures} of its {calls} calls crashed, took too long or were refused as not authorised, of the \
                 version before it {failures_before} of {calls_before}"
            ));
        }
    }
}

/// Whether a newer version is to blame for it, if the older one has fewer of them.
fn is_failure(error: &CallError) -> bool {
    match error {
        CallError::Trapped(_)
        | CallError::CpuExceeded(_)
        | CallError::TimedOut(_)
        | CallError::Garbage(_)
        | CallError::Provider(Failure::Unauthorized(_)) => true,
        // A send that was cut short.
        CallError::Provider(Failure::Unknown(cause)) => cause.code == "connector",
        CallError::Provider(_)
        | CallError::Malformed(_)
        | CallError::Field { .. }
        | CallError::Busy(_)
        | CallError::Unsupported(_) => false,
    }
}

/// Whether another version may read the hook at once. After a time-out there is no time left for a second reading: the
/// provider waits for its answer.
fn may_be_read_by_another(error: &CallError) -> bool {
    !matches!(error, CallError::TimedOut(_) | CallError::Busy(_))
}

/// Hooks that were read not long ago.
#[derive(Default)]
pub(crate) struct Samples(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    hooks: VecDeque<(ChannelContext, Hook)>,
    last: Option<Time>,
}

impl Samples {
    fn offer(&self, now: Time, context: &ChannelContext, hook: &Hook) {
        if hook.body.len() > SAMPLE_BYTES_MAX {
            return;
        }
        // Somebody else is at it: theirs is as good.
        let Ok(mut recent) = self.0.try_lock() else { return };
        if recent.last.is_some_and(|last| now.since(last) < SAMPLE_EVERY) && recent.hooks.len() == SAMPLES {
            return;
        }
        recent.last = Some(now);
        if recent.hooks.len() == SAMPLES {
            recent.hooks.pop_front();
        }
        recent.hooks.push_back((context.clone(), hook.clone()));
    }

    fn all(&self) -> Vec<(ChannelContext, Hook)> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.hooks.iter().cloned().collect()
    }
}

/// Runs the newer version on hooks that the older one read not long ago, and on an empty one. Nothing comes of it.
///
/// # Errors
/// It fails at what the older one can do.
pub(crate) async fn self_test(newer: &Plugin, older: &Plugin, samples: &Samples, now: Time) -> Result<(), String> {
    let mut hooks = samples.all();
    let empty = ChannelContext {
        channel: ChannelId(0),
        fields: std::collections::BTreeMap::new(),
        secrets: Secrets::default(),
        hook_url: String::new(),
    };
    let nothing = Hook {
        method: "POST".to_owned(),
        path_and_query: "/".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        received_at: now,
    };
    hooks.push((empty, nothing));
    for (context, hook) in hooks {
        let Err(error) = newer.receive(&context, &hook).await else {
            continue;
        };
        let unread = matches!(error, CallError::Malformed(_)) && !hook.body.is_empty();
        if !is_failure(&error) && !unread {
            continue;
        }
        let blame = match older.receive(&context, &hook).await {
            Ok(_) => true,
            Err(before) => is_failure(&error) && !is_failure(&before) && !matches!(before, CallError::Busy(_)),
        };
        if blame {
            return Err(format!(
                "its self-test failed: {error}, on a hook that the version before it can take. Mend it and build it again"
            ));
        }
    }
    Ok(())
}

/// The version that one journey uses from its begin to its end.
pub struct Chosen {
    plugin: Arc<Plugin>,
    /// None: there is nothing to compare it with.
    pair: Option<(Arc<Pair>, Side)>,
    samples: Arc<Samples>,
    clock: Arc<dyn Clock>,
}

impl Deref for Chosen {
    type Target = Plugin;
    fn deref(&self) -> &Plugin {
        &self.plugin
    }
}

impl Chosen {
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        pair: Option<(Arc<Pair>, Side)>,
        samples: Arc<Samples>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            plugin,
            pair,
            samples,
            clock,
        }
    }

    #[must_use]
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The version that stands by, when this is the newer one.
    fn spare(&self) -> Option<(&Pair, &Plugin)> {
        match &self.pair {
            Some((pair, Side::Newer)) => Some((pair, &pair.older)),
            _ => None,
        }
    }

    fn note<T>(&self, outcome: &Result<T, CallError>) {
        if let Some((pair, side)) = &self.pair {
            pair.note(*side, outcome.as_ref().is_err_and(is_failure));
        }
    }

    /// As [`Plugin::verify`]. What only the version before can prove is proven.
    pub fn verify(&self, secrets: &Secrets, hook: &Hook, url: &str) -> Verdict {
        let verdict = self.plugin.verify(secrets, hook, url);
        let unproven = !matches!(verdict, Verdict::Genuine | Verdict::Challenge(_));
        if let (true, Some((pair, older))) = (unproven, self.spare()) {
            let before = older.verify(secrets, hook, url);
            if matches!(before, Verdict::Genuine | Verdict::Challenge(_)) {
                pair.note_worse();
                return before;
            }
        }
        verdict
    }

    /// As [`Plugin::receive`]. What only the version before can read is read.
    ///
    /// # Errors
    /// As [`Plugin::receive`].
    pub async fn receive(&self, context: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError> {
        let read = self.plugin.receive(context, hook).await;
        let read = match (read, self.spare()) {
            (Err(error), Some((pair, older))) if may_be_read_by_another(&error) => {
                let again = older.receive(context, hook).await;
                // What neither can read is not the newer one's fault.
                pair.note(Side::Newer, false);
                if again.is_ok() {
                    tracing::warn!(
                        plugin = older.name(),
                        channel.id = %context.channel,
                        %error,
                        "A hook that the newer version failed at was read by the version before it"
                    );
                    pair.note_worse();
                }
                again
            }
            (read, _) => {
                self.note(&read);
                read
            }
        };
        if read.is_ok() {
            self.samples.offer(self.clock.now(), context, hook);
        }
        read
    }

    /// # Errors
    /// As [`Plugin::send`].
    pub async fn send(&self, context: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError> {
        let sent = self.plugin.send(context, message).await;
        self.note(&sent);
        sent
    }

    /// # Errors
    /// As [`Plugin::fetch_media`].
    pub async fn fetch_media(&self, context: &ChannelContext, source: &str) -> Result<ShelfFile, CallError> {
        let fetched = self.plugin.fetch_media(context, source).await;
        self.note(&fetched);
        fetched
    }
}

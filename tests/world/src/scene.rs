//! What all stand-ins share: the clock, the road to the host, the list of broken rules, and the bell
//! that rings whenever something changed. Knows no provider.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerWaitFuture;

use crate::contracts::Contracts;
use crate::wire::Client;

/// Something that a caller did and that the provider's documents do not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `telegram`, `whatsapp`, `twilio`, `intercom`
    pub provider: &'static str,
    /// `sendMessage`, `POST /conversations`
    pub call: String,
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} {}: {}", self.provider, self.call, self.problem)
    }
}

/// Cheap to copy; all copies are the same scene.
#[derive(Clone)]
pub struct Scene(Arc<Inner>);

struct Inner {
    client: Client,
    contracts: Contracts,
    violations: Mutex<Vec<Violation>>,
    /// None: the clock of the machine.
    frozen_ms: Mutex<Option<i64>>,
    changed: watch::Sender<u64>,
    ids: Mutex<u64>,
    tasks: TaskTracker,
}

impl Scene {
    pub(crate) fn new(contracts: Contracts) -> Self {
        Self(Arc::new(Inner {
            client: Client::default(),
            contracts,
            violations: Mutex::default(),
            frozen_ms: Mutex::default(),
            changed: watch::Sender::new(0),
            ids: Mutex::new(0),
            tasks: TaskTracker::new(),
        }))
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn contracts(&self) -> &Contracts {
        &self.0.contracts
    }

    #[must_use]
    pub fn now_ms(&self) -> i64 {
        lock(&self.0.frozen_ms).unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    #[must_use]
    pub fn now(&self) -> i64 {
        self.now_ms() / 1000
    }

    /// From now on the world believes that it is this time, until told otherwise. None: the machine's clock again.
    pub fn set_clock(&self, unix_ms: Option<i64>) {
        *lock(&self.0.frozen_ms) = unix_ms;
        self.ring();
    }

    pub(crate) fn violation(&self, provider: &'static str, call: &str, problem: impl Into<String>) {
        lock(&self.0.violations).push(Violation {
            provider,
            call: call.to_owned(),
            problem: problem.into(),
        });
        self.ring();
    }

    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.0.violations).clone()
    }

    /// Says that a ledger changed.
    pub(crate) fn ring(&self) {
        if !LOOKING.get() {
            self.0.changed.send_modify(|count| *count += 1);
        }
    }

    /// Counts the changes: wait on it instead of sleeping.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// A number that this world has not given out before.
    pub(crate) fn next_id(&self) -> u64 {
        let mut ids = lock(&self.0.ids);
        *ids += 1;
        *ids
    }

    /// Runs beside the caller; `World::settled` waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    pub(crate) fn spawned(&self) -> usize {
        self.0.tasks.len()
    }

    pub(crate) fn all_done(&self) -> TaskTrackerWaitFuture<'_> {
        self.0.tasks.close();
        self.0.tasks.wait()
    }

    /// Waits until `look` sees something, looking again after every change.
    ///
    /// # Errors
    /// It has not happened within the time; the text names what was awaited.
    pub async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut changes = self.changes();
        let deadline = tokio::time::Instant::now() + within;
        loop {
            changes.borrow_and_update();
            LOOKING.set(true);
            let seen = look();
            LOOKING.set(false);
            if let Some(seen) = seen {
                return Ok(seen);
            }
            // The deadline is asked as well: a look that itself changes something must not wait for ever.
            let late = tokio::time::Instant::now() >= deadline;
            if late || tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                anyhow::bail!("waited {} s in vain for: {what}", within.as_secs_f32());
            }
        }
    }
}

thread_local! {
    /// Set while a condition is looked at: reading a ledger is no change, and must not wake who reads it.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `length` random hex digits.
pub(crate) fn random_hex(length: usize) -> String {
    let mut bytes = vec![0; length.div_ceil(2)];
    if getrandom::fill(&mut bytes).is_err() {
        bytes.fill(0x5a);
    }
    let mut text = hex::encode(bytes);
    text.truncate(length);
    text
}

//! Keeps a workspace's calls below its limit: few at once, and none while the limit is known to be used up.
//!
//! Nobody sleeps here. A held workspace is a `RateLimited` answer without a call, so waiting stays a row with a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mantle_model::clock::Time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of one workspace under way at once: at a fifth of a second each they are just below the 166 a second that
/// Intercom gives an app (10,000 a minute).
const CALLS_MAX: usize = 32;
/// How long a call waits for its turn. Longer than a slow call, shorter than a lane's lease.
const TURN_WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest wait that is believed: a wrong clock on the other side must not stop a workspace for days.
pub const HOLD_MAX: Duration = Duration::from_secs(6 * 60 * 60);

#[derive(Debug, Default)]
pub struct Pace {
    workspaces: Mutex<HashMap<String, Arc<Workspace>>>,
}

#[derive(Debug)]
pub struct Workspace {
    turns: Arc<Semaphore>,
    /// Unix milliseconds; in the past: free.
    held_until: AtomicI64,
}

impl Pace {
    pub fn workspace(&self, key: &str) -> Arc<Workspace> {
        let mut all = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(Workspace {
                turns: Arc::new(Semaphore::new(CALLS_MAX)),
                held_until: AtomicI64::new(0),
            })
        };
        if let Some(known) = all.get(key) {
            return Arc::clone(known);
        }
        Arc::clone(all.entry(key.to_owned()).or_insert_with(made))
    }
}

impl Workspace {
    /// How long nothing may be asked, if so.
    pub fn held(&self, now: Time) -> Option<Duration> {
        let wait = Time::from_unix_ms(self.held_until.load(Ordering::Acquire)).since(now);
        (!wait.is_zero()).then_some(wait)
    }

    pub fn hold(&self, now: Time, wait: Duration) {
        let until = now.after(wait.min(HOLD_MAX)).unix_ms();
        self.held_until.fetch_max(until, Ordering::AcqRel);
    }

    /// None when no turn came in time.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(turn);
        }
        let turn = Arc::clone(&self.turns).acquire_owned();
        tokio::time::timeout(TURN_WAIT_MAX, turn).await.ok()?.ok()
    }
}

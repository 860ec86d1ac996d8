//! A host's life: where it may be interrupted, and what ends it.
//!
//! Every call of a host to its store, inbox or provider passes a gate before it takes effect and another after.
//! At a gate others may go first, and at one of them the host may be killed: from then on nothing that it
//! began ever goes on, just as after `kill -9`.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::rng::Rng;

/// How often a host lets others go first at one gate, at most.
const YIELDS_MAX: u64 = 3;

/// What only one thread ever holds: a run is single-threaded, so a poisoned lock belongs to a test that failed already.
pub fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub struct Life {
    /// Names the host in claims.
    pub host: u64,
    dead: AtomicBool,
    died: Notify,
    /// Gates to go before the host is killed.
    gates_left: AtomicU64,
    rng: Arc<Mutex<Rng>>,
}

impl Life {
    /// A host that lives until it is told otherwise.
    #[must_use]
    pub fn new(host: u64, rng: Arc<Mutex<Rng>>) -> Arc<Self> {
        Arc::new(Self {
            host,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            gates_left: AtomicU64::new(u64::MAX),
            rng,
        })
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Is killed so many gates from now.
    pub fn dies_after(&self, gates: u64) {
        self.gates_left.store(gates, Ordering::Relaxed);
    }

    /// Lives on for ever.
    pub fn spare(&self) {
        self.gates_left.store(u64::MAX, Ordering::Relaxed);
    }

    /// Resolves when the host has been killed.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// A place where others may go first, and where the host may die.
    pub async fn gate(&self) {
        let left = self.gates_left.load(Ordering::Relaxed);
        if left == 0 && !self.is_dead() {
            self.dead.store(true, Ordering::Relaxed);
            self.died.notify_waiters();
        }
        if left != u64::MAX {
            self.gates_left.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        let yields = held(&self.rng).below(YIELDS_MAX + 1);
        for _ in 0..yields {
            self.stop_if_dead().await;
            tokio::task::yield_now().await;
        }
        self.stop_if_dead().await;
    }

    async fn stop_if_dead(&self) {
        if self.is_dead() {
            pending::<()>().await;
        }
    }
}

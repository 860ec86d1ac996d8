//! Work that must not run twice at once for the same thing, within this process.
//!
//! A queue in front of what the store decides: see [`crate::making`]. Keys that nobody holds cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

type Gate = tokio::sync::Mutex<()>;

#[derive(Debug, Default)]
pub(crate) struct OneAtATime(Mutex<HashMap<String, Weak<Gate>>>);

impl OneAtATime {
    /// Waits until nobody else holds the key; the key is free again when the guard is dropped.
    pub async fn enter(&self, key: String) -> OwnedMutexGuard<()> {
        let gate = {
            // The map is whole at every moment: a panic elsewhere cannot have spoilt it.
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            gates.retain(|_, gate| gate.strong_count() > 0);
            let held = gates.get(&key).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let gate = Arc::new(Gate::default());
                gates.insert(key, Arc::downgrade(&gate));
                gate
            })
        };
        gate.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_and_forgotten_when_free() {
        let all = OneAtATime::default();
        let first = all.enter("a".into()).await;
        assert!(all.enter("a".into()).now_or_never().is_none());
        let other = all.enter("b".into()).now_or_never();
        assert!(other.is_some());
        drop((first, other));
        assert!(all.enter("a".into()).now_or_never().is_some());
        assert_eq!(all.0.lock().unwrap().len(), 1);
    }
}

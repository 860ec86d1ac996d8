//! Whose message this process is sending at this moment.
//!
//! A send may take longer than any clock says, above all when the clock is moved; as long as it is under way here,
//! what the provider tells of it is not taken for somebody else's. Other hosts know by the send's time alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mantle_model::ids::IdentityId;

type Counts = HashMap<IdentityId, usize>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Sending(Arc<Mutex<Counts>>);

/// One send, from its announcement until its outcome is stored. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(crate) struct UnderWay {
    sending: Sending,
    to: IdentityId,
}

impl Sending {
    pub fn begin(&self, to: IdentityId) -> UnderWay {
        *self.counts().entry(to).or_default() += 1;
        UnderWay {
            sending: self.clone(),
            to,
        }
    }

    pub fn is_under_way(&self, to: IdentityId) -> bool {
        self.counts().contains_key(&to)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut counts = self.sending.counts();
        let left = counts.get_mut(&self.to).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            counts.remove(&self.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_16_a_person_is_written_to_until_the_last_send_has_ended() {
        let sending = Sending::default();
        let (one, two) = (IdentityId(1), IdentityId(2));
        let first = sending.begin(one);
        let second = sending.begin(one);
        drop(first);
        assert!(sending.is_under_way(one) && !sending.is_under_way(two));
        drop(second);
        assert!(!sending.is_under_way(one));
        assert!(sending.counts().is_empty(), "nothing is left behind");
    }
}

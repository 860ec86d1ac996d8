//! Who may call now: so many calls of one plugin, so many that wait for it, and so many of all plugins together.
//!
//! A plugin's own place is taken first, so that what waits for a place of the host is bounded by the plugins' places.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits::{ADMISSION_WAIT, CALLS_PER_PLUGIN, CALLS_WAITING_MAX};
use crate::values::{CallError, Crowd};

/// The places of one plugin beside those that all plugins share.
pub(crate) struct Admission {
    own: Arc<Semaphore>,
    waiting: Semaphore,
    overall: Arc<Semaphore>,
}

/// Room for one call, given back when it is dropped.
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _overall: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(overall: Arc<Semaphore>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(CALLS_PER_PLUGIN)),
            waiting: Semaphore::new(CALLS_WAITING_MAX),
            overall,
        }
    }

    /// # Errors
    /// `Busy`: no place became free in time, or too many wait already.
    pub(crate) async fn admit(&self) -> Result<Place, CallError> {
        if let (Ok(own), Ok(overall)) = (
            Arc::clone(&self.own).try_acquire_owned(),
            Arc::clone(&self.overall).try_acquire_owned(),
        ) {
            return Ok(Place {
                _own: own,
                _overall: overall,
            });
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| CallError::Busy(Crowd::Plugin))?;
        let until = Instant::now() + ADMISSION_WAIT;
        Ok(Place {
            _own: turn(&self.own, until, Crowd::Plugin).await?,
            _overall: turn(&self.overall, until, Crowd::Host).await?,
        })
    }
}

async fn turn(places: &Arc<Semaphore>, until: Instant, crowd: Crowd) -> Result<OwnedSemaphorePermit, CallError> {
    match timeout_at(until, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) | Err(_) => Err(CallError::Busy(crowd)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn op_3_places_of_the_host_are_shared_and_a_plugin_s_own_come_first() {
        let overall = Arc::new(Semaphore::new(CALLS_PER_PLUGIN + 1));
        let (greedy, other) = (
            Admission::new(Arc::clone(&overall)),
            Admission::new(Arc::clone(&overall)),
        );
        let mut held = Vec::new();
        for _ in 0..CALLS_PER_PLUGIN {
            held.push(greedy.admit().await.ok().unwrap());
        }
        let (more, one) = tokio::join!(greedy.admit(), other.admit());
        assert_eq!(more.err(), Some(CallError::Busy(Crowd::Plugin)));
        let one = one.ok().unwrap();
        // Now the host is full, whoever asks.
        assert_eq!(other.admit().await.err(), Some(CallError::Busy(Crowd::Host)));
        drop(one);
        assert!(other.admit().await.is_ok());
    }
}

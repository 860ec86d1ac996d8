//! The gates of several hosts on one database, acting as one.
//!
//! Calls of a rate are leased in chunks; what one host is told by the other side, or learns of its health, is written
//! down before its turn ends and heard by the others within a second. A host that cannot reach the database leases
//! nothing and its lanes wait: it could write down nothing that it does either. Where a host works alone nothing here
//! asks or tells.

use mantle_model::clock::Time;
use mantle_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::Flow;
use crate::gates::{Closed, Entry, Key, Pass};
use crate::worker::pause;

/// After what other hosts know could not be read.
const HEAR_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

impl Flow {
    /// Asks for a turn with the credential, of other hosts too where there are any. `rate`: calls per second.
    pub(crate) async fn enter(&self, key: Key, rate: Option<f64>, now: Time) -> Result<Pass, Closed> {
        match self.gates.enter(key, rate, now) {
            Entry::Pass(pass) => return Ok(pass),
            Entry::Closed(closed) => return Err(closed),
            Entry::Ask(_) => {}
        }
        // One asks; whoever waited for it finds what it got.
        let _turn = self.leasing.enter(hex::encode(key.budget().0)).await;
        let ask = match self.gates.enter(key, rate, now) {
            Entry::Pass(pass) => return Ok(pass),
            Entry::Closed(closed) => return Err(closed),
            Entry::Ask(ask) => ask,
        };
        // What is not told yet may be what the others would refuse it for.
        self.tell_others().await;
        let lease = self.store().lease(key.budget(), ask, now).await;
        if let Err(error) = &lease {
            tracing::warn!(%error, "No calls could be leased, so lanes wait: {error}");
        }
        self.gates.settle(key, &ask, lease.as_ref().ok(), now)
    }

    /// Tells other hosts what was learnt here. What cannot be told now is told with the next.
    pub(crate) async fn tell_others(&self) {
        let Some(by) = self.gates.by() else { return };
        // One tells at a time: a newer word must not be overtaken by an older one.
        let _turn = self.telling.lock().await;
        for (key, told) in self.gates.untold() {
            match self.store().tell(key.budget(), by, told, self.now()).await {
                Ok(standing) => self.gates.hear(&[(key.budget(), standing)]),
                Err(error) => {
                    tracing::warn!(%error, "Other hosts could not be told how a credential fares: {error}");
                    self.gates.not_told(key, told);
                }
            }
        }
    }

    /// Takes in what other hosts have learnt.
    pub(crate) async fn hear_others(&self) -> Result<(), StoreError> {
        if self.gates.by().is_some() {
            self.gates.hear(&self.store().standings(self.now()).await?);
        }
        Ok(())
    }
}

/// Hears and tells until the end.
pub(crate) async fn run(flow: &Flow, soft: &CancellationToken) {
    if flow.gates.by().is_none() {
        return;
    }
    while !soft.is_cancelled() {
        flow.tell_others().await;
        if let Err(error) = flow.hear_others().await {
            tracing::warn!(%error, "What other hosts know of credentials cannot be read: {error}");
            pause(soft, HEAR_AGAIN_AFTER).await;
        }
        tokio::select! {
            biased;
            () = soft.cancelled() => {}
            () = flow.store().budgets_told() => {}
        }
    }
}

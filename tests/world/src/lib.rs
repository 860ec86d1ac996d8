//! Stand-ins for Telegram, WhatsApp, Twilio, Intercom and a registry of components, as their documents say: they check what they receive, answer
//! in real shapes and with real errors, deliver webhooks with real signatures, keep a ledger, and misbehave when told to.
//!
//! Invariants: everything happens on loopback; what the documents do not allow is refused where the provider refuses it,
//! and listed in [`World::violations`] in any case; every change rings a bell, so nobody needs to sleep.
//! Never imports the host: an error of the host must not hide in both.

mod contracts;
mod fault;
pub mod intercom;
mod multipart;
pub mod needs;
pub mod registry;
pub mod samples;
mod scene;
pub mod signature;
pub mod telegram;
pub mod twilio;
mod webhooks;
pub mod whatsapp;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use intercom::{Intercom, Region};
use registry::Registry;
use telegram::Telegram;
use twilio::Twilio;
use whatsapp::WhatsApp;
use wire::Stand;

pub use contracts::recorded;
pub use fault::{Fault, Faults};
pub use multipart::File;
pub use scene::{Scene, Violation};
pub use webhooks::{Delivered, Order, Post, Webhooks};
pub use wire::{Client, Reply};

/// Long enough for a busy machine, short enough for a test run.
const PATIENCE: Duration = Duration::from_secs(20);

/// The whole world; it ends when dropped.
pub struct World {
    pub telegram: Telegram,
    pub whatsapp: WhatsApp,
    pub twilio: Twilio,
    pub intercom: Intercom,
    pub registry: Registry,
    scene: Scene,
    redirects: Vec<(String, String)>,
    _stop: DropGuard,
}

impl World {
    /// Starts all stand-ins, each on a loopback port of its own.
    ///
    /// # Errors
    /// No port can be opened.
    pub async fn start() -> anyhow::Result<Self> {
        let contracts = tokio::task::spawn_blocking(contracts::Contracts::load)
            .await
            .context("reading the contracts")?;
        let scene = Scene::new(contracts);
        let stop = CancellationToken::new();
        let mut street = Street {
            stop: stop.clone(),
            redirects: Vec::new(),
        };
        let telegram = Telegram::new(scene.clone());
        let whatsapp = WhatsApp::new(scene.clone());
        let twilio = Twilio::new(scene.clone());
        let intercom = Intercom::new(scene.clone());
        street.open(telegram.clone(), &["https://api.telegram.org"]).await?;
        street.open(whatsapp.clone(), &["https://graph.facebook.com"]).await?;
        street
            .open(whatsapp.media_host(), &["https://lookaside.fbsbx.com"])
            .await?;
        street
            .open(
                twilio.clone(),
                &["https://api.twilio.com", "https://messaging.twilio.com"],
            )
            .await?;
        street
            .open(twilio.media_store(), &["https://mms.twiliocdn.com"])
            .await?;
        street
            .open(intercom.region(Region::Us), &["https://api.intercom.io"])
            .await?;
        street
            .open(intercom.region(Region::Eu), &["https://api.eu.intercom.io"])
            .await?;
        street
            .open(intercom.region(Region::Au), &["https://api.au.intercom.io"])
            .await?;
        street
            .open(intercom.downloads(), &["https://downloads.intercomcdn.com"])
            .await?;
        let registry = Registry::new(scene.clone());
        street.open(registry.clone(), &Registry::origins()).await?;
        Ok(Self {
            telegram,
            whatsapp,
            twilio,
            intercom,
            registry,
            scene,
            redirects: street.redirects,
            _stop: stop.drop_guard(),
        })
    }

    /// What belongs into `[egress.redirect]`: (origin of the provider, origin of its stand-in).
    #[must_use]
    pub fn redirects(&self) -> &[(String, String)] {
        &self.redirects
    }

    /// The same as a table of `plugins.toml`.
    #[must_use]
    pub fn redirects_toml(&self) -> String {
        let lines = self
            .redirects
            .iter()
            .map(|(from, to)| format!("\"{from}\" = \"{to}\"\n"));
        format!("[egress.redirect]\n{}", lines.collect::<String>())
    }

    /// Calls for the host's public address go to where it really listens; signatures still cover the public address.
    pub fn deliver_to(&self, public_url: &str, local: SocketAddr) {
        self.scene.client().map(public_url, local);
    }

    /// What callers did against the providers' documents. A test ends by asserting that there is none.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.scene.violations()
    }

    /// Contracts that are not on this machine, one line each: what they say is not checked.
    #[must_use]
    pub fn unchecked(&self) -> Vec<String> {
        self.scene.contracts().missing().to_vec()
    }

    /// Clock, changes, the client that reaches the host.
    #[must_use]
    pub fn scene(&self) -> &Scene {
        &self.scene
    }

    /// Waits until `look` sees something, for at most 20 s.
    ///
    /// # Errors
    /// It did not happen; the text names what was awaited.
    pub async fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        self.scene.until(what, PATIENCE, look).await
    }

    /// Waits until everything that runs beside a call (webhooks of statuses, fetches of media) has ended.
    pub async fn settled(&self) {
        if self.scene.spawned() > 0 {
            self.scene.all_done().await;
        }
    }
}

/// Opens listeners and remembers where they are.
struct Street {
    stop: CancellationToken,
    redirects: Vec<(String, String)>,
}

impl Street {
    async fn open<S: Stand>(&mut self, stand: S, origins: &[&str]) -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("opening a loopback port")?;
        let address = listener.local_addr().context("reading the port")?;
        for origin in origins {
            self.redirects.push(((*origin).to_owned(), format!("http://{address}")));
        }
        tokio::spawn(wire::serve(listener, Arc::new(stand), self.stop.clone()));
        Ok(())
    }
}

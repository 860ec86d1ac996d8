//! The two journeys: from a customer into the inbox, from the inbox to the customer; and what keeps them going.
//!
//! Invariants: what was answered with 2xx is on disk; a write to the outside is announced on disk before it
//! leaves and never repeated blindly; messages of one identity keep their order; whatever does not reach a
//! customer or the inbox ends as a note, a dead message or a counter, never in silence.
//! Knows nothing of HTTP, of any provider's or inbox's wire format, nor of SQL.

mod breaker;
mod bucket;
pub mod channels;
pub mod chores;
pub mod connector;
pub mod directory;
mod fair;
mod gates;
pub mod inbound;
mod job;
mod making;
pub mod metrics;
mod misfits;
mod note;
mod one_at_a_time;
pub mod outage;
pub mod outbound;
mod paced;
pub mod payload;
pub mod restored;
pub mod retry;
mod schedule;
mod sending;
mod sharing;
pub mod shelf;
mod standing;
mod sweep;
pub mod upkeep;
pub mod worker;
pub mod workspaces;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mantle_inbox::{Access, ChannelLabel, Inbox};
use mantle_model::clock::{Clock, Time};
use mantle_model::hook::{Answer, Overload};
use mantle_model::ids::{ChannelId, IdSource, MessageId};
use mantle_model::inbound::Notice;
use mantle_sandbox::{ChannelContext, Shelf, Whom, share};
use mantle_store::directory::{Channel, Platform, Workspace};
use mantle_store::upkeep::Restored;
use mantle_store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::connector::{Catalog, Connector};
use crate::directory::Directory;
use crate::gates::Gates;
use crate::metrics::Metrics;
use crate::misfits::Misfits;
use crate::one_at_a_time::OneAtATime;
use crate::outage::Outage;
use crate::schedule::Schedule;
use crate::sending::Sending;
use crate::sweep::Sweeps;

/// Where random numbers come from.
pub type Chance = fn() -> u64;

/// What a flow is made of.
pub struct FlowParts {
    pub store: Arc<dyn Store>,
    pub catalog: Arc<dyn Catalog>,
    pub inboxes: HashMap<Platform, Arc<dyn Inbox>>,
    pub shelf: Arc<dyn Shelf>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdSource>,
    pub metrics: Metrics,
    /// Random numbers that spread retries: [`retry::system_chance`] but in a simulation.
    pub chance: Chance,
    /// What providers see, without a slash at the end: `https://bridge.example.com`.
    pub public_url: String,
    /// Makes the public, signed, expiring address that sends a message once more. Who serves the address makes it.
    pub resend_link: ResendLink,
}

/// Makes the address that sends the message of this attempt once more.
pub type ResendLink = Arc<dyn Fn(MessageId) -> String + Send + Sync>;

/// Everything a journey needs. One per process.
pub struct Flow {
    parts: FlowParts,
    directory: ArcSwap<Directory>,
    /// Held from reading the store to showing what was read: an older reading must not replace a newer one.
    refreshing: tokio::sync::Mutex<()>,
    /// When the last reading for the sake of an unknown hook began.
    caught_up: tokio::sync::Mutex<Option<Instant>>,
    /// Journeys of callers that may hang up: whoever awaits them lets them run to their commit all the same.
    receiving: TaskTracker,
    misfits: Misfits,
    making: OneAtATime,
    sweeps: Sweeps,
    /// Since when the database is a restored one.
    restore: OnceLock<Restored>,
    /// The latest time without any host.
    outage: OnceLock<Outage>,
    /// When the worker last looked for work.
    worked: Mutex<Instant>,
    gates: Gates,
    leasing: OneAtATime,
    telling: tokio::sync::Mutex<()>,
    sending: Sending,
    schedule: Schedule,
    /// Who looks for a write in doubt.
    doubts: Semaphore,
}

/// Between two readings of the directory for unknown hooks: anybody can send those.
const CATCH_UP_EVERY: Duration = Duration::from_millis(50);

/// What the caller of a hook is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookAnswer {
    pub answer: Answer,
    /// For `Retry-After`, on 503.
    pub retry_after: Option<Duration>,
}

impl HookAnswer {
    pub(crate) fn plain(answer: Answer) -> Self {
        Self {
            answer,
            retry_after: None,
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::plain(Answer::empty(status))
    }

    /// The store takes nothing now: the sender comes again.
    pub(crate) fn busy() -> Self {
        Self {
            answer: Answer::empty(503),
            retry_after: Some(BUSY_RETRY_AFTER),
        }
    }
}

/// How soon a sender may come again after a 503: longer than a commit queue takes to drain.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Flow {
    /// Reads workspaces and channels and stands ready. Nothing runs until [`worker::run`] does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(parts: FlowParts) -> Result<Arc<Self>, StoreError> {
        let directory = Directory::read(&*parts.store).await?;
        let gates = if parts.store.shares_budgets() {
            // Never 0, which is nobody.
            Gates::among_others(((parts.chance)() >> 1).cast_signed() | 1)
        } else {
            Gates::default()
        };
        Ok(Arc::new(Self {
            parts,
            directory: ArcSwap::from_pointee(directory),
            refreshing: tokio::sync::Mutex::new(()),
            caught_up: tokio::sync::Mutex::default(),
            receiving: TaskTracker::new(),
            misfits: Misfits::default(),
            making: OneAtATime::default(),
            sweeps: Sweeps::default(),
            restore: OnceLock::new(),
            outage: OnceLock::new(),
            worked: Mutex::new(Instant::now()),
            gates,
            leasing: OneAtATime::default(),
            telling: tokio::sync::Mutex::new(()),
            sending: Sending::default(),
            schedule: Schedule::default(),
            doubts: Semaphore::new(worker::DOUBTS_AT_ONCE),
        }))
    }

    /// Workspaces and channels as they stand now. Cheap; hold it for one journey, not longer.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Takes up what was changed in the store. To be called after every change of a workspace or channel.
    ///
    /// # Errors
    /// The store cannot be read; the present directory stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _turn = self.refreshing.lock().await;
        self.directory.store(Arc::new(Directory::read(self.store()).await?));
        Ok(())
    }

    /// Takes up what other hosts have changed until now, for a hook that is not known or not proven here: their word of it
    /// may be on its way. However many ask, the store is read a few times a second.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let mut begun = self.caught_up.lock().await;
        if let Some(last) = *begun {
            if last >= asked {
                return Ok(());
            }
            tokio::time::sleep_until((last + CATCH_UP_EVERY).into()).await;
        }
        let now = Instant::now();
        self.refresh().await?;
        *begun = Some(now);
        Ok(())
    }

    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    #[must_use]
    pub fn now(&self) -> Time {
        self.parts.clock.now()
    }

    /// The version in force: for what is no journey of one channel.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<Arc<dyn Connector>> {
        self.parts.catalog.get(name)
    }

    /// The version that this channel uses, and nothing that is on trial.
    #[must_use]
    pub fn plugin_of(&self, channel: &Channel) -> Option<Arc<dyn Connector>> {
        let whom = Whom {
            pin: channel.settings.pin.as_deref(),
            share: None,
        };
        self.parts.catalog.choose(&channel.plugin, &whom)
    }

    /// The version that a journey of this channel uses. `of` is what it belongs to, the conversation or the hook: equal
    /// ones get equal versions while two run side by side.
    #[must_use]
    pub fn plugin_for(&self, channel: &Channel, of: &[u8]) -> Option<Arc<dyn Connector>> {
        let whom = Whom {
            pin: channel.settings.pin.as_deref(),
            share: Some(share(channel.id, of)),
        };
        self.parts.catalog.choose(&channel.plugin, &whom)
    }

    #[must_use]
    pub fn inbox(&self, platform: Platform) -> Option<Arc<dyn Inbox>> {
        self.parts.inboxes.get(&platform).cloned()
    }

    /// The address that a provider calls for this channel.
    #[must_use]
    pub fn hook_url(&self, channel: &Channel) -> String {
        format!("{}/hooks/{}/{}", self.parts.public_url, channel.plugin, channel.id)
    }

    /// What the host itself has to say of the channel, beside the notices that are stored with it.
    #[must_use]
    pub fn notices(&self, channel: &Channel) -> Vec<Notice> {
        let plugin = self.plugin_of(channel);
        let told = plugin.and_then(|plugin| self.misfits.notice(channel.id, plugin.fields()));
        told.into_iter().chain(outage::notice(self, channel)).collect()
    }

    /// How the plugin's provider treats a hook that is not taken. None: there is no such plugin.
    #[must_use]
    pub fn overload(&self, plugin: &str) -> Option<Overload> {
        Some(self.plugin(plugin)?.overload().clone())
    }

    /// Counts a hook that was refused before it was looked at. Names that are not ours share a label.
    pub fn shed(&self, channel: Option<ChannelId>, reason: &str) {
        let known = channel.filter(|id| self.directory().channel(*id).is_some());
        let label = known.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        self.metrics().rejected(&label, reason);
    }

    /// Counts a webhook of the inbox that was refused before it was looked at.
    pub fn shed_inbox(&self, platform: Platform, reason: &str) {
        self.metrics().rejected(outbound::platform_word(platform), reason);
    }

    /// Waits for journeys whose callers are gone. To be called when the server has stopped.
    pub async fn drain(&self) {
        self.receiving.close();
        self.receiving.wait().await;
    }

    /// When the worker last looked for work: it does so every other second at least.
    #[must_use]
    pub fn worked_at(&self) -> Instant {
        *self.worked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn looked_for_work(&self) {
        *self.worked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn remember_restore(&self, restored: Restored) {
        // A second word on it would say the same.
        let _ = self.restore.set(restored);
    }

    pub(crate) fn restore(&self) -> Option<Restored> {
        self.restore.get().copied()
    }

    pub(crate) fn remember_outage(&self, outage: Outage) {
        // Told once, on start.
        let _ = self.outage.set(outage);
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.outage.get().copied()
    }

    pub(crate) fn shelf(&self) -> &dyn Shelf {
        &*self.parts.shelf
    }

    pub(crate) fn chance(&self) -> u64 {
        (self.parts.chance)()
    }

    pub(crate) fn public_url(&self) -> &str {
        &self.parts.public_url
    }

    pub(crate) fn resend_link(&self, attempt: MessageId) -> String {
        (self.parts.resend_link)(attempt)
    }

    pub(crate) fn next_id(&self) -> i64 {
        self.parts.ids.next(self.now())
    }

    /// The channel's own secrets, then those of its plugin for names it left out.
    pub fn context(&self, channel: &Channel, plugin: &dyn Connector) -> ChannelContext {
        let mut secrets = channel.secrets.at(self.now());
        for name in plugin.secrets().names() {
            if !channel.secrets.contains(name) {
                for secret in plugin.secrets().all(name) {
                    secrets.add(name, secret.clone());
                }
            }
        }
        ChannelContext {
            channel: channel.id,
            fields: channel.fields.clone(),
            secrets,
            hook_url: self.hook_url(channel),
        }
    }

    /// How the channel is called in the inbox.
    pub(crate) fn label(&self, channel: &Channel) -> ChannelLabel {
        let plugin = self.plugin_of(channel);
        let named = |name: Option<&str>| name.unwrap_or(&channel.plugin).to_owned();
        ChannelLabel {
            attribute: named(plugin.as_deref().map(Connector::attribute)),
            title: named(plugin.as_deref().map(Connector::title)),
            account: channel.external_name.clone(),
        }
    }
}

pub(crate) fn access(workspace: &Workspace) -> Access {
    Access {
        token: workspace.token.clone(),
        facts: workspace.facts.clone(),
    }
}

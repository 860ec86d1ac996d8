//! All plugins by name, exchanged while calls go on.
//!
//! Invariants: readers never wait; a journey keeps the version it began with; a new version that is refused, that asks
//! for more rights than were consented to, or that does worse than the one before it, leaves the old one running, and
//! says so; one change is made at a time. Watching files is not done here, and nothing is written down here: what
//! [`Change`] tells is for the caller to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use mantle_model::secret::Secrets;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Notify};

use crate::engine::Sandbox;
use crate::load::{LoadError, PluginEntry};
use crate::plugin::Plugin;
use crate::rights::Rights;
use crate::versions::{Chosen, Pair, Samples, Side, Standing, Trial, Whom, self_test};

/// Versions of one plugin that channels may be pinned to, beside the newest: each is held in memory.
pub const PINNED_MAX: usize = 8;

/// How one entry of `plugins.toml` fares.
#[derive(Debug, Clone)]
pub enum PluginState {
    /// Being loaded for the first time.
    Loading,
    Ready(Arc<Plugin>),
    /// It asks for more than was consented to.
    Pending {
        waiting: Arc<Plugin>,
        /// What it asks for beyond that, one line each.
        difference: Vec<String>,
        /// The version before it, which goes on.
        running: Option<Arc<Plugin>>,
    },
    /// The entry as it stands is not loaded.
    Refused {
        reason: LoadError,
        /// The version before it, which goes on.
        running: Option<Arc<Plugin>>,
    },
}

impl PluginState {
    /// The version in force.
    #[must_use]
    pub fn running(&self) -> Option<&Arc<Plugin>> {
        match self {
            Self::Loading => None,
            Self::Ready(plugin) => Some(plugin),
            Self::Pending { running, .. } | Self::Refused { running, .. } => running.as_ref(),
        }
    }
}

/// What was consented to, and what was in force then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    pub sha256: String,
    /// Where that version still lies; it goes on while another one may not.
    pub component: PathBuf,
    pub rights: Rights,
    /// A version that was taken back; it is not tried again by itself.
    pub refused: Option<String>,
}

/// The versions of one plugin beside the one in force.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The newer version, and how it fares.
    pub trial: Option<(Arc<Plugin>, Trial)>,
    /// The version before: one step back.
    pub previous: Option<Arc<Plugin>>,
    pub pinned: Vec<Arc<Plugin>>,
}

/// What was done to one plugin.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new plugin, or another version that is in force from now on.
    Loaded(Arc<Plugin>),
    /// A newer version has a share of the work.
    OnTrial(Arc<Plugin>),
    Pending {
        waiting: Arc<Plugin>,
        difference: Vec<String>,
    },
    /// The newer version is in force, `previous` stands by.
    Proven {
        plugin: Arc<Plugin>,
        previous: Arc<Plugin>,
    },
    /// A version was left for the one before it.
    TakenBack {
        left: Arc<Plugin>,
        running: Arc<Plugin>,
        why: String,
    },
    Refused {
        name: String,
        reason: LoadError,
        /// Whether an earlier version goes on.
        still_running: bool,
    },
    Removed(String),
}

/// Why an operator's word changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    #[error("there is no plugin of this name")]
    Unknown,
    #[error("{0}")]
    Nothing(String),
}

/// All plugins by name.
pub struct Plugins {
    sandbox: Arc<Sandbox>,
    slots: ArcSwap<BTreeMap<String, Slot>>,
    applying: Mutex<()>,
    bell: Arc<Notify>,
}

#[derive(Clone)]
struct Slot {
    state: PluginState,
    entry: PluginEntry,
    file: Option<FileMark>,
    pair: Option<Arc<Pair>>,
    previous: Option<Arc<Plugin>>,
    pinned: Vec<Arc<Plugin>>,
    samples: Arc<Samples>,
}

impl Slot {
    /// Every version that is in memory, by its digest.
    fn versions(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        let pair = self.pair.iter().flat_map(|pair| [&pair.newer, &pair.older]);
        let waiting = match &self.state {
            PluginState::Pending { waiting, .. } => Some(waiting),
            _ => None,
        };
        (self.state.running().into_iter())
            .chain(pair)
            .chain(&self.previous)
            .chain(&self.pinned)
            .chain(waiting)
    }
}

/// What tells whether a component's file was changed, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileMark {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl FileMark {
    async fn of(entry: &PluginEntry) -> Option<Self> {
        let metadata = tokio::fs::metadata(&entry.component).await.ok()?;
        Some(Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

impl Plugins {
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Self {
            sandbox,
            slots: ArcSwap::default(),
            applying: Mutex::new(()),
            bell: Arc::default(),
        }
    }

    /// The version of this plugin that is in force.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.slots.load().get(name)?.state.running().cloned()
    }

    /// The version that a journey uses.
    #[must_use]
    pub fn choose(&self, name: &str, whom: &Whom<'_>) -> Option<Arc<Chosen>> {
        let slots = self.slots.load();
        let slot = slots.get(name)?;
        let pinned = whom.pin.and_then(|pin| {
            let mut runnable = (slot.pinned.iter()).chain(slot.state.running()).chain(&slot.previous);
            runnable.find(|plugin| plugin.digest().starts_with(pin))
        });
        let (plugin, pair) = match (pinned, &slot.pair) {
            (Some(pinned), _) => (pinned, None),
            (None, Some(pair)) => match pair.side(whom) {
                Side::Newer => (&pair.newer, Some((Arc::clone(pair), Side::Newer))),
                Side::Older => (&pair.older, Some((Arc::clone(pair), Side::Older))),
            },
            (None, None) => (slot.state.running()?, None),
        };
        let clock = Arc::clone(&self.sandbox.shared.clock);
        let chosen = Chosen::new(Arc::clone(plugin), pair, Arc::clone(&slot.samples), clock);
        Some(Arc::new(chosen))
    }

    #[must_use]
    pub fn state(&self, name: &str) -> Option<PluginState> {
        self.slots.load().get(name).map(|slot| slot.state.clone())
    }

    /// What there is beside the version in force.
    #[must_use]
    pub fn beside(&self, name: &str) -> Beside {
        let slots = self.slots.load();
        let Some(slot) = slots.get(name) else {
            return Beside::default();
        };
        let on_trial = slot.pair.as_ref().filter(|pair| !pair.has_the_whole());
        Beside {
            trial: on_trial.map(|pair| (Arc::clone(&pair.newer), pair.trial())),
            previous: slot.previous.clone(),
            pinned: slot.pinned.clone(),
        }
    }

    /// All entries by name.
    #[must_use]
    pub fn list(&self) -> Vec<(String, PluginState)> {
        let slots = self.slots.load();
        slots
            .iter()
            .map(|(name, slot)| (name.clone(), slot.state.clone()))
            .collect()
    }

    /// Digests of every version that is in memory.
    #[must_use]
    pub fn digests(&self) -> BTreeSet<String> {
        let slots = self.slots.load();
        let all = slots.values().flat_map(Slot::versions);
        all.map(|plugin| plugin.digest().to_owned()).collect()
    }

    /// The same of one plugin.
    #[must_use]
    pub fn digests_of(&self, name: &str) -> BTreeSet<String> {
        let slots = self.slots.load();
        let all = slots.get(name).into_iter().flat_map(Slot::versions);
        all.map(|plugin| plugin.digest().to_owned()).collect()
    }

    /// Makes the plugins those of the entries: loads what is new or changed in its entry or file, tries again what was
    /// refused, removes what is gone. Answers with what was done.
    pub async fn apply(&self, entries: Vec<PluginEntry>) -> Vec<Change> {
        self.apply_beside(entries, Vec::new()).await
    }

    /// The same beside plugins whose component cannot be had now, each with the reason: what runs of them goes on.
    pub async fn apply_beside(&self, entries: Vec<PluginEntry>, absent: Vec<(String, LoadError)>) -> Vec<Change> {
        let _one_at_a_time = self.applying.lock().await;
        let mut changes = Vec::new();
        let before = self.slots.load_full();
        let named = |name: &String| {
            entries.iter().any(|entry| entry.name == *name) || absent.iter().any(|(known, _)| known == name)
        };
        for name in before.keys().filter(|name| !named(name)) {
            self.write(|slots| drop(slots.remove(name)));
            tracing::info!(plugin = %name, "Plugin {name} was removed");
            changes.push(Change::Removed(name.clone()));
        }
        for (name, reason) in absent {
            if let Some(slot) = before.get(&name) {
                let running = slot.state.running().cloned();
                changes.push(self.refuse(slot.entry.clone(), None, reason, running));
            }
        }
        for entry in entries {
            changes.extend(self.apply_one(entry).await);
        }
        changes
    }

    async fn apply_one(&self, entry: PluginEntry) -> Option<Change> {
        let name = entry.name.clone();
        let file = FileMark::of(&entry).await;
        let slot = self.slots.load().get(&name).cloned();
        if let Some(slot) = &slot
            && self.is_known(slot, &entry, file).await
        {
            return None;
        }
        let mut running = slot.and_then(|slot| slot.state.running().cloned());
        if running.is_none() {
            self.put(entry.clone(), file, PluginState::Loading);
            running = self.as_before(&entry).await;
        }
        if let (Some(running), Some(reason)) = (&running, taken_back(&entry)) {
            return Some(self.refuse(entry, file, reason, Some(Arc::clone(running))));
        }
        match self.sandbox.load(entry.clone()).await {
            Ok(plugin) => Some(self.judge(entry, file, plugin, running).await),
            Err(reason) => Some(self.refuse(entry, file, reason, running)),
        }
    }

    /// Whether nothing is to be done: the entry, the file and what was consented to are as they were when it was judged.
    async fn is_known(&self, slot: &Slot, entry: &PluginEntry, file: Option<FileMark>) -> bool {
        let newest = slot.pair.as_ref().map(|pair| &pair.newer);
        let judged = match &slot.state {
            PluginState::Ready(plugin) => newest.unwrap_or(plugin),
            PluginState::Pending { waiting, .. } if slot.entry.before == entry.before => waiting,
            // Its reason is told already, and with more words than the lock has.
            PluginState::Refused { running: Some(_), .. } if taken_back(entry).is_some() => {
                return same_entry(&slot.entry, entry);
            }
            _ => return false,
        };
        if !same_entry(&slot.entry, entry) {
            return false;
        }
        if slot.file == file && entry.sha256.is_none() {
            return true;
        }
        let wanted = match &entry.sha256 {
            Some(sha256) => Some(sha256.clone()),
            None => digest(entry).await,
        };
        if wanted.as_deref() != Some(judged.digest()) {
            return false;
        }
        let name = entry.name.as_str();
        self.write(|slots| {
            if let Some(slot) = slots.get_mut(name) {
                (slot.file, slot.entry) = (file, entry.clone());
            }
        });
        true
    }

    /// The version that was in force, when the host has just begun and the file holds another one.
    async fn as_before(&self, entry: &PluginEntry) -> Option<Arc<Plugin>> {
        let before = entry.before.as_ref()?;
        if entry.sha256.as_ref() == Some(&before.sha256) {
            return None;
        }
        let as_it_was = PluginEntry {
            component: before.component.clone(),
            sha256: Some(before.sha256.clone()),
            ..entry.clone()
        };
        let loaded = self.sandbox.load(as_it_was).await;
        loaded
            .inspect_err(|error| {
                tracing::warn!(plugin = %entry.name, "The version that ran before cannot be loaded: {error}");
            })
            .ok()
    }

    async fn judge(
        &self,
        entry: PluginEntry,
        file: Option<FileMark>,
        plugin: Arc<Plugin>,
        running: Option<Arc<Plugin>>,
    ) -> Change {
        let name = entry.name.clone();
        let consented = entry.before.as_ref().filter(|before| before.sha256 != plugin.digest());
        let difference = consented.map_or_else(Vec::new, |before| plugin.rights().beyond(&before.rights));
        if !difference.is_empty() {
            tracing::warn!(
                plugin = %name,
                version = plugin.version(),
                digest = plugin.digest(),
                "Plugin {name} {} waits for consent. It wants to:\n  {}\n`mantle plugin approve {name}` consents",
                plugin.version(),
                difference.join("\n  ")
            );
            let state = PluginState::Pending {
                waiting: Arc::clone(&plugin),
                difference: difference.clone(),
                running,
            };
            self.put(entry, file, state);
            return Change::Pending {
                waiting: plugin,
                difference,
            };
        }
        let older = running.filter(|running| running.digest() != plugin.digest());
        match older {
            None => {
                tracing::info!(
                    plugin = %name,
                    version = plugin.version(),
                    digest = plugin.digest(),
                    "Plugin {name} {} is ready",
                    plugin.version()
                );
                self.put(entry, file, PluginState::Ready(Arc::clone(&plugin)));
                Change::Loaded(plugin)
            }
            Some(older) => self.begin(entry, file, plugin, older).await,
        }
    }

    /// Gives a newer version its share, if it passes its test.
    async fn begin(
        &self,
        entry: PluginEntry,
        file: Option<FileMark>,
        newer: Arc<Plugin>,
        older: Arc<Plugin>,
    ) -> Change {
        let name = entry.name.clone();
        let clock = &self.sandbox.shared.clock;
        let samples = self.slots.load().get(&name).map(|slot| Arc::clone(&slot.samples));
        let samples = samples.unwrap_or_default();
        if let Err(problem) = self_test(&newer, &older, &samples, clock.now()).await {
            let reason = LoadError(format!("plugin `{name}`, version {}: {problem}", newer.version()));
            return self.refuse(entry, file, reason, Some(older));
        }
        let percent = entry.trial_percent;
        let versions = (Arc::clone(&newer), Arc::clone(&older));
        let pair = Arc::new(Pair::new(versions, percent, Arc::clone(clock), Arc::clone(&self.bell)));
        let whole = pair.has_the_whole();
        tracing::info!(
            plugin = %name,
            version = newer.version(),
            digest = newer.digest(),
            "Plugin {name} {} is ready and takes {percent} % of the work",
            newer.version()
        );
        let state = PluginState::Ready(Arc::clone(if whole { &newer } else { &older }));
        self.put(entry, file, state);
        self.write(|slots| {
            if let Some(slot) = slots.get_mut(&name) {
                slot.pair = Some(pair);
                if whole {
                    slot.previous = Some(Arc::clone(&older));
                }
            }
        });
        if whole {
            Change::Proven {
                plugin: newer,
                previous: older,
            }
        } else {
            Change::OnTrial(newer)
        }
    }

    fn refuse(
        &self,
        entry: PluginEntry,
        file: Option<FileMark>,
        reason: LoadError,
        running: Option<Arc<Plugin>>,
    ) -> Change {
        let name = entry.name.clone();
        let still_running = running.is_some();
        let rest = if still_running {
            "; the version before it goes on"
        } else {
            ""
        };
        tracing::error!(plugin = %name, "Plugin {name} is not loaded{rest}: {reason}");
        let state = PluginState::Refused {
            reason: reason.clone(),
            running,
        };
        self.put(entry, file, state);
        Change::Refused {
            name,
            reason,
            still_running,
        }
    }

    /// Resolves when a version has proven itself or failed. Safe to drop.
    pub async fn rings(&self) {
        self.bell.notified().await;
    }

    /// Draws the line under trials that have come to their end. Answers with what was done.
    pub async fn settle(&self) -> Vec<Change> {
        let _one_at_a_time = self.applying.lock().await;
        let slots = self.slots.load_full();
        let pairs = slots.iter().filter_map(|(name, slot)| Some((name, slot.pair.clone()?)));
        pairs.filter_map(|(name, pair)| self.settle_one(name, &pair)).collect()
    }

    fn settle_one(&self, name: &str, pair: &Arc<Pair>) -> Option<Change> {
        let (plugin, previous) = (Arc::clone(&pair.newer), Arc::clone(&pair.older));
        match pair.standing() {
            Standing::OnTrial | Standing::Watched => None,
            Standing::Settled => {
                self.change(name, |slot| slot.pair = None);
                None
            }
            Standing::Proven => {
                tracing::info!(plugin = %name, digest = plugin.digest(), "Plugin {name} {} has proven itself", plugin.version());
                self.change(name, |slot| {
                    slot.state = PluginState::Ready(Arc::clone(&plugin));
                    slot.previous = Some(Arc::clone(&previous));
                });
                Some(Change::Proven { plugin, previous })
            }
            Standing::TakenBack(why) => {
                let reason = LoadError(format!(
                    "plugin `{name}`, version {}: it was taken back: {why}. Mend it, or try it again with `mantle plugin \
                     approve {name}`",
                    plugin.version()
                ));
                tracing::error!(plugin = %name, digest = plugin.digest(), "The version before goes on: {reason}");
                self.change(name, |slot| {
                    slot.state = PluginState::Refused {
                        reason,
                        running: Some(Arc::clone(&previous)),
                    };
                    (slot.pair, slot.previous) = (None, None);
                });
                Some(Change::TakenBack {
                    left: plugin,
                    running: previous,
                    why,
                })
            }
        }
    }

    /// Consents to what a version asks for. With a digest: to that version alone.
    ///
    /// # Errors
    /// Nothing waits.
    pub async fn approve(&self, name: &str, sha256: Option<&str>) -> Result<Change, Unchanged> {
        let _one_at_a_time = self.applying.lock().await;
        let slot = self.slots.load().get(name).cloned().ok_or(Unchanged::Unknown)?;
        let PluginState::Pending { waiting, running, .. } = slot.state else {
            return Err(Unchanged::Nothing(format!("no version of `{name}` waits for consent")));
        };
        if sha256.is_some_and(|sha256| sha256 != waiting.digest()) {
            return Err(Unchanged::Nothing(format!(
                "the version of `{name}` that waits is {}, not the one that was named; look at the difference again",
                waiting.digest()
            )));
        }
        tracing::info!(target: "mantle::audit", plugin = %name, digest = waiting.digest(), "An operator consented to the rights of {name} {}", waiting.version());
        let older = running.filter(|running| running.digest() != waiting.digest());
        match older {
            Some(older) => Ok(self.begin(slot.entry, slot.file, waiting, older).await),
            None => {
                self.put(slot.entry, slot.file, PluginState::Ready(Arc::clone(&waiting)));
                Ok(Change::Loaded(waiting))
            }
        }
    }

    /// Leaves the newer version for the one before it.
    ///
    /// # Errors
    /// There is none before.
    pub async fn roll_back(&self, name: &str) -> Result<Change, Unchanged> {
        const BY_OPERATOR: &str = "by an operator";
        let _one_at_a_time = self.applying.lock().await;
        let slot = self.slots.load().get(name).cloned().ok_or(Unchanged::Unknown)?;
        let running = slot.state.running().cloned();
        let clock = Arc::clone(&self.sandbox.shared.clock);
        let pair = match (slot.pair, running, slot.previous) {
            (Some(pair), _, _) => pair,
            (None, Some(newer), Some(older)) => Arc::new(Pair::new((newer, older), 100, clock, Arc::clone(&self.bell))),
            _ => {
                return Err(Unchanged::Nothing(format!(
                    "no version of `{name}` before the present one is kept"
                )));
            }
        };
        pair.stop(BY_OPERATOR.to_owned());
        self.settle_one(name, &pair).ok_or(Unchanged::Unknown)
    }

    /// Has a version ready for the channels that are pinned to it.
    ///
    /// # Errors
    /// It cannot be loaded, or there are too many.
    pub async fn hold(&self, name: &str, sha256: &str, component: PathBuf) -> Result<(), LoadError> {
        let _one_at_a_time = self.applying.lock().await;
        let slot = self.slot(name)?;
        if slot.pinned.iter().any(|plugin| plugin.digest() == sha256) {
            return Ok(());
        }
        if slot.pinned.len() >= PINNED_MAX {
            return Err(LoadError(format!(
                "channels of `{name}` are pinned to {PINNED_MAX} versions already; pin some of them to `current`"
            )));
        }
        let plugin = self.version(&slot, sha256, component).await?;
        self.change(name, |slot| slot.pinned.push(plugin));
        Ok(())
    }

    /// Has the version before ready for the way back, after a restart.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub async fn stand_by(&self, name: &str, sha256: &str, component: PathBuf) -> Result<(), LoadError> {
        let _one_at_a_time = self.applying.lock().await;
        let plugin = self.version(&self.slot(name)?, sha256, component).await?;
        self.change(name, |slot| {
            slot.previous.get_or_insert(plugin);
        });
        Ok(())
    }

    fn slot(&self, name: &str) -> Result<Slot, LoadError> {
        let slot = self.slots.load().get(name).cloned();
        slot.ok_or_else(|| LoadError(format!("there is no plugin `{name}`")))
    }

    /// In memory already, or loaded with what the entry says.
    async fn version(&self, slot: &Slot, sha256: &str, component: PathBuf) -> Result<Arc<Plugin>, LoadError> {
        if let Some(plugin) = slot.versions().find(|plugin| plugin.digest() == sha256) {
            return Ok(Arc::clone(plugin));
        }
        let entry = PluginEntry {
            component,
            sha256: Some(sha256.to_owned()),
            ..slot.entry.clone()
        };
        self.sandbox.load(entry).await
    }

    /// Lets go of versions that no channel is pinned to any more.
    pub async fn release(&self, name: &str, still: &BTreeSet<String>) {
        let _one_at_a_time = self.applying.lock().await;
        self.change(name, |slot| {
            slot.pinned.retain(|plugin| still.contains(plugin.digest()))
        });
    }

    /// What ran before and is kept stays beside the new state.
    fn put(&self, entry: PluginEntry, file: Option<FileMark>, state: PluginState) {
        let name = entry.name.clone();
        self.write(|slots| {
            let before = slots.remove(&name);
            let (previous, pinned, samples) =
                before.map_or_else(Default::default, |slot| (slot.previous, slot.pinned, slot.samples));
            let slot = Slot {
                state,
                entry,
                file,
                pair: None,
                previous,
                pinned,
                samples,
            };
            slots.insert(name, slot);
        });
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Slot)) {
        self.write(|slots| {
            if let Some(slot) = slots.get_mut(name) {
                change(slot);
            }
        });
    }

    /// Only under the lock of `apply`.
    fn write(&self, change: impl FnOnce(&mut BTreeMap<String, Slot>)) {
        let mut slots = BTreeMap::clone(&self.slots.load());
        change(&mut slots);
        self.slots.store(Arc::new(slots));
    }
}

/// Why the version of the entry is not tried: it was taken back, and nobody said to try it again.
fn taken_back(entry: &PluginEntry) -> Option<LoadError> {
    let before = entry.before.as_ref()?;
    let sha256 = before
        .refused
        .as_ref()
        .filter(|refused| entry.sha256.as_ref() == Some(*refused))?;
    Some(LoadError(format!(
        "plugin `{}`: the version {sha256} was taken back. Mend it, or try it again with `mantle plugin approve {}`",
        entry.name, entry.name
    )))
}

async fn digest(entry: &PluginEntry) -> Option<String> {
    let bytes = tokio::fs::read(&entry.component).await.ok()?;
    Some(hex::encode(Sha256::digest(&bytes)))
}

fn same_entry(one: &PluginEntry, other: &PluginEntry) -> bool {
    one.name == other.name
        && one.component == other.component
        && one.sha256 == other.sha256
        && one.memory_mib == other.memory_mib
        && one.grants == other.grants
        && same_secrets(&one.secrets, &other.secrets)
}

fn same_secrets(one: &Secrets, other: &Secrets) -> bool {
    let values = |secrets: &Secrets, name: &str| {
        secrets
            .all(name)
            .iter()
            .map(|secret| secret.expose().to_owned())
            .collect::<Vec<_>>()
    };
    one.names().eq(other.names()) && one.names().all(|name| values(one, name) == values(other, name))
}

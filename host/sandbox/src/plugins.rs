//! All plugins by name, exchanged while calls go on.
//!
//! Invariants: readers never wait; a call keeps the version it began with; a new version that is refused leaves the
//! old one running, and says so; one change is made at a time. Watching files is not done here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use mantle_model::secret::Secrets;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::engine::Sandbox;
use crate::load::{LoadError, PluginEntry};
use crate::plugin::Plugin;

/// How one entry of `plugins.toml` fares.
#[derive(Debug, Clone)]
pub enum PluginState {
    /// Being loaded for the first time.
    Loading,
    Ready(Arc<Plugin>),
    /// The entry as it stands is not loaded.
    Refused {
        reason: LoadError,
        entry: PluginEntry,
        /// The version before it, which goes on.
        running: Option<Arc<Plugin>>,
    },
}

impl PluginState {
    /// The version that takes calls.
    #[must_use]
    pub fn running(&self) -> Option<&Arc<Plugin>> {
        match self {
            Self::Loading => None,
            Self::Ready(plugin) => Some(plugin),
            Self::Refused { running, .. } => running.as_ref(),
        }
    }
}

/// What `apply` did to one plugin.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new plugin, or a new version of one.
    Loaded(Arc<Plugin>),
    Refused {
        name: String,
        reason: LoadError,
        /// Whether an earlier version goes on.
        still_running: bool,
    },
    Removed(String),
}

/// All plugins by name.
pub struct Plugins {
    sandbox: Arc<Sandbox>,
    slots: ArcSwap<BTreeMap<String, Slot>>,
    applying: Mutex<()>,
}

#[derive(Clone)]
struct Slot {
    state: PluginState,
    entry: PluginEntry,
    file: Option<FileMark>,
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
        }
    }

    /// The version of this plugin that takes calls.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.slots.load().get(name)?.state.running().cloned()
    }

    #[must_use]
    pub fn state(&self, name: &str) -> Option<PluginState> {
        self.slots.load().get(name).map(|slot| slot.state.clone())
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

    /// Makes the plugins those of the entries: loads what is new or changed in its entry or file, tries again what was
    /// refused, removes what is gone. Answers with what was done.
    pub async fn apply(&self, entries: Vec<PluginEntry>) -> Vec<Change> {
        let _one_at_a_time = self.applying.lock().await;
        let mut changes = Vec::new();
        let before = self.slots.load_full();
        for name in before
            .keys()
            .filter(|name| !entries.iter().any(|entry| entry.name == **name))
        {
            self.write(|slots| drop(slots.remove(name)));
            tracing::info!(plugin = %name, "Plugin {name} was removed");
            changes.push(Change::Removed(name.clone()));
        }
        for entry in entries {
            changes.extend(self.apply_one(entry).await);
        }
        changes
    }

    async fn apply_one(&self, entry: PluginEntry) -> Option<Change> {
        let name = entry.name.clone();
        let file = FileMark::of(&entry).await;
        let before = self.slots.load().get(&name).cloned();
        if let Some(slot) = &before
            && let PluginState::Ready(plugin) = &slot.state
            && same_entry(&slot.entry, &entry)
        {
            if slot.file == file {
                return None;
            }
            if digest(&entry).await.as_deref() == Some(plugin.digest()) {
                self.write(|slots| {
                    if let Some(slot) = slots.get_mut(&name) {
                        slot.file = file;
                    }
                });
                return None;
            }
        }
        let running = before.and_then(|slot| slot.state.running().cloned());
        if running.is_none() {
            self.put(entry.clone(), file, PluginState::Loading);
        }
        match self.sandbox.load(entry.clone()).await {
            Ok(plugin) => {
                tracing::info!(
                    plugin = %name,
                    version = plugin.version(),
                    digest = plugin.digest(),
                    "Plugin {name} {} is ready",
                    plugin.version()
                );
                self.put(entry, file, PluginState::Ready(Arc::clone(&plugin)));
                Some(Change::Loaded(plugin))
            }
            Err(reason) => {
                let still_running = running.is_some();
                let rest = if still_running {
                    "; the version before it goes on"
                } else {
                    ""
                };
                tracing::error!(plugin = %name, "Plugin {name} is not loaded{rest}: {reason}");
                let state = PluginState::Refused {
                    reason: reason.clone(),
                    entry: entry.clone(),
                    running,
                };
                self.put(entry, file, state);
                Some(Change::Refused {
                    name,
                    reason,
                    still_running,
                })
            }
        }
    }

    fn put(&self, entry: PluginEntry, file: Option<FileMark>, state: PluginState) {
        let name = entry.name.clone();
        self.write(|slots| {
            slots.insert(name, Slot { state, entry, file });
        });
    }

    /// Only under the lock of `apply`.
    fn write(&self, change: impl FnOnce(&mut BTreeMap<String, Slot>)) {
        let mut slots = BTreeMap::clone(&self.slots.load());
        change(&mut slots);
        self.slots.store(Arc::new(slots));
    }
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

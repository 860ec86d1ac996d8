//! The loaded connectors as the journeys and the API see them, exchanged while calls go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use mantle_egress::EgressConfig;
use mantle_flow::connector::{Catalog, Connector};
use mantle_model::clock::{Clock, Time};
use mantle_sandbox::{
    Before, Change, Chosen, Compiler, FieldKind, LoadError, Plugin, PluginEntry, PluginState, Plugins, Sandbox,
    SandboxConfig, Shelf, Unchanged, Whom,
};
use mantle_store::directory::Channel;
use mantle_supply::{Depot, Lock, SupplyError};
use mantle_web::api::plugins::{FieldBody, PendingBody, PluginBody, TrialBody, VersionBody};
use tokio::sync::Notify;
use url::Url;

use crate::config::{Live, PluginSetting};
use crate::consent;
use crate::supplies::{Missing, Origin, Supplied, Supplies, fetcher};

/// What a sandbox is built with, and built anew with when the redirects change.
pub struct Workshop {
    /// Compiled and kept components are below it.
    pub data_dir: PathBuf,
    pub compiler: Compiler,
    pub shelf: Arc<dyn Shelf>,
    pub clock: Arc<dyn Clock>,
    pub duty: Duty,
}

/// Whether the catalogue keeps the lock, or only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// A host: what it takes on, its operator has let happen.
    Keep,
    /// Looking is not consenting.
    Look,
}

impl Workshop {
    fn plugins(&self, redirects: &[(Url, Url)]) -> Result<Plugins, LoadError> {
        let config = SandboxConfig {
            cache_dir: self.data_dir.join("compiled"),
            compiler: self.compiler.clone(),
            egress: EgressConfig {
                redirects: redirects.to_vec(),
            },
        };
        let sandbox = Sandbox::new(config, Arc::clone(&self.shelf), Arc::clone(&self.clock))?;
        Ok(Plugins::new(Arc::new(sandbox)))
    }
}

/// Where components are kept.
#[must_use]
pub fn depot(data_dir: &std::path::Path) -> Depot {
    Depot::new(data_dir.join("components"))
}

/// All plugins of the configuration in use.
pub struct LiveCatalog {
    workshop: Workshop,
    plugins: ArcSwap<Plugins>,
    redirects: Mutex<Vec<(Url, Url)>>,
    /// As the file has it, refused and disabled plugins included; None before the first.
    live: ArcSwap<Option<Live>>,
    supplies: Arc<Supplies>,
    /// Whose components were taken on last, by digest.
    origins: Mutex<BTreeMap<String, Origin>>,
    /// Plugins whose component is not here, and why; None in it: it is being fetched.
    absent: Mutex<BTreeMap<String, Option<String>>>,
    /// Since when those that the file has or had are not loaded.
    absent_since: Mutex<HashMap<String, Time>>,
    /// Versions that channels are pinned to: plugin and digest.
    pins: Mutex<BTreeSet<(String, String)>>,
    started_at: Time,
    /// Rings when something has to be fetched.
    wanted: Notify,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Why a plugin takes no calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// One sentence.
    pub reason: String,
    pub since: Time,
    /// What an operator does about it.
    pub fix: &'static str,
}

impl LiveCatalog {
    /// An empty catalogue; [`LiveCatalog::apply`] fills it.
    ///
    /// # Errors
    /// The sandbox cannot be built on this machine.
    pub fn new(workshop: Workshop, redirects: &[(Url, Url)]) -> Result<Self, LoadError> {
        Ok(Self {
            plugins: ArcSwap::from_pointee(workshop.plugins(redirects)?),
            redirects: Mutex::new(redirects.to_vec()),
            live: ArcSwap::default(),
            supplies: Arc::new(Supplies::new(depot(&workshop.data_dir))),
            origins: Mutex::default(),
            absent: Mutex::default(),
            absent_since: Mutex::default(),
            pins: Mutex::default(),
            started_at: workshop.clock.now(),
            wanted: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            workshop,
        })
    }

    /// Makes the plugins those of the configuration, as far as their components are on this machine; the others are
    /// for [`LiveCatalog::fetch`]. A plugin that is refused stops no other.
    ///
    /// # Errors
    /// The sandbox cannot be built anew with the new redirects; everything stays as it was.
    pub async fn apply(&self, live: &Live) -> Result<(), LoadError> {
        let _one_at_a_time = self.turn.lock().await;
        for problem in live.refusals() {
            tracing::error!("A plugin is refused: {problem}");
        }
        let redirected = *locked(&self.redirects) != live.redirects;
        let (entries, absent) = self.gather(live).await;
        let plugins = if redirected {
            // Calls under way end with the connectors and the addresses that they began with.
            Arc::new(self.workshop.plugins(&live.redirects)?)
        } else {
            self.plugins.load_full()
        };
        let changes = plugins.apply_beside(entries, absent).await;
        if redirected {
            self.plugins.store(plugins);
            locked(&self.redirects).clone_from(&live.redirects);
        }
        let before = self.live.swap(Arc::new(Some(live.clone())));
        self.keep(live, &changes);
        let before = before.iter().flat_map(|live| &live.plugins);
        self.note_absences(before.chain(&live.plugins));
        drop(self.clean(live));
        Ok(())
    }

    /// What can be loaded, and what cannot with the reason.
    async fn gather(&self, live: &Live) -> (Vec<PluginEntry>, Vec<(String, LoadError)>) {
        let (supplies, all) = (Arc::clone(&self.supplies), live.clone());
        // Reading and hashing a large component takes a while.
        let found = tokio::task::spawn_blocking(move || find(&supplies, &all)).await;
        let found = found.unwrap_or_else(|_| Err(SupplyError("the components cannot be looked at".to_owned())));
        if let Err(error) = &found {
            tracing::error!("No plugin is changed: {error}");
        }
        let (mut entries, mut refused, mut absent) = (Vec::new(), Vec::new(), BTreeMap::new());
        for setting in live.plugins.iter().filter(|setting| setting.enabled) {
            let name = setting.name.clone();
            match self.entry(setting, &found) {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    absent.insert(name.clone(), why.clone());
                    let why = why.unwrap_or_else(|| "its component is being fetched".to_owned());
                    refused.push((name, LoadError(why)));
                }
            }
        }
        if absent.values().any(Option::is_none) {
            self.wanted.notify_one();
        }
        *locked(&self.absent) = absent;
        (entries, refused)
    }

    /// None as the error: it has to be fetched first.
    fn entry(
        &self,
        setting: &PluginSetting,
        found: &Result<Found, SupplyError>,
    ) -> Result<PluginEntry, Option<String>> {
        let entry = setting.entry.as_ref().map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Some(lines.join("\n"))
        })?;
        let found = found.as_ref().map_err(|error| Some(error.to_string()))?;
        let supplied = match found.supplied.get(&setting.name) {
            Some(Ok(supplied)) => supplied,
            Some(Err(Missing::Refused(error))) => {
                return Err(Some(format!("plugin `{}`, {}: {error}", setting.name, entry.source)));
            }
            Some(Err(Missing::Elsewhere)) | None => return Err(None),
        };
        let grants = consent::words(entry.grants.as_ref());
        let known = found.lock.plugins.get(&setting.name);
        let before = known
            .filter(|known| known.consent.grants == grants)
            .map(|known| Before {
                sha256: known.sha256.clone(),
                component: self.supplies.depot().path(&known.sha256),
                rights: consent::rights(&known.consent),
                refused: known.rolled_back.clone(),
            });
        locked(&self.origins).insert(supplied.kept.sha256.clone(), supplied.origin());
        Ok(PluginEntry {
            component: supplied.kept.path.clone(),
            sha256: Some(supplied.kept.sha256.clone()),
            before,
            ..entry.clone()
        })
    }

    /// Fetches what is not on this machine and takes it on. Whether anything was fetched.
    pub async fn fetch(&self) -> bool {
        let Some(live) = Option::clone(&self.live.load()) else {
            return false;
        };
        let wanted: Vec<String> = {
            let absent = locked(&self.absent);
            let unfetched = absent.iter().filter(|(_, why)| why.is_none());
            unfetched.map(|(name, _)| name.clone()).collect()
        };
        let Ok(lock) = live.lock.read() else { return false };
        let fetcher = match fetcher(&live, self.supplies.depot()) {
            Ok(fetcher) if !wanted.is_empty() => fetcher,
            Ok(_) => return false,
            Err(error) => {
                tracing::error!("{error}");
                return false;
            }
        };
        // One that is slow must not hold the others up.
        let fetches = live.plugins.iter().filter(|setting| wanted.contains(&setting.name));
        let fetches = fetches.map(|setting| {
            self.supplies
                .fetch(&fetcher, &live, setting, lock.plugins.get(&setting.name))
        });
        futures_util::future::join_all(fetches).await;
        // Somebody may have changed the configuration meanwhile: the newest counts.
        let newest = Option::clone(&self.live.load()).unwrap_or(live);
        if let Err(error) = self.apply(&newest).await {
            tracing::error!("What was fetched cannot be taken on: {error}");
        }
        true
    }

    /// Resolves when something has to be fetched. Safe to drop.
    pub async fn wants(&self) {
        self.wanted.notified().await;
    }

    /// Has fetches that failed tried again. Whether there were any.
    pub async fn fetch_again(&self) -> bool {
        let failed = self.supplies.forget_failures();
        if failed && let Some(live) = Option::clone(&self.live.load()) {
            // What was refused for it is wanted again.
            if let Err(error) = self.apply(&live).await {
                tracing::error!("The plugins cannot be applied: {error}");
            }
        }
        failed && self.fetch().await
    }

    /// Resolves when a version has proven itself or failed. Safe to drop.
    pub async fn rings(&self) {
        self.plugins.load_full().rings().await;
    }

    /// Draws the line under trials that have come to their end.
    pub async fn settle(&self) {
        let _one_at_a_time = self.turn.lock().await;
        let changes = self.plugins.load_full().settle().await;
        if let Some(live) = Option::clone(&self.live.load()) {
            self.keep(&live, &changes);
        }
    }

    /// Consents to the rights that a version waits for, or has one tried again that was taken back.
    ///
    /// # Errors
    /// There is nothing to consent to.
    pub async fn approve(&self, name: &str, sha256: Option<&str>) -> Result<(), Unchanged> {
        let live = Option::clone(&self.live.load()).ok_or(Unchanged::Unknown)?;
        let again = {
            let _one_at_a_time = self.turn.lock().await;
            let plugins = self.plugins.load_full();
            let waiting = match plugins.state(name) {
                Some(PluginState::Pending { waiting, .. }) => Some(waiting),
                _ => None,
            };
            let approved = plugins.approve(name, sha256).await;
            match (approved, waiting) {
                (Ok(change), Some(waiting)) => {
                    self.change_lock(&live, |lock| consent::widen(lock, name, &waiting));
                    self.keep(&live, &[change]);
                    return Ok(());
                }
                (Ok(_), None) => return Ok(()),
                (Err(error), _) => {
                    let lock = live.lock.read().unwrap_or_default();
                    let left = lock.plugins.get(name).and_then(|known| known.rolled_back.clone());
                    let left = left.filter(|left| sha256.is_none_or(|sha256| sha256 == left));
                    left.ok_or(error)?
                }
            }
        };
        tracing::info!(target: "mantle::audit", plugin = name, digest = again, "An operator has {name} tried again");
        self.change_lock(&live, |lock| {
            if let Some(known) = lock.plugins.get_mut(name) {
                known.rolled_back = None;
            }
        });
        let applied = self.apply(&live).await;
        applied.map_err(|error| Unchanged::Nothing(error.to_string()))
    }

    /// Leaves the version of a plugin for the one before it.
    ///
    /// # Errors
    /// There is none.
    pub async fn roll_back(&self, name: &str) -> Result<(), Unchanged> {
        let live = Option::clone(&self.live.load()).ok_or(Unchanged::Unknown)?;
        let _one_at_a_time = self.turn.lock().await;
        let plugins = self.plugins.load_full();
        let lock = live.lock.read().unwrap_or_default();
        let known = lock.plugins.get(name).and_then(|known| known.previous.clone());
        if let Some(previous) = known.and_then(|sha256| self.supplies.depot().find(&sha256)) {
            // The host may have been started since; what cannot be loaded is told by the next line.
            let _ = plugins.stand_by(name, &previous.sha256, previous.path).await;
        }
        let change = plugins.roll_back(name).await?;
        self.keep(&live, &[change]);
        Ok(())
    }

    /// The whole digest of a version of this plugin that is here, by its begin.
    #[must_use]
    pub fn version_of(&self, name: &str, begin: &str) -> Option<String> {
        let live = Option::clone(&self.live.load())?;
        let plugins = self.plugins.load();
        let lock = live.lock.read().unwrap_or_default();
        let written = lock.plugins.get(name).into_iter();
        let written = written.flat_map(|known| std::iter::once(known.sha256.clone()).chain(known.previous.clone()));
        let all = plugins.digests_of(name).into_iter().chain(written);
        let found: BTreeSet<String> = all.filter(|sha256| sha256.starts_with(begin)).collect();
        // A begin that fits several names none.
        found.into_iter().next().filter(|_| !begin.is_empty())
    }

    /// Holds these versions for their channels, and no others any more: plugin and digest.
    ///
    /// # Errors
    /// The first that cannot be loaded; the others are held.
    pub async fn pin(&self, wanted: BTreeSet<(String, String)>) -> Result<(), LoadError> {
        let _one_at_a_time = self.turn.lock().await;
        let plugins = self.plugins.load_full();
        let mut outcome = Ok(());
        for (name, sha256) in &wanted {
            let path = self.supplies.depot().path(sha256);
            if let Err(error) = plugins.hold(name, sha256, path).await
                && outcome.is_ok()
            {
                outcome = Err(error);
            }
        }
        for (name, _) in plugins.list() {
            let still = wanted
                .iter()
                .filter(|(of, _)| *of == name)
                .map(|(_, sha256)| sha256.clone());
            plugins.release(&name, &still.collect()).await;
        }
        *locked(&self.pins) = wanted;
        outcome
    }

    /// Removes components that nobody can come back to.
    fn clean(&self, live: &Live) -> Result<(), SupplyError> {
        if self.workshop.duty == Duty::Look {
            return Ok(());
        }
        let lock = live.lock.read()?;
        let mut named = self.plugins.load().digests();
        for known in lock.plugins.into_values() {
            named.insert(known.sha256);
            named.extend(known.previous);
        }
        named.extend(locked(&self.pins).iter().map(|(_, sha256)| sha256.clone()));
        locked(&self.origins).retain(|sha256, _| named.contains(sha256));
        self.supplies.clean(named);
        Ok(())
    }

    /// Writes down what is in force from now on.
    fn keep(&self, live: &Live, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let origins = locked(&self.origins).clone();
        self.change_lock(live, |lock| {
            for change in changes {
                consent::note(lock, live, &origins, change);
            }
        });
    }

    fn change_lock(&self, live: &Live, change: impl FnOnce(&mut Lock)) {
        if self.workshop.duty == Duty::Look {
            return;
        }
        if let Err(error) = live.lock.change(change) {
            tracing::error!("What runs cannot be written down, so that a restart may run another version: {error}");
        }
    }

    fn note_absences<'a>(&self, settings: impl Iterator<Item = &'a PluginSetting>) {
        let now = self.workshop.clock.now();
        let mut since = locked(&self.absent_since);
        for name in settings.map(|setting| &setting.name) {
            if self.plugin(name).is_some() {
                since.remove(name);
            } else {
                since.entry(name.clone()).or_insert(now);
            }
        }
    }

    /// None: the plugin takes calls.
    #[must_use]
    pub fn absence(&self, name: &str) -> Option<Absence> {
        if self.plugin(name).is_some() {
            return None;
        }
        let live = self.live.load();
        let setting = live
            .iter()
            .flat_map(|live| &live.plugins)
            .find(|setting| setting.name == name);
        let (reason, fix) = match setting.map(|setting| self.described(setting)) {
            None => (
                "plugins.toml has no entry for it.".to_owned(),
                "Put its entry back into plugins.toml.",
            ),
            Some(body) if body.state == "disabled" => (
                "its entry in plugins.toml has `enabled = false`.".to_owned(),
                "Set `enabled = true` in its entry of plugins.toml.",
            ),
            Some(body) if body.state == "loading" => ("it is being loaded.".to_owned(), "Wait some seconds."),
            Some(body) => (
                body.reason.unwrap_or_else(|| "it is refused.".to_owned()),
                "Mend what the cause names; `mantle check` proves it.",
            ),
        };
        let since = locked(&self.absent_since);
        let since = since.get(name).copied().unwrap_or(self.started_at);
        Some(Absence { reason, since, fix })
    }

    /// The version of this plugin that is in force.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.load().get(name)
    }

    /// The version that this channel uses.
    #[must_use]
    pub fn plugin_of(&self, channel: &Channel) -> Option<Arc<Chosen>> {
        let whom = Whom {
            pin: channel.settings.pin.as_deref(),
            share: None,
        };
        self.plugins.load().choose(&channel.plugin, &whom)
    }

    /// Every plugin of the configuration with its state.
    #[must_use]
    pub fn describe(&self) -> Vec<PluginBody> {
        let live = self.live.load();
        let settings = live.iter().flat_map(|live| &live.plugins);
        settings.map(|setting| self.described(setting)).collect()
    }

    fn described(&self, setting: &PluginSetting) -> PluginBody {
        let plugins = self.plugins.load();
        let state = plugins.state(&setting.name);
        let absent = locked(&self.absent).get(&setting.name).cloned();
        let (word, reason) = told(setting, state.as_ref(), absent);
        let running = state.as_ref().and_then(PluginState::running);
        let beside = plugins.beside(&setting.name);
        let pending = match &state {
            Some(PluginState::Pending {
                waiting, difference, ..
            }) if setting.enabled => Some(PendingBody {
                version: waiting.version().to_owned(),
                digest: waiting.digest().to_owned(),
                difference: difference.clone(),
            }),
            _ => None,
        };
        let signer = running.and_then(|plugin| locked(&self.origins).get(plugin.digest())?.signer.clone());
        PluginBody {
            source: setting.source.as_ref().map(ToString::to_string).unwrap_or_default(),
            signer,
            pending,
            trial: beside.trial.map(|(plugin, trial)| TrialBody {
                version: plugin.version().to_owned(),
                digest: plugin.digest().to_owned(),
                percent: trial.percent,
                calls: trial.calls,
                failures: trial.failures,
                since: trial.since.to_string(),
            }),
            previous: beside.previous.map(|plugin| version(&plugin)),
            pinned: beside.pinned.iter().map(|plugin| version(plugin)).collect(),
            ..body(&setting.name, running.map(AsRef::as_ref), word, reason)
        }
    }
}

/// What the lock says, and what of the components is on this machine.
struct Found {
    lock: Lock,
    supplied: BTreeMap<String, Result<Supplied, Missing>>,
}

fn find(supplies: &Supplies, live: &Live) -> Result<Found, SupplyError> {
    let lock = live.lock.read()?;
    let enabled = live
        .plugins
        .iter()
        .filter(|setting| setting.enabled && setting.entry.is_ok());
    let supplied = enabled.map(|setting| {
        let known = lock.plugins.get(&setting.name);
        (setting.name.clone(), supplies.find(live, setting, known))
    });
    let supplied = supplied.collect();
    Ok(Found { lock, supplied })
}

impl Catalog for LiveCatalog {
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        self.choose(name, &Whom::ANYBODY)
    }

    fn choose(&self, name: &str, whom: &Whom<'_>) -> Option<Arc<dyn Connector>> {
        let chosen = self.plugins.load().choose(name, whom)?;
        Some(chosen)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version(plugin: &Plugin) -> VersionBody {
    VersionBody {
        version: plugin.version().to_owned(),
        digest: plugin.digest().to_owned(),
    }
}

/// The word for how it fares, and what there is to do.
fn told(
    setting: &PluginSetting,
    state: Option<&PluginState>,
    absent: Option<Option<String>>,
) -> (&'static str, Option<String>) {
    let goes_on = match state.and_then(PluginState::running) {
        Some(_) => " The version before it goes on.",
        None => "",
    };
    let placed = |reason: &str| Some(format!("{}: {reason}{goes_on}", setting.place));
    match (&setting.entry, absent, state) {
        _ if !setting.enabled => ("disabled", None),
        (Err(problems), ..) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ("refused", Some(format!("{}{goes_on}", problems.join("\n"))))
        }
        (_, Some(Some(reason)), _) => ("refused", placed(&reason)),
        (_, Some(None), _) => ("loading", Some("Its component is being fetched.".to_owned())),
        (_, None, Some(PluginState::Ready(_))) => ("ready", None),
        (
            _,
            None,
            Some(PluginState::Pending {
                waiting, difference, ..
            }),
        ) => (
            "pending",
            placed(&format!(
                "version {} asks for more than was consented to. It wants to: {}. Consent with `mantle plugin approve \
                 {}`, or put the version before it back.",
                waiting.version(),
                difference.join("; "),
                setting.name
            )),
        ),
        (_, None, Some(PluginState::Refused { reason, .. })) => ("refused", placed(&reason.to_string())),
        (_, None, Some(PluginState::Loading) | None) => ("loading", None),
    }
}

/// What the API tells of one plugin.
pub(crate) fn body(name: &str, plugin: Option<&Plugin>, state: &str, reason: Option<String>) -> PluginBody {
    let text = |read: fn(&Plugin) -> &str| plugin.map(read).unwrap_or_default().to_owned();
    PluginBody {
        name: name.to_owned(),
        title: text(Plugin::title),
        description: text(Plugin::description),
        version: text(Plugin::version),
        digest: text(Plugin::digest),
        state: state.to_owned(),
        reason,
        inboxes: plugin.map(|plugin| plugin.inboxes().to_vec()).unwrap_or_default(),
        fields: plugin.map(fields).unwrap_or_default(),
        abilities: plugin.map(abilities).unwrap_or_default(),
        capabilities: plugin.and_then(|plugin| serde_json::to_value(plugin.capabilities()).ok()),
        source: String::new(),
        signer: None,
        pending: None,
        trial: None,
        previous: None,
        pinned: Vec::new(),
    }
}

fn fields(plugin: &Plugin) -> Vec<FieldBody> {
    let fields = plugin.fields().iter();
    fields
        .map(|field| FieldBody {
            name: field.name.clone(),
            label: field.label.clone(),
            help: field.help.clone(),
            kind: match field.kind {
                FieldKind::Text => "text".to_owned(),
                FieldKind::Choice(_) => "choice".to_owned(),
            },
            choices: match &field.kind {
                FieldKind::Text => Vec::new(),
                FieldKind::Choice(choices) => choices.clone(),
            },
            secret: field.secret,
            required: field.required && !(field.secret && plugin.secrets().contains(&field.name)),
            pattern: field.pattern.clone(),
            example: field.example.clone(),
        })
        .collect()
}

fn abilities(plugin: &Plugin) -> Vec<String> {
    let abilities = plugin.abilities();
    [
        ("lifecycle", abilities.lifecycle),
        ("inbound_media", abilities.inbound_media),
        ("reconcile", abilities.reconcile),
        ("profile", abilities.profile),
        ("templates", abilities.templates),
    ]
    .into_iter()
    .filter(|(_, able)| *able)
    .map(|(name, _)| name.to_owned())
    .collect()
}

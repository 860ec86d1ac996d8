//! The loaded connectors as the journeys and the API see them, exchanged while calls go on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mantle_egress::EgressConfig;
use mantle_flow::connector::{Catalog, Connector};
use mantle_model::clock::{Clock, Time};
use mantle_sandbox::{Compiler, FieldKind, LoadError, Plugin, PluginState, Plugins, Sandbox, SandboxConfig, Shelf};
use mantle_web::api::plugins::{FieldBody, PluginBody};
use url::Url;

use crate::config::{Live, PluginSetting};

/// What a sandbox is built with, and built anew with when the redirects change.
pub struct Workshop {
    pub cache_dir: PathBuf,
    pub compiler: Compiler,
    pub shelf: Arc<dyn Shelf>,
    pub clock: Arc<dyn Clock>,
}

impl Workshop {
    fn plugins(&self, redirects: &[(Url, Url)]) -> Result<Plugins, LoadError> {
        let config = SandboxConfig {
            cache_dir: self.cache_dir.clone(),
            compiler: self.compiler.clone(),
            egress: EgressConfig {
                redirects: redirects.to_vec(),
            },
        };
        let sandbox = Sandbox::new(config, Arc::clone(&self.shelf), Arc::clone(&self.clock))?;
        Ok(Plugins::new(Arc::new(sandbox)))
    }
}

/// All plugins of the configuration in use.
pub struct LiveCatalog {
    workshop: Workshop,
    plugins: ArcSwap<Plugins>,
    redirects: Mutex<Vec<(Url, Url)>>,
    /// As the file has them, refused and disabled ones included.
    settings: ArcSwap<Vec<PluginSetting>>,
    /// Since when those that the file has or had are not loaded.
    absent_since: Mutex<HashMap<String, Time>>,
    started_at: Time,
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
            settings: ArcSwap::default(),
            absent_since: Mutex::default(),
            started_at: workshop.clock.now(),
            workshop,
        })
    }

    /// Makes the plugins those of the configuration. A plugin that is refused stops no other.
    ///
    /// # Errors
    /// The sandbox cannot be built anew with the new redirects; everything stays as it was.
    pub async fn apply(&self, live: &Live) -> Result<(), LoadError> {
        let entries = || {
            let usable = live.plugins.iter().filter(|plugin| plugin.enabled);
            usable
                .filter_map(|plugin| plugin.entry.clone().ok())
                .collect::<Vec<_>>()
        };
        for problem in live.refusals() {
            tracing::error!("A plugin is refused: {problem}");
        }
        let redirected = *self.redirects.lock().unwrap_or_else(PoisonError::into_inner) != live.redirects;
        if redirected {
            // Calls under way end with the connectors and the addresses that they began with.
            let plugins = self.workshop.plugins(&live.redirects)?;
            plugins.apply(entries()).await;
            self.plugins.store(Arc::new(plugins));
            self.redirects
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone_from(&live.redirects);
        } else {
            self.plugins.load_full().apply(entries()).await;
        }
        let before = self.settings.swap(Arc::new(live.plugins.clone()));
        self.note_absences(before.iter().chain(&live.plugins));
        Ok(())
    }

    fn note_absences<'a>(&self, settings: impl Iterator<Item = &'a PluginSetting>) {
        let now = self.workshop.clock.now();
        let mut since = self.absent_since.lock().unwrap_or_else(PoisonError::into_inner);
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
        let settings = self.settings.load();
        let setting = settings.iter().find(|setting| setting.name == name);
        let (reason, fix) = match setting.map(|setting| describe(setting, self.plugins.load().state(name).as_ref())) {
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
        let since = self.absent_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = since.get(name).copied().unwrap_or(self.started_at);
        Some(Absence { reason, since, fix })
    }

    /// The version of this plugin that takes calls.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.load().get(name)
    }

    /// Every plugin of the configuration with its state.
    #[must_use]
    pub fn describe(&self) -> Vec<PluginBody> {
        let plugins = self.plugins.load();
        let settings = self.settings.load();
        settings
            .iter()
            .map(|setting| describe(setting, plugins.state(&setting.name).as_ref()))
            .collect()
    }
}

impl Catalog for LiveCatalog {
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        self.plugin(name).map(|plugin| plugin as Arc<dyn Connector>)
    }
}

fn describe(setting: &PluginSetting, state: Option<&PluginState>) -> PluginBody {
    let (word, reason) = match (&setting.entry, state) {
        _ if !setting.enabled => ("disabled", None),
        (Err(problems), _) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ("refused", Some(problems.join("\n")))
        }
        (Ok(_), Some(PluginState::Ready(_))) => ("ready", None),
        (Ok(_), Some(PluginState::Refused { reason, running, .. })) => {
            let rest = if running.is_some() {
                " The version before it goes on."
            } else {
                ""
            };
            ("refused", Some(format!("{}: {reason}{rest}", setting.place)))
        }
        (Ok(_), Some(PluginState::Loading) | None) => ("loading", None),
    };
    let plugin = state.and_then(PluginState::running);
    body(&setting.name, plugin.map(AsRef::as_ref), word, reason)
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

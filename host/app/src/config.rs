//! `plugins.toml`: read, judged and turned into values that cannot be wrong.
//!
//! Invariants: every problem names file, line, key and the fix; all problems of a file are reported at once;
//! a problem of one plugin (a missing component, a missing secret) refuses that plugin alone, any other problem
//! refuses the file, and a running host goes on with the configuration it has. Paths are relative to the file.
//! Knows nothing of what the host does with the values.

mod document;
pub(crate) mod plugins;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mantle_flow::upkeep::Retention;
use mantle_model::secret::Secret;
use mantle_sandbox::PluginEntry;
use mantle_store::Database;
use mantle_supply::{LockFile, Login, Source, Trust};
use url::Url;

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_FILE: &str = "plugins.toml";
/// Where the host listens when the file does not say.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// A configuration file is a page or two; more is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole of one `plugins.toml`.
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub file: PathBuf,
    /// What is decided when the host starts and stays until it stops.
    pub fixed: Fixed,
    /// What changes while the host runs.
    pub live: Live,
    /// What is worth a look and stops nothing.
    pub warnings: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub listen: SocketAddr,
    /// What providers and inboxes call, without a slash at its end. None: `http://` and the address listened at.
    pub public_url: Option<String>,
    pub data_dir: PathBuf,
    pub database: Database,
    pub key_file: PathBuf,
    /// How long messages and files are kept.
    pub retention: Retention,
}

#[derive(Debug, Clone)]
pub struct Live {
    pub intercom: Option<IntercomApp>,
    /// In the order of their names.
    pub plugins: Vec<PluginSetting>,
    pub redirects: Vec<(Url, Url)>,
    /// Whose signatures are good.
    pub trust: Trust,
    /// Who the host is at registries, by registry.
    pub logins: BTreeMap<String, Login>,
    /// What runs and was consented to; beside the configuration.
    pub lock: LockFile,
    /// Files whose change may change the configuration: components, their signatures, secrets, the lock.
    pub files: Vec<PathBuf>,
}

/// The operator's own Intercom app.
#[derive(Debug, Clone)]
pub struct IntercomApp {
    pub client_id: String,
    pub client_secret: Secret,
}

/// One entry of `[plugins]`.
#[derive(Debug, Clone)]
pub struct PluginSetting {
    pub name: String,
    pub enabled: bool,
    /// Where its component is named: `plugins.toml:12`.
    pub place: String,
    /// None: the file does not say.
    pub source: Option<Source>,
    /// As it is written; or why this plugin alone cannot be used.
    pub entry: Result<PluginEntry, Vec<Problem>>,
}

/// Something to put right, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1; 0 when the file itself is the problem.
    pub line: usize,
    /// `server.listen`; empty when no key is concerned.
    pub key: String,
    /// What is wrong and how to put it right, in sentences.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The file cannot be used. What runs goes on running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Never empty, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Where secrets named by `{ env = … }` come from.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it; see [`ConfigError`].
pub fn load(file: &Path, environment: Environment<'_>) -> Result<HostConfig, ConfigError> {
    let whole = |message: String| ConfigError {
        problems: vec![Problem {
            file: file.to_path_buf(),
            line: 0,
            key: String::new(),
            message,
        }],
    };
    let size = std::fs::metadata(file).map_err(|error| whole(unreadable(&error)))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(whole(format!(
            "The file has {} bytes, a configuration at most {FILE_BYTES_MAX}.",
            size.len()
        )));
    }
    let text = std::fs::read_to_string(file).map_err(|error| whole(unreadable(&error)))?;
    parse(file, &text, environment)
}

/// Why a configuration cannot be read, and what to do.
fn unreadable(error: &std::io::Error) -> String {
    let fix = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "The user of the host has no permission to read it: give it (`chmod`, `chown`), or run as its owner."
        }
        std::io::ErrorKind::InvalidData => "It is not UTF-8 text: save it as that.",
        std::io::ErrorKind::IsADirectory => "It is a folder: name the file in it with `--config`.",
        _ => "Create the file or name another one with `--config`.",
    };
    format!("The configuration cannot be read ({error}). {fix}")
}

/// Reads the text as the content of `file`, which gives relative paths their place.
///
/// # Errors
/// Everything that is wrong with it; see [`ConfigError`].
pub fn parse(file: &Path, text: &str, environment: Environment<'_>) -> Result<HostConfig, ConfigError> {
    let document = document::Document::new(file, text, environment);
    let host = read::host(&document);
    let mut problems = document.into_problems();
    match host {
        Some(host) if problems.is_empty() => Ok(host),
        _ => {
            problems.sort_by_key(|problem| problem.line);
            Err(ConfigError { problems })
        }
    }
}

impl Live {
    /// The problems that refuse single plugins.
    pub fn refusals(&self) -> impl Iterator<Item = &Problem> {
        self.plugins
            .iter()
            .filter(|plugin| plugin.enabled)
            .filter_map(|plugin| plugin.entry.as_ref().err())
            .flatten()
    }

    /// The entries to load, by name.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<&str, &PluginEntry> {
        self.plugins
            .iter()
            .filter(|plugin| plugin.enabled)
            .filter_map(|plugin| Some((plugin.name.as_str(), plugin.entry.as_ref().ok()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;

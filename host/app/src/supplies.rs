//! Where the components of the configuration are: files, and what was fetched of the rest.
//!
//! Invariants: what is handed on lies in the depot under its digest and was judged by its signature; a remote source that
//! is locked is what the lock says, whatever its registry says now. What has to be fetched is fetched aside from what
//! runs. Decides nothing about rights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use mantle_supply::limits::COMPONENT_BYTES_MAX;
use mantle_supply::{Depot, Fetched, Fetcher, Kept, Limits, Locked, Source, SupplyError};

use crate::config::plugins::signature_of;
use crate::config::{Live, PluginSetting};

/// What nobody names is kept so long all the same: another program may be about to name it.
const KEPT_UNNAMED: Duration = Duration::from_secs(60 * 60);

/// A component and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supplied {
    pub kept: Kept,
    pub signer: Option<String>,
    /// Of a registry's manifest, hex.
    pub manifest: Option<String>,
}

/// The same without the bytes: what the lock says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub signer: Option<String>,
    /// Of a registry's manifest, hex.
    pub manifest: Option<String>,
}

impl Supplied {
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            signer: self.signer.clone(),
            manifest: self.manifest.clone(),
        }
    }
}

/// Why there is none to hand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It has to be fetched, and was not yet.
    Elsewhere,
    Refused(SupplyError),
}

/// What became of a fetch, by plugin.
#[derive(Debug, Clone)]
struct Asked {
    /// What was asked for: another question has another answer.
    question: Question,
    answer: Result<Answer, SupplyError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    source: String,
    sha256: Option<String>,
    manifest: Option<String>,
}

#[derive(Debug, Clone)]
struct Answer {
    sha256: String,
    manifest: Option<String>,
}

pub struct Supplies {
    depot: Depot,
    asked: Mutex<BTreeMap<String, Asked>>,
}

impl Supplies {
    pub fn new(depot: Depot) -> Self {
        Self {
            depot,
            asked: Mutex::default(),
        }
    }

    pub fn depot(&self) -> &Depot {
        &self.depot
    }

    /// The component that the setting and the lock name, as far as it is on this machine.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn find(&self, live: &Live, setting: &PluginSetting, locked: Option<&Locked>) -> Result<Supplied, Missing> {
        let pinned = setting.entry.as_ref().ok().and_then(|entry| entry.sha256.clone());
        let Some(source) = &setting.source else {
            return Err(Missing::Elsewhere);
        };
        let found = match source {
            Source::File { path, .. } => {
                let kept = read(path).and_then(|(bytes, signature)| self.keep(bytes, signature));
                (kept.map_err(Missing::Refused)?, None)
            }
            Source::Https(_) | Source::Registry(_) => {
                self.fetched(&question(source, pinned.clone(), locked), &setting.name)?
            }
        };
        let (kept, manifest) = found;
        if let Some(pinned) = pinned.filter(|pinned| *pinned != kept.sha256) {
            return Err(Missing::Refused(SupplyError(format!(
                "its SHA-256 is {}, but [plugins.{}] pins {pinned}; take the right file, or change `sha256` if you trust \
                 this one",
                kept.sha256, setting.name
            ))));
        }
        let seal = live.trust.judge(&kept.bytes, kept.signature.as_deref());
        let seal = seal.map_err(|error| {
            // It may have been signed since it was fetched.
            let asked = self.asked().contains_key(&setting.name);
            if source.is_remote() && !asked {
                Missing::Elsewhere
            } else {
                Missing::Refused(error)
            }
        })?;
        Ok(Supplied {
            kept,
            signer: seal.signer().map(str::to_owned),
            manifest,
        })
    }

    fn keep(&self, bytes: Vec<u8>, signature: Option<String>) -> Result<Kept, SupplyError> {
        use sha2::{Digest as _, Sha256};
        let sha256: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match self.depot.find(&sha256) {
            Some(kept) if kept.signature == signature => Ok(kept),
            _ => self.depot.keep(bytes, signature),
        }
    }

    fn fetched(&self, question: &Question, name: &str) -> Result<(Kept, Option<String>), Missing> {
        let answer = self
            .asked()
            .get(name)
            .filter(|asked| asked.question == *question)
            .cloned();
        let (sha256, manifest) = match answer.map(|asked| asked.answer) {
            Some(Err(error)) => return Err(Missing::Refused(error)),
            Some(Ok(answer)) => (answer.sha256, answer.manifest),
            // What was fetched earlier, by this program or another, need not be fetched again.
            None => match &question.sha256 {
                Some(sha256) => (sha256.clone(), question.manifest.clone()),
                None => return Err(Missing::Elsewhere),
            },
        };
        let kept = self.depot.find(&sha256).ok_or(Missing::Elsewhere)?;
        Ok((kept, manifest))
    }

    /// Fetches for the plugin what it needs and remembers what came of it.
    pub async fn fetch(&self, fetcher: &Fetcher, live: &Live, setting: &PluginSetting, locked: Option<&Locked>) {
        let pinned = setting.entry.as_ref().ok().and_then(|entry| entry.sha256.clone());
        let Some(source) = setting.source.as_ref().filter(|source| source.is_remote()) else {
            return;
        };
        let question = question(source, pinned, locked);
        let fetched = fetch(fetcher, live, source, &question).await;
        let answer = fetched.and_then(|fetched| agree(&setting.name, source, &question, fetched));
        if let Err(error) = &answer {
            tracing::error!(plugin = %setting.name, "The component {source} cannot be had: {error}");
        }
        let asked = Asked { question, answer };
        self.asked().insert(setting.name.clone(), asked);
    }

    /// Failed fetches are tried again.
    pub fn forget_failures(&self) -> bool {
        let mut asked = self.asked();
        let before = asked.len();
        asked.retain(|_, asked| asked.answer.is_ok());
        asked.len() < before
    }

    /// Removes what nobody names any more.
    pub fn clean(&self, mut named: BTreeSet<String>) {
        let asked = self.asked();
        named.extend(
            asked
                .values()
                .filter_map(|asked| Some(asked.answer.as_ref().ok()?.sha256.clone())),
        );
        drop(asked);
        self.depot.clean(&named, KEPT_UNNAMED);
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a remote source is asked for: what is locked of it, if anything is.
fn question(source: &Source, pinned: Option<String>, locked: Option<&Locked>) -> Question {
    let text = source.to_string();
    let locked = locked.filter(|locked| locked.source == text);
    Question {
        sha256: pinned.or_else(|| locked.map(|locked| locked.sha256.clone())),
        manifest: locked.and_then(|locked| locked.manifest.clone()),
        source: text,
    }
}

async fn fetch(fetcher: &Fetcher, live: &Live, source: &Source, question: &Question) -> Result<Fetched, SupplyError> {
    match source {
        Source::Https(url) => {
            let sha256 = question.sha256.as_deref().unwrap_or_default();
            fetcher.https(url, sha256, live.trust.is_set_up()).await
        }
        Source::Registry(reference) => match &question.manifest {
            Some(manifest) => fetcher.registry(&reference.at(manifest)).await,
            None => fetcher.registry(reference).await,
        },
        Source::File { text, .. } => Err(SupplyError(format!("{text} is a file and is not fetched"))),
    }
}

/// What came is what was locked or pinned.
fn agree(name: &str, source: &Source, question: &Question, fetched: Fetched) -> Result<Answer, SupplyError> {
    let found = &fetched.kept.sha256;
    if let Some(expected) = question.sha256.as_ref().filter(|expected| *expected != found) {
        return Err(SupplyError(format!(
            "{source} is another component now: its SHA-256 is {found}, locked or pinned is {expected}. See what it asks \
             for with `mantle plugin update {name}`, and take it with `--yes`"
        )));
    }
    Ok(Answer {
        sha256: fetched.kept.sha256,
        manifest: fetched.manifest,
    })
}

/// The file and its signature, if there is one.
fn read(path: &std::path::Path) -> Result<(Vec<u8>, Option<String>), SupplyError> {
    let fail = |error: std::io::Error| {
        SupplyError(match error.kind() {
            std::io::ErrorKind::NotFound => {
                "there is no such file; build the connectors or correct `component`".to_owned()
            }
            _ => format!("it cannot be read ({error}); check its owner and rights"),
        })
    };
    let bytes = std::fs::metadata(path).map_err(fail)?.len();
    if bytes > COMPONENT_BYTES_MAX {
        return Err(SupplyError(format!(
            "it has {bytes} bytes, at most {COMPONENT_BYTES_MAX} are loaded"
        )));
    }
    let component = std::fs::read(path).map_err(fail)?;
    let beside = signature_of(path);
    let signature = match std::fs::read_to_string(&beside) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(SupplyError(format!(
                "its signature {} cannot be read ({error}); check its owner and rights",
                beside.display()
            )));
        }
    };
    Ok((component, signature))
}

/// The way to what the configuration names.
///
/// # Errors
/// The HTTP client cannot be set up.
pub fn fetcher(live: &Live, depot: &Depot) -> Result<Fetcher, SupplyError> {
    Fetcher::new(&live.redirects, live.logins.clone(), depot.clone(), Limits::default())
}

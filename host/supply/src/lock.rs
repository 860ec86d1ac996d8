//! `plugins.lock`: what runs, and what its operator has consented to.
//!
//! Invariants: it is replaced in one step, so that nobody reads half of it; two programs that change it do so one after
//! the other; equal content is equal text.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::SupplyError;
use crate::limits::LOCK_BYTES_MAX;

/// Of the form of this file.
const VERSION: u32 = 1;
const HEADER: &str = "\
# Written by Mantle: which version of each connector runs, where it came from, and the rights that you have consented to.
# It belongs beside plugins.toml; keep both under version control together, if you keep them there.
# Do not edit it. `mantle plugin update NAME` takes a newer version of a remote connector; `mantle plugin approve NAME`
# consents to more rights; `mantle plugin rollback NAME` returns to the version before.
";

/// The file, read and written.
#[derive(Debug, Clone)]
pub struct LockFile {
    path: PathBuf,
}

/// Its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    pub plugins: BTreeMap<String, Locked>,
}

/// One plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// As `component` named it.
    pub source: String,
    /// Of the component, hex.
    pub sha256: String,
    /// Of a registry's manifest, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Of the connector, by its own word.
    pub version: String,
    /// The key of `[trust]` that proved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The version of mantle:connector that it was built for.
    pub interface: String,
    /// The version before it, hex: kept for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// A version that was taken back, hex: not tried again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    pub consent: Consent,
}

/// What an operator consented to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The words of `grants` at that time; other words are a new consent.
    pub grants: String,
    /// Of one call; None: the operator set a limit of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// In the order of the alphabet.
    pub rights: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default)]
    plugins: BTreeMap<String, Locked>,
}

impl LockFile {
    /// Beside the configuration.
    #[must_use]
    pub fn beside(configuration: &Path) -> Self {
        Self {
            path: configuration.with_file_name("plugins.lock"),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// None in it: the file is not there yet.
    ///
    /// # Errors
    /// It cannot be read: names the file, the line and the fix.
    pub fn read(&self) -> Result<Lock, SupplyError> {
        let fail = |what: String| {
            SupplyError::new(format!(
                "{}{what}. Put it back from your version control or backup; without it every connector's rights are \
                 consented to anew",
                self.path.display()
            ))
        };
        let too_large = |bytes: u64| fail(format!(" has {bytes} bytes, a lock at most {LOCK_BYTES_MAX}"));
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > LOCK_BYTES_MAX => return Err(too_large(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lock::default()),
            _ => {}
        }
        let text = fs::read_to_string(&self.path).map_err(|error| fail(format!(" cannot be read ({error})")))?;
        let document: Document = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            fail(format!(":{line}: {}", error.message().trim_end_matches('.')))
        })?;
        if document.version != VERSION {
            return Err(fail(format!(
                " has the form {}, this host knows {VERSION}; run the host that wrote it",
                document.version
            )));
        }
        Ok(Lock {
            plugins: document.plugins,
        })
    }

    /// Changes it, one program at a time. What stays the same is not written.
    ///
    /// # Errors
    /// It cannot be read or written: names the file and the fix.
    pub fn change(&self, change: impl FnOnce(&mut Lock)) -> Result<Lock, SupplyError> {
        let _turn = self.turn()?;
        let before = self.read()?;
        let mut after = before.clone();
        change(&mut after);
        if after != before || !self.path.exists() {
            self.write(&after)?;
        }
        Ok(after)
    }

    /// The folder is held while it lasts; the file itself is replaced and would hold nobody.
    fn turn(&self) -> Result<fs::File, SupplyError> {
        let folder = fs::File::open(self.folder()).map_err(|error| self.unwritable(&error))?;
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| self.unwritable(&error.into()))?;
        Ok(folder)
    }

    fn write(&self, lock: &Lock) -> Result<(), SupplyError> {
        let document = Document {
            version: VERSION,
            plugins: lock.plugins.clone(),
        };
        let text = toml::to_string_pretty(&document)
            .map_err(|error| SupplyError::new(format!("{} cannot be written: {error}", self.path.display())))?;
        let written = || -> std::io::Result<()> {
            let mut file = NamedTempFile::new_in(self.folder())?;
            file.write_all(HEADER.as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(text.as_bytes())?;
            // Readable like plugins.toml beside it: there is no secret in it.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)?;
            fs::File::open(self.folder())?.sync_all()
        };
        written().map_err(|error| self.unwritable(&error))
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn unwritable(&self, error: &std::io::Error) -> SupplyError {
        SupplyError::new(format!(
            "{} cannot be written ({error}); give the host's user the right to write in that folder",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(sha256: &str) -> Locked {
        Locked {
            source: "connectors/telegram.wasm".to_owned(),
            sha256: sha256.to_owned(),
            version: "1.0.0".to_owned(),
            interface: "1.0.0".to_owned(),
            consent: Consent {
                grants: "asked".to_owned(),
                memory_mib: Some(32),
                rights: vec!["call GET https://api.telegram.org/".to_owned()],
            },
            ..Locked::default()
        }
    }

    #[test]
    fn what_is_written_is_read_and_in_the_order_of_the_alphabet() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockFile::beside(&folder.path().join("plugins.toml"));
        assert_eq!(file.read().unwrap(), Lock::default());
        for name in ["whatsapp", "telegram"] {
            let lock = file.change(|lock| drop(lock.plugins.insert(name.to_owned(), locked("ab"))));
            assert_eq!(lock.unwrap(), file.read().unwrap());
        }
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(text.starts_with("# Written by Mantle"), "{text}");
        assert!(
            text.find("[plugins.telegram]") < text.find("[plugins.whatsapp]"),
            "{text}"
        );
        // Nothing changed: nothing written.
        let at = fs::metadata(file.path()).unwrap().modified().unwrap();
        file.change(|_| ()).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().modified().unwrap(), at);
        // Nothing but the lock is left in the folder.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_that_change_it_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockFile::beside(&folder.path().join("plugins.toml"));
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..10 {
                        let change = |lock: &mut Lock| {
                            lock.plugins.insert(format!("{name}{round}"), locked(name));
                        };
                        file.change(change).unwrap();
                    }
                });
            }
        });
        assert_eq!(file.read().unwrap().plugins.len(), 40);
    }

    #[test]
    fn f_6_a_lock_that_cannot_be_read_names_line_and_fix() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockFile::beside(&folder.path().join("plugins.toml"));
        for (text, words) in [
            ("version = 1\n[plugins.x\n", "plugins.lock:2: "),
            ("version = 7\n", "has the form 7"),
            ("version = 1\n[plugins.x]\nsauce = \"y\"\n", "plugins.lock:"),
        ] {
            fs::write(file.path(), text).unwrap();
            let problem = file.read().unwrap_err().to_string();
            assert!(problem.contains(words) && problem.contains("Put it back"), "{problem}");
            assert!(file.change(|_| ()).is_err());
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text, "it is left as it is");
        }
    }
}

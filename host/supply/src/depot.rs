//! Components on disk, by their digest: what was fetched, and what has run and may have to run again.
//!
//! Invariants: the folder is open to this user alone; a file appears whole and under its digest, or not at all; what is
//! read is compared with its name once more, so that a file that was changed on disk is as good as absent.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::SupplyError;
use crate::limits::COMPONENT_BYTES_MAX;
use crate::reference::is_digest;

/// Half a download that nobody goes on with: longer than any download may take.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// What stands behind the digest in a file's name.
const COMPONENT: &str = ".wasm";
const SIGNATURE: &str = ".sig";

/// The folder.
#[derive(Debug, Clone)]
pub struct Depot {
    folder: PathBuf,
}

/// A component that lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub path: PathBuf,
    /// Hex.
    pub sha256: String,
    pub bytes: Vec<u8>,
    /// As it came with the component.
    pub signature: Option<String>,
}

impl Depot {
    /// Nothing is made before something is kept.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The component of this digest, if it is here and whole.
    #[must_use]
    pub fn find(&self, sha256: &str) -> Option<Kept> {
        if !is_digest(sha256) {
            return None;
        }
        let path = self.path(sha256);
        if fs::metadata(&path).ok()?.len() > COMPONENT_BYTES_MAX {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            tracing::warn!(file = %path.display(), "A kept component was changed on disk and is not used");
            return None;
        }
        Some(Kept {
            signature: fs::read_to_string(self.file(sha256, SIGNATURE)).ok(),
            path,
            sha256: sha256.to_owned(),
            bytes,
        })
    }

    /// Where the component of this digest lies, if it is here.
    #[must_use]
    pub fn path(&self, sha256: &str) -> PathBuf {
        self.file(sha256, COMPONENT)
    }

    /// Keeps these bytes under their digest.
    ///
    /// # Errors
    /// The folder or the file, and the fix.
    pub fn keep(&self, bytes: Vec<u8>, signature: Option<String>) -> Result<Kept, SupplyError> {
        let mut file = self.temporary()?;
        file.write_all(&bytes).map_err(|error| self.fail(&error))?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let path = self.put(file, &sha256, signature.as_deref())?;
        Ok(Kept {
            path,
            sha256,
            bytes,
            signature,
        })
    }

    /// Where a download goes, until its digest is proven. Gone when it is dropped.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile, SupplyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            // It may have been made earlier, by somebody more generous.
            .and_then(|()| fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)))
            .and_then(|()| NamedTempFile::new_in(&self.folder))
            .map_err(|error| self.fail(&error))
    }

    /// Gives the file its name in one step. The caller has proven the digest.
    pub(crate) fn put(
        &self,
        file: NamedTempFile,
        sha256: &str,
        signature: Option<&str>,
    ) -> Result<PathBuf, SupplyError> {
        let written = || -> std::io::Result<PathBuf> {
            let beside = self.file(sha256, SIGNATURE);
            match signature {
                Some(signature) => {
                    let mut file = NamedTempFile::new_in(&self.folder)?;
                    file.write_all(signature.as_bytes())?;
                    file.persist(&beside).map_err(|error| error.error)?;
                }
                None => match fs::remove_file(&beside) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
            }
            file.as_file().sync_all()?;
            let path = self.file(sha256, COMPONENT);
            file.persist(&path).map_err(|error| error.error)?;
            fs::File::open(&self.folder)?.sync_all()?;
            Ok(path)
        };
        written().map_err(|error| self.fail(&error))
    }

    /// Removes what is not named, neither what runs nor what may run again, once it has lain there for so long. Never
    /// fatal.
    pub fn clean(&self, named: &BTreeSet<String>, after: Duration) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = [COMPONENT, SIGNATURE].iter().find_map(|end| name.strip_suffix(end));
            let goes = match digest.filter(|digest| is_digest(digest)) {
                Some(digest) => !named.contains(digest) && is_older(&entry.path(), after),
                None => name.starts_with(".tmp") && is_older(&entry.path(), LEFT_BEHIND),
            };
            if goes && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(file = name, "A component that nobody needs cannot be removed: {error}");
            }
        }
    }

    fn file(&self, sha256: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{sha256}{end}"))
    }

    fn fail(&self, error: &std::io::Error) -> SupplyError {
        let fix = match error.kind() {
            ErrorKind::StorageFull => "make room on the disk",
            _ => "check its owner and rights",
        };
        SupplyError::new(format!(
            "the folder of kept components {} cannot be written to ({error}); {fix}",
            self.folder.display()
        ))
    }
}

fn is_older(path: &Path, than: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    modified.is_some_and(|at| at.elapsed().is_ok_and(|age| age >= than))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_whole_and_what_nobody_names_goes() {
        let folder = tempfile::tempdir().unwrap();
        let depot = Depot::new(folder.path().join("components"));
        let one = depot.keep(b"one".to_vec(), Some("signed".to_owned())).unwrap();
        let two = depot.keep(b"two".to_vec(), None).unwrap();
        assert_eq!(depot.find(&one.sha256), Some(one.clone()));
        let mode = fs::metadata(folder.path().join("components"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);

        depot.clean(&BTreeSet::from([one.sha256.clone()]), LEFT_BEHIND);
        assert!(depot.find(&two.sha256).is_some(), "somebody may be about to name it");
        depot.clean(&BTreeSet::from([one.sha256.clone()]), Duration::ZERO);
        assert!(depot.find(&one.sha256).is_some());
        assert_eq!(depot.find(&two.sha256), None);
        assert_eq!(fs::read_dir(folder.path().join("components")).unwrap().count(), 2);

        // Changed on disk: as if it were not there.
        fs::write(&one.path, b"other").unwrap();
        assert_eq!(depot.find(&one.sha256), None);
        assert_eq!(depot.find("../../etc/passwd"), None);
    }
}

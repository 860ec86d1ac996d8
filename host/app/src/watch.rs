//! Files that change the configuration: the configuration itself, components, files of secrets.
//!
//! Folders are watched, not files: editors and builds replace a file by another of the same name. Where the kernel
//! tells nothing (some network and container file systems), a slow poll still finds out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::timeout;

/// After a change, this much silence first: a build writes several files, an editor several times.
const SETTLE: Duration = Duration::from_millis(150);
/// A file that never stops changing is read all the same.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// How often the files are looked at when nothing was told.
const POLL: Duration = Duration::from_secs(5);

/// Size and time of every file, or None for one that is missing.
type Marks = BTreeMap<PathBuf, Option<(u64, SystemTime)>>;

/// Tells when any of the files has changed.
pub struct Watch {
    files: Vec<PathBuf>,
    marks: Marks,
    told: Arc<Notify>,
    /// None where the kernel cannot be asked; the poll remains.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to look at the files as they are now.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let told = Arc::new(Notify::new());
        let watcher = watcher(&files, Arc::clone(&told)).map_err(|error| {
            tracing::warn!(%error, "Files are not watched by the kernel; changes are noticed within {POLL:?}");
        });
        Self {
            marks: marks(&files),
            files,
            told,
            _watcher: watcher.ok(),
        }
    }

    /// Looks at these files from now on. What changed between the last look and this one is told as well.
    pub fn look_at(&mut self, files: Vec<PathBuf>) {
        if files == self.files {
            return;
        }
        let mut new = Self::new(files);
        for (path, mark) in &self.marks {
            if let Some(known) = new.marks.get_mut(path) {
                *known = *mark;
            }
        }
        *self = new;
    }

    /// Resolves when a file has changed and the changes have come to rest. Safe to drop: nothing is lost.
    pub async fn changed(&mut self) {
        loop {
            // The timeout is the poll: both ends lead to the same look.
            let _ = timeout(POLL, self.told.notified()).await;
            if marks(&self.files) == self.marks {
                continue;
            }
            let _ = timeout(SETTLE_MAX, self.rest()).await;
            self.marks = marks(&self.files);
            return;
        }
    }

    async fn rest(&self) {
        let mut before = marks(&self.files);
        loop {
            tokio::time::sleep(SETTLE).await;
            let now = marks(&self.files);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

fn marks(files: &[PathBuf]) -> Marks {
    let mark = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    files.iter().map(|path| (path.clone(), mark(path))).collect()
}

fn watcher(files: &[PathBuf], told: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is no change of it, and we read them ourselves.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            told.notify_one();
        }
    })?;
    let mut folders: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        if folder.is_dir() {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_a_new_and_a_removed_file_are_changes_and_a_neighbour_is_none() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (file, later) = (folder.path().join("plugins.toml"), folder.path().join("later.wasm"));
        std::fs::write(&file, "one")?;
        let mut watch = Watch::new(vec![file.clone(), later.clone()]);

        let replacement = folder.path().join("new");
        std::fs::write(&replacement, "three")?;
        std::fs::rename(&replacement, &file)?;
        watch.changed().await;
        std::fs::write(&later, "wasm")?;
        watch.changed().await;
        std::fs::remove_file(&later)?;
        watch.changed().await;

        std::fs::write(folder.path().join("neighbour"), "x")?;
        assert!(timeout(SETTLE * 3, watch.changed()).await.is_err());
        Ok(())
    }
}

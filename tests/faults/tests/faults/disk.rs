//! The disk under the host: `disk/disk.c`, loaded between SQLite and the kernel, and its orders.
//!
//! Faults are made where a real disk makes them, below SQLite's own calls: the host and its SQLite are unchanged and
//! meet `EIO` and `ENOSPC` from the system, not a made-up error of ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The orders of one host's disk.
#[derive(Debug, Clone)]
pub struct Disk {
    library: PathBuf,
    orders: PathBuf,
}

impl Disk {
    /// A disk that behaves, with its file of orders in this folder.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let disk = Self {
            library: library()?,
            orders: folder.join("disk-orders"),
        };
        disk.order("")?;
        Ok(disk)
    }

    /// Replaces the orders: one per line, see `disk.c`. Holds from the next call to the disk.
    pub fn order(&self, orders: &str) -> Result<()> {
        // Renamed into place: the host never reads half of it.
        let new = self.orders.with_extension("new");
        std::fs::write(&new, orders)?;
        std::fs::rename(&new, &self.orders)?;
        Ok(())
    }

    /// What the host must be started with.
    pub fn variables(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("MANTLE_DISK".to_owned(), text(&self.orders)),
        ]
    }
}

/// Compiled once in the life of the test binary.
fn library() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn compile() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("disk/disk.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
    let built = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .context("running the C compiler, which the build of SQLite needs as well")?;
    ensure!(
        built.status.success(),
        "{}: {}",
        source.display(),
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(library)
}

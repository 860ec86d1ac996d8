//! A disk that is small enough to fill: a tmpfs of its own where mounting is allowed, else a limit in the stand-in
//! disk. Both answer `ENOSPC` to the write that does not fit.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::disk::Disk;

/// Room for a fresh database, its log, some messages, and what a host must have free to be ready (64 MiB).
const DISK_BYTES: u64 = 128 << 20;
/// What is left when the disk is filled: some commits, so that it fills up in the midst of work.
const LEFT_BYTES: u64 = 128 << 10;

pub struct SmallDisk {
    folder: TempDir,
    mounted: bool,
}

impl SmallDisk {
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mantle-small-").tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "mantle-faults"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Ok(Self { folder, mounted })
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Leaves room for a few commits more.
    pub fn fill(&self, disk: &Disk) -> Result<()> {
        if !self.mounted {
            let used: u64 = std::fs::read_dir(self.data_dir())?
                .filter_map(|entry| entry.ok()?.metadata().ok())
                .filter(std::fs::Metadata::is_file)
                .map(|found| found.len())
                .sum();
            return disk.order(&format!("room {}", used + LEFT_BYTES));
        }
        let mut ballast = File::create(self.ballast())?;
        let block = vec![0; 64 << 10];
        while ballast.write_all(&block).is_ok() {}
        let size = ballast.metadata()?.len();
        ballast
            .set_len(size.saturating_sub(LEFT_BYTES))
            .context("leaving some room")
    }

    pub fn empty(&self, disk: &Disk) -> Result<()> {
        if !self.mounted {
            return disk.order("");
        }
        Ok(std::fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // A host that is still ending keeps its files open; the mount goes when it has ended.
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

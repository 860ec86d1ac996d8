//! How fast the disk syncs: the figure that all others stand on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes of one write: a page of SQLite.
const WRITE_BYTES: usize = 4096;

/// Appended writes of 4 KiB, each made durable by `fdatasync` before the next, a second: what a program could commit
/// that does nothing but commit, one after the other.
///
/// # Errors
/// The folder takes no file.
pub fn syncs_per_second(folder: &Path, within: Duration) -> Result<f64> {
    let path = folder.join("syncs");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("making {}", path.display()))?;
    let bytes = [0x5a; WRITE_BYTES];
    let begun = Instant::now();
    let mut syncs = 0_u32;
    while begun.elapsed() < within {
        file.write_all(&bytes)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}

//! The disk under a SQLite file: whether it can be trusted, how fast it is, and what is kept back on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::StoreError;

/// File systems of other machines: locks and the shared memory of the write-ahead log do not hold there, and two
/// hosts would damage the file.
const REFUSED: [&str; 8] = ["9p", "afs", "ceph", "cifs", "nfs", "nfs4", "smb3", "smbfs"];
/// File systems that lose what is on them with the container or the power, and why that matters.
const WARNED: [(&str, &str); 4] = [
    ("overlay", "is gone with its container; mount a volume there"),
    ("ramfs", "is memory: everything is lost when the machine stops"),
    ("tmpfs", "is memory: everything is lost when the machine stops"),
    (
        "virtiofs",
        "passes syncs on to another system, which may not wait for its disk",
    ),
];

/// Refuses a file system on which SQLite cannot keep its promises; warns of one that forgets.
pub(super) fn judge_file_system(folder: &Path) -> Result<(), StoreError> {
    // Other systems have no such file, and nothing to tell.
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return Ok(());
    };
    let folder = folder.canonicalize()?;
    match file_system(&mounts, &folder) {
        Some(kind) if REFUSED.contains(&kind) => Err(StoreError::Unusable(format!(
            "{} lies on {kind}, where SQLite's locks do not hold and its file can be damaged. Set `[server] data_dir` \
             and `[database] url` to a folder on a local disk",
            folder.display()
        ))),
        Some(kind) => {
            if let Some((_, why)) = WARNED.iter().find(|(known, _)| *known == kind) {
                tracing::warn!("{} lies on {kind}, which {why}", folder.display());
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// The kind of the mount that holds the folder: the one with the longest path, of equals the last.
fn file_system<'m>(mounts: &'m str, folder: &Path) -> Option<&'m str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        // `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw`, spaces in paths as `\040`.
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        let length = point.len();
        if folder.starts_with(&point) && best.is_none_or(|(longest, _)| longest <= length) {
            best = kind.split(' ').next().map(|kind| (length, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// A sync that takes longer makes senders wait noticeably.
const SYNC_SLOW: Duration = Duration::from_millis(50);
/// No disk is faster; memory and disks that do not wait are.
const SYNC_DOUBTFUL: Duration = Duration::from_micros(10);
/// The middle one of so many counts.
const SYNC_SAMPLES: usize = 3;
/// What one sync writes: a page.
const SYNC_BYTES: usize = 4096;

/// Measures what every commit will cost, and tells.
pub(super) fn measure_sync(folder: &Path) -> io::Result<Duration> {
    let path = folder.join("mantle.sync-test");
    let sync = median_sync(&path);
    std::fs::remove_file(&path)?;
    let sync = sync?;
    let micros = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
    if sync > SYNC_SLOW {
        tracing::warn!(
            micros,
            "A sync of {} takes {sync:?}: hooks are answered no sooner",
            folder.display()
        );
    } else if sync < SYNC_DOUBTFUL {
        tracing::warn!(
            micros,
            "A sync of {} takes {sync:?}: this disk does not wait for its writes, and a power \
             cut may lose acknowledged messages",
            folder.display()
        );
    } else {
        tracing::info!(micros, "A sync of {} takes {sync:?}", folder.display());
    }
    Ok(sync)
}

fn median_sync(path: &Path) -> io::Result<Duration> {
    let mut file = private(path)?;
    let mut samples = [Duration::ZERO; SYNC_SAMPLES];
    for sample in &mut samples {
        file.write_all(&[0; SYNC_BYTES])?;
        let begun = Instant::now();
        file.sync_data()?;
        *sample = begun.elapsed();
    }
    samples.sort_unstable();
    Ok(samples[SYNC_SAMPLES / 2])
}

/// Room for the outcomes of all calls under way when the disk fills up: 64 lanes, some ten pages each, with as much
/// again for the log.
const RESERVE_BYTES: u64 = 4 << 20;
/// How long a full disk is left alone before room is looked for again.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Bytes kept back beside the database. Given up when the disk is full, so that what has been done can still be
/// written down; taken again when there is room for twice as much, so that a disk at its brim does not flap.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    given_up: bool,
    looked: Option<Instant>,
}

impl Reserve {
    /// A disk that has no room for it is full from the start.
    pub(super) fn beside(database: &Path) -> Self {
        let mut reserve = Self {
            path: database.with_extension("reserve"),
            given_up: false,
            looked: None,
        };
        let there = std::fs::metadata(&reserve.path).is_ok_and(|found| found.len() == RESERVE_BYTES);
        if !there && reserve.fill(RESERVE_BYTES).is_err() {
            reserve.give_up();
        }
        reserve
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// The disk is full.
    pub(super) fn give_up(&mut self) {
        if !self.given_up {
            tracing::error!(
                "The disk of {} is full: nothing new is taken in until there is room. Free some space or grow the disk",
                self.path.display()
            );
        }
        // What is not there gives no room.
        let _ = std::fs::remove_file(&self.path);
        self.given_up = true;
    }

    /// Looks whether the disk has room again.
    pub(super) fn look(&mut self) {
        if !self.given_up || self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AFTER) {
            return;
        }
        self.looked = Some(Instant::now());
        let taken = self
            .fill(RESERVE_BYTES * 2)
            .and_then(|file| file.set_len(RESERVE_BYTES));
        if taken.is_ok() {
            self.given_up = false;
            tracing::info!("The disk has room again: hooks are taken in");
        } else {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Written, not only sized: a file of holes keeps nothing back.
    fn fill(&self, bytes: u64) -> io::Result<File> {
        static BLOCK: [u8; 64 << 10] = [0; 64 << 10];
        let mut file = private(&self.path)?;
        for _ in 0..bytes.div_ceil(BLOCK.len() as u64) {
            file.write_all(&BLOCK)?;
        }
        Ok(file)
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// A log that keeps growing has a reader that never ends: checkpoints cannot pass it.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// With [`mantle_failpoint::Point::SmallLog`], which a test cannot wait for otherwise.
const LOG_BYTES_MAX_SMALL: u64 = 1 << 20;
/// How often the log's size is looked at.
const LOG_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches the size of the write-ahead log.
#[derive(Debug)]
pub(super) struct LogWatch {
    path: PathBuf,
    looked: Option<Instant>,
    alarmed: bool,
}

impl LogWatch {
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self {
            path: path.into(),
            looked: None,
            alarmed: false,
        }
    }

    /// After a commit. Alarms once until the log is small again.
    pub(super) async fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOG_LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let bytes_max = if mantle_failpoint::fails(mantle_failpoint::Point::SmallLog).await {
            LOG_BYTES_MAX_SMALL
        } else {
            LOG_BYTES_MAX
        };
        let bytes = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        if bytes > bytes_max && !self.alarmed {
            tracing::error!(
                bytes,
                "The write-ahead log {} has grown to {bytes} bytes: another process reads the database without end \
                 and keeps it from shrinking. `lsof {0}` shows which; end it",
                self.path.display()
            );
        }
        self.alarmed = bytes > bytes_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempFolder;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 22 0:30 / /data rw - nfs4 server:/export rw\n\
        31 22 0:31 / /data/local\\040disk rw - xfs /dev/vdb rw\n\
        32 22 0:32 / /data/local\\040disk rw - tmpfs none rw\n";

    #[test]
    fn the_nearest_and_newest_mount_tells_the_file_system() {
        let check = |folder: &str, kind| assert_eq!(file_system(MOUNTS, Path::new(folder)), kind, "{folder}");
        check("/", Some("ext4"));
        check("/database", Some("ext4"));
        check("/data", Some("nfs4"));
        check("/data/x/y", Some("nfs4"));
        check("/data/local disk/x", Some("tmpfs"));
    }

    #[test]
    fn a_sync_is_measured_and_leaves_nothing() {
        let folder = TempFolder::new().unwrap();
        assert!(measure_sync(folder.path()).unwrap() > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a10_a_reserve_is_given_up_and_taken_again() {
        let folder = TempFolder::new().unwrap();
        let mut reserve = Reserve::beside(&folder.path().join("mantle.db"));
        let bytes = || std::fs::metadata(folder.path().join("mantle.reserve")).map_or(0, |found| found.len());
        assert_eq!((reserve.is_given_up(), bytes()), (false, RESERVE_BYTES));
        reserve.give_up();
        assert_eq!((reserve.is_given_up(), bytes()), (true, 0));
        reserve.look();
        assert_eq!((reserve.is_given_up(), bytes()), (false, RESERVE_BYTES));
    }
}

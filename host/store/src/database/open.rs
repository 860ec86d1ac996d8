//! Opening the file: the lock, the connections and what is asked of SQLite itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mantle_failpoint::{Point, fails};

use crate::StoreError;
use crate::sql::{Connection, Fault, Pool, Sqlite, SqlitePool, sql};

/// Before 3.51.3 a checkpoint that met a reset of the write-ahead log could corrupt the file.
const VERSION_MIN: (u32, u32, u32) = (3, 51, 3);

/// How long a statement waits for a lock of another process (a backup, a shell) before the job is refused.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The write-ahead log is cut back to this many bytes after a checkpoint; growing beyond it is normal under load.
const JOURNAL_SIZE_MAX: &str = "pragma journal_size_limit = 67108864";

/// Pages in the write-ahead log after which a commit moves them into the database: 64 MiB, some thousand groups. Sixteen
/// times SQLite's own number, since under load the same pages change again and again, and while they are moved and
/// synced nothing else is written. A start after a crash reads the log through, in a tenth of a second.
const CHECKPOINT_PAGES: &str = "pragma wal_autocheckpoint = 16000";

/// What the writing connection keeps of the database, in KiB as a negative number: 32 MiB, grown as it is needed. Keys
/// come in no order, so each new one lands on another page.
const CACHE_BYTES_MAX: &str = "pragma cache_size = -32768";

/// What a statement needs for itself stays in memory: a file is made, written and removed each time otherwise. Groups
/// are small.
const TEMPORARY_PLACE: &str = "pragma temp_store = memory";

/// Read-only connections. Reads are short; more would only compete with the writer for two cores.
const READERS_MAX: usize = 4;

/// How long a read waits for a lock of another process, which is seldom one that keeps readers out. The reading thread
/// has others to serve.
const READ_BUSY_WAIT: Duration = Duration::from_millis(100);

/// How long a read waits for a connection before it counts as failed.
const READER_WAIT: Duration = Duration::from_secs(5);

/// Makes the folders and takes the lock that keeps a second host from the same file.
pub(super) fn prepare(data_dir: &Path, database: &Path) -> Result<File, StoreError> {
    crate::folder::create_private(data_dir)?;
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        crate::folder::create_private(folder)?;
    }
    // Beside the database too when it lies elsewhere: the file is what must not be shared.
    let path = if database.starts_with(data_dir) {
        data_dir.join("mantle.lock")
    } else {
        database.with_extension("lock")
    };
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unusable(format!(
            "another host uses the database: {} is locked. Stop it first, or give this one a data_dir of its own; \
             several hosts cannot share one SQLite file",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The one connection that writes. `FULL` makes every commit reach the disk before it returns: `NORMAL` would
/// lose acknowledged messages when the power fails.
pub(super) async fn writing(path: &Path) -> Result<Connection, StoreError> {
    let synchronous = if fails(Point::UnsafeSync).await {
        "pragma synchronous = normal"
    } else {
        "pragma synchronous = full"
    };
    // SQLite gives the log and the index beside it the rights of the file. Older ones are closed as well.
    crate::folder::create_private_file(path)?;
    for beside in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        let beside = Path::new(&name);
        if beside.exists() {
            crate::folder::create_private_file(beside)?;
        }
    }
    let mut connection = Connection::Sqlite(Sqlite::open(path, true, BUSY_WAIT)?);
    connection.script("pragma journal_mode = wal").await?;
    connection.script(synchronous).await?;
    connection.script(JOURNAL_SIZE_MAX).await?;
    connection.script(CHECKPOINT_PAGES).await?;
    connection.script(CACHE_BYTES_MAX).await?;
    Ok(connection)
}

/// From now on the connection serves groups. A migration before that may sort a table that memory does not hold.
pub(super) async fn serve_groups(connection: &mut Connection) -> Result<(), StoreError> {
    connection.script(TEMPORARY_PLACE).await
}

/// A file up to this size is read through at every start: a second on a slow disk. What damages a larger one shows
/// when it is read.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// Whether the pages of the file hang together.
pub(super) async fn check_whole(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path)?.len() > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let found: Vec<u8> = sql("pragma quick_check(1)").scalar(connection).await?;
    if found == b"ok" {
        return Ok(());
    }
    Err(damaged(path, &String::from_utf8_lossy(&found)))
}

/// What SQLite says of a damaged file, in words that lead out.
pub(super) fn understood(error: StoreError, path: &Path) -> StoreError {
    if Fault::of(&error) == Fault::Damaged {
        damaged(path, &error.to_string())
    } else {
        error
    }
}

fn damaged(path: &Path, found: &str) -> StoreError {
    StoreError::Unusable(format!(
        "the database {0} is damaged ({found}). It was left as it is. Restore a backup in its place; without one, `sqlite3 {0} .recover` saves what can be read",
        path.display()
    ))
}

pub(super) fn reading(path: &Path) -> Pool {
    let waits = (READ_BUSY_WAIT, READER_WAIT);
    Pool::Sqlite(Arc::new(SqlitePool::new(path.to_owned(), READERS_MAX, waits)))
}

pub(super) async fn check_version(connection: &mut Connection) -> Result<(), StoreError> {
    let version: Vec<u8> = sql("select sqlite_version()").scalar(connection).await?;
    let version = String::from_utf8_lossy(&version);
    if parse_version(&version).is_some_and(|version| version >= VERSION_MIN) {
        return Ok(());
    }
    let (major, minor, patch) = VERSION_MIN;
    Err(StoreError::Unusable(format!(
        "this program is linked with SQLite {version}; versions before {major}.{minor}.{patch} can corrupt a \
         database. Build it with the bundled SQLite"
    )))
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let check = |text, expected| {
            assert_eq!(
                parse_version(text).is_some_and(|v| v >= VERSION_MIN),
                expected,
                "{text}"
            )
        };
        check("3.51.3", true);
        check("3.52.0", true);
        check("4.0", true);
        check("3.51.2", false);
        check("3.9.12", false);
        check("", false);
    }
}

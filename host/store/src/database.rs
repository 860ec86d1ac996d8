//! The store in SQL, on one SQLite file.
//!
//! Statements go through [`crate::sql`] and read alike for every database. Invariants: one thread owns the only
//! connection that writes ([`writer`]); reads go through a few read-only connections and are short, since a long
//! reader keeps the write-ahead log from shrinking; one host per file, held by a lock; who works which lane is
//! known in memory alone ([`claims`]), so a crash frees every lane at once.

mod accept;
mod claims;
mod commit;
mod directory;
mod disk;
mod identities;
mod intake;
mod keyed;
mod lanes;
mod ledger;
mod open;
mod people;
mod prune;
mod replay;
mod rows;
mod schema;
mod secrets;
mod single;
mod states;
mod upkeep;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantle_model::clock::{Clock, Time};
use mantle_model::ids::IdSource;

use self::claims::Claims;
use self::disk::{LogWatch, Reserve};
use self::writer::{Patience, Writer};
use crate::media::Files;
use crate::seal::Key;
use crate::sql::{Connection, Pool};
use crate::{Commit, Database, StoreConfig, StoreError};

/// The store in a database. Dropping it waits for the batch in the writer's hands.
pub struct SqlStore {
    // Dropped first: the writer must be done before the lock is given back.
    writer: Writer,
    readers: Pool,
    claims: Arc<Claims>,
    key: Key,
    files: Files,
    context: Context,
    /// The write-ahead log.
    log: PathBuf,
    _lock: File,
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").finish_non_exhaustive()
    }
}

/// What statements need besides a connection.
#[derive(Debug, Clone)]
struct Context {
    clock: Arc<dyn Clock>,
    ids: Arc<IdSource>,
}

impl Context {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn next_id(&self) -> i64 {
        self.ids.next(self.clock.now())
    }
}

impl SqlStore {
    /// Takes the lock, brings the schema up to date and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another host has the file, when it is damaged or lies on another machine, when its
    /// schema is newer than this program, or when the linked SQLite is one with a known way to corrupt a file.
    pub async fn open(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        let Database::Sqlite(path) = &config.database;
        let lock = open::prepare(&config.data_dir, path)?;
        let folder = path.parent().unwrap_or(&config.data_dir);
        disk::judge_file_system(folder)?;
        disk::measure_sync(folder)?;
        let connection = Self::sound(path).await.map_err(|error| open::understood(error, path))?;
        let readers = open::reading(path);
        let files = Files::open(&config.data_dir.join("media"))?;
        Ok(Arc::new(Self {
            writer: Writer::start(connection, Reserve::beside(path), LogWatch::of(path))?,
            readers,
            claims: Arc::new(Claims::default()),
            key: config.key,
            files,
            context: Context {
                clock: config.clock,
                ids: config.ids,
            },
            log: log_of(path),
            _lock: lock,
        }))
    }

    /// The connection that writes, on a file that is whole and up to date.
    async fn sound(path: &Path) -> Result<Connection, StoreError> {
        let mut connection = open::writing(path).await?;
        open::check_version(&mut connection).await?;
        open::check_whole(&mut connection, path).await?;
        schema::bring_up_to_date(&mut connection, path).await?;
        Ok(connection)
    }

    /// The files whose rows the store keeps.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Has every group of writes told, from now on. The first to ask is told.
    pub fn watch_commits(&self, watcher: impl Fn(Commit) + Send + Sync + 'static) {
        self.writer.watch(Box::new(watcher));
    }

    /// Size of the write-ahead log; none is there before the first write.
    fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// One write that nothing in memory follows from.
    async fn write<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.submit(Patience::Sender, 0, apply, |_| ()).await
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

//! A real store in a folder of its own, with a clock that moves when told: for the tests of every room.

pub mod cluster;
pub mod outsider;
pub mod past;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::ids::IdSource;

use self::cluster::{Cluster, TestDatabase};
use crate::database::SqlStore;
use crate::seal::Key;
use crate::{Database, StoreConfig, StoreError};

/// When the clock of a test starts: 2026-11-20T00:00:00Z.
pub const START: Time = Time::from_unix_seconds(1_795_132_800);

/// Is removed with all in it when dropped.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> io::Result<Self> {
        let name = format!("mantle-{}-{:016x}", std::process::id(), getrandom::u64()?);
        let path = std::env::temp_dir().join(name);
        crate::folder::create_private(&path)?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Nothing can be done about a folder that stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store for one test.
#[derive(Debug)]
pub struct TestStore {
    pub store: Arc<SqlStore>,
    pub clock: ManualClock,
    folder: TempFolder,
    /// On PostgreSQL.
    pub postgres: Option<TestDatabase>,
}

impl TestStore {
    /// On a SQLite file.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn open() -> Result<Self, StoreError> {
        Self::open_in(TempFolder::new()?, ManualClock::at(START), None).await
    }

    /// On an empty PostgreSQL database; None where there is no PostgreSQL.
    ///
    /// # Errors
    /// The server does not start, or the store cannot be opened.
    pub async fn open_postgres() -> Result<Option<Self>, StoreError> {
        match cluster::shared()? {
            Some(cluster) => Self::open_on(cluster).await.map(Some),
            None => Ok(None),
        }
    }

    /// On an empty database of this server.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn open_on(cluster: &Cluster) -> Result<Self, StoreError> {
        Self::open_at(cluster.database().await?).await
    }

    /// On this database, whatever is in it.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn open_at(database: TestDatabase) -> Result<Self, StoreError> {
        Self::open_in(TempFolder::new()?, ManualClock::at(START), Some(database)).await
    }

    /// A further host on the same database, with a folder of its own and the same clock.
    ///
    /// # Errors
    /// The store cannot be opened; on SQLite that is always so.
    pub async fn beside(&self) -> Result<Self, StoreError> {
        Self::open_in(TempFolder::new()?, self.clock.clone(), self.postgres.clone()).await
    }

    /// As after a crash: the old store is gone with all it held in memory. Fails while others still hold the old one.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn reopen(self) -> Result<Self, StoreError> {
        let Self {
            store,
            clock,
            folder,
            postgres,
        } = self;
        drop(store);
        Self::open_in(folder, clock, postgres).await
    }

    async fn open_in(
        folder: TempFolder,
        clock: ManualClock,
        postgres: Option<TestDatabase>,
    ) -> Result<Self, StoreError> {
        let mut config = config(folder.path(), &clock)?;
        if let Some(postgres) = &postgres {
            config.database = postgres.database.clone();
        }
        let store = SqlStore::open(config).await?;
        Ok(Self {
            store,
            clock,
            folder,
            postgres,
        })
    }

    /// The folder with the database and the files.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }
}

/// How a test's store is configured: on a SQLite file.
///
/// # Errors
/// The operating system gives no random numbers.
pub fn config(data_dir: &Path, clock: &ManualClock) -> Result<StoreConfig, StoreError> {
    Ok(StoreConfig {
        database: Database::Sqlite(data_dir.join("mantle.db")),
        data_dir: data_dir.to_owned(),
        key: Key::from_bytes([7; 32]),
        clock: Arc::new(clock.clone()) as Arc<dyn Clock>,
        ids: Arc::new(IdSource::new().map_err(io::Error::from)?),
    })
}

//! A real store in a folder of its own, with a clock that moves when told: for the tests of every room.

pub mod outsider;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::ids::IdSource;

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
}

impl TestStore {
    /// # Errors
    /// The store cannot be opened.
    pub async fn open() -> Result<Self, StoreError> {
        let clock = ManualClock::at(START);
        let folder = TempFolder::new()?;
        let store = SqlStore::open(config(folder.path(), &clock)?).await?;
        Ok(Self { store, clock, folder })
    }

    /// As after a crash: the old store is gone with all it held in memory. Fails while others still hold the old one.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn reopen(self) -> Result<Self, StoreError> {
        let Self { store, clock, folder } = self;
        drop(store);
        let store = SqlStore::open(config(folder.path(), &clock)?).await?;
        Ok(Self { store, clock, folder })
    }

    /// The folder with the database and the files.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }
}

/// How a test's store is configured.
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

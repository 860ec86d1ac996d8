//! The store in SQL, on one SQLite file or on a PostgreSQL database that several hosts share.
//!
//! Statements go through [`crate::sql`] and read alike for both. Invariants: one thread owns the only connection that
//! writes ([`writer`]); reads go through a few connections and are short, since a long reader keeps SQLite's
//! write-ahead log from shrinking and PostgreSQL's dead rows from being cleaned up. On SQLite one host holds the file
//! by a lock and who works which lane is known in memory alone ([`claims`]), so a crash frees every lane at once; on
//! PostgreSQL the rows say it too ([`shared`]), and a crash frees a host's lanes when its lease ends.

mod accept;
mod budgets;
mod claims;
mod commit;
mod directory;
mod disk;
pub mod examine;
mod handing;
mod hosts;
mod identities;
mod intake;
mod keyed;
mod known;
mod lanes;
mod ledger;
mod open;
mod orphans;
mod people;
pub(crate) mod pieces;
pub(crate) mod postgres;
mod prune;
mod replay;
mod rows;
mod schema;
mod secrets;
mod shared;
mod single;
mod states;
mod touch;
mod upkeep;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use mantle_model::clock::{Clock, Time};
use mantle_model::ids::IdSource;

use self::claims::Claims;
use self::disk::{LogWatch, Reserve};
use self::hosts::Membership;
use self::postgres::Address;
use self::shared::Shared;
use self::touch::Touch;
use self::writer::{Server, Terms, Writer};
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
    /// What other hosts see; None where there are none.
    shared: Option<Shared>,
    key: Key,
    files: Files,
    context: Context,
    /// The write-ahead log of a file.
    log: Option<PathBuf>,
    _lock: Option<File>,
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
    /// Takes the lock or a number among the hosts, brings the schema up to date and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the database cannot be used; the text says what to do about it. So it is when
    /// another host has the file, when it is damaged or lies on another machine, when the schema is newer than this
    /// program, when the server refuses us, or when the linked SQLite is one with a known way to corrupt a file.
    pub async fn open(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        // Boxed: connecting is a deep nest of futures, and whoever starts a host would hold all of it.
        Self::opened(config).boxed().await
    }

    async fn opened(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        let claims = Arc::new(Claims::default());
        let opened = match &config.database {
            Database::Sqlite(path) => Opened::sqlite(&config.data_dir, path).await?,
            Database::Postgres(address) => {
                crate::folder::create_private(&config.data_dir)?;
                Opened::postgres(address, &claims).await?
            }
        };
        if let Some(shared) = &opened.shared {
            config.ids.number_host(shared.membership.number);
        }
        let mut files = Files::open(&config.data_dir.join("media"))?;
        if opened.shared.is_some() {
            files = files.backed_by(opened.readers.clone());
        }
        let context = Context {
            clock: config.clock,
            ids: config.ids,
        };
        Ok(Arc::new(Self {
            writer: Writer::start(opened.writes_to, context.clone(), Arc::clone(&claims)).await?,
            readers: opened.readers,
            claims,
            shared: opened.shared,
            key: config.key,
            files,
            context,
            log: opened.log,
            _lock: opened.lock,
        }))
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

    /// Size of the write-ahead log of a file; none is there before the first write.
    fn log_bytes(&self) -> Option<u64> {
        let log = self.log.as_ref()?;
        Some(std::fs::metadata(log).map_or(0, |log| log.len()))
    }

    /// One write that nothing in memory follows from.
    async fn write<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_touching(Vec::new(), apply).await
    }

    /// One write of so many bytes.
    async fn write_weighing<T, F>(&self, bytes: usize, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.submit(Terms::worker().weighing(bytes), apply, |_| ()).await
    }

    /// One write of what no other host may change meanwhile.
    async fn write_touching<T, F>(&self, touches: Vec<Touch>, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer
            .submit(Terms::sender().touching(touches), apply, |_| ())
            .await
    }
}

/// What opening a database gives.
struct Opened {
    writes_to: writer::Database,
    readers: Pool,
    shared: Option<Shared>,
    log: Option<PathBuf>,
    lock: Option<File>,
}

impl Opened {
    async fn sqlite(data_dir: &Path, path: &Path) -> Result<Self, StoreError> {
        let lock = open::prepare(data_dir, path)?;
        let folder = path.parent().unwrap_or(data_dir);
        disk::judge_file_system(folder)?;
        disk::measure_sync(folder)?;
        let connection = Self::sound(path).await.map_err(|error| open::understood(error, path))?;
        Ok(Self {
            writes_to: writer::Database::Sqlite {
                connection,
                reserve: Reserve::beside(path),
                log: LogWatch::of(path),
            },
            readers: open::reading(path),
            shared: None,
            log: Some(log_of(path)),
            lock: Some(lock),
        })
    }

    /// The connection that writes, on a file that is whole and up to date.
    async fn sound(path: &Path) -> Result<Connection, StoreError> {
        let mut connection = open::writing(path).await?;
        open::check_version(&mut connection).await?;
        open::check_whole(&mut connection, path).await?;
        schema::bring_sqlite_up_to_date(&mut connection, path).await?;
        open::serve_groups(&mut connection).await?;
        Ok(connection)
    }

    async fn postgres(address: &Address, claims: &Arc<Claims>) -> Result<Self, StoreError> {
        let mut connection = address.connect().await?;
        address.check(&mut connection).await?;
        schema::bring_postgres_up_to_date(&mut connection, address).await?;
        let membership = Membership::begin(&mut connection).await?;
        connection.close().await?;
        let server = Server {
            address: address.clone(),
            host: membership.id,
            tells: Arc::default(),
        };
        let tells = Arc::clone(&server.tells);
        let listeners = address.listeners()?;
        Ok(Self {
            writes_to: writer::Database::Postgres(server),
            readers: address.readers()?,
            shared: Some(Shared::new(membership, address.claimers()?, (listeners, tells), claims)),
            log: None,
            lock: None,
        })
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

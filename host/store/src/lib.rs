//! What the host knows and has promised: receipts, events, lanes, effects, people, channels, files.
//!
//! Invariants: a method that writes returns after its commit is on disk; one method is one transaction;
//! no transaction, connection or row leaves the room; every write is idempotent by a key, so that a
//! commit of unknown outcome may be repeated. What a message means is opaque here: payloads are bytes.
//! Knows nothing of HTTP, providers, inboxes or sandboxes. Alone names sqlx, rusqlite and cap-std.

pub mod backup;
pub mod budgets;
pub mod database;
pub mod directory;
mod folder;
pub mod intake;
pub mod keyed;
pub mod lanes;
pub mod ledger;
pub mod media;
pub mod people;
pub mod seal;
pub mod single;
mod sql;
pub mod testing;
pub mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use crate::database::postgres::Address;
use mantle_model::clock::Clock;
use mantle_model::ids::{ChannelId, IdSource, IdentityId, MessageId, WorkspaceId};

/// What a store needs to be opened.
#[derive(Debug)]
pub struct StoreConfig {
    pub database: Database,
    /// For the lock file and the media; made with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// Seals tokens and other secrets.
    pub key: seal::Key,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdSource>,
}

/// One group of writes that reached the disk.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub jobs: u32,
    /// From the first statement to the disk.
    pub whole: Duration,
    /// The end alone: the disk's sync.
    pub sync: Duration,
    /// What waits behind it.
    pub queued_bytes: usize,
}

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// The file; relative paths have been resolved by the caller.
    Sqlite(PathBuf),
    /// Shared by any number of hosts.
    Postgres(Address),
}

impl Database {
    /// The database that an address names: `sqlite:` and the path of the file, or `postgres://…`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: another scheme, or nothing that can be used. The text repeats no password.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let unusable = |why: &str| StoreError::Unusable(why.to_owned());
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Address::parse(url)?));
        }
        let path = url
            .strip_prefix("sqlite:")
            .ok_or_else(|| unusable("`[database] url` must start with \"sqlite:\" or \"postgres://\""))?;
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains(":memory:") {
            return Err(unusable(
                "`[database] url` must name a file, as in \"sqlite:data/mantle.db\"",
            ));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(address) => write!(f, "{address}"),
        }
    }
}

/// Everything the host asks of its database. One suite tests it on SQLite and PostgreSQL.
pub trait Store:
    intake::Intake
    + lanes::Lanes
    + people::People
    + single::Single
    + budgets::Budgets
    + ledger::Ledger
    + directory::Directory
    + keyed::Keyed
    + upkeep::Upkeep
{
}

impl<T> Store for T where
    T: intake::Intake
        + lanes::Lanes
        + people::People
        + single::Single
        + budgets::Budgets
        + ledger::Ledger
        + directory::Directory
        + keyed::Keyed
        + upkeep::Upkeep
{
}

/// What the caller can do about a database that did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue in front of the writer is full or too old, or the disk is: answer 503, the sender comes again.
    #[error("the store takes no more work now: {0}")]
    Busy(String),
    /// Another worker holds the lane by now: drop the result.
    #[error("the lane is no longer held by this worker")]
    Fenced,
    /// A unique name is taken.
    #[error("already taken: {0}")]
    Conflict(Conflict),
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A replay of what is still under way or arrived.
    #[error("message {0} did not fail; only dead, failed and unknown messages are sent again")]
    NotReplayable(MessageId),
    /// The database or its folder cannot be used by this host; the text says what to do.
    #[error("{0}")]
    Unusable(String),
    /// A row that makes no sense.
    #[error("table {table}, column {column}: row {row} cannot be read")]
    Inconsistent {
        table: &'static str,
        column: &'static str,
        row: String,
    },
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("files: {0}")]
    Files(#[from] std::io::Error),
    /// More bytes than the caller allowed; nothing was kept.
    #[error("the file is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    /// The source of a file broke off; nothing was kept.
    #[error("the file did not arrive whole: {0}")]
    Interrupted(String),
    /// A stored secret cannot be decrypted: the key file is not the one it was written with.
    #[error("secret `{0}` cannot be decrypted; the key file differs from the one it was stored with")]
    Undecipherable(String),
}

/// What is taken, and by whom: enough to tell the owner, not to tell a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The provider's bot, number or page is a channel already.
    Account { by: ChannelId, workspace: WorkspaceId },
    /// The inbox workspace is connected already.
    Workspace { by: WorkspaceId },
    /// The conversation leads to somebody else already.
    Conversation { by: IdentityId },
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account { by, workspace } => write!(f, "channel {by} of workspace {workspace}"),
            Self::Workspace { by } => write!(f, "workspace {by}"),
            Self::Conversation { by } => write!(f, "conversation of {by}"),
        }
    }
}

//! Opening a PostgreSQL database: its address, the connections and what is asked of the server.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, Executor};

use crate::StoreError;
use crate::sql::{Connection, Pool, Way, sql};

/// `server_version_num` of the oldest release that is still tested by anybody.
const VERSION_MIN: i64 = 130_000;

/// A server that does not answer within this time is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Connections for reading. Reads are short; the writer and the claims have connections of their own.
const READERS_MAX: u32 = 8;

/// Connections for claims and leases.
const CLAIMERS_MAX: u32 = 2;

/// What a host opens at most: for reading, claiming, writing and listening, and one while it starts.
pub(super) const CONNECTIONS_OF_A_HOST: u32 = READERS_MAX + CLAIMERS_MAX + 3;

/// How long a read waits for a connection before it counts as failed.
const READER_WAIT: Duration = Duration::from_secs(5);

/// Prepared statements of a connection: more than there are texts, so that each is parsed once.
const STATEMENTS_KEPT: usize = 512;

/// Every statement looks rows up by their keys. A plan is kept with its prepared statement, and one that was made while
/// the tables were small reads them whole for as long as nobody analyses them: no plan may rely on that. What is asked
/// for in the order of an index is read in that order and no further than asked.
macro_rules! by_keys {
    () => {
        "set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off; \
         set jit = off"
    };
}

/// What each session is told: a statement that runs this long, or a transaction that does nothing, keeps rows that
/// others wait for and holds back the cleaning up of dead ones. Nobody waits longer for a lock than on SQLite.
const SESSION: &str = concat!(
    "set statement_timeout = '30s'; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '10s'; ",
    by_keys!()
);

/// A commit is on the disk before it is answered, whatever the server or the database was told; a stricter level stays.
const WRITING_SESSION: &str = concat!(
    "set statement_timeout = '30s'; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '10s'; ",
    by_keys!(),
    "; select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
);

/// Claims need no sync: a claim that is lost with the server's memory was followed by no call to the outside, since
/// each is announced in a commit that is synced and takes all before it to the disk.
const CLAIMING_SESSION: &str = concat!(
    "set statement_timeout = '30s'; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '10s'; ",
    by_keys!(),
    "; set synchronous_commit = off"
);

/// Where a PostgreSQL database is and how to get in. Does not print the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    /// Whether statements are prepared; not so behind a pooler that hands a session to another at each transaction.
    sessions: bool,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.options() {
            Ok(options) => {
                let database = options.get_database().unwrap_or_else(|| options.get_username());
                write!(f, "postgres://{}:{}/{database}", options.get_host(), options.get_port())
            }
            Err(_) => f.write_str("postgres://…"),
        }
    }
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: it cannot be read. The text does not repeat it.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        // The parameter that tells a pooler in transaction mode, in either spelling.
        let zero = |name: &str| url.contains(&format!("{name}=0"));
        let sessions = !zero("statement_cache_capacity") && !zero("statement-cache-capacity");
        let address = Self {
            url: url.replace("statement_cache_capacity", "statement-cache-capacity"),
            sessions,
        };
        let options = address.options()?;
        if options.get_database().is_none() {
            return Err(StoreError::Unusable(
                "`[database] url` names no database; write \"postgres://user:password@host:5432/mantle\"".to_owned(),
            ));
        }
        Ok(address)
    }

    /// The same through a pooler that hands a session to another at each transaction, such as PgBouncer in transaction
    /// mode: no statement is prepared by name, no session is told anything, and other hosts are asked, not heard.
    #[must_use]
    pub fn through_transaction_pooler(self) -> Self {
        Self {
            sessions: false,
            ..self
        }
    }

    fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let options = PgConnectOptions::from_str(&self.url).map_err(|_| {
            StoreError::Unusable(
                "`[database] url` cannot be read; write \"postgres://user:password@host:5432/mantle\", with signs of \
                 the password that mean something in a URL as %40 and the like"
                    .to_owned(),
            )
        })?;
        // Poolers refuse a session that begins with a setting which they do not know, and no number here has digits
        // behind a point.
        let options = options
            .application_name("mantle")
            .extra_float_digits(None)
            .disable_statement_logging();
        Ok(if self.sessions {
            options.statement_cache_capacity(STATEMENTS_KEPT)
        } else {
            options.statement_cache_capacity(0)
        })
    }

    fn way(&self) -> Way {
        if self.sessions {
            Way::Session
        } else {
            Way::Pooler { within: false }
        }
    }

    /// A connection for writing.
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        let options = self.options()?;
        let connection = tokio::time::timeout(CONNECT_WAIT, options.connect())
            .await
            .map_err(|_| self.unreachable("it does not answer"))?
            .map_err(|error| self.refused(error))?;
        let mut connection = Connection::Postgres(connection, self.way());
        if self.sessions {
            connection.script(WRITING_SESSION).await?;
        }
        Ok(connection)
    }

    /// Connections for reading.
    pub(super) fn readers(&self) -> Result<Pool, StoreError> {
        self.pool(READERS_MAX, SESSION)
    }

    /// Connections for claims and leases: each statement is a transaction, and none is synced.
    pub(super) fn claimers(&self) -> Result<Pool, StoreError> {
        self.pool(CLAIMERS_MAX, CLAIMING_SESSION)
    }

    /// A connection for listening, where one stays ours.
    pub(super) fn listeners(&self) -> Result<Option<Pool>, StoreError> {
        if !self.sessions {
            return Ok(None);
        }
        // It waits in no statement and in no transaction: nothing to tell it.
        self.pool(1, "select 1").map(Some)
    }

    fn pool(&self, connections: u32, session: &'static str) -> Result<Pool, StoreError> {
        let told = self.sessions;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(READER_WAIT)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if told {
                        connection.execute(session).await?;
                    }
                    Ok(())
                })
            })
            // Nothing here opens a transaction; what is in one was left half-way and must not be met by the next.
            .after_release(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_lazy_with(self.options()?);
        Ok(Pool::Postgres(pool, self.way()))
    }

    fn unreachable(&self, why: &str) -> StoreError {
        StoreError::Unusable(format!(
            "PostgreSQL at {self} cannot be reached: {why}. Start it, or mend host and port in `[database] url`; a \
             firewall and `listen_addresses` in postgresql.conf can be in the way too"
        ))
    }

    /// What the operator does about a connection that was refused. Never tells the password.
    fn refused(&self, error: sqlx::Error) -> StoreError {
        let text = match &error {
            sqlx::Error::Io(io) => return self.unreachable(&io.to_string()),
            sqlx::Error::Tls(tls) => format!(
                "PostgreSQL at {self} and this host agree on no encryption: {tls}. Set `sslmode` and `sslrootcert` in \
                 `[database] url`"
            ),
            sqlx::Error::Database(error) => {
                let code = error
                    .try_downcast_ref::<PgDatabaseError>()
                    .map_or("", PgDatabaseError::code);
                match code {
                    "28P01" => format!("PostgreSQL at {self} refuses the password. Mend it in `[database] url`"),
                    "28000" => format!(
                        "PostgreSQL at {self} does not let this user in: {}. Mend the user in `[database] url`, or let \
                         it in with a line in pg_hba.conf",
                        error.message()
                    ),
                    "3D000" => format!(
                        "PostgreSQL has no such database: {self}. Make it with `createdb`, or mend its name in \
                         `[database] url`"
                    ),
                    "53300" => format!(
                        "PostgreSQL at {self} has no connection left. Raise `max_connections`; a host needs {}",
                        CONNECTIONS_OF_A_HOST
                    ),
                    "57P03" => return StoreError::Busy(format!("PostgreSQL at {self} is starting or stopping")),
                    _ => return StoreError::Database(sqlx::Error::Protocol(error.message().to_owned())),
                }
            }
            _ => return StoreError::Database(error),
        };
        StoreError::Unusable(text)
    }

    /// A version that is too old is refused; settings that break the promise are told or overruled.
    pub(super) async fn check(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let version: Vec<u8> = sql("show server_version_num").scalar(&mut *connection).await?;
        let version = String::from_utf8_lossy(&version).parse::<i64>().unwrap_or_default();
        if version < VERSION_MIN {
            return Err(StoreError::Unusable(format!(
                "PostgreSQL at {self} is version {}; Mantle needs {} or later",
                version / 10_000,
                VERSION_MIN / 10_000
            )));
        }
        let synced: Vec<u8> = sql("show synchronous_commit").scalar(&mut *connection).await?;
        if synced == b"off" {
            return Err(StoreError::Unusable(format!(
                "PostgreSQL at {self} answers a commit before it is on the disk, and behind a pooler that cannot be \
                 told otherwise for a session. Set `synchronous_commit = on` in postgresql.conf or for the database"
            )));
        }
        let fsync: Vec<u8> = sql("show fsync").scalar(&mut *connection).await?;
        if fsync == b"off" {
            tracing::warn!(
                "PostgreSQL at {self} runs with `fsync = off`: what was accepted is lost when its machine fails"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_does_not_tell_its_password() {
        for url in [
            "postgres://me:canary-pw@db.example:6000/mantle",
            "postgres://db.example:6000/mantle?user=me&password=canary-pw&statement_cache_capacity=0",
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(format!("{address} {address:?}").matches("canary-pw").count(), 0);
            assert_eq!(address.to_string(), "postgres://db.example:6000/mantle");
            assert_eq!(address.sessions, !url.contains("capacity"));
        }
        for bad in ["postgres://me:canary-pw@db:port/x", "postgres://me:canary-pw@db"] {
            let error = Address::parse(bad).unwrap_err().to_string();
            assert!(error.contains("[database] url") && !error.contains("canary"), "{error}");
        }
    }
}

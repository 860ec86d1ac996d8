//! What an error of a database means for who met it.

use sqlx::postgres::PgDatabaseError;

use crate::StoreError;

/// What can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The statement is wrong for the rows as they are.
    Statement,
    /// Another host did the same, or something that crosses it, at the same time: doing it again will show.
    Raced,
    /// Another process has locked the database.
    Locked,
    DiskFull,
    /// The disk failed while writing.
    DiskFailed,
    /// The file is not what SQLite wrote.
    Damaged,
    /// The connection is gone, or the server is going or coming. What was under way may have happened.
    Lost,
}

/// SQLite's primary result codes that mean more than "this statement failed".
const SQLITE_BUSY: i32 = 5;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;

impl Fault {
    pub(crate) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Database(sqlx::Error::Database(error)) => {
                if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    return Self::of_postgres(error.code());
                }
                Self::Statement
            }
            // The low byte of the extended code.
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => match error.extended_code & 0xff {
                SQLITE_FULL => Self::DiskFull,
                SQLITE_BUSY => Self::Locked,
                SQLITE_IOERR => Self::DiskFailed,
                SQLITE_CORRUPT | SQLITE_NOTADB => Self::Damaged,
                _ => Self::Statement,
            },
            StoreError::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
            ) => Self::Lost,
            _ => Self::Statement,
        }
    }

    fn of_postgres(code: &str) -> Self {
        match code {
            // unique_violation, serialization_failure, deadlock_detected
            "23505" | "40001" | "40P01" => Self::Raced,
            // lock_not_available, query_canceled (by our own statement_timeout)
            "55P03" | "57014" => Self::Locked,
            "53100" => Self::DiskFull,
            // io_error: the server stops by itself when a sync fails
            "58030" => Self::Lost,
            // idle_in_transaction_session_timeout, transaction_timeout, read_only_sql_transaction (a former primary)
            "25P03" | "25P04" | "25006" => Self::Lost,
            // admin_shutdown, crash_shutdown, cannot_connect_now, too_many_connections
            "57P01" | "57P02" | "57P03" | "53300" => Self::Lost,
            // Class 08: connection exceptions.
            code if code.starts_with("08") => Self::Lost,
            _ => Self::Statement,
        }
    }
}

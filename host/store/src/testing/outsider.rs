//! Another process at the same SQLite file: a backup, a shell, somebody who reads for hours.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::StoreError;

/// One connection that the host knows nothing of. Gone, with what it holds, when dropped.
#[derive(Debug)]
pub struct Outsider(SqliteConnection);

impl Outsider {
    /// # Errors
    /// There is no database in this file.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = SqliteConnectOptions::new()
            .filename(path)
            .disable_statement_logging()
            .connect()
            .await?;
        Ok(Self(connection))
    }

    /// Nobody else can write until this connection is dropped.
    ///
    /// # Errors
    /// Somebody else has the lock.
    pub async fn lock(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("begin immediate").execute(&mut self.0).await?;
        Ok(())
    }

    /// Reads, and keeps what it saw: the write-ahead log cannot shrink below it until this connection is dropped.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn linger(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("begin; select count(*) from event")
            .execute(&mut self.0)
            .await?;
        Ok(())
    }

    /// The payloads of all events, one after the other.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn payloads(&mut self) -> Result<String, StoreError> {
        self.texts("select payload from event").await
    }

    /// Why lanes wait, one line each.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn causes(&mut self) -> Result<String, StoreError> {
        self.texts("select cause_message from lane where cause_message is not null")
            .await
    }

    async fn texts(&mut self, sql: &'static str) -> Result<String, StoreError> {
        let mut all = String::new();
        for row in sqlx::query(sql).fetch_all(&mut self.0).await? {
            all.push_str(&String::from_utf8_lossy(&row.try_get::<Vec<u8>, _>(0)?));
            all.push('\n');
        }
        Ok(all)
    }

    /// Lanes whose head has not reached their tail.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn open_lanes(&mut self) -> Result<i64, StoreError> {
        let row = sqlx::query("select count(*) from lane where head < tail")
            .fetch_one(&mut self.0)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// What SQLite finds wrong with the file: `ok` alone when nothing is.
    ///
    /// # Errors
    /// The file cannot be read at all.
    pub async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("pragma integrity_check").fetch_all(&mut self.0).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

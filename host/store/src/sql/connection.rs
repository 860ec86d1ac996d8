//! Connections of either database, and what runs on them.

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection as _, Sqlite, SqliteConnection, SqlitePool};

use super::{Row, Text, Value};
use crate::StoreError;

/// A connection, owned or lent by a pool.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    SqlitePooled(PoolConnection<Sqlite>),
}

impl Connection {
    /// Runs a file of statements, such as a migration.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(on) => sqlx::raw_sql(text).execute(on).await?,
            Self::SqlitePooled(on) => sqlx::raw_sql(text).execute(&mut **on).await?,
        };
        Ok(())
    }

    /// Gives an owned connection back in order.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.close().await?),
            Self::SqlitePooled(_) => Ok(()),
        }
    }
}

/// Connections for reading.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(pool) => Ok(Connection::SqlitePooled(pool.acquire().await?)),
        }
    }
}

/// Where a statement runs.
pub(crate) enum Target<'c> {
    Connection(&'c mut Connection),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Connection> for Target<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        Self::Connection(connection)
    }
}

impl<'c> From<&'c Pool> for Target<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

impl Target<'_> {
    pub(super) async fn execute(self, text: Text, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let done = match self {
            Self::Connection(Connection::Sqlite(on)) => sqlite(text, values).execute(on).await?,
            Self::Connection(Connection::SqlitePooled(on)) => sqlite(text, values).execute(&mut **on).await?,
            Self::Pool(Pool::Sqlite(pool)) => sqlite(text, values).execute(pool).await?,
        };
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch_all(self, text: Text, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let rows = match self {
            Self::Connection(Connection::Sqlite(on)) => sqlite(text, values).fetch_all(on).await?,
            Self::Connection(Connection::SqlitePooled(on)) => sqlite(text, values).fetch_all(&mut **on).await?,
            Self::Pool(Pool::Sqlite(pool)) => sqlite(text, values).fetch_all(pool).await?,
        };
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }
}

fn sqlite(text: Text, values: &[Value<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    let query = match text {
        Text::Ours(text) => sqlx::query(text),
        Text::Built(text) => sqlx::query(AssertSqlSafe(text)),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Int(int) => query.bind(*int),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
        Value::Text(text) => query.bind(text.as_ref()),
        Value::Ids(ids) => query.bind(json_list(ids.iter().map(i64::to_string))),
        Value::Places(places) => query.bind(json_list(places.iter().map(|(lane, seq)| format!("[{lane},{seq}]")))),
    })
}

/// A list as `json_each` takes it.
fn json_list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    format!("[{}]", items.join(","))
}

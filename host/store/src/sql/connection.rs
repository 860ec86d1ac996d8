//! Connections of either database, and what runs on them.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Sqlite, SqliteConnection, SqlitePool};

use super::{Row, Text, Value};
use crate::StoreError;

/// A connection, owned or lent by a pool.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    SqlitePooled(PoolConnection<Sqlite>),
    Postgres(PgConnection),
    PostgresPooled(PoolConnection<Postgres>),
}

impl Connection {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::PostgresPooled(_))
    }

    /// Runs a text of statements without parameters, such as a migration, in one go.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(on) => {
                sqlx::raw_sql(text).execute(on).await?;
            }
            Self::SqlitePooled(on) => {
                sqlx::raw_sql(text).execute(&mut **on).await?;
            }
            Self::Postgres(on) => {
                sqlx::raw_sql(text).execute(on).await?;
            }
            Self::PostgresPooled(on) => {
                sqlx::raw_sql(text).execute(&mut **on).await?;
            }
        }
        Ok(())
    }

    /// Gives an owned connection back in order.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.close().await?),
            Self::Postgres(connection) => Ok(connection.close().await?),
            Self::SqlitePooled(_) | Self::PostgresPooled(_) => Ok(()),
        }
    }
}

/// Connections for what needs no transaction.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(pool) => Ok(Connection::SqlitePooled(pool.acquire().await?)),
            Self::Postgres(pool) => Ok(Connection::PostgresPooled(pool.acquire().await?)),
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
            Self::Connection(Connection::Postgres(on)) => return on_postgres(on, text, values).await,
            Self::Connection(Connection::PostgresPooled(on)) => return on_postgres(on, text, values).await,
            Self::Pool(Pool::Postgres(pool)) => return on_postgres(&mut *pool.acquire().await?, text, values).await,
        };
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch_all(self, text: Text, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let rows = match self {
            Self::Connection(Connection::Sqlite(on)) => sqlite(text, values).fetch_all(on).await?,
            Self::Connection(Connection::SqlitePooled(on)) => sqlite(text, values).fetch_all(&mut **on).await?,
            Self::Pool(Pool::Sqlite(pool)) => sqlite(text, values).fetch_all(pool).await?,
            Self::Connection(Connection::Postgres(on)) => return from_postgres(on, text, values).await,
            Self::Connection(Connection::PostgresPooled(on)) => return from_postgres(on, text, values).await,
            Self::Pool(Pool::Postgres(pool)) => return from_postgres(&mut *pool.acquire().await?, text, values).await,
        };
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }
}

fn sqlite(text: Text, values: &[Value<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    let query = match text {
        Text::Ours(text) | Text::Either { sqlite: text, .. } => sqlx::query(text),
        Text::Built(text) => sqlx::query(AssertSqlSafe(text)),
    };
    values.iter().fold(query, |query, value| match value {
        Value::Int(int) => query.bind(*int),
        Value::Bytes(bytes) => query.bind(bytes.as_deref()),
        Value::Text(text) => query.bind(text.as_ref()),
        Value::Ids(ids) => query.bind(json_list(ids.iter().map(i64::to_string))),
        Value::Places(places) => query.bind(json_list(places.iter().map(|(lane, seq)| format!("[{lane},{seq}]")))),
        Value::Keys(keys) => query.bind(json_list(keys.iter().map(|key| format!("\"{}\"", hex::encode(key))))),
    })
}

/// A list as `json_each` takes it.
fn json_list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    format!("[{}]", items.join(","))
}

/// The statements of a text, each with all of its parameters: those that it does not name do no harm, since all have
/// a type.
fn postgres(text: Text, values: &[Value<'_>]) -> Vec<Query<'static, Postgres, PgArguments>> {
    let with_values = |query: Query<'static, Postgres, PgArguments>| {
        values.iter().fold(query, |query, value| match value {
            Value::Int(int) => query.bind(*int),
            Value::Bytes(bytes) => query.bind(bytes.as_deref()),
            Value::Text(text) => query.bind(text.as_ref()),
            Value::Ids(ids) => query.bind(ids.as_ref()),
            Value::Places(places) => query.bind(
                places
                    .iter()
                    .flat_map(|(lane, seq)| [*lane, *seq])
                    .collect::<Vec<i64>>(),
            ),
            Value::Keys(keys) => query.bind(keys),
        })
    };
    match text {
        // No text of ours has a semicolon within a literal.
        Text::Ours(text) | Text::Either { postgres: text, .. } => text
            .split(';')
            .filter(|statement| !statement.trim().is_empty())
            .map(|statement| with_values(sqlx::query(statement)))
            .collect(),
        Text::Built(text) => vec![with_values(sqlx::query(AssertSqlSafe(text)))],
    }
}

async fn on_postgres(on: &mut PgConnection, text: Text, values: &[Value<'_>]) -> Result<u64, StoreError> {
    let mut rows = 0;
    for query in postgres(text, values) {
        rows += query.execute(&mut *on).await?.rows_affected();
    }
    Ok(rows)
}

async fn from_postgres(on: &mut PgConnection, text: Text, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for query in postgres(text, values) {
        rows = query.fetch_all(&mut *on).await?;
    }
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

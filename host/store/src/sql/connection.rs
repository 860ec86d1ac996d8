//! Connections of either database, and what runs on them.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection as _, Postgres};

use super::given::{self, Column};
use super::sqlite::{Lent, Sqlite, SqlitePool};
use super::{Row, Statement, Text, Value};
use crate::StoreError;

/// A connection, owned or lent by a pool.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(Sqlite),
    SqlitePooled(Lent),
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
            Self::Sqlite(on) => on.script(text)?,
            Self::SqlitePooled(on) => on.connection()?.script(text)?,
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
            Self::Sqlite(connection) => connection.close(),
            Self::Postgres(connection) => Ok(connection.close().await?),
            Self::SqlitePooled(_) | Self::PostgresPooled(_) => Ok(()),
        }
    }
}

/// Connections for what needs no transaction.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(Arc<SqlitePool>),
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
    pub(super) async fn execute(self, statement: &Statement<'_>) -> Result<u64, StoreError> {
        match self {
            Self::Connection(Connection::Sqlite(on)) => on.execute(statement),
            Self::Connection(Connection::SqlitePooled(on)) => on.connection()?.execute(statement),
            Self::Pool(Pool::Sqlite(pool)) => pool.acquire().await?.connection()?.execute(statement),
            Self::Connection(Connection::Postgres(on)) => on_postgres(on, statement).await,
            Self::Connection(Connection::PostgresPooled(on)) => on_postgres(on, statement).await,
            Self::Pool(Pool::Postgres(pool)) => on_postgres(&mut *pool.acquire().await?, statement).await,
        }
    }

    pub(super) async fn fetch_all(self, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let rows = match self {
            Self::Connection(Connection::Sqlite(on)) => on.fetch_all(statement)?,
            Self::Connection(Connection::SqlitePooled(on)) => on.connection()?.fetch_all(statement)?,
            Self::Pool(Pool::Sqlite(pool)) => pool.acquire().await?.connection()?.fetch_all(statement)?,
            Self::Connection(Connection::Postgres(on)) => return from_postgres(on, statement).await,
            Self::Connection(Connection::PostgresPooled(on)) => return from_postgres(on, statement).await,
            Self::Pool(Pool::Postgres(pool)) => return from_postgres(&mut *pool.acquire().await?, statement).await,
        };
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }
}

type PostgresQuery = Query<'static, Postgres, PgArguments>;

/// The statements of a text, each with all of its parameters: those that it does not name do no harm, since all have
/// a type.
fn postgres(statement: &Statement<'_>) -> Vec<PostgresQuery> {
    let with_values = |query: PostgresQuery| statement.values.iter().fold(query, postgres_value);
    match &statement.text {
        // No text of ours has a semicolon within a literal.
        Text::Ours(text) | Text::Either { postgres: text, .. } => text
            .split(';')
            .filter(|statement| !statement.trim().is_empty())
            .map(|statement| with_values(sqlx::query(statement)))
            .collect(),
        Text::Built(text) => vec![with_values(sqlx::query(AssertSqlSafe(text.clone())))],
        Text::Given(_) if statement.given.is_empty() => Vec::new(),
        Text::Given(text) => {
            let (before, columns) = (statement.values.len(), statement.given.columns());
            let text = given::as_arrays(text, before, columns.len());
            let query = with_values(sqlx::query(AssertSqlSafe(text)));
            vec![columns.iter().fold(query, |query, column| match column {
                Column::Ints(ints) => query.bind(ints),
                Column::Bytes(bytes) => query.bind(bytes),
                Column::Texts(texts) => query.bind(texts),
            })]
        }
    }
}

fn postgres_value(query: PostgresQuery, value: &Value<'_>) -> PostgresQuery {
    match value {
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
    }
}

async fn on_postgres(on: &mut PgConnection, statement: &Statement<'_>) -> Result<u64, StoreError> {
    let mut rows = 0;
    for query in postgres(statement) {
        rows += query.execute(&mut *on).await?.rows_affected();
    }
    Ok(rows)
}

async fn from_postgres(on: &mut PgConnection, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for query in postgres(statement) {
        rows = query.fetch_all(&mut *on).await?;
    }
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

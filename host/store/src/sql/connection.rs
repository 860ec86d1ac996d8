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
    Postgres(PgConnection, Way),
    PostgresPooled(PoolConnection<Postgres>, Way),
}

/// How a PostgreSQL server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A session is ours: statements are prepared in it and kept.
    Session,
    /// A pooler gives us another session for each transaction. Nothing is kept in one, and a statement that is in no
    /// transaction gets one of its own, since even one statement is several messages to the server.
    Pooler {
        /// A transaction was begun on this connection.
        within: bool,
    },
}

impl Way {
    fn is_alone(self) -> bool {
        self == Self::Pooler { within: false }
    }

    fn follow(&mut self, script: &str) {
        if let Self::Pooler { within } = self {
            match script {
                "begin" => *within = true,
                "commit" | "rollback" => *within = false,
                _ => {}
            }
        }
    }
}

impl Connection {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(..) | Self::PostgresPooled(..))
    }

    /// Runs a text of statements without parameters, such as a migration, in one go.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(on) => on.script(text)?,
            Self::SqlitePooled(on) => on.connection()?.script(text)?,
            Self::Postgres(on, way) => {
                sqlx::raw_sql(text).execute(on).await?;
                way.follow(text);
            }
            Self::PostgresPooled(on, way) => {
                sqlx::raw_sql(text).execute(&mut **on).await?;
                way.follow(text);
            }
        }
        Ok(())
    }

    /// Gives an owned connection back in order.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.close(),
            Self::Postgres(connection, _) => Ok(connection.close().await?),
            Self::SqlitePooled(_) | Self::PostgresPooled(..) => Ok(()),
        }
    }
}

/// Connections for what needs no transaction.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(Arc<SqlitePool>),
    Postgres(PgPool, Way),
}

impl Pool {
    pub(crate) async fn acquire(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Sqlite(pool) => Ok(Connection::SqlitePooled(pool.acquire().await?)),
            Self::Postgres(pool, way) => Ok(Connection::PostgresPooled(pool.acquire().await?, *way)),
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
            Self::Connection(Connection::Postgres(on, way)) => on_postgres(on, *way, statement).await,
            Self::Connection(Connection::PostgresPooled(on, way)) => on_postgres(on, *way, statement).await,
            Self::Pool(Pool::Postgres(pool, way)) => on_postgres(&mut *pool.acquire().await?, *way, statement).await,
        }
    }

    pub(super) async fn fetch_all(self, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let rows = match self {
            Self::Connection(Connection::Sqlite(on)) => on.fetch_all(statement)?,
            Self::Connection(Connection::SqlitePooled(on)) => on.connection()?.fetch_all(statement)?,
            Self::Pool(Pool::Sqlite(pool)) => pool.acquire().await?.connection()?.fetch_all(statement)?,
            Self::Connection(Connection::Postgres(on, way)) => return from_postgres(on, *way, statement).await,
            Self::Connection(Connection::PostgresPooled(on, way)) => return from_postgres(on, *way, statement).await,
            Self::Pool(Pool::Postgres(pool, way)) => {
                return from_postgres(&mut *pool.acquire().await?, *way, statement).await;
            }
        };
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }
}

type PostgresQuery = Query<'static, Postgres, PgArguments>;

/// The statements of a text, each with all of its parameters: those that it does not name do no harm, since all have
/// a type.
fn postgres(statement: &Statement<'_>, way: Way) -> Vec<PostgresQuery> {
    let with_values = |query: PostgresQuery| {
        let query = query.persistent(way == Way::Session);
        statement.values.iter().fold(query, postgres_value)
    };
    match &statement.text {
        // No text of ours has a semicolon within a literal.
        Text::Ours(text) | Text::Either { postgres: text, .. } => text
            .split(';')
            .filter(|statement| !statement.trim().is_empty())
            .map(|statement| with_values(sqlx::query(statement)))
            .collect(),
        Text::Built(text) => vec![with_values(sqlx::query(AssertSqlSafe(text.clone())))],
        Text::Given { .. } if statement.given.is_empty() => Vec::new(),
        Text::Given { postgres: text, .. } => {
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

async fn on_postgres(on: &mut PgConnection, way: Way, statement: &Statement<'_>) -> Result<u64, StoreError> {
    begin(on, way).await?;
    let run = async {
        let mut rows = 0;
        for query in postgres(statement, way) {
            rows += query.execute(&mut *on).await?.rows_affected();
        }
        Ok(rows)
    };
    let done = run.await;
    end(on, way, done).await
}

async fn from_postgres(on: &mut PgConnection, way: Way, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
    begin(on, way).await?;
    let run = async {
        let mut rows = Vec::new();
        for query in postgres(statement, way) {
            rows = query.fetch_all(&mut *on).await?;
        }
        Ok(rows.into_iter().map(Row::Postgres).collect())
    };
    let done = run.await;
    end(on, way, done).await
}

/// A transaction around what is alone, where a session is not ours without one.
async fn begin(on: &mut PgConnection, way: Way) -> Result<(), StoreError> {
    if way.is_alone() {
        sqlx::raw_sql("begin").execute(on).await?;
    }
    Ok(())
}

async fn end<T>(on: &mut PgConnection, way: Way, done: Result<T, StoreError>) -> Result<T, StoreError> {
    if way.is_alone() {
        let end = if done.is_ok() { "commit" } else { "rollback" };
        let ended = sqlx::raw_sql(end).execute(on).await;
        // The first error is the one to tell.
        if done.is_ok() {
            ended?;
        }
    }
    done
}

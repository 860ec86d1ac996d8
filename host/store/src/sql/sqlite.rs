//! SQLite in the calling thread: a statement is some microseconds of work, and handing it to another thread and back
//! costs several times as much, for each statement and each row. Calls here never wait but for the disk and, up to the
//! busy time-out, for a lock of another process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::types::Value as Stored;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::given::{self, Column};
use super::{Statement, Text, Value};
use crate::StoreError;

/// Prepared statements kept for each connection: all texts of the room, and those over many rows in each of their
/// lengths. One has some KiB.
const STATEMENTS_KEPT: usize = 512;

/// A connection to a file.
#[derive(Debug)]
pub(crate) struct Sqlite(rusqlite::Connection);

/// One row of an answer.
pub(crate) struct SqliteRow {
    columns: Arc<[String]>,
    values: Vec<Stored>,
}

impl SqliteRow {
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    pub(super) fn value(&self, place: usize) -> Option<&Stored> {
        self.values.get(place)
    }
}

impl Sqlite {
    /// Opens the file, to write or only to read it.
    pub(crate) fn open(path: &std::path::Path, writes: bool, busy_wait: Duration) -> Result<Self, StoreError> {
        let mode = if writes {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        // Only ever in one thread at a time: no mutex of its own is needed.
        let connection = rusqlite::Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(busy_wait)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        // Otherwise a statement whose plan could depend on a value is prepared anew for every value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self(connection))
    }

    /// Runs a text of statements without parameters.
    pub(super) fn script(&mut self, text: &str) -> Result<(), StoreError> {
        Ok(self.0.execute_batch(text)?)
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        Ok(self.0.close().map_err(|(_, error)| error)?)
    }

    /// Tells how many rows were written.
    pub(super) fn execute(&mut self, statement: &Statement<'_>) -> Result<u64, StoreError> {
        let before = self.0.total_changes();
        self.fetch_all(statement)?;
        Ok(self.0.total_changes() - before)
    }

    /// The rows of the last statement of a text; of one over many rows, those of all its runs.
    pub(super) fn fetch_all(&mut self, statement: &Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        let mut rows = Vec::new();
        match &statement.text {
            Text::Ours(text) | Text::Either { sqlite: text, .. } => {
                for part in parts(text).iter() {
                    rows = self.run(part, |prepared| bind_values(prepared, &statement.values))?;
                }
            }
            Text::Built(text) => {
                rows = self.run(&positional(text), |prepared| bind_values(prepared, &statement.values))?;
            }
            Text::Given { sqlite: text, .. } => {
                let (before, columns) = (statement.values.len(), statement.given.columns());
                for (from, run) in statement.given.runs() {
                    let text = given::written_out(text, before, columns.len(), run);
                    rows.extend(self.run(&text, |prepared| {
                        bind_values(prepared, &statement.values)?;
                        bind_rows(prepared, before, columns, from..from + run)
                    })?);
                }
            }
        }
        Ok(rows)
    }

    fn run(
        &mut self,
        text: &str,
        bind: impl FnOnce(&mut rusqlite::Statement<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut prepared = self.0.prepare_cached(text)?;
        bind(&mut prepared)?;
        let width = prepared.column_count();
        let mut found: Vec<SqliteRow> = Vec::new();
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next()? {
            let columns = match found.first() {
                Some(first) => Arc::clone(&first.columns),
                None => {
                    let names = row.as_ref().column_names();
                    names.into_iter().map(str::to_owned).collect()
                }
            };
            let values = (0..width).map(|place| row.get(place)).collect::<Result<_, _>>()?;
            found.push(SqliteRow { columns, values });
        }
        Ok(found)
    }
}

/// A part of a text gets those parameters that it names, and those before the last of them.
fn bind_values(prepared: &mut rusqlite::Statement<'_>, values: &[Value<'_>]) -> Result<(), rusqlite::Error> {
    for (place, value) in (1..=prepared.parameter_count()).zip(values) {
        match value {
            Value::Int(int) => prepared.raw_bind_parameter(place, int)?,
            Value::Bytes(bytes) => prepared.raw_bind_parameter(place, bytes.as_deref())?,
            Value::Text(text) => prepared.raw_bind_parameter(place, text.as_ref())?,
            Value::Ids(ids) => prepared.raw_bind_parameter(place, json_list(ids.iter().map(i64::to_string)))?,
            Value::Places(places) => {
                let places = places.iter().map(|(lane, seq)| format!("[{lane},{seq}]"));
                prepared.raw_bind_parameter(place, json_list(places))?;
            }
            Value::Keys(keys) => {
                let keys = keys.iter().map(|key| format!("\"{}\"", hex::encode(key)));
                prepared.raw_bind_parameter(place, json_list(keys))?;
            }
        }
    }
    Ok(())
}

fn bind_rows(
    prepared: &mut rusqlite::Statement<'_>,
    before: usize,
    columns: &[Column<'_>],
    rows: std::ops::Range<usize>,
) -> Result<(), rusqlite::Error> {
    let mut place = before;
    for row in rows {
        for column in columns {
            place += 1;
            match column {
                Column::Ints(ints) => prepared.raw_bind_parameter(place, ints[row])?,
                Column::Bytes(bytes) => prepared.raw_bind_parameter(place, bytes[row])?,
                Column::Texts(texts) => prepared.raw_bind_parameter(place, texts[row])?,
            }
        }
    }
    Ok(())
}

/// A list as `json_each` takes it.
fn json_list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    format!("[{}]", items.join(","))
}

type Parts = Arc<[String]>;

/// The statements of each text of ours. Bounded by the texts of this room.
static PARTS: LazyLock<Mutex<HashMap<&'static str, Parts>>> = LazyLock::new(Mutex::default);

/// No text of ours has a semicolon within a literal.
fn parts(text: &'static str) -> Parts {
    // Nothing that holds it can panic half-way through a change.
    let mut known = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let parts = known.entry(text).or_insert_with(|| {
        text.split(';')
            .filter(|statement| !statement.trim().is_empty())
            .map(positional)
            .collect()
    });
    Arc::clone(parts)
}

/// SQLite takes `$1` for a name and `?1` for a place. No text of ours has a dollar for anything else.
pub(super) fn positional(text: &str) -> String {
    text.replace('$', "?")
}

/// Connections that read, opened as they are needed.
#[derive(Debug)]
pub(crate) struct SqlitePool {
    path: PathBuf,
    busy_wait: Duration,
    acquire_wait: Duration,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Sqlite>>,
}

impl SqlitePool {
    pub(crate) fn new(path: PathBuf, connections: usize, (busy_wait, acquire_wait): (Duration, Duration)) -> Self {
        Self {
            path,
            busy_wait,
            acquire_wait,
            permits: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
        }
    }

    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Lent, StoreError> {
        let permit = tokio::time::timeout(self.acquire_wait, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else {
            return Err(StoreError::Busy("all connections that read are in use".to_owned()));
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Sqlite::open(&self.path, false, self.busy_wait)?,
        };
        Ok(Lent {
            connection: Some(connection),
            pool: Arc::clone(self),
            _permit: permit,
        })
    }
}

/// A connection of a pool.
#[derive(Debug)]
pub(crate) struct Lent {
    /// Until it is given back.
    connection: Option<Sqlite>,
    pool: Arc<SqlitePool>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    pub(super) fn connection(&mut self) -> Result<&mut Sqlite, StoreError> {
        self.connection
            .as_mut()
            .ok_or_else(|| StoreError::Busy("the connection is gone".to_owned()))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // One that was left in a transaction would keep the write-ahead log from shrinking.
        if let Some(connection) = self.connection.take().filter(|connection| connection.0.is_autocommit()) {
            self.pool
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

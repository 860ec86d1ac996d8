//! What a PostgreSQL server tells of itself, for whoever looks after it. Changes nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::postgres::PgListener;

use super::postgres::{Address, CONNECTIONS_OF_A_HOST};
use super::rows::Of;
use super::schema;
use crate::StoreError;
use crate::sql::{Connection, Pool, sql};

/// Enough for a figure that does not jump.
const COMMITS: u32 = 40;

/// A notification that takes longer is not coming.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// How a server stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// `15.18 (Debian 15.18-0+deb12u1)`
    pub version: String,
    /// It only repeats what another server writes.
    pub is_standby: bool,
    /// What sessions get that ask for nothing else.
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    /// Commits a second of one session, each synced. None: they cannot be tried.
    pub commits_per_second: Option<f64>,
    /// The server's clock against ours, in milliseconds: above zero it is ahead.
    pub clock_ahead_ms: i64,
    /// By their numbers, those whose lease has ended less than a day ago too.
    pub hosts: Vec<HostSeen>,
    pub connections: Connections,
    /// The transaction that has been open the longest, and which it is.
    pub oldest_transaction: Option<(Duration, String)>,
    /// None: the address says that notifications are not to be used.
    pub notifications_arrive: Option<bool>,
    /// Migrations that the database has, and that this program knows.
    pub migrations: (i64, i64),
    /// The oldest release that can work with it knows so many.
    pub migrations_needed: i64,
}

/// A host by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSeen {
    pub number: i64,
    /// In milliseconds by the server's clock; below zero it has ended.
    pub lease_left_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// The smallest limit that concerns us: of the server, the database or the user.
    pub max: i64,
    /// Used by others than hosts.
    pub used_by_others: i64,
    pub needed_by_a_host: i64,
}

/// Whether a host could work with the database: it is there, lets us in, and is neither too old nor too new.
///
/// # Errors
/// [`StoreError::Unusable`] says what to do.
pub async fn reach(address: &Address) -> Result<(), StoreError> {
    let mut connection = address.connect().await?;
    address.check(&mut connection).await?;
    let (have, needs) = migrations(&mut connection).await?;
    if needs > schema::known_to_postgres() {
        return Err(schema::newer(&address.to_string(), have, schema::known_to_postgres()));
    }
    connection.close().await
}

/// Looks at everything.
///
/// # Errors
/// The server cannot be reached or does not answer; the text says what to do.
pub async fn examine(address: &Address) -> Result<Examined, StoreError> {
    look(address).await.map_err(understood)
}

/// Statements that are prepared under a name another session has, or are gone with the session that had them.
fn understood(error: StoreError) -> StoreError {
    let StoreError::Database(sqlx::Error::Database(cause)) = &error else {
        return error;
    };
    match cause.code().as_deref() {
        Some("26000" | "42P05") => StoreError::Unusable(format!(
            "a pooler in transaction mode, such as PgBouncer, is in between and loses prepared statements ({}). Write \
             `transaction_pooler = true` under [database], or name the server itself in `[database] url`",
            cause.message()
        )),
        _ => error,
    }
}

async fn look(address: &Address) -> Result<Examined, StoreError> {
    let mut connection = address.connect().await?;
    let on = &mut connection;
    let version = word(on, "select current_setting('server_version')").await?;
    let is_standby: bool = sql("select pg_is_in_recovery()").scalar(&mut *on).await?;
    let (have, needed) = migrations(on).await?;
    let examined = Examined {
        version,
        is_standby,
        fsync: setting(on, "fsync").await?,
        synchronous_commit: setting(on, "synchronous_commit").await?,
        full_page_writes: setting(on, "full_page_writes").await?,
        commits_per_second: if is_standby { None } else { commit_rate(on).await },
        clock_ahead_ms: clock_ahead(on).await?,
        hosts: hosts(on).await?,
        connections: connections(on).await?,
        oldest_transaction: oldest_transaction(on).await?,
        notifications_arrive: heard(address, is_standby).await?,
        migrations: (have, schema::known_to_postgres()),
        migrations_needed: needed,
    };
    connection.close().await?;
    Ok(examined)
}

async fn word(on: &mut Connection, statement: &'static str) -> Result<String, StoreError> {
    let bytes: Vec<u8> = sql(statement).scalar(on).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As the server, the database and the user set it, whatever this session was told.
async fn setting(on: &mut Connection, name: &'static str) -> Result<String, StoreError> {
    let value: Vec<u8> = sql("select reset_val from pg_settings where name = $1")
        .bind(name)
        .scalar(on)
        .await?;
    Ok(String::from_utf8_lossy(&value).into_owned())
}

/// A message in the log of the server that nobody reads: it is synced as any write is, and leaves no row.
async fn commit_rate(on: &mut Connection) -> Option<f64> {
    let begun = Instant::now();
    for _ in 0..COMMITS {
        sql("select (pg_logical_emit_message(true, 'mantle', '') is not null)")
            .fetch_all(&mut *on)
            .await
            .ok()?;
    }
    Some(f64::from(COMMITS) / begun.elapsed().as_secs_f64().max(f64::EPSILON))
}

async fn clock_ahead(on: &mut Connection) -> Result<i64, StoreError> {
    let before = unix_ms();
    let there: i64 = sql("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
        .scalar(on)
        .await?;
    let after = unix_ms();
    Ok(there - before.midpoint(after))
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn is_there(on: &mut Connection, table: &'static str) -> Result<bool, StoreError> {
    sql("select to_regclass($1) is not null").bind(table).scalar(on).await
}

async fn hosts(on: &mut Connection) -> Result<Vec<HostSeen>, StoreError> {
    if !is_there(on, "host").await? {
        return Ok(Vec::new());
    }
    let rows = sql(r"select number, leased_until - server_ms() as left_ms from host
          where leased_until > server_ms() - 86400000
          order by number")
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            let row = Of { table: "host", row };
            Ok(HostSeen {
                number: row.int("number")?,
                lease_left_ms: row.int("left_ms")?,
            })
        })
        .collect()
}

async fn migrations(on: &mut Connection) -> Result<(i64, i64), StoreError> {
    if !is_there(on, "migration").await? {
        return Ok((0, 0));
    }
    let row = sql("select coalesce(max(version), 0) as version, coalesce(max(needs), 0) as needs from migration")
        .fetch_one(on)
        .await?;
    Ok((row.get("version")?, row.get("needs")?))
}

async fn connections(on: &mut Connection) -> Result<Connections, StoreError> {
    let row = sql(r"select least(
              current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
              (select case when datconnlimit < 0 then 1000000 else datconnlimit end from pg_database
               where datname = current_database()),
              (select case when rolconnlimit < 0 then 1000000 else rolconnlimit end from pg_roles
               where rolname = current_user))::bigint as most,
          (select count(*) from pg_stat_activity
           where backend_type = 'client backend' and application_name <> 'mantle') as others")
    .fetch_one(on)
    .await?;
    Ok(Connections {
        max: row.get("most")?,
        used_by_others: row.get("others")?,
        needed_by_a_host: i64::from(CONNECTIONS_OF_A_HOST),
    })
}

async fn oldest_transaction(on: &mut Connection) -> Result<Option<(Duration, String)>, StoreError> {
    let row = sql(r"select age_ms, who from (
              select (extract(epoch from clock_timestamp() - xact_start) * 1000)::bigint as age_ms,
                     convert_to(format('session %s of %s (%s, %s)', pid, usename,
                         coalesce(nullif(application_name, ''), 'without a name'), state), 'UTF8') as who
              from pg_stat_activity
              where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()
              union all
              select (extract(epoch from clock_timestamp() - prepared) * 1000)::bigint,
                     convert_to(format('prepared transaction %s of %s', gid, owner), 'UTF8')
              from pg_prepared_xacts where database = current_database()) as open
          order by age_ms desc
          limit 1")
    .fetch_optional(on)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Of {
        table: "pg_stat_activity",
        row: &row,
    };
    let age = Duration::from_millis(row.int("age_ms")?.max(0).unsigned_abs());
    Ok(Some((age, row.text("who")?)))
}

/// Whether a notification gets through: a pooler in transaction mode swallows it without a word.
async fn heard(address: &Address, is_standby: bool) -> Result<Option<bool>, StoreError> {
    let Some(Pool::Postgres(pool, _)) = address.listeners()? else {
        return Ok(None);
    };
    // A standby hears and says nothing, for another reason.
    if is_standby {
        return Ok(None);
    }
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("mantle_examine").await?;
    let mut teller = address.connect().await?;
    sql("select pg_notify('mantle_examine', '')")
        .fetch_all(&mut teller)
        .await?;
    teller.close().await?;
    let heard = tokio::time::timeout(HEARD_WITHIN, listener.recv()).await;
    Ok(Some(matches!(heard, Ok(Ok(_)))))
}

/// How long the oldest transaction has been open: what keeps dead rows from being cleaned up.
pub(super) async fn oldest_transaction_age(readers: &Pool) -> Result<Duration, StoreError> {
    let mut connection = readers.acquire().await?;
    let oldest = oldest_transaction(&mut connection).await?;
    Ok(oldest.map_or(Duration::ZERO, |(age, _)| age))
}

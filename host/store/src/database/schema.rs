//! Migrations: they only go forward.

use std::path::Path;

use mantle_failpoint::{Point, reach};

use super::postgres::Address;
use crate::StoreError;
use crate::sql::{Connection, built, sql};

/// In order; the place in the list, from 1, is the version a database has after it. Released ones never change.
const SQLITE: &[&str] = &[
    include_str!("../../schema/sqlite/0001_start.sql"),
    include_str!("../../schema/sqlite/0002_single.sql"),
    include_str!("../../schema/sqlite/0004_upkeep.sql"),
    include_str!("../../schema/sqlite/0005_budgets.sql"),
    include_str!("../../schema/sqlite/0006_dedupe.sql"),
];

/// One step of a PostgreSQL database, which hosts of several releases may share.
struct Shared {
    text: &'static str,
    /// A host that knows the migrations up to this one works on with the database after it. What only adds tables,
    /// or columns with a default, names the migration before it, so that the release before runs beside this one
    /// while hosts are replaced one by one.
    needs: i64,
}

const POSTGRES: &[Shared] = &[
    Shared {
        text: include_str!("../../schema/postgres/0001_start.sql"),
        needs: 1,
    },
    Shared {
        text: include_str!("../../schema/postgres/0002_budgets.sql"),
        needs: 1,
    },
    Shared {
        text: include_str!("../../schema/postgres/0003_claims.sql"),
        needs: 1,
    },
];

/// Names the lock that hosts take to migrate, one after the other.
const MIGRATING: i64 = 0x6d61_6e74_6c65_0001;

pub(super) fn known_to_postgres() -> i64 {
    i64::try_from(POSTGRES.len()).unwrap_or(i64::MAX)
}

/// Each migration in one transaction with its number.
pub(super) async fn bring_sqlite_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let have: i64 = sql("pragma user_version").scalar(&mut *connection).await?;
    let known = i64::try_from(SQLITE.len()).unwrap_or(i64::MAX);
    if have > known {
        return Err(newer(&path.display().to_string(), have, known));
    }
    for (version, migration) in (1..).zip(SQLITE) {
        if version > have {
            apply(connection, version, migration).await?;
        }
    }
    Ok(())
}

/// A crash in between leaves the version before it: schema changes are rolled back like any other.
async fn apply(connection: &mut Connection, version: i64, migration: &'static str) -> Result<(), StoreError> {
    tracing::info!(version, "Bringing the database to schema version {version}");
    sql("begin immediate").execute(&mut *connection).await?;
    let done = async {
        connection.script(migration).await?;
        // A pragma takes no parameters; the number is ours.
        let stamp = format!("pragma user_version = {version}");
        built(stamp).execute(&mut *connection).await?;
        reach(Point::MigrationRun).await;
        sql("commit").execute(&mut *connection).await
    }
    .await;
    if let Err(error) = done {
        // The first error is the one to tell.
        let _ = sql("rollback").execute(&mut *connection).await;
        return Err(error);
    }
    Ok(())
}

/// All in one transaction, under a lock: of several hosts that start at once one migrates and the others find it done.
pub(super) async fn bring_postgres_up_to_date(
    connection: &mut Connection,
    address: &Address,
) -> Result<(), StoreError> {
    connection.script("begin").await?;
    let done = migrate(connection, address).await;
    let ended = match &done {
        Ok(()) => connection.script("commit").await,
        Err(_) => connection.script("rollback").await,
    };
    match done {
        Ok(()) => ended,
        Err(error) => Err(may_create(error, address)),
    }
}

async fn migrate(connection: &mut Connection, address: &Address) -> Result<(), StoreError> {
    sql("select pg_advisory_xact_lock($1)")
        .bind(MIGRATING)
        .fetch_all(&mut *connection)
        .await?;
    let there: bool = sql("select to_regclass('migration') is not null")
        .scalar(&mut *connection)
        .await?;
    if !there {
        sql("create table migration (version bigint primary key, needs bigint not null)")
            .execute(&mut *connection)
            .await?;
    }
    let row = sql("select coalesce(max(version), 0) as version, coalesce(max(needs), 0) as needs from migration")
        .fetch_one(&mut *connection)
        .await?;
    let (have, needs): (i64, i64) = (row.get("version")?, row.get("needs")?);
    let known = known_to_postgres();
    if needs > known {
        return Err(newer(&address.to_string(), have, known));
    }
    for (version, migration) in (1..).zip(POSTGRES) {
        if version <= have {
            continue;
        }
        if version > 1 {
            no_host_is_left_behind(connection, migration.needs).await?;
        }
        tracing::info!(version, "Bringing the database to schema version {version}");
        connection.script(migration.text).await?;
        sql("insert into migration (version, needs) values ($1, $2)")
            .bind(version)
            .bind(migration.needs)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A migration waits until the hosts that could not work with it have gone.
async fn no_host_is_left_behind(connection: &mut Connection, needs: i64) -> Result<(), StoreError> {
    let left: i64 = sql("select count(*) from host where leased_until > server_ms() and knows < $1")
        .bind(needs)
        .scalar(connection)
        .await?;
    if left == 0 {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "{left} hosts of an older release are at work on the database and cannot work with what this release makes of \
         it. Stop them first, or update through the releases in between"
    )))
}

pub(super) fn newer(database: &str, have: i64, known: i64) -> StoreError {
    StoreError::Unusable(format!(
        "the database {database} has schema version {have} and this program knows versions up to {known}: it was last \
         used by a newer release. Start that release, or restore a backup made before the update"
    ))
}

/// Since version 15 a user may not create tables in a database that is not its own.
fn may_create(error: StoreError, address: &Address) -> StoreError {
    let StoreError::Database(sqlx::Error::Database(cause)) = &error else {
        return error;
    };
    if cause.code().as_deref() != Some("42501") {
        return error;
    }
    StoreError::Unusable(format!(
        "the user in `[database] url` may not create tables in {address}: make it the database's owner, or run \
         `grant create on schema public to …` there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::open;
    use crate::testing::TempFolder;

    /// The version before keys lay in the order of their arrival.
    const KEYS_BY_KEY: i64 = 4;

    async fn keys(connection: &mut Connection) -> Vec<[i64; 6]> {
        let rows = sql(
            r"select channel_id, direction, cast(cast(key as text) as integer) as key, lane_id, seq, deliveries
              from dedupe order by channel_id, direction, key",
        )
        .fetch_all(connection)
        .await
        .unwrap();
        rows.iter()
            .map(|row| std::array::from_fn(|column| row.get(column).unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn keys_stay_known_when_their_table_is_made_anew() {
        let folder = TempFolder::new().unwrap();
        let path = folder.path().join("mantle.db");
        let mut connection = open::writing(&path).await.unwrap();
        for (version, migration) in (1..=KEYS_BY_KEY).zip(SQLITE) {
            apply(&mut connection, version, migration).await.unwrap();
        }
        let told = r"with recursive told (i) as (select 1 union all select i + 1 from told where i < 500)
              insert into dedupe (channel_id, direction, key, lane_id, seq, day, deliveries)
              select 1 + i % 3, i % 2, cast(i * 7919 % 1000 as blob), i, i + 1, 20000 + i * 31 % 60, 1 + i % 4 from told";
        connection.script(told).await.unwrap();
        let before = keys(&mut connection).await;
        assert_eq!(before.len(), 500);

        bring_sqlite_up_to_date(&mut connection, &path).await.unwrap();

        assert_eq!(keys(&mut connection).await, before);
        let out_of_turn: i64 = sql(
            r"select count(*) from dedupe one join dedupe next on next.no = one.no + 1
              where next.day < one.day",
        )
        .scalar(&mut connection)
        .await
        .unwrap();
        assert_eq!(out_of_turn, 0, "pruning looks at the lowest numbers alone");
        let again = "insert into dedupe (channel_id, direction, key, lane_id, seq, day) \
                     select channel_id, direction, key, 1, 1, 1 from dedupe limit 1";
        assert!(connection.script(again).await.is_err(), "a key is known once");
    }
}

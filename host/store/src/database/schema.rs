//! Migrations: they only go forward, each in one transaction with its number.

use std::path::Path;

use mantle_failpoint::{Point, reach};

use crate::StoreError;
use crate::sql::{Connection, built, sql};

/// In order; the place in the list, from 1, is the version a database has after it. Released ones never change.
const MIGRATIONS: &[&str] = &[
    include_str!("../../schema/sqlite/0001_start.sql"),
    include_str!("../../schema/sqlite/0002_single.sql"),
    include_str!("../../schema/sqlite/0004_upkeep.sql"),
];

pub(super) async fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let have: i64 = sql("pragma user_version").scalar(&mut *connection).await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if have > known {
        return Err(StoreError::Unusable(format!(
            "the database {} has schema version {have} and this program knows versions up to {known}: it was last \
             used by a newer release. Start that release, or restore a backup made before the update",
            path.display()
        )));
    }
    for (version, migration) in (1..).zip(MIGRATIONS) {
        if version > have {
            apply(connection, version, migration).await?;
        }
    }
    Ok(())
}

/// A crash in between leaves the version before it: SQLite rolls schema changes back like any other.
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

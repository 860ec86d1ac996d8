//! The database that a test's host works on: an SQLite file in its folder, or a database of its own on a PostgreSQL
//! server that is thrown away with the test run.
//!
//! `MANTLE_TEST_DATABASE=postgres` takes PostgreSQL for every test. Without it a test runs on SQLite, and those that
//! [`on_postgres`] names run once more.

use std::cell::Cell;

use anyhow::{Context, Result, bail};
use mantle_store::testing::cluster::{self, TestDatabase};

/// The word for PostgreSQL.
const POSTGRES: &str = "postgres";

thread_local! {
    /// The test on this thread runs on PostgreSQL. A test is begun by the thread that starts its hosts.
    static POSTGRES_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test on PostgreSQL. Where there is none it is left out, with one line for all of them.
///
/// # Errors
/// The test fails; or PostgreSQL is required and absent.
pub fn on_postgres(test: fn() -> Result<()>) -> Result<()> {
    struct Until;
    impl Drop for Until {
        fn drop(&mut self) {
            POSTGRES_HERE.set(false);
        }
    }
    if cluster::shared()?.is_none() {
        return Ok(());
    }
    POSTGRES_HERE.set(true);
    let _until = Until;
    test()
}

/// Whether hosts that are started now work on PostgreSQL.
#[must_use]
pub fn is_postgres() -> bool {
    POSTGRES_HERE.get() || std::env::var("MANTLE_TEST_DATABASE").is_ok_and(|chosen| chosen == POSTGRES)
}

/// For a test of the file itself: true, with a line, where hosts have none.
#[must_use]
pub fn has_no_file(test: &str) -> bool {
    if is_postgres() {
        mantle_world::needs::leave_out("sqlite", test, "it is about the file of SQLite");
    }
    is_postgres()
}

/// An empty one.
pub(crate) async fn fresh() -> Result<Option<TestDatabase>> {
    match std::env::var("MANTLE_TEST_DATABASE").as_deref() {
        Ok(POSTGRES | "sqlite" | "") | Err(_) => {}
        Ok(other) => bail!("MANTLE_TEST_DATABASE is `{other}`; it can be sqlite or postgres"),
    }
    if !is_postgres() {
        return Ok(None);
    }
    let cluster = cluster::shared()?.context("MANTLE_TEST_DATABASE asks for PostgreSQL, which is not installed")?;
    Ok(Some(cluster.database().await?))
}

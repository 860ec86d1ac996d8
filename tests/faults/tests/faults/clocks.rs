//! B13: the hosts' clocks differ by minutes and jump by hours.

use std::time::Duration;

use anyhow::{Result, ensure};
use mantle_store::testing::cluster::TestDatabase;

use crate::setup::database;
use crate::stage::{Setup, Stage};

const CUSTOMERS: std::ops::Range<i64> = 5_550_005_000..5_550_005_008;
const TEN_MINUTES_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;

/// Rows that retention would take.
async fn kept(database: &TestDatabase) -> Result<(i64, i64, i64)> {
    Ok((
        database.number("select count(*) from receipt").await?,
        database.number("select count(*) from event").await?,
        database.number("select count(*) from dedupe").await?,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_clocks_that_differ_and_jump_move_no_lease_and_drop_nothing() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 3)).await?;
    stage.skew(1, -TEN_MINUTES_MS).await?;
    stage.skew(2, TEN_MINUTES_MS).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.more_applied(40).await?;
    let before = kept(&database).await?;
    for jump in [HOUR_MS, -HOUR_MS, -HOUR_MS, HOUR_MS] {
        stage.skew(0, jump).await?;
        stage.more_applied(20).await?;
    }
    talk.ends().await?;
    // Every lease runs by the server's clock, whatever the hosts believe.
    let alive = "select count(*) from host where leased_until between server_ms() and server_ms() + 15000";
    ensure!(database.number(alive).await? == 3, "a lease follows a host's clock");
    // What a clock that was an hour fast has put off is due by the others an hour later.
    stage.advance(Duration::from_millis(HOUR_MS.unsigned_abs())).await?;
    stage.assert_promises().await?;
    let after = kept(&database).await?;
    ensure!(
        after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2,
        "{before:?} became {after:?}"
    );
    Ok(())
}

/// When something is due is told by the clock of the host that took it. What a host with a fast clock took and leaves
/// to others is worked by one with a right clock when that much time has passed, and not later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_what_a_host_with_a_fast_clock_leaves_behind_waits_no_longer_than_it_is_fast() -> Result<()> {
    /// An announced write that nobody finds is looked for during two minutes before it is made again.
    const LOOKED_FOR_MS: i64 = 180_000;
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    stage.quiet().await?;
    stage.skew(0, TEN_MINUTES_MS).await?;
    stage.street().closes(1, true);
    stage.arm_at(0, "intent-kept=pause").await?;
    stage.all_say(CUSTOMERS, &["taken by the fast one".to_owned()]).await?;
    stage.host_at(0).acted("intent-kept", 4).await?;
    let status = stage.force_at(0).await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    stage.street().closes(1, false);
    let before = stage.ahead_ms();
    stage.quiet().await?;
    let waited = stage.ahead_ms() - before;
    ensure!(
        waited <= TEN_MINUTES_MS + LOOKED_FOR_MS,
        "they were worked after {waited} ms"
    );
    stage.assert_promises().await
}

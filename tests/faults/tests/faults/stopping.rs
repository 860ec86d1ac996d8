//! F4 and F5: hosts are stopped one after the other under load, stopped by force, and stopped while work does not end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mantle_app::host::DRAIN_TIME_MAX;
use mantle_store::testing::cluster::TestDatabase;
use mantle_world::Webhooks;

use crate::setup::database;
use crate::stage::{Setup, Stage};

const CUSTOMERS: std::ops::Range<i64> = 5_550_007_000..5_550_007_008;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whoever delivered was answered well at the first try.
pub fn assert_no_request_failed(deliveries: &Webhooks) -> Result<()> {
    let failed: Vec<_> = deliveries
        .log()
        .into_iter()
        .filter(|(_, delivered)| delivered.attempts != 1 || !delivered.is_good())
        .map(|(post, delivered)| (post.url, delivered.status, delivered.problem, delivered.attempts))
        .collect();
    ensure!(failed.is_empty(), "requests failed: {failed:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_hosts_that_are_restarted_one_after_the_other_fail_no_request() -> Result<()> {
    const ROUNDS: usize = 2;
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 3)).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    for host in (0..3).cycle().take(3 * ROUNDS) {
        stage.more_acked(10).await?;
        stage.stop_at(host).await?;
        stage.more_acked(10).await?;
        stage.start_at(host).await?;
    }
    stage.more_applied(10).await?;
    talk.ends().await?;
    assert_no_request_failed(stage.world.telegram.webhooks())?;
    stage.assert_promises().await?;
    assert_no_request_failed(stage.world.intercom.webhooks())
}

/// One host, one file: while it restarts, the kernel keeps the queue of the socket that the service manager holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_a_host_on_an_inherited_socket_restarts_without_a_failed_request() -> Result<()> {
    const RESTARTS: usize = 4;
    let mut stage = Stage::telegram(Setup {
        socket: true,
        ..Setup::default()
    })
    .await?;
    let addr = stage.host().addr;
    let talk = stage.keep_saying(CUSTOMERS);
    for _ in 0..RESTARTS {
        stage.more_acked(10).await?;
        stage.stop().await?;
        stage.start().await?;
        ensure!(stage.host().addr == addr, "it listens elsewhere");
    }
    stage.more_applied(10).await?;
    talk.ends().await?;
    assert_no_request_failed(stage.world.telegram.webhooks())?;
    stage.assert_promises().await?;
    assert_no_request_failed(stage.world.intercom.webhooks())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_host_that_is_stopped_by_force_gives_its_lease_up() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    stage.quiet().await?;
    stage.arm_at(0, "answer-read=pause").await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.host_at(0).acted("answer-read", 2).await?;
    let status = stage.force_at(0).await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    assert_gave_up(&database).await?;
    talk.ends().await?;
    stage.assert_promises().await
}

/// The first host has ended, and the others need not wait for the end of its lease.
async fn assert_gave_up(database: &TestDatabase) -> Result<()> {
    /// A third of what waiting takes.
    const FREE_WITHIN: Duration = Duration::from_secs(5);
    let ended = Instant::now();
    let living = "select count(*) from host where number = 0 and leased_until > server_ms()";
    ensure!(database.number(living).await? == 0, "its lease runs on");
    let held = "select count(*) from lane where owner = (select id from host where number = 0)";
    while database.number(held).await? > 0 {
        ensure!(ended.elapsed() < FREE_WITHIN, "its lanes are not taken over");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Told to stop once, and ended by itself at the deadline, with work under way that would never have ended.
async fn stops_at_the_deadline(stage: &mut Stage) -> Result<()> {
    /// Kubernetes kills after this.
    const KILLED_AFTER: Duration = Duration::from_secs(30);
    let told = Instant::now();
    stage.stop().await?;
    let took = told.elapsed();
    ensure!(took >= DRAIN_TIME_MAX, "it gave up after {took:?}");
    ensure!(took < KILLED_AFTER, "it took {took:?}");
    let log = stage.log.text();
    ensure!(log.contains("Not all has ended within 25s"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_work_that_does_not_end_is_dropped_at_the_deadline_and_done_once_by_the_next_start() -> Result<()> {
    let mut stage = Stage::telegram(Setup::default()).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    stage.quiet().await?;
    // One has been written into the inbox and nobody knows, one is about to be.
    stage.arm("answer-read=pause*1;intent-kept=pause*1").await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.host().acted("answer-read", 1).await?;
    stage.host().acted("intent-kept", 1).await?;
    stops_at_the_deadline(&mut stage).await?;
    stage.start().await?;
    stage.more_applied(10).await?;
    talk.ends().await?;
    stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_host_whose_work_does_not_end_gives_its_lease_up_at_the_deadline() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    stage.quiet().await?;
    stage.arm_at(0, "answer-read=pause").await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.host_at(0).acted("answer-read", 2).await?;
    stops_at_the_deadline(&mut stage).await?;
    assert_gave_up(&database).await?;
    talk.ends().await?;
    stage.assert_promises().await
}

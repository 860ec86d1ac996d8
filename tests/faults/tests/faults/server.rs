//! B1 to B4, B8 and B9: the server crashes, ends sessions, is locked, is deaf, and callers hang up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mantle_store::testing::cluster::{self, Cluster, TestDatabase};
use mantle_world::intercom;
use serde_json::json;

use crate::link::Passage;
use crate::process::PATIENCE;
use crate::setup::database;
use crate::stage::{Setup, Stage};

const CUSTOMERS: std::ops::Range<i64> = 5_550_002_000..5_550_002_008;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// After the server is up again, beyond what a stranger's first message takes anyhow on the machine as it is.
const RESUME_TIME_MAX: Duration = Duration::from_secs(5);

/// A stranger writes: how long until it is in the inbox.
async fn arrives(stage: &Stage, customer: i64, text: &str) -> Result<Duration> {
    let begun = Instant::now();
    stage.says(customer, text.to_owned()).await;
    let there = || {
        let conversations = stage.world.intercom.workspace(intercom::WORKSPACE).conversations();
        conversations
            .iter()
            .any(|known| known.source.body == text)
            .then_some(())
    };
    stage.world.scene().until(text, PATIENCE, there).await?;
    Ok(begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_three_hosts_go_on_within_five_seconds_of_a_crash_of_the_server() -> Result<()> {
    let Some(cluster) = Cluster::start_own()? else {
        return Ok(());
    };
    let database = cluster.database().await?;
    let mut stage = Stage::whole(Setup::hosts(&database, 3)).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    for round in 0..2 {
        stage.more_applied(20).await?;
        let usual = arrives(&stage, 200 + round, &format!("a stranger before crash {round}")).await?;
        tokio::task::block_in_place(|| cluster.crash())?;
        let took = arrives(&stage, 100 + round, &format!("a stranger after crash {round}")).await?;
        eprintln!("taken up {took:?} after the server was up; usual are {usual:?}");
        ensure!(
            took < RESUME_TIME_MAX + 3 * usual,
            "work was taken up {took:?} after the server was up; usual are {usual:?}"
        );
    }
    talk.ends().await?;
    for host in 0..3 {
        stage.until_ready_at(host, true).await?;
    }
    stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_sessions_that_are_ended_again_and_again_lose_and_double_nothing() -> Result<()> {
    const ROUNDS: usize = 12;
    const END_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                           where datname = current_database() and pid <> pg_backend_pid()";
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 3)).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    for _ in 0..ROUNDS {
        stage.more_acked(6).await?;
        ensure!(database.run(END_ALL).await? > 0, "nobody was connected");
    }
    stage.more_acked(6).await?;
    talk.ends().await?;
    stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_lock_that_holds_every_statement_up_is_answered_503_and_survived() -> Result<()> {
    /// Providers wait ten seconds and longer.
    const ANSWER_TIME_MAX: Duration = Duration::from_secs(12);
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    stage.quiet().await?;
    stage.world.settled().await;
    let mut outsider = database.session().await?;
    outsider.run("begin; lock table lane in access exclusive mode").await?;
    stage.street().forgets_tries();
    let writing = stage.all_say(CUSTOMERS, &["during".to_owned(), "after".to_owned()]);
    for host in 0..2 {
        stage.until_ready_at(host, false).await?;
        let (status, _) = stage.get_at(host, "/livez").await?;
        ensure!(status == 200, "/livez answers {status}: a new start would not help");
    }
    let begun = Instant::now();
    while stage.street().tries().len() < 2 * CUSTOMERS.count() {
        ensure!(begun.elapsed() < PATIENCE, "hooks are not answered");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let tries = stage.street().tries();
    for (status, took) in tries {
        ensure!(status == Some(503), "a hook was answered {status:?}");
        ensure!(took < ANSWER_TIME_MAX, "a hook hung for {took:?}");
    }
    drop(outsider);
    writing.await?;
    for host in 0..2 {
        stage.until_ready_at(host, true).await?;
    }
    stage.assert_promises().await?;
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    ensure!(
        database.number(deadlocks).await? == 0,
        "statements locked each other out"
    );
    Ok(())
}

/// PostgreSQL's words for a connection that was given back in the middle of a transaction. Not its codes: times and ids
/// hold any number.
const HALF_WAY: [&str; 3] = [
    "already a transaction in progress",
    "already in a transaction",
    "current transaction is aborted",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_a_thousand_callers_that_hang_up_leave_nothing_half_way() -> Result<()> {
    const HANG_UPS: usize = 1_000;
    let Some(cluster) = cluster::shared()? else {
        return Ok(());
    };
    let database = cluster.database().await?;
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    // Four of five calls are hung up on, the provider's and the inbox's alike.
    stage.street().hangs_up(HANG_UPS, 5);
    let mut round = 0;
    while stage.street().hang_ups_left() > 0 {
        round += 1;
        ensure!(round < 100, "{} hang-ups were not met", stage.street().hang_ups_left());
        let texts = [format!("{round} a"), format!("{round} b")];
        let writing = stage.all_say(5_550_002_100..5_550_002_124, &texts);
        // Reads of the API are not carried on for a caller who has gone.
        for host in [0, 1] {
            stage.street().snubs(host, "/api/v1/messages?limit=200").await?;
            stage.street().snubs(host, "/readyz").await?;
        }
        writing.await?;
    }
    stage.assert_promises().await?;
    let logs = cluster.log()? + &stage.logs();
    for words in HALF_WAY {
        ensure!(!logs.contains(words), "the log says `{words}`");
    }
    Ok(())
}

/// Both hosts hear no notification: what a host learns from the other it learns by looking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_lost_notifications_cost_no_more_than_the_time_between_two_looks() -> Result<()> {
    /// A change of the directory is looked for every 2 s, lanes four times a second.
    const LOOKED_FOR_WITHIN: Duration = Duration::from_secs(2);
    /// What a busy machine adds.
    const GRACE: Duration = Duration::from_secs(3);
    const SECOND_BOT: &str = "987650002:AACanary0Canary1Canary2Canary3Cana9";
    let Some((mut stage, links)) = Stage::linked().await? else {
        return Ok(());
    };
    for link in &links {
        link.is(Passage::Deaf);
    }
    let talk = stage.keep_saying(CUSTOMERS);
    stage.more_applied(30).await?;
    talk.ends().await?;
    // A channel that the first host makes is one of the second host, by the next look.
    let _ = stage.world.telegram.bot(SECOND_BOT);
    stage.connected("telegram", &json!({"bot_token": SECOND_BOT})).await?;
    stage.street().closes(0, true);
    let made = Instant::now();
    let told = stage
        .world
        .telegram
        .bot(SECOND_BOT)
        .customer(77)
        .writes("to the second bot")
        .await;
    ensure!(told.delivered.is_good(), "{:?}", told.delivered);
    let took = made.elapsed();
    ensure!(took < LOOKED_FOR_WITHIN + GRACE, "the channel was unknown for {took:?}");
    stage.note_said(77, "to the second bot");
    stage.street().closes(0, false);
    stage.assert_promises().await
}

/// A pooler that hands a session to another at each transaction knows neither notifications nor settings of a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_without_sessions_of_their_own_hosts_poll_and_lose_nothing() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut setup = Setup::hosts(&database, 2);
    for road in &mut setup.roads {
        *road = format!("{road}&statement_cache_capacity=0");
    }
    let mut stage = Stage::whole(setup).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.more_applied(40).await?;
    talk.ends().await?;
    stage.assert_promises().await
}

async fn idle_in_transaction(database: &TestDatabase) -> Result<i64> {
    // The reader that the test itself keeps is not counted: it writes nothing.
    let idle = "select count(*) from pg_stat_activity where datname = current_database() \
                and state like 'idle in transaction%' and backend_xid is not null";
    Ok(database.number(idle).await?)
}

/// A host that stands still in the midst of its transaction is ended by the server after ten seconds, and the other one
/// goes on with what it had locked. A reader without end of somebody else is not ours to end; it costs nothing that
/// shows here: what it costs in dead rows takes longer than a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_transaction_that_stands_still_is_ended_and_the_other_host_goes_on() -> Result<()> {
    /// The ten seconds, and what was refused meanwhile comes again.
    const HELD_UP_MAX: Duration = Duration::from_secs(20);
    let Some(cluster) = cluster::shared()? else {
        return Ok(());
    };
    let database = cluster.database().await?;
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    let mut reader = database.session().await?;
    reader
        .run("begin isolation level repeatable read; select count(*) from lane")
        .await?;
    stage.arm_at(0, "job-run=pause").await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.host_at(0).acted("job-run", 1).await?;
    stage.street().closes(0, true);
    let asked = Instant::now();
    stage.says(200, "a stranger at the other host".to_owned()).await;
    let took = asked.elapsed();
    ensure!(took < HELD_UP_MAX, "the other host was held up for {took:?}");
    let begun = Instant::now();
    while idle_in_transaction(&database).await? > 0 {
        ensure!(begun.elapsed() < PATIENCE, "the transaction is never ended");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    stage.disarm_at(0).await?;
    stage.street().closes(0, false);
    stage.more_acked(20).await?;
    talk.ends().await?;
    stage.until_ready_at(0, true).await?;
    let log = cluster.log()?;
    log.contains("idle-in-transaction timeout")
        .then_some(())
        .context("the server ended nothing")?;
    stage.assert_promises().await?;
    drop(reader);
    Ok(())
}

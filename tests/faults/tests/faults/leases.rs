//! B5 to B7: a host dies, is held still, or loses the way to the database, while it holds lanes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mantle_store::testing::cluster::{self, TestDatabase};
use mantle_world::intercom::{self, Replied};
use tokio::task::JoinHandle;

use crate::link::{Link, Passage};
use crate::process::PATIENCE;
use crate::setup::database;
use crate::stage::{BOT_TOKEN, Setup, Stage};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the server lets a silent host keep its lanes, and how much earlier the host itself stops.
const LEASE: Duration = Duration::from_secs(15);
const MARGIN: Duration = Duration::from_secs(3);
const FENCED: &str = "Another worker has the lane by now";

/// Lanes that the host of this number holds: the first host has the number 0.
async fn held_by_first(database: &TestDatabase) -> Result<i64> {
    let held = "select count(*) from lane where owner = (select id from host where number = 0)";
    Ok(database.number(held).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_the_lanes_of_a_killed_host_are_worked_by_the_others_within_twenty_seconds() -> Result<()> {
    const MOVED_WITHIN: Duration = Duration::from_secs(20);
    let Some(database) = database().await? else {
        return Ok(());
    };
    let customers = 5_550_003_000..5_550_003_012;
    let mut stage = Stage::whole(Setup::hosts(&database, 3)).await?;
    stage.all_say(customers.clone(), &["before".to_owned()]).await?;
    stage.quiet().await?;
    // What it holds has been written into the inbox, and nobody else knows so.
    stage.arm_at(0, "answer-read=pause").await?;
    let talk = stage.keep_saying(customers);
    stage.host_at(0).acted("answer-read", 2).await?;
    stage.kill_at(0).await?;
    let died = Instant::now();
    ensure!(held_by_first(&database).await? >= 2, "it held nothing");
    stage.more_acked(20).await?;
    while held_by_first(&database).await? > 0 {
        ensure!(died.elapsed() < PATIENCE, "its lanes are never worked");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let moved = died.elapsed();
    ensure!(moved < MOVED_WITHIN, "its lanes were taken over after {moved:?}");
    ensure!(
        moved > LEASE / 2,
        "they were taken after {moved:?}, while it might have lived"
    );
    talk.ends().await?;
    stage.assert_promises().await
}

/// What a host holds while nothing of it goes on.
struct Held {
    conversation: String,
    replying: JoinHandle<Replied>,
}

/// One message stands between the inbox's answer and the database if `with_result`, a message and a teammate's reply
/// stand between the database and their calls. Only the first host is there to take them.
async fn holds(stage: &mut Stage, with_result: bool) -> Result<Held> {
    stage.all_say(1..4, &["before".to_owned()]).await?;
    stage.quiet().await?;
    if with_result {
        stage.arm("answer-read=pause*1").await?;
        stage.says(1, "a late result".to_owned()).await;
        stage.host().acted("answer-read", 1).await?;
    }
    stage.arm("intent-kept=pause").await?;
    stage.says(2, "a late call".to_owned()).await;
    stage.host().acted("intent-kept", 1).await?;
    let workspace = stage.world.intercom.workspace(intercom::WORKSPACE);
    let third = workspace
        .conversations()
        .into_iter()
        .find(|known| known.source.body == "3 before");
    let conversation = third.context("the third customer has no conversation")?.id;
    let (teammate, to) = (workspace.admin(intercom::ADMIN), conversation.clone());
    let replying = tokio::spawn(async move { teammate.replies(&to, "<p>a late reply</p>", &[]).await });
    stage.host().acted("intent-kept", 2).await?;
    Ok(Held { conversation, replying })
}

/// Waits until the first host has found so often that a lane is another's.
async fn is_fenced(stage: &Stage, times: usize) -> Result<()> {
    let begun = Instant::now();
    while stage.log.text().matches(FENCED).count() < times {
        ensure!(begun.elapsed() < PATIENCE, "it goes on: {}", stage.log.text());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Nothing left the first host late: the message is in the inbox once, and the reply, of which nobody can know, never
/// went out and is asked about.
async fn nothing_left_late(stage: &mut Stage, held: Held) -> Result<()> {
    held.replying.await?;
    stage.assert_promises().await?;
    let sent = stage.world.telegram.bot(BOT_TOKEN).sent();
    ensure!(sent.is_empty(), "a reply left after the end of the lease: {sent:?}");
    let workspace = stage.world.intercom.workspace(intercom::WORKSPACE);
    let notes = workspace
        .conversation(&held.conversation)
        .context("it is gone")?
        .notes();
    let asked = notes
        .iter()
        .filter(|note| note.body.contains("may not have been delivered"));
    ensure!(asked.count() == 1, "the team is asked once: {notes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_host_that_was_held_still_past_its_lease_writes_and_sends_nothing_late() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::telegram(Setup::hosts(&database, 2)).await?;
    let held = holds(&mut stage, true).await?;
    stage.start_others().await?;
    stage.freeze(0).await?;
    let before = stage.ahead_ms();
    // The second host takes the lanes when the lease has ended, finds out what there is to know, and ends them.
    stage.quiet().await?;
    let slept = stage.ahead_ms() - before;
    stage.thaw(0, slept).await?;
    stage.disarm_at(0).await?;
    is_fenced(&stage, 3).await?;
    nothing_left_late(&mut stage, held).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_host_without_a_way_to_the_database_stops_sending_before_its_lease_ends() -> Result<()> {
    let Some(cluster) = cluster::shared()? else {
        return Ok(());
    };
    let database = cluster.database().await?;
    let link = Link::to(cluster.socket()).await?;
    let mut setup = Setup::hosts(&database, 2);
    setup.roads[0] = database.through(link.port);
    let mut stage = Stage::telegram(setup).await?;
    let held = holds(&mut stage, false).await?;
    stage.start_others().await?;
    let passed = stage.host().hits("answer-read").await?;
    link.is(Passage::Cut);
    let cut = Instant::now();
    // Hooks are taken by the host that can.
    stage.says(5, "while one host is cut off".to_owned()).await;
    // Nothing but time ends a lease. It was renewed before the cut at the latest.
    tokio::time::sleep((LEASE - MARGIN).saturating_sub(cut.elapsed())).await;
    stage.disarm_at(0).await?;
    is_fenced(&stage, 2).await?;
    ensure!(
        stage.host().hits("answer-read").await? == passed,
        "it made a call that nobody could write down"
    );
    stage.quiet().await?;
    link.is(Passage::Open);
    stage.until_ready_at(0, true).await?;
    nothing_left_late(&mut stage, held).await
}

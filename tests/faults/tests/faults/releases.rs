//! B12: hosts of this release beside one of the next.
//!
//! There is no second release to start. What it would do to the database is done by hand: a migration that only adds,
//! with its number and the number before as what it needs, in one transaction under load.

use anyhow::{Result, bail, ensure};
use mantle_store::testing::cluster::TestDatabase;

use crate::setup::database;
use crate::stage::{Setup, Stage};

const CUSTOMERS: std::ops::Range<i64> = 5_550_004_000..5_550_004_008;
/// As the rules of the schema allow it: tables, and columns that have a default.
const NEXT: &str = "begin; \
    alter table receipt add column later bigint not null default 7; \
    alter table event add column later text; \
    alter table lane add column later bigint not null default 7; \
    alter table effect add column later bigint not null default 7; \
    alter table host add column later bigint not null default 7; \
    alter table channel add column later bigint not null default 7; \
    create table later (id bigint primary key); \
    insert into migration (version, needs) select max(version) + 1, max(version) from migration; \
    commit";
/// The one after it takes away what this release needs.
const AFTER_NEXT: &str =
    "insert into migration (version, needs) select max(version) + 1, max(version) + 1 from migration";
/// A migration that crosses hosts at work may be the one that gives way; the release that brings it starts again then.
const TRIES_MAX: u32 = 5;

async fn migrate(database: &TestDatabase) -> Result<()> {
    for _ in 0..TRIES_MAX {
        if database.run(NEXT).await.is_ok() {
            return Ok(());
        }
    }
    bail!("the migration never came through")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b12_hosts_work_on_while_a_newer_release_adds_to_the_schema() -> Result<()> {
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.more_applied(20).await?;
    migrate(&database).await?;
    stage.more_applied(20).await?;
    // A host of this release starts on the newer schema as well: it may be needed while hosts are replaced.
    stage.stop_at(1).await?;
    stage.start_at(1).await?;
    stage.more_applied(20).await?;
    talk.ends().await?;
    stage.assert_promises().await?;
    let unknown = "select count(*) from lane where later <> 7";
    ensure!(database.number(unknown).await? == 0, "a default was overwritten");

    stage.stop().await?;
    database.run(AFTER_NEXT).await?;
    let refused = stage.refused_start().await?;
    ensure!(refused.status.code() == Some(1), "{}", refused.said);
    ensure!(
        refused.said.contains("was last used by a newer release"),
        "{}",
        refused.said
    );
    Ok(())
}

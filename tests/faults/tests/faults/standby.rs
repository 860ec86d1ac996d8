//! B11: the server is lost and its standby takes over.
//!
//! What a standby that follows as it can had not received is lost with the server, acknowledged or not: that is the
//! window. Where the server waits for its standby there is none.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mantle_store::testing::cluster::{Cluster, TestDatabase};
use tokio::task::block_in_place;

use crate::link::{Link, Passage};
use crate::process::PATIENCE;
use crate::stage::{Setup, Stage};

const CUSTOMERS: std::ops::Range<i64> = 5_550_006_000..5_550_006_004;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server, its standby, and one host that finds whichever is in use under the same address.
struct Pair {
    stage: Stage,
    primary: Cluster,
    standby: Cluster,
    database: TestDatabase,
    /// From the host to the server in use.
    road: Link,
    /// From the standby to the server that it follows.
    stream: Link,
}

impl Pair {
    async fn start() -> Result<Option<Self>> {
        let Some(primary) = Cluster::start_own()? else {
            return Ok(None);
        };
        let database = primary.database().await?;
        let stream = Link::to(primary.socket()).await?;
        let conninfo = format!(
            "host=127.0.0.1 port={} user=mantle sslmode=disable gssencmode=disable",
            stream.port
        );
        let standby = block_in_place(|| Cluster::following(&conninfo))?;
        let road = Link::to(primary.socket()).await?;
        let mut setup = Setup::hosts(&database, 1);
        setup.roads[0] = database.through(road.port);
        Ok(Some(Self {
            stage: Stage::telegram(setup).await?,
            primary,
            standby,
            database,
            road,
            stream,
        }))
    }

    /// The server waits with every commit until its standby has it.
    async fn wait_for_standby(&self) -> Result<()> {
        self.database
            .run("alter system set synchronous_standby_names = '*'")
            .await?;
        self.database.run("select pg_reload_conf()").await?;
        self.until("select count(*) from pg_stat_replication where sync_state = 'sync'", 1)
            .await
    }

    /// Until the standby has everything that the server has.
    async fn caught_up(&self) -> Result<()> {
        self.until(
            "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()",
            1,
        )
        .await
    }

    async fn until(&self, question: &'static str, answer: i64) -> Result<()> {
        let asking = async {
            while self.database.number(question).await? != answer {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .with_context(|| format!("`{question}` is never {answer}"))?
    }

    /// The server is gone for good, its standby takes its place.
    fn fail_over(&mut self) -> Result<()> {
        block_in_place(|| self.primary.stop())?;
        block_in_place(|| self.standby.promote())?;
        self.stage.database = Some(self.database.on(&self.standby)?);
        self.road.leads_to(self.standby.socket());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_a_standby_that_lags_loses_what_it_had_not_received_and_nothing_else() -> Result<()> {
    let Some(mut pair) = Pair::start().await? else {
        return Ok(());
    };
    pair.stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    pair.stage.quiet().await?;
    pair.caught_up().await?;
    // Nothing reaches the inbox from here on, so what is lost is lost whole.
    pair.stage.arm("intent-kept=pause").await?;
    pair.stream.is(Passage::Cut);
    let status = pair.stage.knock(5_550_006_000, "within the window").await;
    ensure!(status == Some(200), "it was acknowledged: {status:?}");
    pair.stage.kill().await?;
    pair.fail_over()?;
    let lost = pair.stage.assert_stored().await.err().context("nothing was lost")?;
    ensure!(lost.to_string().contains("I1"), "it fails for another reason: {lost:#}");
    ensure!(
        !pair.stage.stored().await?.contains("within the window"),
        "it is there after all"
    );
    // All else is there, and the host goes on with it.
    pair.stage.forgets(5_550_006_000, "within the window");
    pair.stage.start().await?;
    pair.stage.all_say(CUSTOMERS, &["after".to_owned()]).await?;
    pair.stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_a_server_that_waits_for_its_standby_loses_nothing() -> Result<()> {
    let Some(mut pair) = Pair::start().await? else {
        return Ok(());
    };
    pair.wait_for_standby().await?;
    pair.stage.all_say(CUSTOMERS, &["before".to_owned()]).await?;
    pair.stage.quiet().await?;
    pair.stream.is(Passage::Cut);
    // The commit waits, and nobody is told that it is done.
    let status = pair.stage.knock(5_550_006_000, "within the window").await;
    ensure!(status == Some(503), "it was answered {status:?}");
    let writing = pair.stage.all_say(CUSTOMERS, &["meanwhile".to_owned()]);
    pair.fail_over()?;
    pair.stage.until_ready(true).await?;
    writing.await?;
    pair.stage.says(5_550_006_000, "within the window".to_owned()).await;
    pair.stage.assert_promises().await
}

//! F7: everything at once, now and then, for a while.
//!
//! `MANTLE_FAULTS_SOAK_SECONDS` says for how long, `MANTLE_FAULTS_SEED` repeats the faults and their order; when each
//! meets the hosts is the machine's choice.

use std::time::Duration;

use anyhow::{Context, Result};
use mantle_world::Fault;
use tokio::time::Instant;

use crate::link::{Link, Passage};
use crate::random::{Random, fresh_seed, number};
use crate::stage::Stage;

/// Some dozens of faults; days are for a night.
const SECONDS: u64 = 12;
const CUSTOMERS: std::ops::Range<i64> = 5_550_008_000..5_550_008_008;
/// Between two faults pass about as many messages, each of a few calls, as make it one call in a hundred.
const ACKED_BETWEEN: usize = 20;
const SHORT_CUT: Duration = Duration::from_millis(400);
const END_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                       where datname = current_database() and pid <> pg_backend_pid()";

struct Soak {
    stage: Stage,
    links: Vec<Link>,
    random: Random,
}

impl Soak {
    async fn fault(&mut self) -> Result<()> {
        let host = self.random.below(2) as usize;
        match self.random.below(16) {
            0 => self.stage.kill_at(host).await?,
            1 => self.stage.stop_at(host).await?,
            2 => {
                let database = self.stage.database.as_ref().context("there is no database")?;
                database.run(END_ALL).await?;
            }
            3 => {
                self.links[host].is(Passage::Cut);
                tokio::time::sleep(SHORT_CUT).await;
                self.links[host].is(Passage::Open);
            }
            4 => self.links[host].is(Passage::Deaf),
            5 => self.links[host].is(Passage::Open),
            6 => self.stage.street().hangs_up(6, 3),
            7 => self.stage.arm_at(host, "hook-kept=panic*1").await?,
            8 => self.stage.arm_at(host, "job-run=delay:200*1").await?,
            9 => self.stage.arm_at(host, "intent-kept=delay:300*2").await?,
            _ => {
                let fault = self.inbox_fault();
                self.stage.world.intercom.faults().next(fault);
            }
        }
        // Who has gone comes back, as a service manager has it.
        self.stage.start_others().await
    }

    fn inbox_fault(&mut self) -> Fault {
        let faults = [
            Fault::Reset,
            Fault::ResetAfter,
            Fault::Refuse(503),
            Fault::RefuseAfter(500),
            Fault::GatewayAfter(502),
            Fault::Garbage,
            Fault::Limit(Some("1".to_owned())),
            Fault::Late(Duration::from_millis(500)),
        ];
        faults[self.random.below(faults.len() as u64) as usize].clone()
    }

    async fn soak(&mut self, time: Duration) -> Result<()> {
        let talk = self.stage.keep_saying(CUSTOMERS);
        let until = Instant::now() + time;
        let mut faults = 0;
        while Instant::now() < until {
            self.stage.more_acked(ACKED_BETWEEN).await?;
            self.fault().await?;
            faults += 1;
        }
        for link in &self.links {
            link.is(Passage::Open);
        }
        self.stage.street().hangs_up(0, 1);
        talk.ends().await?;
        self.stage.world.intercom.faults().clear();
        eprintln!("{faults} faults, {} messages", self.stage.said().len());
        self.stage.assert_promises().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_soak_in_random_faults_breaks_no_promise() -> Result<()> {
    let Some((stage, links)) = Stage::linked().await? else {
        return Ok(());
    };
    let seed = number("MANTLE_FAULTS_SEED")?.unwrap_or_else(fresh_seed).max(1);
    let seconds = number("MANTLE_FAULTS_SOAK_SECONDS")?.unwrap_or(SECONDS);
    eprintln!("MANTLE_FAULTS_SEED={seed} MANTLE_FAULTS_SOAK_SECONDS={seconds}");
    let random = Random(seed);
    let mut soak = Soak { stage, links, random };
    soak.soak(Duration::from_secs(seconds))
        .await
        .with_context(|| format!("repeat with MANTLE_FAULTS_SEED={seed}"))
}

//! One of two hosts on PostgreSQL is killed and stays dead.
//!
//! Just before, its messages stand at the inbox's door, so that it is known for sure which lanes it held: theirs. The
//! other host cannot have them until the lease of the dead one has ended.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{LOAD_FROM, judge};
use crate::figures::{Measurement, Surroundings, seconds};
use crate::load::{self, Manner, Plan, Until};
use crate::roundtrip::{PATIENCE, introduce};
use crate::stage::{Database, Setup, Stage};

/// The one that dies; the load knows only the other one afterwards.
const DEAD: usize = 1;
/// Until messages stand at the door of the one that is to die.
const STALLED_WITHIN: Duration = Duration::from_secs(30);
/// How long more of them may come to stand there.
const MORE_STALL: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    pub customers: u64,
    /// Messages a second.
    pub rate: f64,
    /// How long both work before.
    pub work: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub database: Database,
    pub hosts: usize,
    pub customers: u64,
    pub asked_per_second: f64,
    /// Webhooks that were acknowledged, all of which came to the inbox once and in order.
    pub acknowledged: usize,
    /// Lanes that the dead one held for sure.
    pub held_lanes: usize,
    /// From the kill to the first effect of one of them, by the other host.
    pub kill_to_effect_seconds: f64,
    /// From the kill until each of them had one.
    pub kill_to_last_lane_seconds: f64,
}

/// Empty: there is no PostgreSQL here.
///
/// # Errors
/// A message is lost, doubled or out of order, or the lanes of the dead host stay where they are.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let setup = setup.clone().on(Database::Postgres, 2);
    let Some(mut stage) = Stage::start(folder, &setup).await? else {
        return Ok(Vec::new());
    };
    let surroundings = Surroundings::measure(&stage.disk())?;
    let customers = Plan::whole(options.customers, options.connections);
    introduce(&stage, options.connections, customers).await?;
    // Providers call the address of a balancer: it sends them to whoever is there.
    let target = stage.target();
    let plan = Plan {
        first: LOAD_FROM,
        rate: Some(options.rate),
        manner: Manner::Stubborn,
        ..Plan::closed(options.connections, customers, Until::Told)
    };
    let load = load::start(target, plan).await?;
    tokio::time::sleep(options.work).await;
    let held = stalled(&stage, customers).await?;
    let killed = Instant::now();
    stage.kill(DEAD).await?;
    stage.send_to_others(DEAD)?;
    let customer = |number: u64| number.checked_sub(LOAD_FROM).map(|turn| turn % customers);
    let mut first = None;
    let mut left = held.clone();
    let last = stage
        .inbox
        .watch(PATIENCE, |number, applied| {
            let taken = applied.at >= killed && applied.door != DEAD;
            if taken && customer(number).is_some_and(|customer| left.remove(&customer)) {
                first.get_or_insert(applied.at);
            }
            left.is_empty()
        })
        .await
        .context("lanes of the dead host were not taken over")?;
    let sent = load.stop().await?;
    judge(&stage, &sent).await?;
    stage.stop().await?;
    let first = first.unwrap_or(last.at);
    Ok(vec![Measurement {
        measurement: "recovery.taken_over",
        figures: Figures {
            database: setup.database,
            hosts: setup.hosts,
            customers,
            asked_per_second: options.rate,
            acknowledged: sent.good().count(),
            held_lanes: held.len(),
            kill_to_effect_seconds: seconds(first.saturating_duration_since(killed)),
            kill_to_last_lane_seconds: seconds(last.at.saturating_duration_since(killed)),
        },
        surroundings,
    }])
}

/// Customers whose messages stand at the door of the host that is to die.
async fn stalled(stage: &Stage, customers: u64) -> Result<HashSet<u64>> {
    stage.inbox.stall(DEAD);
    let deadline = Instant::now() + STALLED_WITHIN;
    loop {
        let waiting = stage.inbox.stalled(DEAD);
        if !waiting.is_empty() {
            // A few more: which lane comes first afterwards is chance.
            tokio::time::sleep(MORE_STALL).await;
            let waiting = stage.inbox.stalled(DEAD);
            let of = |number: u64| number.checked_sub(LOAD_FROM).map(|turn| turn % customers);
            return Ok(waiting.into_iter().filter_map(of).collect());
        }
        ensure!(
            Instant::now() < deadline,
            "the host that is to be killed works nothing within {STALLED_WITHIN:?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

//! `drain`: what was accepted while the inbox was away goes into it when it is back, and others do not wait for it.
//!
//! Known customers write while the inbox fails every call; then it works again. Meanwhile other customers go on writing
//! at an even rate: what their acknowledgements and messages take is told beside.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cpu::CpuPerMessage;
use crate::figures::{Measurement, Quantiles, Surroundings, rate, rounded, seconds};
use crate::load::{self, Load, Manner, Plan, Sample, Sent, Until};
use crate::roundtrip::{PATIENCE, introduce};
use crate::stage::{Database, Setup, Stage};
use crate::verdict;

/// Numbers of those who write meanwhile.
const OTHERS_FROM: u64 = 1 << 40;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    pub customers: u64,
    /// Messages that wait when the inbox is back.
    pub backlog: u64,
    /// Messages a second of other customers meanwhile.
    pub rate: f64,
    /// As many others as customers write meanwhile, over so many connections.
    pub other_connections: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub database: Database,
    pub hosts: usize,
    pub customers: u64,
    pub backlog: u64,
    /// How long the inbox was away.
    pub away_seconds: f64,
    /// From the inbox's return to the first message of the backlog: how long the host left it alone yet.
    pub noticed_after_seconds: f64,
    /// From the first message of the backlog to the last.
    pub seconds: f64,
    pub per_second: f64,
    pub others: Others,
    pub cpu_us_per_message: CpuPerMessage,
}

/// Those who wrote while the backlog went.
#[derive(Debug, Clone, Serialize)]
pub struct Others {
    pub asked_per_second: f64,
    pub messages: usize,
    /// From the webhook to its 200.
    pub ack: Quantiles,
    /// From the webhook to the inbox, of those that were sent when the first message of the backlog had come.
    pub delivery: Quantiles,
}

/// Empty: the database is not on this machine.
///
/// # Errors
/// A message is lost, doubled or out of order.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let Some(stage) = Stage::start(folder, setup).await? else {
        return Ok(Vec::new());
    };
    let surroundings = Surroundings::measure(&stage.disk())?;
    let figures = measure(&stage, setup, options).await?;
    stage.stop().await?;
    Ok(vec![Measurement {
        measurement: "drain",
        figures,
        surroundings,
    }])
}

async fn measure(stage: &Stage, setup: &Setup, options: Options) -> Result<Figures> {
    let customers = Plan::whole(options.customers, options.connections);
    let others = Plan::whole(options.customers, options.other_connections);
    let known = introduce(
        stage,
        options.connections,
        Plan::whole(customers + others, options.connections),
    )
    .await?;
    stage.inbox.go_away();
    let gone = Instant::now();
    let plan = Plan {
        first: known.samples.len() as u64,
        until: Until::Count(options.backlog),
        manner: Manner::InOrder,
        ..Plan::closed(options.connections, customers, Until::Told)
    };
    let waiting = load::run(stage.target(), plan).await?;
    stage.holds(options.backlog).await?;
    let before = stage.cpu();
    let meanwhile = load::start(
        stage.target(),
        Plan {
            customers_from: customers,
            first: OTHERS_FROM,
            rate: Some(options.rate),
            manner: Manner::InOrder,
            ..Plan::closed(options.other_connections, others, Until::Told)
        },
    )
    .await?;
    let back = Instant::now();
    stage.inbox.come_back();
    let drained = drained(stage, &waiting, meanwhile).await?;
    let Drained {
        backlog,
        others: beside,
        others_took,
    } = drained;
    let after = stage.cpu();
    let first = backlog.first.unwrap_or(back);
    let lasted = backlog.last.unwrap_or(first).saturating_duration_since(first);
    let all = waiting.samples.len() + beside.samples.len();
    Ok(Figures {
        database: setup.database,
        hosts: setup.hosts,
        customers,
        backlog: options.backlog,
        away_seconds: seconds(back.saturating_duration_since(gone)),
        noticed_after_seconds: seconds(first.saturating_duration_since(back)),
        seconds: seconds(lasted),
        per_second: rate(waiting.samples.len(), lasted.as_secs_f64()),
        others: Others {
            asked_per_second: rounded(options.rate),
            messages: beside.samples.len(),
            ack: Quantiles::of(beside.took()),
            delivery: Quantiles::of(others_took),
        },
        cpu_us_per_message: CpuPerMessage::between(before, after, beside.cpu, all),
    })
}

struct Drained {
    backlog: verdict::Delivered,
    others: Sent,
    others_took: Vec<Duration>,
}

/// Waits for the whole backlog, then for those who wrote meanwhile, and judges both.
async fn drained(stage: &Stage, waiting: &Sent, meanwhile: Load) -> Result<Drained> {
    let numbers: HashSet<u64> = waiting.samples.iter().map(|sample| sample.number).collect();
    stage.inbox.all_of(numbers, PATIENCE).await?;
    let others = meanwhile.stop().await?;
    stage.quiet(PATIENCE).await?;
    let applied = stage.inbox.applied();
    let backlog = verdict::complete(&waiting.samples, &applied)?;
    let refused = others.samples.len() - others.good().count();
    ensure!(refused == 0, "{refused} webhooks were refused meanwhile");
    let since = backlog.first;
    let during = |sample: &&Sample| since.is_some_and(|since| sample.begun >= since);
    let others_took = verdict::complete(others.samples.iter().filter(during), &applied)?.took;
    verdict::complete(&others.samples, &applied)?;
    verdict::in_order(waiting.samples.iter().chain(&others.samples), &applied)?;
    Ok(Drained {
        backlog,
        others,
        others_took,
    })
}

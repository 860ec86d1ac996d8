//! `recovery`: a host is killed under load; how long until the next effect reaches the inbox.
//!
//! On SQLite the host is started again at once, on a database with many stored messages. On PostgreSQL two hosts share
//! the database and one of them is killed for good: then the other one's first effect of a lane that the dead one held.

mod taken_over;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mantle_store::testing::past;
use serde::Serialize;

pub use self::taken_over::{Figures as TakenOverFigures, Options as TakenOverOptions, run as taken_over};
use crate::figures::{Measurement, Surroundings, median, milliseconds, rounded};
use crate::load::{self, Manner, Plan, Sent, Until};
use crate::roundtrip::{PATIENCE, introduce};
use crate::stage::{Setup, Stage};
use crate::verdict;

/// Numbers of the messages under which the host is killed.
const LOAD_FROM: u64 = 1 << 32;
/// How old the stored messages are: kept for long yet.
const STORED_AGE: Duration = Duration::from_secs(5 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    pub customers: u64,
    /// Finished messages in the database beforehand.
    pub stored: u64,
    /// How often the host is killed.
    pub kills: usize,
    /// How long it works under load before each.
    pub work: Duration,
}

/// Times are the medians of all kills, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub stored_messages: u64,
    pub kills: usize,
    pub connections: usize,
    pub customers: u64,
    /// Webhooks that were acknowledged, all of which came to the inbox once and in order.
    pub acknowledged: usize,
    /// From the kill to the first effect of the next process.
    pub kill_to_effect_ms: f64,
    /// The longest of them.
    pub kill_to_effect_max_ms: f64,
    /// From the start of the next process to its first effect.
    pub start_to_effect_ms: f64,
    /// From the start of the next process to its listening.
    pub start_to_listening_ms: f64,
    /// From the kill to the first webhook that was acknowledged again.
    pub kill_to_ack_ms: f64,
}

/// One kill.
struct Kill {
    at: Instant,
    started: Instant,
    listening: Instant,
    effect: Instant,
}

/// # Errors
/// A message is lost, doubled or out of order, or the host does not come back.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let Some(mut stage) = Stage::start(folder, setup).await? else {
        return Ok(Vec::new());
    };
    let surroundings = Surroundings::measure(&stage.disk())?;
    stage.pause(0).await?;
    past::fill(&stage.database_file(), past::Past::of(options.stored, STORED_AGE)).await?;
    stage.revive(0).await?;
    let customers = Plan::whole(options.customers, options.connections);
    introduce(&stage, options.connections, customers).await?;
    let plan = Plan {
        first: LOAD_FROM,
        manner: Manner::Stubborn,
        ..Plan::closed(options.connections, customers, Until::Told)
    };
    let load = load::start(stage.target(), plan).await?;
    let mut kills = Vec::with_capacity(options.kills);
    for _ in 0..options.kills {
        tokio::time::sleep(options.work).await;
        kills.push(kill(&mut stage).await?);
    }
    tokio::time::sleep(options.work).await;
    let sent = load.stop().await?;
    judge(&stage, &sent).await?;
    stage.stop().await?;
    Ok(vec![Measurement {
        measurement: "recovery.restarted",
        figures: figures(options, customers, &kills, &sent),
        surroundings,
    }])
}

async fn kill(stage: &mut Stage) -> Result<Kill> {
    let at = Instant::now();
    stage.kill(0).await?;
    let started = Instant::now();
    stage.revive(0).await?;
    let listening = Instant::now();
    // What the dead one had sent may still be read: only a connection that was opened since is the next one's.
    let effect = stage
        .inbox
        .watch(PATIENCE, |_, applied| applied.connected >= started)
        .await
        .context("the next process did nothing")?;
    Ok(Kill {
        at,
        started,
        listening,
        effect: effect.at,
    })
}

/// All that was acknowledged comes once, and in order.
async fn judge(stage: &Stage, sent: &Sent) -> Result<()> {
    let numbers = sent.samples.iter().map(|sample| sample.number).collect();
    stage.inbox.all_of(numbers, PATIENCE).await?;
    stage.quiet(PATIENCE).await?;
    let applied = stage.inbox.applied();
    verdict::complete(&sent.samples, &applied)?;
    verdict::in_order(&sent.samples, &applied)
}

fn figures(options: Options, customers: u64, kills: &[Kill], sent: &Sent) -> Figures {
    let middle = |span: &dyn Fn(&Kill) -> Duration| {
        let spans: Vec<Duration> = kills.iter().map(span).collect();
        median(&spans).map_or(0.0, milliseconds)
    };
    let whole = |kill: &Kill| kill.effect.saturating_duration_since(kill.at);
    let first_ack = |kill: &Kill| {
        let after = sent.good().map(|sample| sample.answered);
        let first = after.filter(|answered| *answered >= kill.started).min();
        first.map_or(Duration::ZERO, |first| first.saturating_duration_since(kill.at))
    };
    Figures {
        stored_messages: options.stored,
        kills: kills.len(),
        connections: options.connections,
        customers,
        acknowledged: sent.good().count(),
        kill_to_effect_ms: middle(&whole),
        kill_to_effect_max_ms: kills.iter().map(whole).max().map_or(0.0, milliseconds),
        start_to_effect_ms: middle(&|kill| kill.effect.saturating_duration_since(kill.started)),
        start_to_listening_ms: rounded(middle(&|kill| kill.listening.saturating_duration_since(kill.started))),
        kill_to_ack_ms: middle(&first_ack),
    }
}

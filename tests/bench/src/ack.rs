//! `ack`: from a provider's signed webhook to its durable 200, over HTTP.
//!
//! Everything that happens before the answer is in it: the request's way through the server, the signature, a fresh
//! sandboxed call of the connector, and the commit with its sync.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::cpu::CpuPerMessage;
use crate::figures::{Measurement, Quantiles, Surroundings, rate, rounded};
use crate::load::{self, Plan, Until};
use crate::stage::{Database, Setup, Stage};

/// Numbers from here on are those of the measurement; the warm-up does not come so far.
pub(crate) const MEASURED_FROM: u64 = 1 << 32;

/// How it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    pub customers: u64,
    /// How long it is measured, after a warm-up with a closed loop.
    pub time: Duration,
    pub warm_up: Duration,
    /// Requests a second for a second measurement with an open loop.
    pub rate: Option<f64>,
    /// Whether the inbox takes messages meanwhile, so that the host also does all the work behind the answer.
    pub inbox_works: bool,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub database: Database,
    pub hosts: usize,
    pub connections: usize,
    pub customers: u64,
    pub inbox_works: bool,
    /// Requests a second that were asked for; None: closed loop.
    pub asked_per_second: Option<f64>,
    pub seconds: f64,
    /// Requests answered 200.
    pub acknowledged: usize,
    /// Requests answered otherwise.
    pub refused: usize,
    pub per_second: f64,
    #[serde(flatten)]
    pub latency: Quantiles,
    pub cpu_us_per_message: CpuPerMessage,
}

/// The closed loop, then the open one if a rate is given. Each has hosts of its own, so that neither inherits a
/// backlog. Empty: the database is not on this machine.
///
/// # Errors
/// The host does not start, breaks a connection, or has not stored what it acknowledged.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let mut measured = Vec::from_iter(measure(folder, setup, options, None).await?);
    if options.rate.is_some() && !measured.is_empty() {
        measured.extend(measure(folder, setup, options, options.rate).await?);
    }
    Ok(measured)
}

async fn measure(
    folder: &Path,
    setup: &Setup,
    options: Options,
    asked: Option<f64>,
) -> Result<Option<Measurement<Figures>>> {
    let Some(stage) = Stage::start(folder, setup).await? else {
        return Ok(None);
    };
    if !options.inbox_works {
        stage.inbox.hold();
    }
    let surroundings = Surroundings::measure(&stage.disk())?;
    let warm_up = Plan::closed(options.connections, options.customers, Until::Time(options.warm_up));
    // Connections of its own, numbers that the warm-up has not used.
    let plan = Plan {
        first: MEASURED_FROM,
        until: Until::Time(options.time),
        rate: asked,
        ..warm_up
    };
    let warm = load::run(stage.target(), warm_up).await?;
    let before = stage.cpu();
    let sent = load::run(stage.target(), plan).await?;
    let after = stage.cpu();
    if !options.inbox_works {
        // Nothing has left the store, so it must hold all that was acknowledged.
        let acknowledged = (warm.good().count() + sent.good().count()) as u64;
        stage.holds(acknowledged).await?;
    }
    stage.stop().await?;
    let (good, seconds) = (sent.good().count(), sent.seconds());
    Ok(Some(Measurement {
        measurement: if asked.is_some() { "ack.open" } else { "ack.closed" },
        figures: Figures {
            database: setup.database,
            hosts: setup.hosts,
            connections: options.connections,
            customers: options.customers,
            inbox_works: options.inbox_works,
            asked_per_second: asked,
            seconds: rounded(seconds),
            acknowledged: good,
            refused: sent.samples.len() - good,
            per_second: rate(good, seconds),
            latency: Quantiles::of(sent.took()),
            cpu_us_per_message: CpuPerMessage::between(before, after, sent.cpu, good),
        },
        surroundings,
    }))
}

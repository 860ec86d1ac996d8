//! `ack`: from a provider's signed webhook to its durable 200, over HTTP.
//!
//! Everything that happens before the answer is in it: the request's way through the server, the signature, a fresh
//! sandboxed call of the connector, and the commit with its sync.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::figures::{Measurement, Quantiles, Surroundings, rounded};
use crate::load::{self, Plan, Sample, Until};
use crate::stage::Stage;

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
}

/// The closed loop, then the open one if a rate is given. Each has a host of its own, so that neither inherits a backlog.
///
/// # Errors
/// The host does not start, breaks a connection, or has not stored what it acknowledged.
pub async fn run(folder: &Path, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let mut measured = vec![measure(folder, options, None).await?];
    if options.rate.is_some() {
        measured.push(measure(folder, options, options.rate).await?);
    }
    Ok(measured)
}

async fn measure(folder: &Path, options: Options, rate: Option<f64>) -> Result<Measurement<Figures>> {
    let stage = Stage::start(folder).await?;
    if !options.inbox_works {
        stage.inbox.hold();
    }
    let surroundings = Surroundings::measure(stage.folder())?;
    let warm_up = Plan {
        connections: options.connections,
        customers: options.customers,
        first: 0,
        until: Until::Time(options.warm_up),
        rate: None,
    };
    // Connections of its own, numbers that the warm-up has not used.
    let plan = Plan {
        first: 1 << 32,
        until: Until::Time(options.time),
        rate,
        ..warm_up
    };
    let warm = load::run(stage.target(), warm_up).await?;
    let samples = load::run(stage.target(), plan).await?;
    if !options.inbox_works {
        // Nothing has left the store, so it must hold all that was acknowledged.
        let all = warm.iter().chain(&samples);
        let acknowledged = all.filter(|sample| sample.status == 200).count() as u64;
        let stored = stage.backlog().await?;
        ensure!(
            stored == acknowledged,
            "{acknowledged} messages were acknowledged and {stored} are stored"
        );
    }
    stage.stop().await;
    Ok(Measurement {
        measurement: if rate.is_some() { "ack.open" } else { "ack.closed" },
        figures: figures(options, rate, &samples),
        surroundings,
    })
}

fn figures(options: Options, rate: Option<f64>, samples: &[Sample]) -> Figures {
    let good: Vec<&Sample> = samples.iter().filter(|sample| sample.status == 200).collect();
    let first = samples.iter().map(|sample| sample.begun).min();
    let last = samples.iter().map(|sample| sample.answered).max();
    let seconds = match (first, last) {
        (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
        _ => 0.0,
    };
    #[expect(clippy::cast_precision_loss, reason = "far fewer requests than a float counts")]
    let per_second = if seconds > 0.0 {
        good.len() as f64 / seconds
    } else {
        0.0
    };
    Figures {
        connections: options.connections,
        customers: options.customers,
        inbox_works: options.inbox_works,
        asked_per_second: rate,
        seconds: rounded(seconds),
        acknowledged: good.len(),
        refused: samples.len() - good.len(),
        per_second: rounded(per_second),
        latency: Quantiles::of(
            good.iter()
                .map(|sample| sample.answered.duration_since(sample.begun))
                .collect(),
        ),
    }
}

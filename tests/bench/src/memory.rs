//! `memory`: what a host holds of the machine: idle with all connectors loaded, under the heaviest load, and over
//! minutes of an even one, where it must not grow.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cpu::CpuPerMessage;
use crate::figures::{Measurement, Surroundings, rate, rounded};
use crate::footprint::{Footprint, Makeup};
use crate::load::{self, Manner, Plan, Sent, Until};
use crate::roundtrip::{PATIENCE, introduce};
use crate::stage::{Setup, Stage};
use crate::verdict;

/// How often the process is looked at under load.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Numbers of the messages of the even load.
const SOAK_FROM: u64 = 1 << 40;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    pub customers: u64,
    /// How long the host is left alone before it counts as idle.
    pub settle: Duration,
    /// How long the heaviest load lasts.
    pub burst: Duration,
    /// The even load: messages a second …
    pub rate: f64,
    /// … for so many steps …
    pub steps: u32,
    /// … of a minute each; shorter in tests.
    pub step: Duration,
}

/// A host that does nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    pub connectors: u32,
    #[serde(flatten)]
    pub footprint: Footprint,
    pub made_of: Makeup,
}

/// A host that is given all it acknowledges.
#[derive(Debug, Clone, Serialize)]
pub struct Burst {
    pub connections: usize,
    pub messages: usize,
    /// Acknowledged, with the work behind it going on.
    pub per_second: f64,
    pub rss_max_kib: u64,
    /// At the end of the load, before the backlog had gone.
    #[serde(flatten)]
    pub footprint: Footprint,
    pub made_of: Makeup,
    pub cpu_us_per_message: CpuPerMessage,
}

/// The end of one step of the even load.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub minute: f64,
    #[serde(flatten)]
    pub footprint: Footprint,
}

/// The whole of the even load.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    pub minutes: f64,
    pub asked_per_second: f64,
    pub messages: usize,
    pub rss_min_kib: u64,
    pub rss_max_kib: u64,
    /// Of the line through the steps but the first one, in which caches fill: 0 is flat.
    pub rss_kib_per_minute: f64,
    pub open_files_per_minute: f64,
    pub threads_per_minute: f64,
    pub cpu_us_per_message: CpuPerMessage,
}

/// One line, in the order in which they come.
#[derive(Debug)]
pub enum Line {
    Idle(Measurement<Idle>),
    Burst(Measurement<Burst>),
    Step(Measurement<Step>),
    Soak(Measurement<Soak>),
}

/// `tell` is shown each line as it comes: the last one comes minutes after the first.
///
/// # Errors
/// A message is lost, doubled or out of order.
pub async fn run(folder: &Path, setup: &Setup, options: Options, tell: impl Fn(&Line) -> Result<()>) -> Result<()> {
    let setup = Setup {
        all_connectors: true,
        ..setup.clone()
    };
    let stage = Stage::start(folder, &setup).await?;
    let stage = stage.context("memory is measured on SQLite, which is always there")?;
    let surroundings = Surroundings::measure(&stage.disk())?;
    let id = stage.process(0)?.id();
    tokio::time::sleep(options.settle).await;
    let idle = Idle {
        connectors: 3,
        footprint: Footprint::of(id)?,
        made_of: Makeup::of(id)?,
    };
    tell(&Line::Idle(measured("memory.idle", idle, &surroundings)))?;
    let customers = Plan::whole(options.customers, options.connections);
    let known = introduce(&stage, options.connections, customers).await?;
    let (burst, burst_sent) = burst(&stage, options, customers).await?;
    tell(&Line::Burst(measured("memory.burst", burst, &surroundings)))?;
    let (soak, soak_sent) = soak(&stage, options, customers, |step| {
        tell(&Line::Step(measured("memory.minute", step, &surroundings)))
    })
    .await?;
    stage.quiet(PATIENCE).await?;
    let applied = stage.inbox.applied();
    let all = known
        .samples
        .iter()
        .chain(&burst_sent.samples)
        .chain(&soak_sent.samples);
    verdict::complete(all.clone(), &applied)?;
    verdict::in_order(all, &applied)?;
    stage.stop().await?;
    tell(&Line::Soak(measured("memory.soak", soak, &surroundings)))
}

fn measured<T>(measurement: &'static str, figures: T, surroundings: &Surroundings) -> Measurement<T> {
    Measurement {
        measurement,
        figures,
        surroundings: surroundings.clone(),
    }
}

async fn burst(stage: &Stage, options: Options, customers: u64) -> Result<(Burst, Sent)> {
    let id = stage.process(0)?.id();
    let before = stage.cpu();
    let over = Arc::new(AtomicBool::new(false));
    let highest = tokio::spawn(highest(id, Arc::clone(&over)));
    let plan = Plan {
        first: customers,
        manner: Manner::Stubborn,
        ..Plan::closed(options.connections, customers, Until::Time(options.burst))
    };
    let sent = load::run(stage.target(), plan).await?;
    let (footprint, made_of) = (Footprint::of(id)?, Makeup::of(id)?);
    // The worker goes on at its most until nothing is left.
    stage.quiet(PATIENCE).await?;
    over.store(true, Ordering::Release);
    let rss_max_kib = highest.await?.max(footprint.rss_kib);
    let burst = Burst {
        connections: options.connections,
        messages: sent.samples.len(),
        per_second: rate(sent.samples.len(), sent.seconds()),
        rss_max_kib,
        footprint,
        made_of,
        cpu_us_per_message: CpuPerMessage::between(before, stage.cpu(), sent.cpu, sent.samples.len()),
    };
    Ok((burst, sent))
}

/// The most resident memory that is seen until it is over, in KiB.
pub(crate) async fn highest(id: u32, over: Arc<AtomicBool>) -> u64 {
    let mut highest = 0;
    while !over.load(Ordering::Acquire) {
        highest = highest.max(Footprint::of(id).map_or(0, |footprint| footprint.rss_kib));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    highest
}

async fn soak(
    stage: &Stage,
    options: Options,
    customers: u64,
    tell: impl Fn(Step) -> Result<()>,
) -> Result<(Soak, Sent)> {
    let id = stage.process(0)?.id();
    let before = stage.cpu();
    let plan = Plan {
        first: SOAK_FROM,
        rate: Some(options.rate),
        manner: Manner::Stubborn,
        ..Plan::closed(options.connections, customers, Until::Told)
    };
    let load = load::start(stage.target(), plan).await?;
    let begun = Instant::now();
    let mut steps = Vec::new();
    for number in 1..=options.steps {
        let ends = begun + options.step * number;
        tokio::time::sleep_until(ends.into()).await;
        let step = Step {
            minute: rounded(begun.elapsed().as_secs_f64() / 60.0),
            footprint: Footprint::of(id)?,
        };
        steps.push(step.clone());
        tell(step)?;
    }
    let sent = load.stop().await?;
    // Caches and pools fill in the first step.
    let settled = if steps.len() > 2 { &steps[1..] } else { &steps[..] };
    let line = |value: fn(&Footprint) -> f64| {
        let points = settled.iter();
        slope(points.map(|step| (step.minute, value(&step.footprint))))
    };
    let resident = || steps.iter().map(|step| step.footprint.rss_kib);
    #[expect(clippy::cast_precision_loss, reason = "far less memory than a float counts")]
    let soak = Soak {
        minutes: rounded(begun.elapsed().as_secs_f64() / 60.0),
        asked_per_second: options.rate,
        messages: sent.samples.len(),
        rss_min_kib: resident().min().unwrap_or_default(),
        rss_max_kib: resident().max().unwrap_or_default(),
        rss_kib_per_minute: line(|footprint| footprint.rss_kib as f64),
        open_files_per_minute: line(|footprint| footprint.open_files as f64),
        threads_per_minute: line(|footprint| footprint.threads as f64),
        cpu_us_per_message: CpuPerMessage::between(before, stage.cpu(), sent.cpu, sent.samples.len()),
    };
    Ok((soak, sent))
}

/// Of the line that lies nearest to the points (least squares). 0 for fewer than two.
fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.collect();
    #[expect(clippy::cast_precision_loss, reason = "minutes")]
    let count = points.len().max(1) as f64;
    let (mean_x, mean_y) = points
        .iter()
        .fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x / count, ys + y / count));
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in points {
        over += (x - mean_x) * (y - mean_y);
        under += (x - mean_x) * (x - mean_x);
    }
    if under > 0.0 { rounded(over / under) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_nearest_line() {
        let check = |points: &[(f64, f64)], expected: f64| assert_eq!(slope(points.iter().copied()), expected);
        check(&[(1.0, 100.0), (2.0, 110.0), (3.0, 120.0)], 10.0);
        check(&[(1.0, 100.0), (2.0, 130.0), (3.0, 100.0)], 0.0);
        check(&[(1.0, 100.0)], 0.0);
        check(&[], 0.0);
    }
}

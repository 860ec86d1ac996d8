//! `retention`: what acknowledgements take while a large table is being pruned, beside what they take otherwise.
//!
//! A host drops what is old once an hour at most and not in its first hour. Here it lives in this process, so that it
//! can be told to begin: the pass itself is the host's own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mantle_flow::upkeep::{self, Gone, Retention};
use mantle_store::testing::past;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cpu::CpuPerMessage;
use crate::figures::{Measurement, Quantiles, Surroundings, milliseconds, rate, rounded, seconds};
use crate::load::{self, Plan, Until};
use crate::stage::{Program, Setup, Stage};

/// Older than everything that is kept.
const OLD: Duration = Duration::from_secs(120 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Messages that are old enough to go.
    pub stored: u64,
    pub connections: usize,
    pub customers: u64,
    /// Requests a second.
    pub rate: f64,
    /// How long each of the two is measured.
    pub time: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub stored_messages: u64,
    pub filled_in_seconds: f64,
    pub pruning: bool,
    pub asked_per_second: f64,
    pub seconds: f64,
    pub acknowledged: usize,
    pub refused: usize,
    pub per_second: f64,
    #[serde(flatten)]
    pub latency: Quantiles,
    /// Rows that went meanwhile, of all tables.
    pub rows_gone: u64,
    /// The longest step, for which an acknowledgement may have waited.
    pub longest_step_ms: f64,
    /// Nothing was left to prune before the measurement was over: take more rows or less time.
    pub pruning_ended_early: bool,
    pub cpu_us_per_message: CpuPerMessage,
}

/// # Errors
/// The host breaks a connection, or nothing is pruned.
pub async fn run(folder: &Path, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let setup = Setup {
        program: Program::Inside,
        ..Setup::of(Path::new(""))
    };
    let Some(mut stage) = Stage::start(folder, &setup).await? else {
        return Ok(Vec::new());
    };
    stage.inbox.hold();
    stage.pause(0).await?;
    let begun = Instant::now();
    past::fill(&stage.database_file(), past::Past::of(options.stored, OLD)).await?;
    let filled = begun.elapsed();
    stage.revive(0).await?;
    let surroundings = Surroundings::measure(&stage.disk())?;
    // Statements are prepared, pages are in memory.
    load::run(
        stage.target(),
        Plan::closed(options.connections, options.customers, Until::Time(options.time / 5)),
    )
    .await?;
    let mut measured = Vec::new();
    for (measurement, pruning) in [("retention.at_rest", false), ("retention.pruning", true)] {
        let mut figures = measure(&stage, options, pruning).await?;
        figures.filled_in_seconds = seconds(filled);
        measured.push(Measurement {
            measurement,
            figures,
            surroundings: surroundings.clone(),
        });
    }
    stage.stop().await?;
    Ok(measured)
}

async fn measure(stage: &Stage, options: Options, pruning: bool) -> Result<Figures> {
    let plan = Plan {
        // Each its own numbers.
        first: if pruning { 2 << 32 } else { 1 << 32 },
        rate: Some(options.rate),
        ..Plan::closed(options.connections, options.customers, Until::Time(options.time))
    };
    let before = stage.cpu();
    let soft = CancellationToken::new();
    let flow = std::sync::Arc::clone(&stage.inside()?.flow);
    let pass = {
        let soft = soft.clone();
        async move {
            if pruning {
                upkeep::pass(&flow, Retention::default(), &soft).await
            } else {
                Ok(Gone::default())
            }
        }
    };
    let pass = tokio::spawn(pass);
    let sent = load::run(stage.target(), plan).await?;
    let ended_early = pruning && pass.is_finished();
    soft.cancel();
    let gone = pass.await??;
    let after = stage.cpu();
    ensure!(!pruning || gone.rows > 0, "nothing was pruned");
    let (good, lasted) = (sent.good().count(), sent.seconds());
    let mut cpu = CpuPerMessage::between(before, after, sent.cpu, good);
    // The load runs in the process that was counted as the host's.
    cpu.host = rounded((cpu.host - cpu.load).max(0.0));
    Ok(Figures {
        stored_messages: options.stored,
        filled_in_seconds: 0.0,
        pruning,
        asked_per_second: options.rate,
        seconds: rounded(lasted),
        acknowledged: good,
        refused: sent.samples.len() - good,
        per_second: rate(good, lasted),
        latency: Quantiles::of(sent.took()),
        rows_gone: gone.rows,
        longest_step_ms: milliseconds(gone.longest),
        pruning_ended_early: ended_early,
        cpu_us_per_message: cpu,
    })
}

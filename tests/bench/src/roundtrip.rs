//! `roundtrip`: from a provider's webhook to the message applied in the inbox.
//!
//! Two phases on one host: every customer writes for the first time (contact and conversation are made), then they go
//! on writing into their conversations. Without a rate the host is given all it acknowledges, so latencies show the
//! queue that builds up and only the throughput says something; with a rate below that they show the way itself.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::figures::{Measurement, Quantiles, Surroundings, rounded};
use crate::inbox::Applied;
use crate::load::{self, Plan, Sample, Until};
use crate::stage::Stage;

/// Messages that are not applied by then are lost.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    pub customers: u64,
    /// Messages of the second phase.
    pub messages: u64,
    /// Messages a second in the second phase; None: as fast as they are acknowledged.
    pub rate: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub connections: usize,
    pub customers: u64,
    pub messages: u64,
    /// Messages a second that were asked for; None: closed loop.
    pub asked_per_second: Option<f64>,
    /// From the first webhook to the last message applied.
    pub seconds: f64,
    pub per_second: f64,
    /// Calls of the inbox's API for each message.
    pub inbox_calls_per_message: f64,
    /// From the webhook to its 200.
    pub ack: Quantiles,
    /// From the webhook to the inbox.
    #[serde(flatten)]
    pub latency: Quantiles,
}

/// # Errors
/// A webhook is refused, or a message does not come exactly once.
pub async fn run(folder: &Path, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let stage = Stage::start(folder).await?;
    let surroundings = Surroundings::measure(stage.folder())?;
    let first = Plan {
        connections: options.connections,
        customers: options.customers,
        first: 0,
        until: Until::Count(options.customers),
        rate: None,
    };
    let then = Plan {
        first: options.customers,
        until: Until::Count(options.messages),
        rate: options.rate,
        ..first
    };
    let mut measured = Vec::new();
    for (measurement, plan) in [("roundtrip.new_customers", first), ("roundtrip.known_customers", then)] {
        measured.push(Measurement {
            measurement,
            figures: phase(&stage, plan).await?,
            surroundings: surroundings.clone(),
        });
    }
    stage.stop().await;
    Ok(measured)
}

async fn phase(stage: &Stage, plan: Plan) -> Result<Figures> {
    let Until::Count(messages) = plan.until else {
        anyhow::bail!("a phase is counted in messages");
    };
    let calls_before = stage.inbox.calls();
    let samples = load::run(stage.target(), plan).await?;
    let refused = samples.iter().filter(|sample| sample.status != 200).count();
    ensure!(refused == 0, "{refused} of {messages} webhooks were refused");
    let count = usize::try_from(plan.first + messages)?;
    let applied = stage.inbox.all_applied(count, PATIENCE).await?;
    stage.quiet(PATIENCE).await?;
    let calls = stage.inbox.calls() - calls_before;
    figures(plan, messages, &samples, &applied, calls)
}

fn figures(
    plan: Plan,
    messages: u64,
    samples: &[Sample],
    applied: &HashMap<u64, Applied>,
    calls: u64,
) -> Result<Figures> {
    let mut latencies = Vec::with_capacity(samples.len());
    let mut last = None;
    for sample in samples {
        let number = sample.number;
        let came = applied.get(&number);
        let came = came.with_context(|| format!("message {number} was acknowledged and is not in the inbox"))?;
        ensure!(
            came.times == 1,
            "message {number} came to the inbox {} times",
            came.times
        );
        latencies.push(came.at.saturating_duration_since(sample.begun));
        last = last.max(Some(came.at));
    }
    let begun = samples.iter().map(|sample| sample.begun).min();
    let seconds = begun
        .zip(last)
        .map_or(0.0, |(begun, last)| last.saturating_duration_since(begun).as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "far fewer messages than a float counts")]
    let (count, calls) = (messages as f64, calls as f64);
    Ok(Figures {
        connections: plan.connections,
        customers: plan.customers,
        messages,
        asked_per_second: plan.rate,
        seconds: rounded(seconds),
        per_second: rounded(count / seconds),
        inbox_calls_per_message: rounded(calls / count),
        ack: Quantiles::of(
            samples
                .iter()
                .map(|sample| sample.answered.duration_since(sample.begun))
                .collect(),
        ),
        latency: Quantiles::of(latencies),
    })
}

//! `roundtrip`: from a provider's webhook to the message applied in the inbox.
//!
//! Two phases on the same hosts: every customer writes for the first time (contact and conversation are made), then
//! they go on writing into their conversations. Without a rate the hosts are given all they acknowledge, so latencies
//! show the queue that builds up and only the throughput says something; with a rate below that they show the way
//! itself. Webhooks are spread over all hosts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use crate::cpu::CpuPerMessage;
use crate::figures::{Measurement, Quantiles, Surroundings, rate, rounded};
use crate::load::{self, Manner, Plan, Until};
use crate::stage::{Database, Setup, Stage};
use crate::verdict;

/// Messages that are not applied by then are lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    pub customers: u64,
    /// Messages of the second phase.
    pub messages: u64,
    /// Messages a second in the second phase; None: as fast as they are acknowledged.
    pub rate: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub database: Database,
    pub hosts: usize,
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
    pub cpu_us_per_message: CpuPerMessage,
}

/// Empty: the database is not on this machine.
///
/// # Errors
/// A webhook is refused, or a message does not come exactly once and in order.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let Some(stage) = Stage::start(folder, setup).await? else {
        return Ok(Vec::new());
    };
    let surroundings = Surroundings::measure(&stage.disk())?;
    let customers = Plan::whole(options.customers, options.connections);
    let first = Plan {
        manner: Manner::InOrder,
        ..Plan::closed(options.connections, customers, Until::Count(customers))
    };
    let then = Plan {
        first: customers,
        until: Until::Count(options.messages),
        rate: options.rate,
        ..first
    };
    let mut measured = Vec::new();
    for (measurement, plan) in [("roundtrip.new_customers", first), ("roundtrip.known_customers", then)] {
        measured.push(Measurement {
            measurement,
            figures: phase(&stage, setup, plan).await?,
            surroundings: surroundings.clone(),
        });
    }
    stage.stop().await?;
    Ok(measured)
}

async fn phase(stage: &Stage, setup: &Setup, plan: Plan) -> Result<Figures> {
    let Until::Count(messages) = plan.until else {
        bail!("a phase is counted in messages");
    };
    let (calls_before, before) = (stage.inbox.calls(), stage.cpu());
    let sent = load::run(stage.target(), plan).await?;
    let good = sent.good().count();
    let refused = sent.samples.len() - good;
    ensure!(refused == 0, "{refused} of {messages} webhooks were refused");
    let count = usize::try_from(plan.first + messages)?;
    stage.inbox.all_applied(count, PATIENCE).await?;
    stage.quiet(PATIENCE).await?;
    let (calls, after) = (stage.inbox.calls() - calls_before, stage.cpu());
    // Once more when all is quiet: a second copy comes late.
    let applied = stage.inbox.applied();
    let delivered = verdict::complete(&sent.samples, &applied)?;
    verdict::in_order(&sent.samples, &applied)?;
    let begun = sent.samples.iter().map(|sample| sample.begun).min();
    let seconds = begun
        .zip(delivered.last)
        .map_or(0.0, |(begun, last)| last.saturating_duration_since(begun).as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "far fewer messages than a float counts")]
    let calls_per_message = calls as f64 / messages as f64;
    Ok(Figures {
        database: setup.database,
        hosts: setup.hosts,
        connections: plan.connections,
        customers: plan.customers,
        messages,
        asked_per_second: plan.rate,
        seconds: rounded(seconds),
        per_second: rate(good, seconds),
        inbox_calls_per_message: rounded(calls_per_message),
        ack: Quantiles::of(sent.took()),
        latency: Quantiles::of(delivered.took),
        cpu_us_per_message: CpuPerMessage::between(before, after, sent.cpu, good),
    })
}

/// Every one of these customers writes once, so that the inbox has a contact and a conversation for each. Their numbers
/// are those of the messages from 0 on.
///
/// # Errors
/// A webhook is refused, or a message does not come.
pub(crate) async fn introduce(stage: &Stage, connections: usize, customers: u64) -> Result<load::Sent> {
    let plan = Plan {
        manner: Manner::Stubborn,
        ..Plan::closed(connections, customers, Until::Count(customers))
    };
    let sent = load::run(stage.target(), plan).await?;
    stage.inbox.all_applied(usize::try_from(customers)?, PATIENCE).await?;
    stage.quiet(PATIENCE).await?;
    Ok(sent)
}

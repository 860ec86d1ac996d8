//! `overload`: many times more hooks than the host can take, from three kinds of senders at once.
//!
//! Memory must stay within its bounds, what comes again must be refused before what would be lost, and soon after the
//! flood everything must be as before. What was acknowledged comes to the inbox once, whatever was refused beside it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::figures::{Measurement, Quantiles, Surroundings, rate, rounded, seconds};
use crate::footprint::Footprint;
use crate::hooks::Writer;
use crate::inbox::Applied;
use crate::load::{self, Manner, Plan, Sample, Sent, Target, Until};
use crate::memory::highest;
use crate::roundtrip::{PATIENCE, introduce};
use crate::stage::{Setup, Stage};
use crate::verdict;

/// Numbers of the flood, of each kind, and of those who write afterwards.
const FLOOD_FROM: u64 = 1 << 32;
const SMS_FROM: u64 = 2 << 32;
const STATUS_FROM: u64 = 3 << 32;
const AFTER_FROM: u64 = 4 << 32;
/// A calm sender afterwards, in messages a second: enough to see the moment.
const AFTER_RATE: f64 = 20.0;
const AFTER_CONNECTIONS: usize = 4;
/// Shares of refusals that differ by less are alike …
const SHARE_TOLERANCE: f64 = 0.02;
/// … and those of fewer hooks say nothing.
const JUDGED_MIN: usize = 20;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Of the flood, which is WhatsApp's: more than the hooks that the host takes at once.
    pub connections: usize,
    /// Of statuses and of text messages of Twilio, each.
    pub sms_connections: usize,
    pub customers: u64,
    /// Times the capacity that is offered.
    pub factor: f64,
    /// Text messages of Twilio a second, and as many statuses.
    pub sms_rate: f64,
    /// How long the capacity is measured.
    pub measure: Duration,
    /// How long the flood lasts …
    pub flood: Duration,
    /// … and how long the host is looked at afterwards.
    pub after: Duration,
    /// An answer that takes longer is not one of a host that has recovered.
    pub calm: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// What 64 connections had acknowledged a second before.
    pub capacity_per_second: f64,
    /// What was due of WhatsApp's hooks …
    pub asked_per_second: f64,
    /// … and what the load generator managed to send.
    pub offered_per_second: f64,
    pub flood_seconds: f64,
    /// Acknowledged of all kinds, a second.
    pub per_second: f64,
    /// Refused first.
    pub statuses: Kind,
    /// Comes again for days.
    pub whatsapp: Kind,
    /// Comes again three times.
    pub sms: Kind,
    pub rss_before_kib: u64,
    pub rss_max_kib: u64,
    pub rss_after_kib: u64,
    /// From the end of the flood until every answer of a calm sender was good and quick.
    pub recovered_after_seconds: f64,
    /// Of those answers, from the recovery on.
    pub calm: Quantiles,
}

#[derive(Debug, Clone, Serialize)]
pub struct Kind {
    pub sent: usize,
    pub acknowledged: usize,
    pub refused: usize,
    /// Among the refused: the connection broke.
    pub broken: usize,
    /// Sent between the first and the last refusal of a hook of the flood: while the host was full.
    pub sent_when_full: usize,
    /// Of those.
    pub refused_share: f64,
    pub ack: Quantiles,
}

impl Kind {
    fn of(sent: &Sent, full: Option<(Instant, Instant)>) -> Self {
        let (all, good) = (sent.samples.len(), sent.good().count());
        let is_within = |sample: &&Sample| full.is_some_and(|(from, to)| sample.left >= from && sample.left <= to);
        let within: Vec<&Sample> = sent.samples.iter().filter(is_within).collect();
        let refused = within.iter().filter(|sample| !sample.is_good()).count();
        #[expect(clippy::cast_precision_loss, reason = "far fewer hooks than a float counts")]
        let refused_share = refused as f64 / within.len().max(1) as f64;
        Self {
            sent: all,
            acknowledged: good,
            refused: all - good,
            broken: sent.samples.iter().filter(|sample| sample.status == 0).count(),
            sent_when_full: within.len(),
            refused_share: rounded(refused_share),
            ack: Quantiles::of(sent.took()),
        }
    }
}

/// From the first to the last refusal.
fn full(flood: &Sent) -> Option<(Instant, Instant)> {
    let refused = || flood.samples.iter().filter(|sample| !sample.is_good());
    let first = refused().map(|sample| sample.left).min()?;
    let last = refused().map(|sample| sample.left).max()?;
    Some((first, last))
}

/// # Errors
/// What was acknowledged is lost or doubled, or what is lost when it is refused was refused before what is not.
pub async fn run(folder: &Path, setup: &Setup, options: Options) -> Result<Vec<Measurement<Figures>>> {
    let setup = Setup {
        all_connectors: true,
        ..setup.clone()
    };
    let Some(stage) = Stage::start(folder, &setup).await? else {
        return Ok(Vec::new());
    };
    let surroundings = Surroundings::measure(&stage.disk())?;
    let figures = measure(&stage, options).await?;
    stage.stop().await?;
    Ok(vec![Measurement {
        measurement: "overload",
        figures,
        surroundings,
    }])
}

/// The three kinds of hooks.
struct Targets {
    whatsapp: Target,
    sms: Target,
    statuses: Target,
}

async fn measure(stage: &Stage, options: Options) -> Result<Figures> {
    let path = stage.connect_sms().await?;
    let targets = Targets {
        whatsapp: stage.target(),
        sms: stage.target_of(path.clone(), Writer::sms),
        // A status tells which message it is about in its address.
        statuses: stage.target_of(format!("{path}?mid=bench"), Writer::sms_status),
    };
    let customers = Plan::whole(options.customers, AFTER_CONNECTIONS);
    // Every customer is known: the flood then costs the inbox one call for each message.
    introduce(stage, AFTER_CONNECTIONS, customers).await?;
    let plan = Plan {
        first: customers,
        ..Plan::closed(64, customers, Until::Time(options.measure))
    };
    let calm = load::run(targets.whatsapp.clone(), plan).await?;
    let capacity = rate(calm.good().count(), calm.seconds());
    let id = stage.process(0)?.id();
    let rss_before_kib = Footprint::of(id)?.rss_kib;
    let over = Arc::new(AtomicBool::new(false));
    let rss = tokio::spawn(highest(id, Arc::clone(&over)));

    let asked = capacity * options.factor;
    let flood = flood(&targets, options, customers, asked).await?;
    let ended = Instant::now();
    let plan = Plan {
        first: AFTER_FROM,
        rate: Some(AFTER_RATE),
        manner: Manner::Rough,
        ..Plan::closed(AFTER_CONNECTIONS, customers, Until::Time(options.after))
    };
    let after = load::run(targets.whatsapp, plan).await?;
    let (recovered, quick) = recovery(&after, ended, options.calm)?;
    stage.quiet(PATIENCE).await?;
    over.store(true, Ordering::Release);
    let rss_max_kib = rss.await?;
    judge(&[&calm, &flood.whatsapp, &flood.sms, &after], &stage.inbox.applied())?;
    let full = full(&flood.whatsapp);
    let (statuses, whatsapp, sms) = (
        Kind::of(&flood.statuses, full),
        Kind::of(&flood.whatsapp, full),
        Kind::of(&flood.sms, full),
    );
    in_order_of_loss(&[&statuses, &whatsapp, &sms])?;
    let lasted = flood.whatsapp.seconds();
    let acknowledged = statuses.acknowledged + whatsapp.acknowledged + sms.acknowledged;
    Ok(Figures {
        capacity_per_second: capacity,
        asked_per_second: rounded(asked),
        offered_per_second: rate(whatsapp.sent, lasted),
        flood_seconds: rounded(lasted),
        per_second: rate(acknowledged, lasted),
        statuses,
        whatsapp,
        sms,
        rss_before_kib,
        rss_max_kib,
        rss_after_kib: Footprint::of(id)?.rss_kib,
        recovered_after_seconds: seconds(recovered),
        calm: quick,
    })
}

struct Flood {
    whatsapp: Sent,
    sms: Sent,
    statuses: Sent,
}

async fn flood(targets: &Targets, options: Options, customers: u64, asked: f64) -> Result<Flood> {
    let plan = Plan {
        first: FLOOD_FROM,
        rate: Some(asked),
        manner: Manner::Rough,
        ..Plan::closed(options.connections, customers, Until::Told)
    };
    let of_twilio = |first| Plan {
        first,
        connections: options.sms_connections,
        rate: Some(options.sms_rate),
        ..plan
    };
    let sms = load::start(targets.sms.clone(), of_twilio(SMS_FROM)).await?;
    let statuses = load::start(targets.statuses.clone(), of_twilio(STATUS_FROM)).await?;
    let whatsapp = load::start(targets.whatsapp.clone(), plan).await?;
    tokio::time::sleep(options.flood).await;
    // What was due and did not get away by then stays with the senders.
    let (whatsapp, sms, statuses) = tokio::join!(whatsapp.stop(), sms.stop(), statuses.stop());
    Ok(Flood {
        whatsapp: whatsapp?,
        sms: sms?,
        statuses: statuses?,
    })
}

/// How long after the flood the last answer came that was not good and quick, and what the answers took from then on.
fn recovery(after: &Sent, ended: Instant, calm: Duration) -> Result<(Duration, Quantiles)> {
    let is_calm = |sample: &&Sample| sample.is_good() && sample.took() <= calm;
    let bad = after.samples.iter().filter(|sample| !is_calm(sample));
    let last_bad = bad.map(|sample| sample.answered).max();
    let since = last_bad.unwrap_or(ended);
    let quick: Vec<Duration> = after
        .samples
        .iter()
        .filter(|sample| sample.begun >= since)
        .map(Sample::took)
        .collect();
    ensure!(!quick.is_empty(), "the host did not recover while it was looked at");
    Ok((since.saturating_duration_since(ended), Quantiles::of(quick)))
}

/// What was acknowledged came once; nothing came that was refused with a clear word.
fn judge(sent: &[&Sent], applied: &HashMap<u64, Applied>) -> Result<()> {
    for sent in sent {
        verdict::complete(&sent.samples, applied)?;
        let refused = sent.samples.iter().filter(|sample| sample.status >= 400);
        let stored = refused.filter(|sample| applied.contains_key(&sample.number)).count();
        ensure!(
            stored == 0,
            "{stored} messages were refused and came to the inbox all the same"
        );
    }
    Ok(())
}

/// While the host was full, of each kind no smaller share was refused than of the next.
fn in_order_of_loss(kinds: &[&Kind]) -> Result<()> {
    let judged = kinds.iter().filter(|kind| kind.sent_when_full >= JUDGED_MIN);
    let shares: Vec<f64> = judged.map(|kind| kind.refused_share).collect();
    let falls = shares.windows(2).all(|pair| {
        let [one, next] = pair else { return true };
        one + SHARE_TOLERANCE >= *next
    });
    ensure!(
        falls,
        "refused of statuses, WhatsApp's and Twilio's messages: {shares:?}; what is lost was refused first"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(answers: &[(u64, u16, u64)], begun: Instant) -> Sent {
        let sample = |(number, status, took): &(u64, u16, u64)| Sample {
            number: *number,
            customer: 0,
            begun: begun + Duration::from_secs(*number),
            left: begun + Duration::from_secs(*number),
            answered: begun + Duration::from_secs(*number) + Duration::from_millis(*took),
            status: *status,
        };
        Sent {
            samples: answers.iter().map(sample).collect(),
            cpu: Duration::ZERO,
        }
    }

    #[test]
    fn recovered_is_from_the_last_bad_answer_on() -> Result<()> {
        let begun = Instant::now();
        let check = |answers: &[(u64, u16, u64)], expected: Option<u64>| {
            let found = recovery(&sent(answers, begun), begun, Duration::from_millis(250));
            assert_eq!(found.ok().map(|(after, _)| after.as_secs()), expected, "{answers:?}");
        };
        check(&[(1, 200, 5), (2, 200, 5)], Some(0));
        check(&[(1, 503, 5), (2, 200, 5)], Some(1));
        check(&[(1, 200, 900), (2, 200, 400), (3, 200, 5)], Some(2));
        check(&[(1, 200, 5), (2, 503, 5)], None);
        Ok(())
    }

    #[test]
    fn refusals_fall_from_what_comes_again_to_what_is_lost() {
        let kind = |refused: u16| {
            let answers: Vec<(u64, u16, u64)> = (0..100)
                .map(|number| (number, if number < u64::from(refused) { 503 } else { 200 }, 1))
                .collect();
            let begun = Instant::now();
            Kind::of(&sent(&answers, begun), Some((begun, begun + Duration::from_secs(100))))
        };
        assert!(in_order_of_loss(&[&kind(90), &kind(50), &kind(0)]).is_ok());
        assert!(in_order_of_loss(&[&kind(0), &kind(0), &kind(0)]).is_ok());
        assert!(in_order_of_loss(&[&kind(10), &kind(50), &kind(0)]).is_err());
        assert!(in_order_of_loss(&[&kind(90), &kind(50), &kind(60)]).is_err());
        // Three of them are chance.
        let few = Kind {
            sent_when_full: 3,
            ..kind(60)
        };
        assert!(in_order_of_loss(&[&kind(90), &kind(50), &few]).is_ok());
    }
}

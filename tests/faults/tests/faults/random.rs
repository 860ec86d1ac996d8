//! A8: deaths at random points and random times, one after the other on the same database.
//!
//! `MANTLE_FAULTS_ROUNDS` says how many, `MANTLE_FAULTS_SEED` repeats a run: points and counts are the same then, the
//! interleaving of the machine is not.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::stage::{Setup, Stage};

/// Some twenty seconds; thousands are for a night.
const ROUNDS: u64 = 20;
const CUSTOMERS: i64 = 6;
/// Points and how often they are passed in a round, at most.
const POINTS: [(&str, u64); 6] = [
    ("hook-read", 12),
    ("hook-kept", 12),
    ("intent-kept", 12),
    ("answer-begun", 12),
    ("answer-read", 12),
    ("job-run", 60),
];
/// A round without a death by then is killed from outside.
const LIFE_MAX_MS: u64 = 400;

/// xorshift64*
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

pub fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    Ok(Some(
        text.parse().with_context(|| format!("{name}={text} is no number"))?,
    ))
}

pub fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64 | 1)
}

async fn deaths(stage: &mut Stage, random: &mut Random, rounds: u64) -> Result<()> {
    for round in 0..rounds {
        let (point, hits) = POINTS[random.below(POINTS.len() as u64) as usize];
        stage.arm(&format!("{point}=kill@{}", 1 + random.below(hits))).await?;
        let life = Duration::from_millis(random.below(LIFE_MAX_MS));
        let writing = stage.all_say(0..CUSTOMERS, &[format!("round {round} a"), format!("round {round} b")]);
        if tokio::time::timeout(life, stage.ended()).await.is_err() {
            stage.kill().await?;
        }
        stage.assert_stored().await?;
        stage.start().await?;
        writing.await?;
    }
    stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_random_deaths_break_no_promise() -> Result<()> {
    let seed = number("MANTLE_FAULTS_SEED")?.unwrap_or_else(fresh_seed).max(1);
    let rounds = number("MANTLE_FAULTS_ROUNDS")?.unwrap_or(ROUNDS);
    eprintln!("MANTLE_FAULTS_SEED={seed} MANTLE_FAULTS_ROUNDS={rounds}");
    let mut stage = Stage::telegram(Setup::default()).await?;
    deaths(&mut stage, &mut Random(seed), rounds)
        .await
        .with_context(|| format!("repeat with MANTLE_FAULTS_SEED={seed}"))
}

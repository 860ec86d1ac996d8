//! Time on the stage: the clocks of hosts and world, and waiting until something is so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{LOOK_EVERY, Stage};
use crate::process::PATIENCE;

/// Without progress for so long, what is left waits for the clock …
const STILL: Duration = Duration::from_millis(300);
/// … which is then moved by this.
const STEP: Duration = Duration::from_secs(15);

impl Stage {
    /// Events that have not ended.
    pub async fn backlog(&mut self) -> Result<u64> {
        if let Some(database) = &self.database {
            let left = "select coalesce(sum(tail - head), 0)::bigint from lane";
            return Ok(database.number(left).await?.try_into()?);
        }
        let (_, text) = self.get("/readyz").await?;
        let told: Value = serde_json::from_str(&text)?;
        told["backlog"]
            .as_u64()
            .with_context(|| format!("no backlog in {told}"))
    }

    /// The hosts' clocks and the world's.
    pub async fn advance(&mut self, by: Duration) -> Result<()> {
        let by = i64::try_from(by.as_millis())?;
        self.ahead_ms += by;
        for seat in self.seats.iter_mut().filter(|seat| seat.is_awake()) {
            let Some(process) = &mut seat.process else { continue };
            let now: i64 = process.order(&format!("advance {by}")).await?.parse()?;
            self.world.scene().set_clock(Some(now - seat.skew_ms));
        }
        Ok(())
    }

    /// The clock of one host is set wrong.
    pub async fn skew(&mut self, seat: usize, by_ms: i64) -> Result<()> {
        self.host_at(seat).order(&format!("advance {by_ms}")).await?;
        self.seats[seat].skew_ms += by_ms;
        Ok(())
    }

    /// By how much the stage's clock is ahead of the machine's.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }

    /// Waits until `/readyz` says so; the host proves it every few seconds by a write.
    pub async fn until_ready(&mut self, ready: bool) -> Result<()> {
        self.until_ready_at(0, ready).await
    }

    pub async fn until_ready_at(&mut self, seat: usize, ready: bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let wanted = if ready { 200 } else { 503 };
        loop {
            let (status, told) = self.get_at(seat, "/readyz").await?;
            if status == wanted {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "/readyz stays at {status}: {told}"
            );
            tokio::time::sleep(STILL).await;
        }
    }

    /// Waits until a lane waits for this reason.
    pub async fn waits_because(&mut self, reason: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let causes = self.on_disk().await?.causes().await?;
            if causes.contains(reason) {
                return Ok(());
            }
            let late = tokio::time::Instant::now() > deadline;
            ensure!(!late, "nothing waits because of `{reason}`, but of: {causes}");
            tokio::time::sleep(STILL).await;
        }
    }

    /// Waits until every event has ended, moving the clock over waits.
    pub async fn quiet(&mut self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (mut last, mut since) = (u64::MAX, tokio::time::Instant::now());
        loop {
            let left = self.backlog().await?;
            if left == 0 {
                return Ok(());
            }
            let now = tokio::time::Instant::now();
            if left != last {
                (last, since) = (left, now);
            } else if now - since > STILL {
                since = now;
                self.advance(STEP).await?;
            }
            ensure!(now < deadline, "{left} events have not ended:\n{}", self.logs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

//! Who sends what when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Semaphore;

use super::{Manner, Plan, Until};

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// From 0.
    pub number: u64,
    /// Now, where nothing is due.
    pub due: Instant,
}

/// The turns of all connections.
pub struct Turns {
    begun: Instant,
    /// One for all, or one for each connection.
    lines: Vec<Line>,
    /// Requests a second; None: each connection has its turn when it asks.
    rate: Option<f64>,
    until: Until,
    over: Arc<AtomicBool>,
}

struct Line {
    next: AtomicU64,
    /// Turns that are due.
    due: Arc<Semaphore>,
}

impl Turns {
    /// `over` ends it at once.
    pub fn begin(plan: Plan, over: Arc<AtomicBool>) -> Result<Self> {
        let lines = match plan.manner {
            Manner::Once | Manner::Rough => 1,
            Manner::InOrder | Manner::Stubborn => plan.connections.max(1),
        };
        let line = || Line {
            next: AtomicU64::new(0),
            due: Arc::new(Semaphore::new(0)),
        };
        let turns = Self {
            begun: Instant::now(),
            lines: std::iter::repeat_with(line).take(lines).collect(),
            rate: plan.rate,
            until: plan.until,
            over,
        };
        if let Some(rate) = turns.rate {
            turns.ring(rate)?;
        }
        Ok(turns)
    }

    /// The next message of this connection. None: it is over.
    pub async fn next(&self, connection: usize) -> Option<Turn> {
        let lines = self.lines.len();
        let place = connection % lines;
        let line = self.lines.get(place)?;
        if self.rate.is_some() {
            line.due.acquire().await.ok()?.forget();
        }
        let number = line.next.fetch_add(1, Ordering::Relaxed) * lines as u64 + place as u64;
        let due = match self.rate {
            Some(rate) => due_at(self.begun, rate, number),
            None => Instant::now(),
        };
        let goes_on = match self.until {
            Until::Time(time) => due.duration_since(self.begun) < time,
            Until::Count(count) => number < count,
            Until::Told => true,
        };
        if goes_on && !self.over.load(Ordering::Acquire) {
            return Some(Turn { number, due });
        }
        // Those who wait for a turn that is not to come are let go.
        line.due.close();
        None
    }

    /// A thread that sleeps: the timers of the runtime have a grain of a millisecond, which is much beside the figures.
    fn ring(&self, rate: f64) -> Result<()> {
        let (begun, over) = (self.begun, Arc::clone(&self.over));
        let lines: Vec<Arc<Semaphore>> = self.lines.iter().map(|line| Arc::clone(&line.due)).collect();
        let ring = move || {
            for turn in 0_u64.. {
                std::thread::sleep(due_at(begun, rate, turn).saturating_duration_since(Instant::now()));
                if over.load(Ordering::Acquire) || lines.iter().all(|line| line.is_closed()) {
                    // One turn more for whoever waits, to find that it is over.
                    lines.iter().for_each(|line| line.close());
                    return;
                }
                let place = usize::try_from(turn % lines.len() as u64).unwrap_or_default();
                if let Some(line) = lines.get(place) {
                    line.add_permits(1);
                }
            }
        };
        let thread = std::thread::Builder::new().name("bench-due".to_owned());
        thread
            .spawn(ring)
            .map(drop)
            .context("starting the thread that tells what is due")
    }
}

fn due_at(begun: Instant, rate: f64, turn: u64) -> Instant {
    #[expect(clippy::cast_precision_loss, reason = "far fewer turns than a float counts")]
    let after = turn as f64 / rate;
    begun + Duration::from_secs_f64(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(turns: &Turns, connection: usize) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(turn) = turns.next(connection).await {
            all.push(turn.number);
        }
        all
    }

    fn plan(manner: Manner, rate: Option<f64>) -> Plan {
        Plan {
            rate,
            manner,
            ..Plan::closed(2, 4, Until::Count(6))
        }
    }

    #[tokio::test]
    async fn whoever_is_free_has_the_next_turn() -> Result<()> {
        let turns = Turns::begin(plan(Manner::Once, None), Arc::default())?;
        assert_eq!(all(&turns, 1).await, [0, 1, 2, 3, 4, 5]);
        assert_eq!(all(&turns, 0).await, [0_u64; 0]);
        Ok(())
    }

    #[tokio::test]
    async fn in_order_a_customer_stays_with_one_connection_in_both_loops() -> Result<()> {
        for rate in [None, Some(1000.0)] {
            let turns = Turns::begin(plan(Manner::InOrder, rate), Arc::default())?;
            let (one, other) = tokio::join!(all(&turns, 0), all(&turns, 1));
            assert_eq!((one, other), (vec![0, 2, 4], vec![1, 3, 5]), "{rate:?}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn it_is_over_when_told() -> Result<()> {
        for rate in [None, Some(100.0)] {
            let over = Arc::new(AtomicBool::new(false));
            let told = Plan {
                until: Until::Told,
                ..plan(Manner::Stubborn, rate)
            };
            let turns = Turns::begin(told, Arc::clone(&over))?;
            assert!(turns.next(0).await.is_some());
            over.store(true, Ordering::Release);
            assert_eq!(all(&turns, 1).await, [0_u64; 0], "{rate:?}");
        }
        Ok(())
    }
}

//! Letting go of what is old, in steps so small that no acknowledgement waits for them.
//!
//! Nothing is dropped that is still to be worked, and no identity, alias, contact or thread ever. Nothing is dropped
//! while the clock cannot be trusted: after a jump, and in the first minutes, when it may yet be put right.

use std::time::{Duration, Instant};

use mantle_model::clock::Time;
use mantle_store::StoreError;
use mantle_store::upkeep::Kept;
use tokio_util::sync::CancellationToken;

use crate::Flow;
use crate::worker::pause;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Messages, their traces and their dead letters, when nobody says: a quarter is what people ask about.
pub const MESSAGE_DAYS: u32 = 90;
/// Files, when nobody says: late tries end within a day, and people replay within weeks.
pub const MEDIA_DAYS: u32 = 30;
/// Raw hooks are evidence for finding faults and for reading them again: two releases of a connector.
const RECEIPT_DAYS: u32 = 30;
/// Keys outlive every provider's habit of telling again (Meta: 7 days) and the overlap of looking for missed replies
/// (Intercom), whatever is chosen for messages.
const KEY_DAYS: u32 = 60;

/// How often what is old is looked for.
const PASS_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two steps: the writer is free nearly all of the time.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Rows of the first step of a pass, …
const STEP_ROWS: u32 = 200;
/// … of the smallest …
const STEP_ROWS_MIN: u32 = 20;
/// … and of the largest.
const STEP_ROWS_MAX: u32 = 1_000;
/// A step that took longer is followed by one of half its rows: an acknowledgement may wait behind it.
const STEP_TIME_MAX: Duration = Duration::from_millis(20);
/// Clocks are corrected by less than this between two looks; more is a jump.
const JUMP: Duration = Duration::from_secs(5);
/// After a jump, and after the start, nothing is dropped for so long.
const FREEZE: Duration = Duration::from_secs(60 * 60);
/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Finished messages with their traces, the dead ones too.
    pub messages: Duration,
    /// Files of customers and teammates.
    pub media: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self::of_days(MESSAGE_DAYS, MEDIA_DAYS)
    }
}

impl Retention {
    #[must_use]
    pub fn of_days(messages: u32, media: u32) -> Self {
        Self {
            messages: DAY * messages,
            media: DAY * media,
        }
    }

    fn of(&self, what: Kept) -> Duration {
        match what {
            // A raw hook holds the words of its messages.
            Kept::Receipts => (DAY * RECEIPT_DAYS).min(self.messages),
            Kept::Messages | Kept::Reports => self.messages,
            Kept::Keys | Kept::OwnParts => DAY * KEY_DAYS,
        }
    }
}

/// What one pass let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    pub rows: u64,
    pub files: u32,
    /// The longest step, for which an acknowledgement may have waited.
    pub longest: Duration,
}

/// Looks after the store until `soft` is cancelled.
pub async fn run(flow: &Flow, retention: Retention, soft: CancellationToken) {
    let mut steady = Steady::new(flow.now(), Instant::now());
    let mut next_pass = Instant::now();
    while !soft.is_cancelled() {
        pause(&soft, LOOK_EVERY).await;
        if let Some(jump) = steady.look(flow.now(), Instant::now()) {
            tracing::warn!(
                seconds = jump.as_secs(),
                "The clock jumped by {} s. Nothing old is dropped for an hour; check the time synchronisation",
                jump.as_secs()
            );
        }
        let now = Instant::now();
        if steady.trusted(now) && now >= next_pass {
            next_pass = now + PASS_EVERY;
            match pass(flow, retention, &soft).await {
                Ok(gone) if gone == Gone::default() => {}
                Ok(gone) => tracing::info!(
                    rows = gone.rows,
                    files = gone.files,
                    longest_ms = gone.longest.as_millis(),
                    "Let go of what is old"
                ),
                Err(error) => tracing::error!(%error, "What is old could not be dropped"),
            }
        }
    }
}

/// Drops everything that is old by the clock now, step by step.
///
/// # Errors
/// The store does not do it; the next pass goes on.
pub async fn pass(flow: &Flow, retention: Retention, soft: &CancellationToken) -> Result<Gone, StoreError> {
    let mut gone = Gone::default();
    let now = flow.now();
    for what in Kept::ALL {
        let before = now.before(retention.of(what));
        let (mut from, mut rows) = (Some(0), STEP_ROWS);
        while let Some(place) = from.filter(|_| !soft.is_cancelled()) {
            if !flow.store().idle() {
                pause(soft, STEP_PAUSE).await;
                continue;
            }
            let begun = Instant::now();
            let pruned = match flow.store().prune(what, before, place, rows).await {
                Ok(pruned) => pruned,
                // Others were first; there is no hurry.
                Err(StoreError::Busy(_)) => {
                    pause(soft, STEP_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let took = begun.elapsed();
            gone.rows += u64::from(pruned.gone);
            gone.longest = gone.longest.max(took);
            rows = if took > STEP_TIME_MAX { rows / 2 } else { rows * 2 }.clamp(STEP_ROWS_MIN, STEP_ROWS_MAX);
            from = pruned.next;
            if from.is_some() {
                pause(soft, STEP_PAUSE).await;
            }
        }
    }
    if !soft.is_cancelled() {
        gone.files = flow.store().sweep(now, retention.media).await?;
    }
    Ok(gone)
}

/// Whether the wall clock has gone as time went by.
#[derive(Debug)]
struct Steady {
    wall: Time,
    seen: Instant,
    frozen_until: Instant,
}

impl Steady {
    fn new(wall: Time, seen: Instant) -> Self {
        Self {
            wall,
            seen,
            frozen_until: seen + FREEZE,
        }
    }

    /// By how much the clock jumped since the last look, if it did.
    fn look(&mut self, wall: Time, seen: Instant) -> Option<Duration> {
        let went = seen.saturating_duration_since(self.seen);
        let ahead = wall.since(self.wall.after(went));
        let behind = self.wall.after(went).since(wall);
        let jump = ahead.max(behind);
        (self.wall, self.seen) = (wall, seen);
        if jump <= JUMP {
            return None;
        }
        self.frozen_until = seen + FREEZE;
        Some(jump)
    }

    fn trusted(&self, now: Instant) -> bool {
        now >= self.frozen_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_13_a_jump_of_the_clock_freezes_the_dropping_of_what_is_old() {
        let (wall, seen) = (Time::from_unix_seconds(1_795_132_800), Instant::now());
        let mut steady = Steady::new(wall, seen);
        let later = |seconds| Duration::from_secs(seconds);
        assert!(!steady.trusted(seen), "nothing is dropped right after the start");
        // Ten seconds that the clock shows as twelve are a correction.
        assert_eq!(steady.look(wall.after(later(12)), seen + later(10)), None);
        assert!(steady.trusted(seen + FREEZE));
        let hour_ahead = wall.after(later(3_620));
        assert_eq!(steady.look(hour_ahead, seen + later(20)), Some(later(3_598)));
        assert!(!steady.trusted(seen + FREEZE), "frozen anew");
        assert!(steady.trusted(seen + later(20) + FREEZE));
        let back = wall.after(later(30));
        assert!(steady.look(back, seen + later(30)).is_some(), "backwards is a jump too");
    }

    #[test]
    fn pv_2_raw_hooks_go_with_their_messages_and_keys_outlive_redelivery() {
        let short = Retention::of_days(3, 1);
        assert_eq!(short.of(Kept::Receipts), DAY * 3);
        assert_eq!(short.of(Kept::Messages), DAY * 3);
        assert_eq!(short.of(Kept::Keys), DAY * 60);
        assert_eq!(Retention::default().of(Kept::Receipts), DAY * 30);
    }
}

//! The CPU that a call has used, by the clock of the thread it runs on.
//!
//! Epochs pass by the wall clock: on a busy machine they pass while the guest waits for its turn as well. So an epoch
//! is only the occasion to look; what counts is the time that the thread itself was running. Asking the kernel for that
//! costs as much as a small call's instance, so it is asked from the first epoch of a poll on. Before it the guest ran
//! no longer than from one epoch to the next, and is charged with the wall's time. Knows no budget.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::limits::TICK;

/// One call's account. A call is polled by one thread at a time, and what looks at the account meanwhile runs on that
/// thread too: it is the guest's own epoch callback.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// Where the wall's time is counted from.
    origin: Instant,
    /// Of the polls that are over, in nanoseconds.
    spent_ns: AtomicU64,
    /// The wall's time when the present poll began.
    begun_ns: AtomicU64,
    /// What the thread's clock would have read then; [`NOT_ASKED`] until an epoch has passed.
    since_ns: AtomicU64,
}

/// No reading of a thread's clock: five centuries.
const NOT_ASKED: u64 = u64::MAX;

impl Default for Cpu {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            spent_ns: AtomicU64::new(0),
            begun_ns: AtomicU64::new(0),
            since_ns: AtomicU64::new(NOT_ASKED),
        }
    }
}

impl Cpu {
    /// What the call has used until now. Only while it is polled, at an epoch.
    pub(crate) fn used(&self) -> Duration {
        self.used_at(self.wall_ns(), thread_ns())
    }

    fn used_at(&self, wall_ns: u64, thread_ns: u64) -> Duration {
        if self.since_ns.load(Ordering::Relaxed) == NOT_ASKED {
            let since = thread_ns.saturating_sub(self.charge(wall_ns));
            self.since_ns.store(since, Ordering::Relaxed);
        }
        let present = thread_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed).saturating_add(present))
    }

    /// For the time of a poll before its first epoch.
    fn charge(&self, wall_ns: u64) -> u64 {
        let tick_ns = u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX);
        wall_ns
            .saturating_sub(self.begun_ns.load(Ordering::Relaxed))
            .min(tick_ns)
    }

    fn begin(&self, wall_ns: u64) {
        self.begun_ns.store(wall_ns, Ordering::Relaxed);
        self.since_ns.store(NOT_ASKED, Ordering::Relaxed);
    }

    fn end(&self, wall_ns: u64, thread_ns: impl FnOnce() -> u64) {
        let present = match self.since_ns.load(Ordering::Relaxed) {
            NOT_ASKED => self.charge(wall_ns),
            since => thread_ns().saturating_sub(since),
        };
        let spent = self.spent_ns.load(Ordering::Relaxed).saturating_add(present);
        self.spent_ns.store(spent, Ordering::Relaxed);
    }

    fn wall_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The time that this thread has been running, whatever the others did.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.unwrap_or(0))
}

/// Books every poll of the call, on whichever thread it takes place.
pub(crate) struct Booked<F> {
    cpu: Arc<Cpu>,
    call: Pin<Box<F>>,
}

impl<F> Booked<F> {
    pub(crate) fn new(cpu: Arc<Cpu>, call: F) -> Self {
        Self {
            cpu,
            call: Box::pin(call),
        }
    }
}

impl<F: Future> Future for Booked<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.cpu.begin(self.cpu.wall_ns());
        let polled = self.call.as_mut().poll(context);
        self.cpu.end(self.cpu.wall_ns(), thread_ns);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn never() -> u64 {
        unreachable!("the thread's clock is not asked")
    }

    #[test]
    fn only_polls_count() {
        let cpu = Cpu::default();
        cpu.begin(1_000);
        // An epoch: 300 ns of wall before it, then the thread's own clock.
        assert_eq!(cpu.used_at(1_300, 70_000), Duration::from_nanos(300));
        assert_eq!(cpu.used_at(9_000_000, 70_100), Duration::from_nanos(400));
        cpu.end(9_000_000, || 70_200);
        // Another thread, whose clock reads less; what either did in between is nobody's.
        cpu.begin(20_000_000);
        assert_eq!(cpu.used_at(20_000_040, 200), Duration::from_nanos(540));
        cpu.end(20_000_040, || 260);
        cpu.begin(90_000_000);
        assert_eq!(cpu.used_at(90_000_000, 9_000), Duration::from_nanos(600));
    }

    #[test]
    fn a_poll_without_an_epoch_is_charged_with_the_wall_and_no_more_than_a_tick() {
        let cpu = Cpu::default();
        cpu.begin(0);
        cpu.end(2 * MS, never);
        assert_eq!(cpu.spent_ns.load(Ordering::Relaxed), 2 * MS);
        // The thread was kept waiting: no epoch was met, so the guest did not run for all that time.
        cpu.begin(10 * MS);
        cpu.end(900 * MS, never);
        assert_eq!(cpu.spent_ns.load(Ordering::Relaxed), 7 * MS);
        // Met an epoch after such a wait.
        cpu.begin(1_000 * MS);
        assert_eq!(cpu.used_at(1_900 * MS, 400 * MS), Duration::from_millis(12));
    }

    #[test]
    fn many_short_polls_add_up() {
        let cpu = Cpu::default();
        for poll in 0..100 {
            cpu.begin(poll * 10 * MS);
            cpu.end(poll * 10 * MS + 3 * MS, never);
        }
        cpu.begin(2_000 * MS);
        assert_eq!(cpu.used_at(2_000 * MS, 0), Duration::from_millis(300));
    }

    #[test]
    fn a_thread_that_waits_does_not_run() {
        let before = thread_ns();
        std::thread::sleep(Duration::from_millis(50));
        let waited = thread_ns() - before;
        assert!(waited < 25_000_000, "{waited} ns of CPU while asleep");
        while thread_ns() - before < waited + 2_000_000 {
            std::hint::spin_loop();
        }
    }
}

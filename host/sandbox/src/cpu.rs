//! The CPU that a call has used, by the clock of the thread it runs on.
//!
//! Epochs pass by the wall clock: on a busy machine they pass while the guest waits for its turn as well. So an epoch
//! is only the occasion to look; what counts is the time that the thread itself was running. Knows no budget.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// One call's account. A call is polled by one thread at a time, and what looks at the account meanwhile runs on that
/// thread too: it is the guest's own epoch callback.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    /// Of the polls that are over, in nanoseconds.
    spent_ns: AtomicU64,
    /// Reading of the thread's clock when the present poll began.
    since_ns: AtomicU64,
}

impl Cpu {
    /// What the call has used until now. Only while it is polled.
    pub(crate) fn used(&self) -> Duration {
        self.used_at(thread_ns())
    }

    fn used_at(&self, now_ns: u64) -> Duration {
        let present = now_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed).saturating_add(present))
    }

    fn begin(&self, now_ns: u64) {
        self.since_ns.store(now_ns, Ordering::Relaxed);
    }

    fn end(&self, now_ns: u64) {
        let used = u64::try_from(self.used_at(now_ns).as_nanos()).unwrap_or(u64::MAX);
        self.spent_ns.store(used, Ordering::Relaxed);
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
        self.cpu.begin(thread_ns());
        let polled = self.call.as_mut().poll(context);
        self.cpu.end(thread_ns());
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_polls_count() {
        let cpu = Cpu::default();
        cpu.begin(1_000);
        assert_eq!(cpu.used_at(1_300), Duration::from_nanos(300));
        cpu.end(1_500);
        // Another thread, whose clock reads less; what either did in between is nobody's.
        cpu.begin(200);
        assert_eq!(cpu.used_at(200), Duration::from_nanos(500));
        assert_eq!(cpu.used_at(240), Duration::from_nanos(540));
        cpu.end(260);
        cpu.begin(9_000);
        assert_eq!(cpu.used_at(9_000), Duration::from_nanos(560));
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

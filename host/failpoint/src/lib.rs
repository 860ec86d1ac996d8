//! Named places where a test may stop, delay or fail the host: the moments between two promises.
//!
//! Without the feature `armed` a point is an empty function and this crate holds no other code. `tests/faults` alone
//! turns the feature on, for a binary of its own; the workspace's default members leave it out, so `mantle` as it is
//! built has no points. With the feature a point does nothing either until it is armed. Knows nothing of what happens
//! at its points.

#[cfg(feature = "armed")]
mod armed;
#[cfg(feature = "armed")]
mod plan;

#[cfg(feature = "armed")]
pub use armed::{arm, disarm, fails, hits, reach, seed, watch};
#[cfg(not(feature = "armed"))]
pub use inert::{fails, reach};

/// A moment between two promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A hook's body has been read; nothing is stored.
    HookRead,
    /// The hook is committed; its sender has not heard so.
    HookKept,
    /// A write to the outside is announced on disk; the call has not left.
    IntentKept,
    /// The inbox has applied a write and begins to answer; nothing of the answer's body has been read.
    AnswerBegun,
    /// The other side's answer is known; its outcome is not on disk.
    AnswerRead,
    /// One job of a group has run in the writer's transaction; the group is not committed.
    JobRun,
    /// A migration has run in its transaction; it is not committed.
    MigrationRun,
    /// Fails: the database is opened with `synchronous = normal`, which the control of the power-loss test needs.
    UnsafeSync,
    /// Fails: the alarm of a growing write-ahead log rings early.
    SmallLog,
}

impl Point {
    pub const ALL: [Self; 9] = [
        Self::HookRead,
        Self::HookKept,
        Self::IntentKept,
        Self::AnswerBegun,
        Self::AnswerRead,
        Self::JobRun,
        Self::MigrationRun,
        Self::UnsafeSync,
        Self::SmallLog,
    ];

    /// As it is armed by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HookRead => "hook-read",
            Self::HookKept => "hook-kept",
            Self::IntentKept => "intent-kept",
            Self::AnswerBegun => "answer-begun",
            Self::AnswerRead => "answer-read",
            Self::JobRun => "job-run",
            Self::MigrationRun => "migration-run",
            Self::UnsafeSync => "unsafe-sync",
            Self::SmallLog => "small-log",
        }
    }
}

#[cfg(not(feature = "armed"))]
mod inert {
    use crate::Point;

    /// Nothing happens here.
    #[inline(always)]
    pub fn reach(_: Point) -> std::future::Ready<()> {
        std::future::ready(())
    }

    /// Never.
    #[inline(always)]
    pub fn fails(_: Point) -> std::future::Ready<bool> {
        std::future::ready(false)
    }
}

//! How much CPU time was used, and by whom: of all figures the one that says something on a busy machine too.
//!
//! What runs in this process is told apart by threads (the load and the inbox have one each), what runs elsewhere by
//! processes. Read from `/proc`, so on Linux alone; zero elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::figures::rounded;

/// Ticks of `/proc/<pid>/stat` a second: Linux has told this number to programs for as long as it exists.
const TICKS_PER_SECOND: u64 = 100;

/// What was used up to now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// All hosts together.
    pub host: Duration,
    pub inbox: Duration,
    /// The server of the database, where it is a process of its own.
    pub database: Option<Duration>,
}

/// Microseconds for each message, of the parties to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CpuPerMessage {
    pub host: f64,
    pub load: f64,
    pub inbox: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<f64>,
}

impl CpuPerMessage {
    /// `load`: of the load's own threads in between.
    #[must_use]
    pub fn between(before: Cpu, after: Cpu, load: Duration, messages: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far fewer messages than a float counts")]
        let share = |time: Duration| rounded(time.as_secs_f64() * 1e6 / messages.max(1) as f64);
        let spent = |before: Duration, after: Duration| share(after.saturating_sub(before));
        Self {
            host: spent(before.host, after.host),
            load: share(load),
            inbox: spent(before.inbox, after.inbox),
            database: before
                .database
                .zip(after.database)
                .map(|(before, after)| spent(before, after)),
        }
    }
}

/// Of this whole process.
pub fn of_own_process() -> Duration {
    of_clock(ClockId::ProcessCPUTime)
}

/// Of the thread that asks.
pub fn of_own_thread() -> Duration {
    of_clock(ClockId::ThreadCPUTime)
}

fn of_clock(clock: ClockId) -> Duration {
    let told = clock_gettime(clock);
    let seconds = u64::try_from(told.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(told.tv_nsec).unwrap_or_default())
}

/// Where the thread that asks can be looked up by others.
///
/// # Errors
/// There is no `/proc`.
pub fn own_thread() -> Result<PathBuf> {
    let link = std::fs::read_link("/proc/thread-self").context("reading /proc/thread-self")?;
    Ok(Path::new("/proc").join(link))
}

/// Of another thread, from [`own_thread`].
///
/// # Errors
/// It has ended.
pub fn of_thread(thread: &Path) -> Result<Duration> {
    Ok(Stat::read(thread)?.own)
}

/// Of all threads of a process, those that have ended too.
///
/// # Errors
/// It has ended.
pub fn of_process(id: u32) -> Result<Duration> {
    Ok(Stat::read(&PathBuf::from(format!("/proc/{id}")))?.own)
}

/// Of a process and its children, those that have ended too.
///
/// # Errors
/// It has ended.
pub fn of_family(id: u32) -> Result<Duration> {
    let parent = Stat::read(&PathBuf::from(format!("/proc/{id}")))?;
    let mut all = parent.own + parent.ended_children;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // A child that ends meanwhile is counted with its parent the next time.
        if let Ok(stat) = Stat::read(&entry.path())
            && stat.parent == id
        {
            all += stat.own;
        }
    }
    Ok(all)
}

struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

impl Stat {
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("stat");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as documented", path.display()))
    }

    /// The name stands in brackets and may hold anything, so what follows is counted from the last bracket: the state
    /// is the third field, the parent the fourth, the times the fourteenth to seventeenth.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: time(ticks(14)? + ticks(15)?),
            ended_children: time(ticks(16)? + ticks(17)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_brackets() {
        let text = "17 (a) b) S 4 17 17 0 -1 4194304 1 2 3 4 250 50 30 20 20 0 1 0 100 1 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.parent, 4);
        assert_eq!(stat.own, Duration::from_secs(3));
        assert_eq!(stat.ended_children, Duration::from_millis(500));
    }

    #[test]
    fn time_is_shared_among_messages_and_parties() {
        let before = Cpu::default();
        let after = Cpu {
            host: Duration::from_millis(40),
            inbox: Duration::from_millis(10),
            database: None,
        };
        let found = CpuPerMessage::between(before, after, Duration::from_millis(20), 1000);
        assert_eq!((found.host, found.load, found.inbox), (40.0, 20.0, 10.0));
        assert_eq!(found.database, None);
    }

    #[test]
    fn work_shows_in_the_time_of_thread_and_process() {
        let (thread, process) = (of_own_thread(), of_own_process());
        let mut sum = 0_u64;
        while of_own_thread() < thread + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        assert!(of_own_process() >= process + Duration::from_millis(5), "{sum}");
        assert!(own_thread().is_ok_and(|own| of_thread(&own).is_ok()));
    }
}

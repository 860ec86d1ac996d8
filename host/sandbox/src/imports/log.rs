//! A guest's lines in the host's log: bounded for a call and for the plugin, escaped, without secrets, under the
//! plugin's name. What is dropped is counted and told.

use std::sync::{Mutex, PoisonError};

use mantle_model::clock::Time;

use crate::bindings::mantle::connector::log::{Host, Level};
use crate::call::CallState;
use crate::leaks;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_BURST, LOG_LINES_MAX, LOG_LINES_PER_SECOND};
use crate::line::line;

impl Host for CallState {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let (plugin, channel) = (&self.parts.name, self.channel.channel);
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_MAX {
            if self.log_lines == LOG_LINES_MAX + 1 {
                tracing::warn!(target: "mantle::guest", plugin, %channel, "{plugin} logs more than {LOG_LINES_MAX} lines in one call; the rest is dropped");
            }
            return Ok(());
        }
        match self.parts.log_allowance.take(self.parts.clock.now()) {
            Allowed::Line => {}
            Allowed::LineAfter(dropped) => {
                tracing::warn!(target: "mantle::guest", plugin, "{dropped} lines of {plugin} were dropped: it logged more than {LOG_LINES_PER_SECOND} a second");
            }
            Allowed::Nothing => return Ok(()),
        }
        let line = line(&leaks::scrub_text(&self.channel.secrets, &message), LOG_LINE_BYTES_MAX);
        match level {
            Level::Debug => tracing::debug!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Info => tracing::info!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Warn => tracing::warn!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Error => tracing::error!(target: "mantle::guest", plugin, %channel, "{line}"),
        }
        Ok(())
    }
}

/// What a plugin may log, all its calls together: so many lines a second, and a burst. Full when the plugin is loaded.
pub(crate) struct Allowance(Mutex<Left>);

struct Left {
    /// Thousandths of a line, so that no millisecond is lost to rounding.
    thousandths: u64,
    since: Option<Time>,
    dropped: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    Line,
    /// A line again, after so many were dropped.
    LineAfter(u64),
    Nothing,
}

impl Default for Allowance {
    fn default() -> Self {
        Self(Mutex::new(Left {
            thousandths: LOG_LINES_BURST * 1_000,
            since: None,
            dropped: 0,
        }))
    }
}

impl Allowance {
    fn take(&self, now: Time) -> Allowed {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back costs the time until it is where it was, and no more.
        let passed = left
            .since
            .map_or(0, |since| now.unix_ms().saturating_sub(since.unix_ms()));
        let earned = u64::try_from(passed).unwrap_or(0).saturating_mul(LOG_LINES_PER_SECOND);
        left.thousandths = left.thousandths.saturating_add(earned).min(LOG_LINES_BURST * 1_000);
        left.since = Some(now);
        let Some(rest) = left.thousandths.checked_sub(1_000) else {
            left.dropped += 1;
            return Allowed::Nothing;
        };
        left.thousandths = rest;
        match std::mem::take(&mut left.dropped) {
            0 => Allowed::Line,
            dropped => Allowed::LineAfter(dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_a_plugin_has_so_many_lines_and_what_is_dropped_is_counted() {
        let allowance = Allowance::default();
        let at = |ms: i64| Time::from_unix_ms(1_795_000_000_000 + ms);
        for _ in 0..LOG_LINES_BURST {
            assert_eq!(allowance.take(at(0)), Allowed::Line);
        }
        for _ in 0..7 {
            assert_eq!(allowance.take(at(1)), Allowed::Nothing);
        }
        let a_line_ms = 1_000 / LOG_LINES_PER_SECOND as i64;
        assert_eq!(allowance.take(at(1 + a_line_ms)), Allowed::LineAfter(7));
        assert_eq!(allowance.take(at(1 + a_line_ms)), Allowed::Nothing);
        assert_eq!(allowance.take(at(-60_000)), Allowed::Nothing, "the clock was set back");
        assert_eq!(allowance.take(at(-60_000 + a_line_ms)), Allowed::LineAfter(2));
    }
}

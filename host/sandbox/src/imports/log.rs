//! A guest's lines in the host's log: bounded, escaped, without secrets, under the plugin's name.

use crate::bindings::mantle::connector::log::{Host, Level};
use crate::call::CallState;
use crate::leaks;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX};

impl Host for CallState {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_MAX {
            if self.log_lines == LOG_LINES_MAX + 1 {
                let plugin = &self.parts.name;
                tracing::warn!(target: "mantle::guest", plugin, "{plugin} logs more than {LOG_LINES_MAX} lines in one call; the rest is dropped");
            }
            return Ok(());
        }
        let line = clean(&leaks::scrub_text(&self.channel.secrets, &message));
        let (plugin, channel) = (&self.parts.name, self.channel.channel);
        match level {
            Level::Debug => tracing::debug!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Info => tracing::info!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Warn => tracing::warn!(target: "mantle::guest", plugin, %channel, "{line}"),
            Level::Error => tracing::error!(target: "mantle::guest", plugin, %channel, "{line}"),
        }
        Ok(())
    }
}

/// One line of bounded length, whatever was written: line breaks and terminal escapes are shown, not obeyed.
fn clean(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(LOG_LINE_BYTES_MAX));
    for c in message.chars() {
        if line.len() >= LOG_LINE_BYTES_MAX {
            line.push('…');
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped_and_cut() {
        assert_eq!(clean("a\nb\u{1b}[31mc"), "a\\nb\\u{1b}[31mc");
        assert_eq!(clean("Grüße"), "Grüße");
        let long = clean(&"x".repeat(LOG_LINE_BYTES_MAX * 2));
        assert_eq!(long.len(), LOG_LINE_BYTES_MAX + '…'.len_utf8());
    }
}

//! How commands speak: tables for people, JSON for programs.

use std::io::Write;

use serde_json::{Value, json};

/// A cell longer than this is cut in tables, in characters; JSON has the whole.
const CELL_CHARS_MAX: usize = 60;

#[derive(Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// The whole answer: `value` for programs, `text` for people.
    pub(super) fn answer(&self, value: &Value, text: &str) {
        if self.json {
            self.line(&format!("{value:#}"));
        } else {
            self.line(text.trim_end());
        }
    }

    /// One line on the way, for people alone.
    pub(super) fn progress(&self, text: &str) {
        if !self.json {
            self.line(text);
        }
    }

    /// The command failed; goes to standard error, as JSON when asked for.
    pub(super) fn failure(&self, message: &str) {
        let text = if self.json {
            json!({ "error": { "message": message } }).to_string()
        } else {
            format!("error: {message}")
        };
        // Nobody is left to be told when this fails.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    #[expect(clippy::unused_self, reason = "the way out belongs to the output")]
    fn line(&self, text: &str) {
        // A closed pipe (`mantle … | head`) is no failure of the command.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// A table with its columns aligned.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |cell: &str| -> String {
        let line = cell.lines().next().unwrap_or_default();
        if line.chars().count() > CELL_CHARS_MAX {
            line.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
        } else {
            line.to_owned()
        }
    };
    let rows: Vec<Vec<String>> = std::iter::once(heads.iter().map(|head| head.to_uppercase()).collect())
        .chain(rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()))
        .collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The text of a field of an answer; empty when it is absent or null.
pub(super) fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

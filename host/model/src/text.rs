//! Text with formatting, measured, rendered and split by a channel's rules.
//!
//! Offsets are bytes of the UTF-8 text on character boundaries; the measure of a channel is a [`Unit`].

use serde::{Deserialize, Serialize};

/// What a provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Unicode scalar values.
    Characters,
    /// UTF-16 code units: an emoji counts two.
    Utf16,
    /// UTF-8 bytes.
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextStyle {
    Bold,
    Italic,
    Strike,
    Code,
    Preformatted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    Style(TextStyle),
    /// The address that the covered words lead to.
    Link(String),
}

/// A stretch of text: `start..end` in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: SpanKind,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RichText {
    pub text: String,
    /// Ordered by start; may nest, never cross.
    pub spans: Vec<Span>,
}

impl RichText {
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            spans: Vec::new(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }
}

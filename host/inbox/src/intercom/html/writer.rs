//! Puts characters, line breaks and spans together.
//!
//! White space is held back until a visible character follows, so nothing has to be trimmed afterwards and no span
//! begins or ends with a blank.

use std::cmp::Reverse;

use mantle_model::text::{RichText, Span, SpanKind, TextStyle};

/// Line breaks in a row: one blank line.
const BREAKS_MAX: usize = 2;

#[derive(Default)]
pub struct Writer {
    out: String,
    spans: Vec<Span>,
    breaks: usize,
    blanks: String,
    /// Of a list item that has no text yet.
    mark: Option<String>,
    open: Vec<Open>,
}

struct Open {
    kind: SpanKind,
    /// None until a visible character follows.
    start: Option<usize>,
}

impl Writer {
    /// At least so many line breaks before what follows.
    pub fn break_line(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks).min(BREAKS_MAX);
        self.blanks.clear();
    }

    /// One line break more.
    pub fn new_line(&mut self) {
        self.breaks = (self.breaks + 1).min(BREAKS_MAX);
        self.blanks.clear();
    }

    /// One space, unless a line begins here or there is one already.
    pub fn space(&mut self) {
        let begins = self.out.is_empty() || self.breaks > 0 || self.mark.is_some();
        if !begins && self.blanks.is_empty() {
            self.blanks.push(' ');
        }
    }

    /// A space that counts, as often as it comes.
    pub fn hard_space(&mut self) {
        if !self.out.is_empty() {
            self.blanks.push(' ');
        }
    }

    pub fn mark(&mut self, mark: String) {
        self.mark = Some(mark);
    }

    pub fn visible(&mut self, c: char) {
        if self.breaks > 0 && !self.out.is_empty() {
            self.end_line();
        }
        self.breaks = 0;
        if let Some(mark) = self.mark.take() {
            self.out.push_str(&mark);
        }
        self.out.push_str(&self.blanks);
        self.blanks.clear();
        let here = self.out.len();
        for open in &mut self.open {
            open.start.get_or_insert(here);
        }
        self.out.push(c);
    }

    /// Formatting marks of most channels work inside one line only, so spans end with it and begin anew.
    fn end_line(&mut self) {
        let end = self.out.len();
        for open in &mut self.open {
            if open.kind != SpanKind::Style(TextStyle::Preformatted)
                && let Some(start) = open.start.take()
            {
                self.spans.push(Span {
                    start,
                    end,
                    kind: open.kind.clone(),
                });
            }
        }
        self.out.extend(std::iter::repeat_n('\n', self.breaks));
    }

    pub fn open(&mut self, kind: SpanKind) {
        self.open.push(Open { kind, start: None });
    }

    pub fn close(&mut self) {
        if let Some(Open {
            kind,
            start: Some(start),
        }) = self.open.pop()
        {
            self.spans.push(Span {
                start,
                end: self.out.len(),
                kind,
            });
        }
    }

    /// A link whose words are its address needs no second showing of it.
    pub fn close_link(&mut self, href: &str) {
        let covered = self
            .open
            .last()
            .and_then(|open| open.start)
            .map(|start| (start, &self.out[start..]));
        match covered {
            Some((start, words)) if bare(words) == bare(href) => {
                let is_web = href.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("http"));
                let has_styles = self.spans.iter().any(|span| span.start >= start);
                if is_web && !has_styles {
                    self.out.truncate(start);
                    self.out.push_str(href);
                }
                self.open.pop();
            }
            _ => self.close(),
        }
    }

    pub fn finish(mut self) -> RichText {
        while !self.open.is_empty() {
            self.close();
        }
        // A stable sort keeps the outer of two equal spans, which was closed later, in front.
        self.spans.reverse();
        self.spans.sort_by_key(|span| (span.start, Reverse(span.end)));
        RichText {
            text: self.out,
            spans: self.spans,
        }
    }
}

/// An address without what people leave out.
fn bare(address: &str) -> &str {
    let address = address.trim().trim_end_matches('/');
    ["https://", "http://", "mailto:", "tel:"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme))
        .unwrap_or(address)
}

//! Text with formatting, measured, rendered and split by a channel's rules.
//!
//! Offsets are bytes of the UTF-8 text on character boundaries; the measure of a channel is a [`Unit`].

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::capabilities::{Formatting, Markers, TextRule};

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

impl Unit {
    /// For people, after a number.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Utf16 => "UTF-16 units",
            Self::Bytes => "bytes",
        }
    }
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

/// How long the text is in the unit that a channel counts.
#[must_use]
pub fn measure(text: &str, unit: Unit) -> usize {
    match unit {
        Unit::Characters => text.chars().count(),
        Unit::Utf16 => text.encode_utf16().count(),
        Unit::Bytes => text.len(),
    }
}

/// At most `characters_max` characters of the text on one line, with an ellipsis when it was longer. Never
/// cuts inside what people see as one character.
#[must_use]
pub fn snippet(text: &str, characters_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= characters_max {
        return line;
    }
    let end = fitting_prefix(&line, characters_max.saturating_sub(1), Unit::Characters);
    format!("{}…", line[..end].trim_end())
}

/// The text in the form that the channel takes: spans kept, turned into marks, or dropped. Where a link cannot
/// be a span its address stands behind the words.
#[must_use]
pub fn render(rich: &RichText, rule: &TextRule) -> RichText {
    match rule.formatting {
        Formatting::Spans => rich.clone(),
        Formatting::Plain => RichText::plain(written_out(rich, &Markers::default())),
        Formatting::Markers => {
            let none = Markers::default();
            RichText::plain(written_out(rich, rule.markers.as_ref().unwrap_or(&none)))
        }
    }
}

/// Cuts the text so that no piece is longer than `limit`: between paragraphs if one ends well inside, else
/// lines, sentences, words, and only then between characters. White space at a cut is dropped, nothing else.
#[must_use]
pub fn split(rich: &RichText, limit: usize, unit: Unit) -> Vec<RichText> {
    let mut pieces = Vec::new();
    let mut rest = rich.clone();
    while !rest.is_empty() {
        let (head, tail) = cut(&rest, limit.max(1), unit);
        if !head.is_empty() {
            pieces.push(head);
        }
        rest = tail;
    }
    pieces
}

/// Splits first and renders each piece, so that marks are never torn apart; every rendered piece keeps `limit`.
#[must_use]
pub fn pieces(rich: &RichText, rule: &TextRule, limit: usize) -> Vec<RichText> {
    let mut done = Vec::new();
    let mut rest = rich.clone();
    while !rest.is_empty() {
        let mut room = limit.max(1);
        loop {
            let (head, tail) = cut(&rest, room, rule.unit);
            let rendered = render(&head, rule);
            let length = measure(&rendered.text, rule.unit);
            if length > limit && room > 1 {
                room = room.saturating_sub(length - limit).max(1);
                continue;
            }
            if length > limit {
                // One character whose link alone is too long: what is written out is cut as plain text.
                done.extend(split(&rendered, limit, rule.unit));
            } else if !rendered.is_empty() {
                done.push(rendered);
            }
            rest = tail;
            break;
        }
    }
    done
}

/// A better place to cut counts only beyond this share of what fits, so that no piece is a mere scrap.
const SCRAP_DIVISOR: usize = 4;

/// The first piece and what is left.
fn cut(rich: &RichText, room: usize, unit: Unit) -> (RichText, RichText) {
    let text = rich.text.as_str();
    if measure(text, unit) <= room {
        return (rich.clone(), RichText::default());
    }
    let fits = fitting_prefix(text, room, unit);
    let end = cut_point(text, fits);
    let head_end = text[..end].trim_end().len();
    let tail = &text[end..];
    let skipped = tail.len() - tail.trim_start_matches([' ', '\n', '\r']).len();
    (slice(rich, 0, head_end), slice(rich, end + skipped, text.len()))
}

/// The end in bytes of the longest prefix of whole graphemes that fits; never zero for a text that is not empty.
fn fitting_prefix(text: &str, room: usize, unit: Unit) -> usize {
    let mut used = 0;
    let mut end = 0;
    for grapheme in text.graphemes(true) {
        used += measure(grapheme, unit);
        if used > room {
            break;
        }
        end += grapheme.len();
    }
    if end > 0 {
        return end;
    }
    // A single grapheme above the limit: there is no way but through it.
    let mut used = 0;
    for (start, character) in text.char_indices() {
        used += measure(character.encode_utf8(&mut [0; 4]), unit);
        if used > room && start > 0 {
            return start;
        }
        end = start + character.len_utf8();
        if used > room {
            return end;
        }
    }
    end
}

/// Where to cut within `text[..fits]`.
fn cut_point(text: &str, fits: usize) -> usize {
    let window = &text[..fits];
    let enough = fits / SCRAP_DIVISOR;
    let paragraph = window.rfind("\n\n").map(|at| at + 2);
    let line = window.rfind('\n').map(|at| at + 1);
    [paragraph, line, sentence_end(text, fits)]
        .into_iter()
        .flatten()
        .find(|end| *end > enough)
        .or_else(|| word_end(text, fits))
        .unwrap_or(fits)
}

/// Behind the last sentence that ends within the window.
fn sentence_end(text: &str, fits: usize) -> Option<usize> {
    let closes = |character: char| matches!(character, '.' | '!' | '?' | '…');
    let closes_alone = |character: char| matches!(character, '。' | '！' | '？');
    let mut best = None;
    for (start, character) in text[..fits].char_indices() {
        let end = start + character.len_utf8();
        let before_space = text[end..].chars().next().is_some_and(char::is_whitespace);
        if closes_alone(character) || (closes(character) && before_space) {
            best = Some(end);
        }
    }
    best
}

/// Behind the last white space of the window, or at its end when white space follows there.
fn word_end(text: &str, fits: usize) -> Option<usize> {
    if text[fits..].chars().next().is_some_and(char::is_whitespace) {
        return Some(fits);
    }
    let (start, space) = text[..fits]
        .char_indices()
        .rev()
        .find(|(_, character)| character.is_whitespace())?;
    (start > 0).then(|| start + space.len_utf8())
}

/// The stretch `start..end` with the spans that lie in it.
fn slice(rich: &RichText, start: usize, end: usize) -> RichText {
    let (start, end) = (start.min(end), end);
    let spans = rich
        .spans
        .iter()
        .filter(|span| span.start < end && span.end > start)
        .map(|span| Span {
            start: span.start.max(start) - start,
            end: span.end.min(end) - start,
            kind: span.kind.clone(),
        })
        .collect();
    RichText {
        text: rich.text[start..end].to_owned(),
        spans,
    }
}

/// Something to be put at a place of the text.
struct Insertion<'a> {
    at: usize,
    /// Closing marks stand before opening ones at the same place.
    opens: bool,
    /// Length of the span and its place among the spans: the outer one opens first and closes last.
    outer: (usize, usize),
    mark: std::borrow::Cow<'a, str>,
}

fn written_out(rich: &RichText, markers: &Markers) -> String {
    let mut insertions = Vec::new();
    for (place, span) in rich.spans.iter().enumerate() {
        // Of two spans over the same words the one named first is the outer one.
        let rank = rich.spans.len() - place;
        match &span.kind {
            SpanKind::Link(address) => insertions.extend(link_tail(rich, span, rank, address)),
            SpanKind::Style(style) => {
                if let Some(mark) = marker(markers, *style) {
                    insertions.extend(marks(rich, span, rank, *style, mark));
                }
            }
        }
    }
    insertions.sort_by(|one, other| {
        let place = (one.at, one.opens).cmp(&(other.at, other.opens));
        let nesting = one.outer.cmp(&other.outer);
        place.then(if one.opens { nesting.reverse() } else { nesting })
    });
    let mut text = String::with_capacity(rich.text.len() + insertions.len() * 4);
    let mut written = 0;
    for insertion in insertions {
        text.push_str(&rich.text[written..insertion.at]);
        text.push_str(&insertion.mark);
        written = insertion.at;
    }
    text.push_str(&rich.text[written..]);
    text
}

fn marker(markers: &Markers, style: TextStyle) -> Option<&str> {
    match style {
        TextStyle::Bold => markers.bold.as_deref(),
        TextStyle::Italic => markers.italic.as_deref(),
        TextStyle::Strike => markers.strike.as_deref(),
        TextStyle::Code => markers.code.as_deref(),
        TextStyle::Preformatted => markers.preformatted.as_deref(),
    }
}

/// `words (address)`, unless the words are the address already.
fn link_tail<'a>(rich: &RichText, span: &Span, rank: usize, address: &str) -> Option<Insertion<'a>> {
    let words = rich.text[span.start..span.end].trim();
    let bare = |text: &str| {
        let text = text.trim_end_matches('/');
        let text = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        text.strip_prefix("mailto:")
            .or_else(|| text.strip_prefix("tel:"))
            .unwrap_or(text)
            .to_owned()
    };
    if bare(words) == bare(address) {
        return None;
    }
    let mark = if words.is_empty() {
        address.to_owned()
    } else {
        format!(" ({address})")
    };
    Some(Insertion {
        at: span.end,
        opens: false,
        outer: (span.end - span.start, rank),
        mark: mark.into(),
    })
}

/// Marks hug the words: providers do not see a mark beside a space, nor one whose partner is on another line.
fn marks<'a>(rich: &RichText, span: &Span, rank: usize, style: TextStyle, mark: &'a str) -> Vec<Insertion<'a>> {
    let covered = &rich.text[span.start..span.end];
    let stretches: Vec<&str> = if style == TextStyle::Preformatted {
        vec![covered]
    } else {
        covered.split('\n').collect()
    };
    let base = covered.as_ptr() as usize;
    let mut insertions = Vec::new();
    for stretch in stretches {
        let words = stretch.trim();
        if words.is_empty() {
            continue;
        }
        let start = span.start + (words.as_ptr() as usize - base);
        for (at, opens) in [(start, true), (start + words.len(), false)] {
            insertions.push(Insertion {
                at,
                opens,
                outer: (words.len(), rank),
                mark: mark.into(),
            });
        }
    }
    insertions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(formatting: Formatting) -> TextRule {
        TextRule {
            limit: 4096,
            unit: Unit::Characters,
            formatting,
            markers: Some(Markers {
                bold: Some("*".into()),
                italic: Some("_".into()),
                ..Markers::default()
            }),
        }
    }

    fn styled(text: &str, spans: &[(usize, usize, SpanKind)]) -> RichText {
        RichText {
            text: text.into(),
            spans: spans
                .iter()
                .map(|(start, end, kind)| Span {
                    start: *start,
                    end: *end,
                    kind: kind.clone(),
                })
                .collect(),
        }
    }

    fn squeezed(text: &str) -> String {
        text.chars().filter(|character| !character.is_whitespace()).collect()
    }

    /// A small generator with a fixed seed: the same texts in every run.
    fn texts() -> Vec<String> {
        let alphabet = [
            "a",
            "bc ",
            "Ends. ",
            "\n\n",
            "\n",
            "é",
            "👩‍👩‍👧‍👦",
            "🇮🇪",
            "日本",
            "؟ ",
            "e\u{301}",
            "word ",
        ];
        let mut state: u64 = 42;
        (0..200)
            .map(|_| {
                let mut text = String::new();
                for _ in 0..60 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    text.push_str(alphabet[(state >> 33) as usize % alphabet.len()]);
                }
                text
            })
            .collect()
    }

    #[test]
    fn out_13_nothing_is_lost_no_character_is_cut_and_limits_hold() {
        for text in texts() {
            for unit in [Unit::Characters, Unit::Utf16, Unit::Bytes] {
                for limit in [30, 47, 100] {
                    let pieces = split(&RichText::plain(text.clone()), limit, unit);
                    let joined: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
                    assert_eq!(squeezed(&joined), squeezed(&text));
                    for piece in &pieces {
                        assert!(measure(&piece.text, unit) <= limit, "{:?} above {limit}", piece.text);
                        assert!(!piece.is_empty());
                    }
                    let families = |text: &str| text.graphemes(true).filter(|g| *g == "👩‍👩‍👧‍👦").count();
                    assert_eq!(
                        pieces.iter().map(|piece| families(&piece.text)).sum::<usize>(),
                        families(&text)
                    );
                }
            }
        }
    }

    #[test]
    fn out_13_a_paragraph_goes_before_a_sentence_before_a_word() {
        let check = |text: &str, limit: usize, expected: &[&str]| {
            let pieces = split(&RichText::plain(text), limit, Unit::Characters);
            let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(texts, expected);
        };
        check(
            "First one. Second\n\nThird part here",
            25,
            &["First one. Second", "Third part here"],
        );
        check("First one. Second one here", 20, &["First one.", "Second one here"]);
        check("alpha beta gamma", 11, &["alpha beta", "gamma"]);
        check("abcdefghij", 4, &["abcd", "efgh", "ij"]);
        check("short", 10, &["short"]);
    }

    #[test]
    fn spans_are_cut_with_their_text() {
        let rich = styled("bold words here", &[(0, 15, SpanKind::Style(TextStyle::Bold))]);
        let pieces = split(&rich, 10, Unit::Characters);
        assert_eq!(
            pieces[0],
            styled("bold words", &[(0, 10, SpanKind::Style(TextStyle::Bold))])
        );
        assert_eq!(pieces[1], styled("here", &[(0, 4, SpanKind::Style(TextStyle::Bold))]));
    }

    #[test]
    fn out_14_styles_become_marks_that_hug_the_words() {
        let rich = styled(
            "see bold \nand more",
            &[
                (4, 13, SpanKind::Style(TextStyle::Bold)),
                (10, 13, SpanKind::Style(TextStyle::Italic)),
            ],
        );
        assert_eq!(
            render(&rich, &rule(Formatting::Markers)).text,
            "see *bold* \n*_and_* more"
        );
        assert_eq!(render(&rich, &rule(Formatting::Plain)).text, "see bold \nand more");
        assert_eq!(render(&rich, &rule(Formatting::Spans)), rich);
    }

    #[test]
    fn out_14_a_link_shows_its_address_once() {
        let check = |text: &str, address: &str, expected: &str| {
            let rich = styled(text, &[(0, text.len(), SpanKind::Link(address.into()))]);
            assert_eq!(render(&rich, &rule(Formatting::Plain)).text, expected);
        };
        check("our page", "https://example.com/a", "our page (https://example.com/a)");
        check("https://example.com/", "https://example.com", "https://example.com/");
        check("example.com", "https://example.com/", "example.com");
    }

    #[test]
    fn out_13_rendered_pieces_keep_the_limit_and_whole_marks() {
        let text = "word ".repeat(50).trim_end().to_owned();
        let rich = styled(&text, &[(0, text.len(), SpanKind::Style(TextStyle::Bold))]);
        for piece in pieces(&rich, &rule(Formatting::Markers), 40) {
            assert!(measure(&piece.text, Unit::Characters) <= 40, "{}", piece.text);
            assert!(
                piece.text.starts_with('*') && piece.text.ends_with('*'),
                "{}",
                piece.text
            );
        }
    }

    #[test]
    fn in_14_a_snippet_has_at_most_so_many_characters() {
        assert_eq!(snippet("a  b\nc", 40), "a b c");
        let long = snippet(&"x".repeat(60), 40);
        assert_eq!(long.chars().count(), 40);
        assert!(long.ends_with('…'));
    }
}

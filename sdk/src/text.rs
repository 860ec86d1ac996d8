//! Text with formatting: measured, turned into entities or marks, and cut to a provider's limit.
//!
//! Offsets of the interface are bytes of the UTF-8 text; what a provider counts is a [`Unit`]. Offsets that lie outside
//! the text or inside a character are moved to the nearest place before, never a panic.

use unicode_segmentation::UnicodeSegmentation;

use crate::values::{RichText, Span, SpanKind, TextStyle};

/// What a provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Unicode scalar values.
    Characters,
    /// UTF-16 code units: an emoji counts two.
    Utf16,
    /// UTF-8 bytes.
    Bytes,
}

impl Unit {
    #[must_use]
    pub fn measure(self, text: &str) -> usize {
        match self {
            Self::Characters => text.chars().count(),
            Self::Utf16 => text.chars().map(char::len_utf16).sum(),
            Self::Bytes => text.len(),
        }
    }
}

/// A span counted in UTF-16 units, as Telegram and others want it.
#[derive(Debug, Clone, PartialEq)]
pub struct Utf16Span {
    pub offset: usize,
    pub length: usize,
    pub kind: SpanKind,
}

/// The spans in UTF-16 units, in order; empty ones are left out.
#[must_use]
pub fn utf16_spans(text: &RichText) -> Vec<Utf16Span> {
    text.spans
        .iter()
        .filter_map(|span| {
            let (start, end) = bounds(&text.text, span);
            let length = Unit::Utf16.measure(&text.text[start..end]);
            (length > 0).then(|| Utf16Span {
                offset: Unit::Utf16.measure(&text.text[..start]),
                length,
                kind: span.kind.clone(),
            })
        })
        .collect()
}

/// The other way round: spans counted in UTF-16 units onto the text they belong to. What lies outside is cut off.
#[must_use]
pub fn from_utf16(text: String, spans: impl IntoIterator<Item = Utf16Span>) -> RichText {
    let spans = spans
        .into_iter()
        .map(|span| Span {
            start: offset(byte_at(&text, span.offset)),
            end: offset(byte_at(&text, span.offset.saturating_add(span.length))),
            kind: span.kind,
        })
        .collect();
    RichText { text, spans }
}

/// The byte at which that many UTF-16 units are over; never inside a character.
fn byte_at(text: &str, units: usize) -> usize {
    let mut used = 0;
    text.char_indices()
        .find(|(_, letter)| {
            let here = used;
            used += letter.len_utf16();
            here >= units
        })
        .map_or(text.len(), |(at, _)| at)
}

/// What is put before and behind styled words. A style without a mark stays plain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Markers {
    pub bold: Option<&'static str>,
    pub italic: Option<&'static str>,
    pub strike: Option<&'static str>,
    pub code: Option<&'static str>,
    pub preformatted: Option<&'static str>,
}

impl Markers {
    fn of(&self, style: TextStyle) -> &'static str {
        match style {
            TextStyle::Bold => self.bold,
            TextStyle::Italic => self.italic,
            TextStyle::Strike => self.strike,
            TextStyle::Code => self.code,
            TextStyle::Preformatted => self.preformatted,
        }
        .unwrap_or_default()
    }
}

/// The text with marks around styled words and links as `words (address)`. Marks stand close to the words: spaces at
/// the ends of a span stay outside, since providers do not take `*bold *` for bold.
#[must_use]
pub fn marked(text: &RichText, markers: &Markers) -> String {
    let mut marks: Vec<Mark> = Vec::new();
    for (order, span) in text.spans.iter().enumerate() {
        let (start, end) = trimmed(&text.text, bounds(&text.text, span));
        if start == end {
            continue;
        }
        let (before, behind) = match &span.kind {
            SpanKind::Style(style) => (markers.of(*style).to_owned(), markers.of(*style).to_owned()),
            SpanKind::Link(address) if text.text[start..end] == **address => continue,
            SpanKind::Link(address) => (String::new(), format!(" ({address})")),
        };
        let length = end - start;
        // Nested spans close in the opposite order of opening: at one place, ends come before starts, the shorter
        // span ends first and the longer starts first.
        marks.push(Mark {
            at: end,
            rank: (0, length, usize::MAX - order),
            words: behind,
        });
        marks.push(Mark {
            at: start,
            rank: (1, usize::MAX - length, order),
            words: before,
        });
    }
    marks.sort_by_key(|mark| (mark.at, mark.rank));
    let mut out = String::with_capacity(text.text.len());
    let mut done = 0;
    for mark in marks {
        out.push_str(&text.text[done..mark.at]);
        out.push_str(&mark.words);
        done = mark.at;
    }
    out.push_str(&text.text[done..]);
    out
}

struct Mark {
    at: usize,
    rank: (u8, usize, usize),
    words: String,
}

/// The text without formatting; links as `words (address)`.
#[must_use]
pub fn plain(text: &RichText) -> String {
    marked(text, &Markers::default())
}

/// Cuts a text into pieces of at most `limit` units: between paragraphs where possible, else between sentences, words,
/// and at last between graphemes; never inside one, however long it is. White space at a cut is dropped.
#[must_use]
pub fn split(text: &str, limit: usize, unit: Unit) -> Vec<String> {
    split_at(text, limit, unit)
        .into_iter()
        .map(|(start, end)| text[start..end].to_owned())
        .collect()
}

/// As [`split`], with each piece keeping its part of the spans.
#[must_use]
pub fn split_rich(text: &RichText, limit: usize, unit: Unit) -> Vec<RichText> {
    split_at(&text.text, limit, unit)
        .into_iter()
        .map(|(start, end)| RichText {
            text: text.text[start..end].to_owned(),
            spans: text
                .spans
                .iter()
                .filter_map(|span| {
                    let (from, to) = bounds(&text.text, span);
                    let (from, to) = (from.max(start), to.min(end));
                    (from < to).then(|| Span {
                        start: offset(from - start),
                        end: offset(to - start),
                        kind: span.kind.clone(),
                    })
                })
                .collect(),
        })
        .collect()
}

fn split_at(text: &str, limit: usize, unit: Unit) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut start = text.len() - text.trim_start().len();
    let whole_end = text.trim_end().len();
    while start < whole_end {
        let end = piece_end(&text[start..whole_end], limit, unit) + start;
        let kept = start + text[start..end].trim_end().len();
        if kept > start {
            pieces.push((start, kept));
        }
        start = end + (text[end..].len() - text[end..].trim_start().len());
    }
    pieces
}

/// Where the first piece of a text ends, in bytes. At least one grapheme.
fn piece_end(text: &str, limit: usize, unit: Unit) -> usize {
    let mut used = 0;
    let mut fits = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += unit.measure(grapheme);
        if used > limit {
            break;
        }
        fits = at + grapheme.len();
    }
    if fits == text.len() {
        return fits;
    }
    if fits == 0 {
        return text.graphemes(true).next().map_or(text.len(), str::len);
    }
    let window = &text[..fits];
    sense_cut(window)
        // A word that ends with the window need not be moved to the next piece.
        .or_else(|| text[fits..].starts_with(char::is_whitespace).then_some(fits))
        .or_else(|| window.rfind(char::is_whitespace).filter(|at| *at > 0))
        .unwrap_or(fits)
}

/// The end of a paragraph, line or sentence. A cut that leaves less than half a piece is only worth a paragraph, and
/// one that leaves less than a quarter is worth nothing.
fn sense_cut(window: &str) -> Option<usize> {
    let half = window.len() / 2;
    window
        .rfind("\n\n")
        .filter(|at| *at > window.len() / 4)
        .or_else(|| window.rfind('\n').filter(|at| *at > half))
        .or_else(|| sentence_cut(window).filter(|at| *at > half))
}

fn sentence_cut(window: &str) -> Option<usize> {
    let mut last = None;
    let mut ended = false;
    for (at, letter) in window.char_indices() {
        if ended && letter.is_whitespace() {
            last = Some(at);
        }
        ended = match letter {
            '.' | '!' | '?' | '…' => true,
            // Closing quotes and brackets belong to the sentence.
            '"' | '”' | '’' | ')' | '»' => ended,
            '。' | '！' | '？' => {
                last = Some(at + letter.len_utf8());
                true
            }
            _ => false,
        };
    }
    last.filter(|at| *at < window.len())
}

fn bounds(text: &str, span: &Span) -> (usize, usize) {
    let start = floor(text, span.start);
    (start, floor(text, span.end).max(start))
}

fn floor(text: &str, offset: u32) -> usize {
    text.floor_char_boundary(usize::try_from(offset).unwrap_or(usize::MAX))
}

fn trimmed(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let words = &text[start..end];
    let start = start + (words.len() - words.trim_start().len());
    (start, start + words.trim().len())
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Markers, Unit, marked, plain, split, split_rich, utf16_spans};
    use crate::values::{RichText, Span, SpanKind, TextStyle};

    const WHATSAPP: Markers = Markers {
        bold: Some("*"),
        italic: Some("_"),
        strike: Some("~"),
        code: Some("`"),
        preformatted: Some("```"),
    };

    fn rich(text: &str, spans: &[(&str, SpanKind)]) -> RichText {
        RichText {
            text: text.to_owned(),
            spans: spans
                .iter()
                .map(|(words, kind)| {
                    let start = text.find(words).expect("the words stand in the text");
                    Span {
                        start: u32::try_from(start).expect("short"),
                        end: u32::try_from(start + words.len()).expect("short"),
                        kind: kind.clone(),
                    }
                })
                .collect(),
        }
    }

    fn style(style: TextStyle) -> SpanKind {
        SpanKind::Style(style)
    }

    #[test]
    fn offsets_count_utf16_units() {
        let text = rich("👋🏽 Größe XL", &[("Größe", style(TextStyle::Bold))]);
        let spans = utf16_spans(&text);
        assert_eq!((spans[0].offset, spans[0].length), (5, 5));
    }

    #[test]
    fn offsets_survive_the_way_there_and_back() {
        let text = rich(
            "👋🏽 Größe 👍 XL",
            &[("Größe", style(TextStyle::Bold)), ("👍", style(TextStyle::Code))],
        );
        assert_eq!(super::from_utf16(text.text.clone(), utf16_spans(&text)), text);
    }

    #[test]
    fn marks_nest_and_stand_close_to_the_words() {
        let text = rich(
            "see bold and both here",
            &[
                ("bold and both ", style(TextStyle::Bold)),
                ("both", style(TextStyle::Italic)),
                ("here", SpanKind::Link("https://a.example".to_owned())),
            ],
        );
        assert_eq!(
            marked(&text, &WHATSAPP),
            "see *bold and _both_* here (https://a.example)"
        );
        assert_eq!(plain(&text), "see bold and both here (https://a.example)");
    }

    #[test]
    fn same_words_in_two_styles_close_in_the_opposite_order() {
        let text = rich(
            "word",
            &[("word", style(TextStyle::Bold)), ("word", style(TextStyle::Italic))],
        );
        assert_eq!(marked(&text, &WHATSAPP), "*_word_*");
    }

    #[test]
    fn an_address_shown_as_itself_is_not_repeated() {
        let address = "https://a.example/x";
        let text = rich(address, &[(address, SpanKind::Link(address.to_owned()))]);
        assert_eq!(plain(&text), address);
    }

    #[test]
    fn wild_offsets_do_no_harm() {
        let mut text = rich("äö", &[("äö", style(TextStyle::Bold))]);
        text.spans[0] = Span {
            start: 1,
            end: 99,
            kind: style(TextStyle::Bold),
        };
        assert_eq!(marked(&text, &WHATSAPP), "*äö*");
        text.spans[0] = Span {
            start: 3,
            end: 1,
            kind: style(TextStyle::Bold),
        };
        assert_eq!(marked(&text, &WHATSAPP), "äö");
    }

    #[test]
    fn cuts_at_paragraphs_then_sentences_then_words() {
        let check = |text: &str, limit: usize, expected: &[&str]| {
            assert_eq!(split(text, limit, Unit::Characters), expected, "{text:?} at {limit}");
        };
        check("short", 10, &["short"]);
        check("first part\n\nsecond part", 15, &["first part", "second part"]);
        check("One is done. Two goes on", 16, &["One is done.", "Two goes on"]);
        check("alpha beta gamma", 11, &["alpha beta", "gamma"]);
        check("alpha beta", 5, &["alpha", "beta"]);
        check("abcdefgh", 3, &["abc", "def", "gh"]);
        check("  \n ", 3, &[]);
    }

    #[test]
    fn a_grapheme_is_never_cut() {
        let family = "👨‍👩‍👧‍👦";
        assert_eq!(split(&family.repeat(2), 8, Unit::Utf16), [family, family]);
        assert_eq!(split(&family.repeat(2), 11, Unit::Utf16), [family, family]);
    }

    #[test]
    fn nothing_but_white_space_is_lost_and_no_piece_is_too_long() {
        let text = "Über die Größe: „XL“ 👍🏽 passt nicht.\nBitte tauschen!\n\nDanke … ".repeat(40);
        for unit in [Unit::Characters, Unit::Utf16, Unit::Bytes] {
            for limit in [30, 41, 160, 4096] {
                let pieces = split(&text, limit, unit);
                assert!(pieces.iter().all(|piece| unit.measure(piece) <= limit));
                let squeeze = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(squeeze(&pieces.concat()), squeeze(&text));
            }
        }
    }

    #[test]
    fn pieces_keep_their_part_of_a_span() {
        let text = rich("alpha beta gamma", &[("beta gamma", style(TextStyle::Bold))]);
        let pieces = split_rich(&text, 11, Unit::Characters);
        let parts: Vec<String> = pieces.iter().map(|piece| marked(piece, &WHATSAPP)).collect();
        assert_eq!(parts, ["alpha *beta*", "*gamma*"]);
    }
}

//! From the host's text to Slack's. Exactly `&`, `<` and `>` are escaped: a customer's `<!channel>` that a teammate
//! quotes must not call everybody, and neither must a link that somebody built for that.

use mantle_sdk::values::{RichText, SpanKind, TextStyle};

/// Other addresses could be Slack's commands.
const SCHEMES: [&str; 4] = ["https://", "http://", "mailto:", "tel:"];

/// With the three letters escaped that mean something to Slack.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Marks stand close to the words and on every line, since Slack takes neither `*bold *` nor marks across lines. Inside of
/// code and of a link's words there are none: Slack would show them.
pub fn write(text: &RichText) -> String {
    let pieces = pieces(text);
    let mut marks: Vec<Mark> = Vec::new();
    for (order, piece) in pieces.iter().enumerate() {
        if pieces.iter().any(|other| other.hides(piece)) {
            continue;
        }
        // Links are innermost: what is around the words stays outside of the brackets.
        let order = if piece.is_link { usize::MAX - order } else { order };
        let length = piece.end - piece.start;
        marks.push(Mark {
            at: piece.end,
            rank: (0, length, usize::MAX - order),
            words: piece.behind.clone(),
        });
        marks.push(Mark {
            at: piece.start,
            rank: (1, usize::MAX - length, order),
            words: piece.before.clone(),
        });
    }
    marks.sort_by_key(|mark| (mark.at, mark.rank));
    let mut out = String::with_capacity(text.text.len());
    let mut done = 0;
    for mark in marks {
        out.push_str(&escaped(&text.text[done..mark.at]));
        out.push_str(&mark.words);
        done = mark.at;
    }
    out.push_str(&escaped(&text.text[done..]));
    out
}

struct Mark {
    at: usize,
    /// Nested pieces close in the opposite order of opening: at one place ends come before starts, the shorter piece
    /// ends first and the longer one starts first.
    rank: (u8, usize, usize),
    words: String,
}

/// A stretch of words with marks before and behind.
#[derive(Clone)]
struct Piece {
    start: usize,
    end: usize,
    before: String,
    behind: String,
    is_link: bool,
    is_code: bool,
}

impl Piece {
    /// Marks of the other one would be shown as they are.
    fn hides(&self, other: &Self) -> bool {
        let holds = self.start <= other.start && other.end <= self.end;
        let is_larger = self.end - self.start > other.end - other.start;
        holds && ((self.is_code && (is_larger || other.is_link)) || (self.is_link && !other.is_link && is_larger))
    }
}

fn pieces(text: &RichText) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for span in &text.spans {
        let at = |offset: u32| {
            text.text
                .floor_char_boundary(usize::try_from(offset).unwrap_or(usize::MAX))
        };
        let start = at(span.start);
        let end = at(span.end).max(start);
        let (before, behind) = match &span.kind {
            SpanKind::Style(style) => (mark(*style).to_owned(), mark(*style).to_owned()),
            SpanKind::Link(address) => match opening(address, &text.text[start..end]) {
                Some(opening) => (opening, ">".to_owned()),
                None => continue,
            },
        };
        let is_block = matches!(span.kind, SpanKind::Style(TextStyle::Preformatted));
        let stretches = if is_block {
            vec![(start, end)]
        } else {
            lines(&text.text, (start, end))
        };
        let pieced = stretches
            .into_iter()
            .map(|stretch| trimmed(&text.text, stretch))
            .filter(|(start, end)| start < end);
        pieces.extend(pieced.map(|(start, end)| Piece {
            start,
            end,
            before: before.clone(),
            behind: behind.clone(),
            is_link: matches!(span.kind, SpanKind::Link(_)),
            is_code: is_block || matches!(span.kind, SpanKind::Style(TextStyle::Code)),
        }));
    }
    pieces
}

fn mark(style: TextStyle) -> &'static str {
    match style {
        TextStyle::Bold => "*",
        TextStyle::Italic => "_",
        TextStyle::Strike => "~",
        TextStyle::Code => "`",
        TextStyle::Preformatted => "```",
    }
}

/// `<address|`. None: Slack makes a link of these words by itself, or must not make one.
fn opening(address: &str, words: &str) -> Option<String> {
    let address = address.trim();
    let is_known = SCHEMES.iter().any(|scheme| {
        let begin = address.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    if !is_known || words == address {
        return None;
    }
    let mut encoded = String::with_capacity(address.len());
    for letter in address.chars() {
        match letter {
            '|' => encoded.push_str("%7C"),
            '<' => encoded.push_str("%3C"),
            '>' => encoded.push_str("%3E"),
            _ if letter.is_whitespace() => encoded.push_str("%20"),
            _ => encoded.push(letter),
        }
    }
    Some(format!("<{}|", escaped(&encoded)))
}

fn lines(text: &str, (start, end): (usize, usize)) -> Vec<(usize, usize)> {
    let mut at = start;
    text[start..end]
        .split_inclusive('\n')
        .map(|line| {
            let from = at;
            at += line.len();
            (from, at)
        })
        .collect()
}

fn trimmed(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let words = &text[start..end];
    let start = start + (words.len() - words.trim_start().len());
    (start, start + words.trim().len())
}

#[cfg(test)]
mod tests {
    use mantle_sdk::values::{RichText, Span, SpanKind, TextStyle};

    use super::write;

    fn rich(text: &str, spans: &[(&str, SpanKind)]) -> RichText {
        RichText {
            text: text.to_owned(),
            spans: spans
                .iter()
                .map(|(words, kind)| {
                    let start = text.find(words).unwrap();
                    Span {
                        start: u32::try_from(start).unwrap(),
                        end: u32::try_from(start + words.len()).unwrap(),
                        kind: kind.clone(),
                    }
                })
                .collect(),
        }
    }

    fn style(style: TextStyle) -> SpanKind {
        SpanKind::Style(style)
    }

    fn link(address: &str) -> SpanKind {
        SpanKind::Link(address.to_owned())
    }

    #[test]
    fn ch_10_three_letters_are_escaped_and_nothing_else() {
        let check = |text: &str, expected: &str| assert_eq!(write(&RichText::plain(text)), expected);
        check("Tom & <Jerry> > \"x\"", "Tom &amp; &lt;Jerry&gt; &gt; \"x\"");
        check(
            "He wrote <!channel> & <@U1>",
            "He wrote &lt;!channel&gt; &amp; &lt;@U1&gt;",
        );
        check("&amp;", "&amp;amp;");
        check("2*3*4 snake_case_name ~x~", "2*3*4 snake_case_name ~x~");
    }

    #[test]
    fn ch_10_marks_stand_close_to_the_words_on_every_line() {
        let text = rich(
            "see bold \nand both here",
            &[
                ("bold \nand both ", style(TextStyle::Bold)),
                ("both", style(TextStyle::Italic)),
            ],
        );
        assert_eq!(write(&text), "see *bold* \n*and _both_* here");
        let code = rich(
            "run\n a < b\nnow",
            &[
                (" a < b\n", style(TextStyle::Preformatted)),
                ("now", style(TextStyle::Strike)),
            ],
        );
        assert_eq!(write(&code), "run\n ```a &lt; b```\n~now~");
        let twice = rich(
            "word",
            &[("word", style(TextStyle::Bold)), ("word", style(TextStyle::Italic))],
        );
        assert_eq!(write(&twice), "*_word_*");
    }

    #[test]
    fn ch_10_a_link_keeps_its_words_and_its_address() {
        let address = "https://a.example/?a=1&b=<2|3>";
        let text = rich("look here now", &[("here", link(address))]);
        assert_eq!(write(&text), "look <https://a.example/?a=1&amp;b=%3C2%7C3%3E|here> now");
        let bold = rich(
            "here now",
            &[("here", link("https://a.example")), ("here", style(TextStyle::Bold))],
        );
        assert_eq!(write(&bold), "*<https://a.example|here>* now");
        let inside = rich(
            "look here",
            &[
                ("look here", link("https://a.example")),
                ("here", style(TextStyle::Bold)),
            ],
        );
        assert_eq!(write(&inside), "<https://a.example|look here>");
        let itself = rich("https://a.example", &[("https://a.example", link("https://a.example"))]);
        assert_eq!(write(&itself), "https://a.example");
    }

    #[test]
    fn ch_10_no_link_is_a_command_of_slacks() {
        for address in ["!channel", "@U0CUST001", "#C1", "javascript:alert(1)", "", " !here"] {
            let text = rich("look here", &[("here", link(address))]);
            assert_eq!(write(&text), "look here", "{address}");
        }
    }

    #[test]
    fn ch_10_code_holds_no_marks() {
        let text = rich(
            "a bold b",
            &[
                ("a bold b", style(TextStyle::Code)),
                ("bold", style(TextStyle::Bold)),
                ("b", link("https://a.example")),
            ],
        );
        assert_eq!(write(&text), "`a bold b`");
        let around = rich("a b", &[("a b", style(TextStyle::Bold)), ("b", style(TextStyle::Code))]);
        assert_eq!(write(&around), "*a `b`*");
    }

    #[test]
    fn ch_10_wild_offsets_do_no_harm() {
        let mut text = rich("äö", &[("äö", style(TextStyle::Bold))]);
        text.spans[0].start = 1;
        text.spans[0].end = 99;
        assert_eq!(write(&text), "*äö*");
        (text.spans[0].start, text.spans[0].end) = (3, 1);
        assert_eq!(write(&text), "äö");
    }
}

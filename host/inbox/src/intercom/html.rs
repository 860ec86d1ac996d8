//! Bodies of Intercom: HTML fragments into text with spans.
//!
//! Parsed by a forgiving HTML5 parser and walked without recursion, so that no body can exhaust the stack. Unknown
//! tags are transparent. Entities are decoded; what comes out is text, never markup.

mod writer;

use mantle_model::text::{RichText, SpanKind, TextStyle};
use scraper::node::Element;
use scraper::{Html, Node};

use writer::Writer;

/// Elements whose content is nobody's words.
const DROPPED: [&str; 7] = ["head", "noscript", "script", "style", "svg", "template", "title"];
const BLOCKS: [&str; 19] = [
    "address",
    "article",
    "blockquote",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "main",
    "nav",
    "pre",
    "section",
    "table",
    "tr",
];

/// Tags that are read. HTML5 parsing is quadratic in the depth, and a crafted body must not hold a thread for
/// seconds; what people write stays far below.
const TAGS_MAX: usize = 5_000;

fn parse(body: &str) -> Html {
    let end = body
        .match_indices('<')
        .nth(TAGS_MAX)
        .map_or(body.len(), |(place, _)| place);
    if end < body.len() {
        tracing::warn!(
            tags_max = TAGS_MAX,
            "A body has more tags than are read; its end is left out"
        );
    }
    Html::parse_fragment(&body[..end])
}

/// The text of a body, and the addresses of its images in order.
pub fn rich(body: &str) -> (RichText, Vec<String>) {
    let document = parse(body);
    let mut reading = Reading::default();
    let root = document.tree.root();
    let mut node = root;
    'walk: loop {
        reading.open(node.value());
        if let Some(child) = node.first_child() {
            node = child;
            continue;
        }
        loop {
            reading.close(node.value());
            if node == root {
                break 'walk;
            }
            if let Some(next) = node.next_sibling() {
                node = next;
                continue 'walk;
            }
            match node.parent() {
                Some(parent) => node = parent,
                None => break 'walk,
            }
        }
    }
    (reading.writer.finish(), reading.images)
}

/// The words alone, for comparing: no list marks, no addresses.
pub fn words(body: &str) -> String {
    if let Some(plain) = plain_words(body) {
        return plain;
    }
    let document = parse(body);
    document.root_element().text().flat_map(|text| [text, " "]).collect()
}

/// What most bodies are: text in paragraphs and lines, without anything that a parser would have to look at.
fn plain_words(body: &str) -> Option<String> {
    if body.contains(['&', '\0', '\r']) {
        return None;
    }
    let mut words = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(begin) = rest.find('<') {
        words.push_str(&rest[..begin]);
        words.push(' ');
        rest = ["<p>", "</p>", "<br>"]
            .into_iter()
            .find_map(|tag| rest[begin..].strip_prefix(tag))?;
    }
    words.push_str(rest);
    words.push(' ');
    Some(words)
}

/// Two texts are the same words when these are equal: platforms fold, trim and wrap white space as they like.
pub fn comparable(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

/// What an open element does when it is closed again.
#[derive(Debug)]
enum Frame {
    Transparent,
    Dropped,
    Block,
    Paragraph {
        margin: bool,
    },
    /// A style of its own, on lines of its own if so.
    Styled {
        block: bool,
    },
    Preformatted,
    List,
    Link(String),
}

#[derive(Default)]
struct Reading {
    writer: Writer,
    images: Vec<String>,
    frames: Vec<Frame>,
    /// How many elements above are dropped.
    dropped: usize,
    preformatted: usize,
    /// Of each open list the next number; none for bullets.
    lists: Vec<Option<u64>>,
    /// Nothing came since a paragraph with a margin ended.
    after_paragraph: bool,
}

impl Reading {
    fn open(&mut self, node: &Node) {
        match node {
            Node::Text(text) if self.dropped == 0 => self.text(text),
            Node::Element(element) => {
                let frame = if self.dropped > 0 {
                    Frame::Dropped
                } else {
                    self.element(element)
                };
                self.dropped += usize::from(matches!(frame, Frame::Dropped));
                self.frames.push(frame);
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.after_paragraph = false;
        }
        for c in text.chars() {
            match c {
                '\n' if self.preformatted > 0 => self.writer.new_line(),
                '\u{a0}' => self.writer.hard_space(),
                c if c.is_whitespace() && self.preformatted > 0 => self.writer.hard_space(),
                c if c.is_whitespace() => self.writer.space(),
                c => self.writer.visible(c),
            }
        }
    }

    fn element(&mut self, element: &Element) -> Frame {
        match element.name() {
            "br" => {
                self.writer.new_line();
                Frame::Transparent
            }
            "p" => {
                let apart = self.after_paragraph && self.lists.is_empty();
                self.writer.break_line(if apart { 2 } else { 1 });
                let margin = !element.classes().any(|class| class == "no-margin");
                Frame::Paragraph { margin }
            }
            "img" => {
                self.images.extend(web_address(element.attr("src")));
                Frame::Transparent
            }
            "iframe" => {
                if let Some(address) = web_address(element.attr("src")) {
                    self.writer.break_line(1);
                    address.chars().for_each(|c| self.writer.visible(c));
                    self.writer.break_line(1);
                }
                Frame::Dropped
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.writer.break_line(1);
                self.styled(TextStyle::Bold, true)
            }
            "b" | "strong" => self.styled(TextStyle::Bold, false),
            "i" | "em" => self.styled(TextStyle::Italic, false),
            "s" | "del" | "strike" => self.styled(TextStyle::Strike, false),
            "code" => self.styled(TextStyle::Code, false),
            "pre" => {
                self.writer.break_line(1);
                self.writer.open(SpanKind::Style(TextStyle::Preformatted));
                self.preformatted += 1;
                Frame::Preformatted
            }
            "ul" | "ol" => {
                self.writer.break_line(1);
                let first = element.attr("start").and_then(|start| start.parse().ok()).unwrap_or(1);
                self.lists.push((element.name() == "ol").then_some(first));
                Frame::List
            }
            "li" => self.item(),
            "td" | "th" => {
                self.writer.space();
                Frame::Transparent
            }
            "a" => match element.attr("href").filter(|href| is_followable(href)) {
                Some(href) => {
                    self.writer.open(SpanKind::Link(href.to_owned()));
                    Frame::Link(href.to_owned())
                }
                None => Frame::Transparent,
            },
            name if DROPPED.contains(&name) => Frame::Dropped,
            name if BLOCKS.contains(&name) => {
                self.writer.break_line(1);
                Frame::Block
            }
            _ => Frame::Transparent,
        }
    }

    fn styled(&mut self, style: TextStyle, block: bool) -> Frame {
        if self.preformatted > 0 {
            return Frame::Transparent;
        }
        self.writer.open(SpanKind::Style(style));
        Frame::Styled { block }
    }

    fn item(&mut self) -> Frame {
        self.writer.break_line(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                let mark = format!("{number}. ");
                *number = number.saturating_add(1);
                mark
            }
            _ => "• ".to_owned(),
        };
        self.writer.mark(format!("{indent}{mark}"));
        Frame::Block
    }

    fn close(&mut self, node: &Node) {
        if !matches!(node, Node::Element(_)) {
            return;
        }
        match self.frames.pop() {
            Some(Frame::Dropped) => self.dropped -= 1,
            Some(Frame::Block) => self.writer.break_line(1),
            Some(Frame::Paragraph { margin }) => {
                self.writer.break_line(1);
                self.after_paragraph = margin && self.lists.is_empty();
            }
            Some(Frame::Styled { block }) => {
                self.writer.close();
                if block {
                    self.writer.break_line(1);
                }
            }
            Some(Frame::Preformatted) => {
                self.writer.close();
                self.preformatted -= 1;
                self.writer.break_line(1);
            }
            Some(Frame::List) => {
                self.lists.pop();
                self.writer.break_line(1);
            }
            Some(Frame::Link(href)) => self.writer.close_link(&href),
            Some(Frame::Transparent) | None => {}
        }
    }
}

fn web_address(address: Option<&str>) -> Option<String> {
    let address = address?.trim();
    let is_web = ["https://", "http://"].iter().any(|scheme| {
        address
            .get(..scheme.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    });
    is_web.then(|| address.to_owned())
}

/// Addresses that a customer may be sent to; `javascript:` and its like are only words.
fn is_followable(href: &str) -> bool {
    web_address(Some(href)).is_some() || href.starts_with("mailto:") || href.starts_with("tel:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mantle_model::text::Span;

    fn check(body: &str, expected: &str) {
        assert_eq!(rich(body).0.text, expected, "{body}");
    }

    fn span(start: usize, end: usize, style: TextStyle) -> Span {
        Span {
            start,
            end,
            kind: SpanKind::Style(style),
        }
    }

    #[test]
    fn out_14_blocks_and_breaks_become_lines() {
        check("<p>One</p><p>Two</p>", "One\n\nTwo");
        check(
            "<p class=\"no-margin\">One</p><p class=\"no-margin\">Two</p>",
            "One\nTwo",
        );
        check("<p>a<br>b<br><br>c<br></p>", "a\nb\n\nc");
        check("<p>a</p><p><br></p><p>&nbsp;</p><p>b</p>", "a\n\nb");
        check("  <div>\n <p>  a \n  b </p>\n</div>  ", "a b");
        check("<h1>Head</h1><p>text</p>", "Head\ntext");
        check(
            "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>",
            "a b\nc",
        );
        check("plain &amp; simple &lt;b&gt; &#39;q&#39;", "plain & simple <b> 'q'");
        check("a&nbsp;b", "a b");
        check(
            "<p>x</p><script>evil()</script><style>p{}</style><!-- c --><unknown>y</unknown>",
            "x\ny",
        );
        check("", "");
        check("<p>never <b>closed", "never closed");
        check("a < b > c", "a < b > c");
    }

    #[test]
    fn out_14_lists_get_marks() {
        check(
            "<p>See:</p><ul><li>a</li><li><p>b</p></li></ul><p>end</p>",
            "See:\n• a\n• b\nend",
        );
        check(
            "<ol><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ol>",
            "1. a\n2. b\n  • c\n3. d",
        );
        check("<ol start=\"4\"><li>a</li></ol>", "4. a");
        check("<ul><li></li><li>a</li></ul>", "• a");
    }

    #[test]
    fn out_14_links_stand_once() {
        let check = |body: &str, text: &str, spans: &[Span]| {
            let found = rich(body).0;
            assert_eq!((found.text.as_str(), found.spans.as_slice()), (text, spans), "{body}");
        };
        let link = |start, end, href: &str| Span {
            start,
            end,
            kind: SpanKind::Link(href.into()),
        };
        check(
            "<a href=\"https://a.example/x\">https://a.example/x</a>",
            "https://a.example/x",
            &[],
        );
        check(
            "<a href=\"http://a.example/\">a.example</a>!",
            "http://a.example/!",
            &[],
        );
        check("<a href=\"mailto:a@b.example\">a@b.example</a>", "a@b.example", &[]);
        check(
            "see <a href=\"https://a.example\">our page</a>.",
            "see our page.",
            &[link(4, 12, "https://a.example")],
        );
        check("<a href=\"javascript:alert(1)\">x</a>", "x", &[]);
        check(
            "<a href=\"https://a.example\"><img src=\"https://a.example/i.png\"></a>",
            "",
            &[],
        );
        check(
            "<a href=\"https://a.example\"><b>x</b></a>",
            "x",
            &[link(0, 1, "https://a.example"), span(0, 1, TextStyle::Bold)],
        );
    }

    #[test]
    fn out_14_styles_cover_words_and_never_cross_lines() {
        let found = rich("<p><b>Hello </b><i>big <b>world</b></i></p><b>a<br>b</b>").0;
        assert_eq!(found.text, "Hello big world\na\nb");
        assert_eq!(
            found.spans,
            [
                span(0, 5, TextStyle::Bold),
                span(6, 15, TextStyle::Italic),
                span(10, 15, TextStyle::Bold),
                span(16, 17, TextStyle::Bold),
                span(18, 19, TextStyle::Bold),
            ]
        );
        let found = rich("<pre><code>if x {\n    y\n}</code></pre>ok").0;
        assert_eq!(found.text, "if x {\n    y\n}\nok");
        assert_eq!(found.spans, [span(0, 14, TextStyle::Preformatted)]);
    }

    #[test]
    fn at_7_images_are_taken_out_in_order() {
        let (text, images) = rich(
            "<p>See</p><div class=\"intercom-container\"><img src=\"https://c.example/1.png?x=1&amp;y=2\"></div>\
             <p>and <img src=\"data:image/png;base64,AA\"><img src=\"https://c.example/2.png\"> too</p>",
        );
        assert_eq!(text.text, "See\n\nand too");
        assert_eq!(images, ["https://c.example/1.png?x=1&y=2", "https://c.example/2.png"]);
    }

    #[test]
    fn e13_deep_and_broken_markup_is_survived() {
        let deep = format!("{}x", "<div><b>".repeat(TAGS_MAX / 2 - 1));
        check(&deep, "x");
        check(&format!("first{}x", "<b>".repeat(TAGS_MAX + 1)), "first");
        check("<p>a<<<b></p></i></div>", "a<<");
        check("<img onerror=alert(1) src=x>", "");
    }

    #[test]
    fn spans_are_on_character_boundaries() {
        let found = rich("<p>ü<b>é👍</b>ß</p>").0;
        for span in &found.spans {
            assert!(found.text.is_char_boundary(span.start) && found.text.is_char_boundary(span.end));
        }
        assert_eq!(found.spans, [span(2, 8, TextStyle::Bold)]);
    }

    #[test]
    fn plain_bodies_have_the_words_that_the_parser_reads() {
        for body in [
            "",
            "ok",
            " a  b\n",
            "<p>One</p><p>Two</p>",
            "<p>a<br>b<br><br>c</p>",
            "ü👍<br>",
            "</p>x<p>",
        ] {
            let parsed: String = parse(body).root_element().text().collect();
            let plain = plain_words(body).unwrap();
            assert_eq!(comparable(&plain), comparable(&parsed), "{body}");
        }
        // What a parser has to look at.
        for body in [
            "a &lt; b",
            "1 < 2",
            "<p class=\"x\">a</p>",
            "<b>a</b>",
            "<p>a</p",
            "<!-- <p> -->",
            "\0",
        ] {
            assert_eq!(plain_words(body), None, "{body}");
        }
    }

    #[test]
    fn words_are_equal_whatever_the_platform_made_of_them() {
        let same = |sent: &str, stored: &str| assert_eq!(comparable(sent), comparable(&words(stored)), "{sent}");
        same("Hi,\n\nis it <b>?", "<p>Hi,</p>\n<p>is it &lt;b&gt;?</p>");
        same(
            "see www.a.example",
            "<p>see <a href=\"http://www.a.example\">www.a.example</a></p>",
        );
        same("  ok ", "<p>ok</p>");
        assert_ne!(comparable("ok"), comparable("okay"));
    }
}

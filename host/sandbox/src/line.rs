//! One line of bounded length out of whatever a guest wrote: nothing in it breaks the line, colours a terminal or
//! turns the direction of the words around it.

/// Escapes what is not to be obeyed, and cuts at `bytes_max`.
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        if line.len() >= bytes_max {
            line.push('…');
            break;
        }
        if is_unruly(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Control characters, the separators that some viewers break a line at, and those that change the direction of text.
pub(crate) fn is_unruly(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_lines_are_escaped_and_cut() {
        let check = |text: &str, expected: &str| assert_eq!(line(text, 100), expected);
        check("a\nb\r\nc", "a\\nb\\r\\nc");
        check("\u{1b}[31mred\u{9b}0m", "\\u{1b}[31mred\\u{9b}0m");
        check("a\u{2028}b\u{202e}c\u{2066}d", "a\\u{2028}b\\u{202e}c\\u{2066}d");
        check("Grüße 👋", "Grüße 👋");
        let long = line(&"x".repeat(200), 100);
        assert_eq!(long.len(), 100 + '…'.len_utf8());
        // Escapes count as what they are written with, so that a flood of them is no longer than one of letters.
        assert!(line(&"\n".repeat(200), 100).len() < 120);
    }
}

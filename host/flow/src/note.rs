//! What the team reads in an internal note: a bold headline, then plain sentences. All foreign text is escaped.

use mantle_model::clock::Time;

/// How much of a message a note or line quotes, in characters.
pub(crate) const SNIPPET_CHARS: usize = 40;

/// `<b>headline</b> sentence sentence`; sentences that are empty are left out.
pub(crate) fn html(headline: &str, sentences: &[&str]) -> String {
    let body = sentences
        .iter()
        .filter(|sentence| !sentence.trim().is_empty())
        .map(|sentence| escape(sentence.trim()))
        .collect::<Vec<_>>()
        .join("<br>");
    if body.is_empty() {
        return format!("<p><b>{}</b></p>", escape(headline));
    }
    format!("<p><b>{}</b><br>{body}</p>", escape(headline))
}

/// The same with a link (words, address) as the last line.
pub(crate) fn html_with_link(headline: &str, sentences: &[&str], (words, address): (&str, &str)) -> String {
    let text = html(headline, sentences);
    let link = format!("<a href=\"{}\">{}</a>", escape(address), escape(words));
    match text.strip_suffix("</p>") {
        Some(open) => format!("{open}<br>{link}</p>"),
        None => text + &link,
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(character),
        }
    }
    safe
}

/// `5 MB`, `512 KB`, `80 bytes`: decimal, with one digit where it tells something.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")] {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return if tenths.is_multiple_of(10) {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}

/// `2026-11-20 13:05 UTC`
pub(crate) fn moment(time: Time) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

/// A sentence with a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?', '…']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_11_a_note_escapes_what_others_wrote() {
        let note = html("Not delivered (Shop & Co).", &["“<script>”", "", "Try again."]);
        assert_eq!(
            note,
            "<p><b>Not delivered (Shop &amp; Co).</b><br>“&lt;script&gt;”<br>Try again.</p>"
        );
    }

    #[test]
    fn at_5_sizes_read_well() {
        for (bytes, expected) in [
            (80, "80 bytes"),
            (600_000, "600 KB"),
            (5_242_880, "5.2 MB"),
            (10_000_000, "10 MB"),
            (1_500_000_000, "1.5 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn wi_1_a_moment_is_named_to_the_minute() {
        assert_eq!(moment(Time::from_unix_seconds(1_795_132_805)), "2026-11-20 00:00 UTC");
    }
}

//! The name of the teammate below their words, where the channel's setting says so.

use mantle_inbox::Author;
use mantle_model::text::RichText;
use mantle_store::directory::Signature;

/// The words with the name as a last line: before they are measured and split, so that it counts into every limit.
/// Bots have no name to sign with, and a file without words stays without.
pub(super) fn signed(setting: Signature, words: RichText, author: &Author) -> RichText {
    let Author::Teammate { name: Some(name), .. } = author else {
        return words;
    };
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if setting == Signature::None || name.is_empty() || words.is_empty() {
        return words;
    }
    let RichText { mut text, spans } = words;
    text.push_str("\n— ");
    text.push_str(&name);
    RichText { text, spans }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(setting: Signature, words: &str, name: Option<&str>, expected: &str) {
        let author = Author::Teammate {
            id: "1".into(),
            name: name.map(str::to_owned),
        };
        assert_eq!(
            signed(setting, RichText::plain(words), &author),
            RichText::plain(expected)
        );
    }

    #[test]
    fn out_5_a_persons_words_are_signed_where_the_channel_says_so() {
        check(Signature::Name, "Hi", Some("Ann"), "Hi\n— Ann");
        check(Signature::Name, "Hi", Some(" Ann\nLee "), "Hi\n— Ann Lee");
        check(Signature::None, "Hi", Some("Ann"), "Hi");
        check(Signature::Name, "Hi", None, "Hi");
        check(Signature::Name, "Hi", Some(" "), "Hi");
        check(Signature::Name, "", Some("Ann"), "");
        let bot = signed(Signature::Name, RichText::plain("Hi"), &Author::Bot);
        assert_eq!(bot, RichText::plain("Hi"));
    }
}

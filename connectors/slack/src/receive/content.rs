//! What a message holds: words, files, messages that it shows again, and, where it has no words of its own, what stands
//! in its blocks.

use mantle_sdk::members::Members;
use mantle_sdk::text::{self, Unit};
use mantle_sdk::values::Content;
use serde_json::Value;

use super::files;
use crate::mrkdwn;

/// The host takes texts of 64 KiB; Slack's longest, 40,000 characters, may have more.
const TEXT_BYTES_MAX: usize = 60_000;

/// Never empty.
pub fn of(post: &Members) -> Vec<Content> {
    let mut content: Vec<Content> = match words(post) {
        Some(words) => pieces(&words).into_iter().map(Content::Text).collect(),
        None => Vec::new(),
    };
    content.extend(shown_again(post).into_iter().map(Content::Line));
    content.extend(post.objects("files").iter().filter_map(files::content));
    if content.is_empty() {
        content.push(Content::Unsupported("message without words".to_owned()));
    }
    content
}

/// The whole words. None: it has none.
pub fn words(post: &Members) -> Option<String> {
    let own = post.text("text").map(mrkdwn::read);
    own.filter(|own| !own.trim().is_empty()).or_else(|| in_blocks(post))
}

/// How many files the message had before and has no more.
pub fn files_gone(previous: &Members, present: &Members) -> usize {
    let kept: Vec<&str> = files::ids(present);
    files::ids(previous).iter().filter(|id| !kept.contains(id)).count()
}

fn pieces(words: &str) -> Vec<String> {
    if words.len() <= TEXT_BYTES_MAX {
        return vec![words.to_owned()];
    }
    text::split(words, TEXT_BYTES_MAX, Unit::Bytes)
}

/// Blocks repeat the words where there are any.
fn in_blocks(post: &Members) -> Option<String> {
    let blocks = post.list("blocks")?;
    let lines: Vec<String> = blocks
        .iter()
        .map(|block| {
            let mut words = String::new();
            gather(block, &mut words);
            words.trim().to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The words of a block, in order. Slack nests a few levels, and what is read here is no deeper than JSON may be.
fn gather(value: &Value, words: &mut String) {
    match value {
        Value::Object(members) => {
            let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
            match (kind, members.get("text")) {
                ("mrkdwn", Some(Value::String(text))) => words.push_str(&mrkdwn::read(text)),
                (_, Some(Value::String(text))) => words.push_str(text),
                (_, Some(inner)) => gather(inner, words),
                ("emoji", None) => {
                    let name = members.get("name").and_then(Value::as_str).unwrap_or_default();
                    words.push_str(&format!(":{name}:"));
                }
                ("link", None) => {
                    words.push_str(members.get("url").and_then(Value::as_str).unwrap_or_default());
                }
                _ => {}
            }
            for list in ["elements", "fields"] {
                if let Some(inner) = members.get(list) {
                    gather(inner, words);
                }
            }
            // A part of a rich text ends its line.
            if kind.starts_with("rich_text_") {
                words.push('\n');
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, words)),
        _ => {}
    }
}

/// Messages that somebody passes on. Previews of links are Slack's own work and say nothing new.
fn shown_again(post: &Members) -> Vec<String> {
    let attachments = post.objects("attachments");
    let shared = attachments
        .iter()
        .filter(|attachment| attachment.is_true("is_msg_unfurl") || attachment.is_true("is_share"));
    shared
        .filter_map(|attachment| {
            let said = attachment.text("text").or_else(|| attachment.text("fallback"))?;
            let said = mrkdwn::read(said);
            Some(match attachment.text("author_name") {
                Some(author) => format!("Passed on what {author} wrote: {said}"),
                None => format!("Passed on: {said}"),
            })
        })
        .map(|line| pieces(&line).swap_remove(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use mantle_sdk::values::Content;
    use serde_json::json;

    use super::{TEXT_BYTES_MAX, of};
    use mantle_sdk::members::{Members, Problems};

    #[test]
    fn in_14_the_longest_text_goes_on_in_a_second_piece_and_loses_no_word() {
        let text = "Größe ".repeat(40_000 / 6);
        let problems = Problems::default();
        let message = json!({ "text": text });
        let content = of(&Members::of(&message, String::new(), &problems).unwrap());
        assert_eq!(content.len(), 1, "within the limit it is one piece");
        let long = json!({ "text": "ありがとう ".repeat(40_000 / 6) });
        let content = of(&Members::of(&long, String::new(), &problems).unwrap());
        let pieces: Vec<&str> = content
            .iter()
            .map(|piece| match piece {
                Content::Text(text) => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= TEXT_BYTES_MAX));
        let words: usize = pieces.iter().map(|piece| piece.split_whitespace().count()).sum();
        assert_eq!(words, 40_000 / 6);
    }
}

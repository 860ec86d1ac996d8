//! A reply of the team as it stands in Intercom: what of it is for the customer, and its files.

use std::collections::HashSet;

use mantle_egress::ByteStream;
use mantle_egress::ErrorKind;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure, Reason};
use mantle_model::text::RichText;

use super::api::Api;
use super::html;
use super::trouble::refused;
use super::webhook;
use super::wire::{self, Part};
use crate::{Access, Author, Fetched, InboxError, InboxEvent, InboxEventBody, Reply, ReplyFile, Spoken};

/// Parts whose words are for the customer: closing, assigning and snoozing can carry a teammate's last words.
const SPOKEN_TYPES: [&str; 9] = [
    "",
    "assign_and_reopen",
    "assignment",
    "close",
    "comment",
    "open",
    "quick_reply",
    "snoozed",
    "unsnoozed",
];

/// Whose words they are, if they are the team's.
pub fn team_author(author: &wire::Author) -> Option<Author> {
    match author.r#type.as_str() {
        "admin" | "team" => Some(Author::Teammate {
            id: author.id.clone(),
            name: author.name.clone(),
        }),
        "bot" => Some(Author::Bot),
        _ => None,
    }
}

pub fn is_spoken(part_type: &str) -> bool {
    SPOKEN_TYPES.contains(&part_type)
}

impl Api {
    pub async fn fetch_reply(&self, access: &Access, conversation: &str, part: &str) -> Result<Fetched, InboxError> {
        let present = self.read_conversation(access, conversation).await?;
        let parts = present.sorted_parts();
        let place = parts.iter().position(|candidate| candidate.id == part);
        let found = place.map(|place| parts[place]);
        let first = present.source.as_ref().filter(|first| first.id == part);
        let Some(found) = found.or(first) else {
            return Ok(Fetched::Missing);
        };
        let mut fetched = read(found, present.created_at);
        if let Fetched::Reply(reply) = &mut fetched {
            let before = parts.iter().take(place.unwrap_or_default());
            let changed_at = Time::from_unix_seconds(present.updated_at);
            let told = before.filter_map(|part| webhook::told("", conversation, part, changed_at));
            reply.earlier = told.filter_map(spoken).collect();
        }
        Ok(fetched)
    }

    /// Files lie behind signed addresses that soon expire; the token is not for them.
    pub async fn download(&self, file: &ReplyFile) -> Result<ByteStream, InboxError> {
        let answer = self.file(&file.url).await.map_err(|error| {
            let cause = Cause::new("download", format!("The file cannot be fetched: {}.", error.message));
            match error.kind {
                ErrorKind::Denied | ErrorKind::Invalid => refused(Reason::Policy, cause, None),
                _ => Failure::Transient(cause),
            }
        })?;
        let cause = || Cause::new(answer.status.to_string(), "Intercom does not hand out the file.");
        match answer.status {
            200..=299 => Ok(answer.body),
            // Expired, or not yet through the virus scan: a fresh address may work.
            403 | 404 | 408 | 410 | 429 | 500.. => Err(Failure::Transient(cause()).into()),
            _ => Err(refused(Reason::Invalid, cause(), None).into()),
        }
    }
}

fn spoken(told: InboxEvent) -> Option<Spoken> {
    match told.body {
        InboxEventBody::Reply { part, author, text, .. } => Some(Spoken {
            part,
            author,
            text,
            at: told.at,
        }),
        _ => None,
    }
}

fn read(part: &Part, opened_at: i64) -> Fetched {
    let Some(author) = team_author(&part.author) else {
        return Fetched::Silent;
    };
    if part.redacted || !is_spoken(&part.part_type) {
        return Fetched::Silent;
    }
    let (text, images) = html::rich(&part.body);
    let attachments = files(&images, &part.attachments);
    if text.is_empty() && attachments.is_empty() {
        return Fetched::Silent;
    }
    let text = if text.is_empty() { RichText::default() } else { text };
    let seconds = if part.created_at > 0 {
        part.created_at
    } else {
        opened_at
    };
    Fetched::Reply(Box::new(Reply {
        part: part.id.clone(),
        author,
        text,
        attachments,
        at: Time::from_unix_seconds(seconds),
        earlier: Vec::new(),
    }))
}

/// Inline images in their order, then the other files. An image that is also listed counts once, with what the
/// list knows of it. The same file is known by its address without the signature.
fn files(images: &[String], listed: &[wire::Attachment]) -> Vec<ReplyFile> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    let from_list = |attachment: &wire::Attachment| ReplyFile {
        name: Some(attachment.name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| name_of(&attachment.url)),
        url: attachment.url.clone(),
        content_type: attachment.content_type.clone(),
        bytes: attachment.filesize,
    };
    for image in images {
        if seen.insert(unsigned(image)) {
            let known = listed
                .iter()
                .find(|attachment| unsigned(&attachment.url) == unsigned(image));
            all.push(known.map_or_else(
                || ReplyFile {
                    name: name_of(image),
                    url: image.clone(),
                    content_type: None,
                    bytes: None,
                },
                from_list,
            ));
        }
    }
    for attachment in listed.iter().filter(|attachment| !attachment.url.is_empty()) {
        if seen.insert(unsigned(&attachment.url)) {
            all.push(from_list(attachment));
        }
    }
    all
}

fn unsigned(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn name_of(url: &str) -> String {
    let last = unsigned(url)
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = percent_encoding::percent_decode_str(last)
        .decode_utf8_lossy()
        .into_owned();
    if name.is_empty() || name.contains("://") {
        "image".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(value: serde_json::Value) -> Part {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn out_2_notes_events_and_customers_are_silent() {
        let silent = |value: serde_json::Value| assert_eq!(read(&part(value.clone()), 0), Fetched::Silent, "{value}");
        let admin = json!({"type": "admin", "id": "1"});
        silent(json!({"id": "1", "part_type": "note", "body": "<p>x</p>", "author": admin}));
        silent(json!({"id": "1", "part_type": "comment", "body": "<p> &nbsp;</p>", "author": admin}));
        silent(json!({"id": "1", "part_type": "close", "body": null, "author": admin}));
        silent(json!({"id": "1", "part_type": "comment", "body": "x", "author": admin, "redacted": true}));
        silent(json!({"id": "1", "part_type": "brand_new_type", "body": "x", "author": admin}));
        silent(json!({"id": "1", "part_type": "comment", "body": "x", "author": {"type": "user", "id": "9"}}));
    }

    #[test]
    fn out_15_the_last_words_of_a_close_are_a_reply() {
        let close = part(
            json!({"id": 7, "part_type": "close", "body": "<p>Bye</p>", "created_at": 5,
            "author": {"type": "admin", "id": 1, "name": "Dana"}}),
        );
        let Fetched::Reply(reply) = read(&close, 0) else {
            panic!("silent")
        };
        assert_eq!(reply.part, "7");
        assert_eq!(
            reply.author,
            Author::Teammate {
                id: "1".into(),
                name: Some("Dana".into())
            }
        );
        assert_eq!(reply.text, RichText::plain("Bye"));
        assert_eq!(reply.at, Time::from_unix_seconds(5));
    }

    #[test]
    fn at_7_inline_images_come_in_order_and_once() {
        let images = [
            "https://cdn.example/i/a%20b.png?sig=1".to_owned(),
            "https://cdn.example/i/c.png".to_owned(),
        ];
        let listed: Vec<wire::Attachment> = serde_json::from_value(json!([
            {"name": "d.pdf", "url": "https://cdn.example/d?sig=9", "content_type": "application/pdf", "filesize": 5},
            {"name": "c.png", "url": "https://cdn.example/i/c.png?sig=2", "content_type": "image/png", "filesize": 3},
            {"name": "broken"},
        ]))
        .unwrap();
        let found: Vec<_> = files(&images, &listed)
            .into_iter()
            .map(|file| (file.name, file.bytes))
            .collect();
        assert_eq!(
            found,
            [
                ("a b.png".to_owned(), None),
                ("c.png".to_owned(), Some(3)),
                ("d.pdf".to_owned(), Some(5))
            ]
        );
    }
}

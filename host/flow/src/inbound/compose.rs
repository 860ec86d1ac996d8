//! A customer's message as the team reads it: one renderer for every provider.
//!
//! Plain text is shown byte for byte; everything else becomes one readable line in brackets or quotes.

use mantle_model::clock::Time;
use mantle_model::inbound::{Attachment, AttachmentKind, Chat, ContactCard, Content, Location, Message};
use mantle_model::outbound::File;
use mantle_model::text::snippet;

use crate::note::{self, SNIPPET_CHARS};

/// What the words of a message lean on.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Text of the message answered to.
    pub quoted: Option<String>,
    /// Text of the message reacted to.
    pub target: Option<String>,
    /// Lines before everything else: a lost or full conversation, a late message.
    pub preface: Vec<String>,
}

/// What became of one attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// The file itself is in the same or the next part.
    File,
    /// It follows.
    OnItsWay,
    /// Too large for the inbox.
    Link { file: File, url: String },
    /// It will not come.
    Missing,
}

/// The text of the part; empty when files say it all. `shown` tells of each attachment, in order.
pub(super) fn text(message: &Message, around: &Surroundings, shown: &[Shown]) -> String {
    let mut lines = around.preface.clone();
    if let Some(quoted) = &around.quoted {
        lines.push(format!("> {}", snippet(quoted, SNIPPET_CHARS)));
    }
    if message.forwarded {
        lines.push("[Forwarded]".into());
    }
    lines.extend(origin(message).map(|origin| format!("[{origin}]")));
    let mut shown = shown.iter();
    for content in &message.content {
        match content {
            Content::Attachment(attachment) => {
                lines.extend(attachment_lines(attachment, shown.next().unwrap_or(&Shown::Missing)));
            }
            other => lines.extend(line(other, around)),
        }
    }
    let text = lines.join("\n");
    match &message.chat {
        Chat::Direct => text,
        Chat::Group(_) => {
            let author = message.person.name.as_deref().unwrap_or_else(|| message.person.label());
            format!("{author}: {text}")
        }
    }
}

/// Where the customer came from: an advertisement, a link with a mark.
pub(super) fn origin(message: &Message) -> Option<String> {
    let referral = message.referral.as_ref()?;
    Some(match &referral.url {
        Some(url) => format!("{} {url}", referral.summary),
        None => referral.summary.clone(),
    })
}

/// What stands in for a file where a conversation must begin with text.
pub(super) fn placeholder(message: &Message) -> String {
    let words: Vec<String> = message
        .content
        .iter()
        .filter_map(|content| match content {
            Content::Attachment(attachment) => Some(format!("[{}]", attachment.kind.word())),
            _ => None,
        })
        .collect();
    if words.is_empty() {
        "[message]".into()
    } else {
        words.join(" ")
    }
}

/// For a message older than what the conversation shows already.
pub(super) fn late_line(at: Time) -> String {
    format!("[Sent {}]", note::moment(at))
}

fn line(content: &Content, around: &Surroundings) -> Option<String> {
    match content {
        Content::Text(text) | Content::Line(text) => Some(text.clone()),
        Content::Attachment(_) => None,
        Content::Location(location) => Some(location_line(location)),
        Content::Contact(card) => Some(card_line(card)),
        Content::Reaction(reaction) => {
            let target = around
                .target
                .as_deref()
                .map(|text| snippet(text, SNIPPET_CHARS))
                .filter(|text| !text.is_empty())
                .map_or_else(|| "an earlier message".into(), |text| format!("“{text}”"));
            Some(match &reaction.emoji {
                Some(emoji) => format!("[Reacted {emoji} to {target}]"),
                None => format!("[Took back the reaction to {target}]"),
            })
        }
        Content::Edit(edit) => Some(format!("[Edited] {}", edit.text)),
        Content::Deletion(_) => Some("[The customer deleted a message]".into()),
        Content::Choice(choice) => Some(choice.label.clone()),
        Content::Unsupported(kind) => Some(format!(
            "[Unsupported message: {kind}. Ask the customer to send it another way.]"
        )),
    }
}

fn attachment_lines(attachment: &Attachment, shown: &Shown) -> Vec<String> {
    let mut lines = Vec::new();
    match (attachment.kind, attachment.duration_ms, &attachment.emoji) {
        (AttachmentKind::Voice, Some(duration), _) => lines.push(format!("[Voice message, {}]", clock(duration))),
        (AttachmentKind::Voice, None, _) => lines.push("[Voice message]".into()),
        (AttachmentKind::Sticker, _, Some(emoji)) => lines.push(format!("[Sticker {emoji}]")),
        (AttachmentKind::Sticker, _, None) => lines.push("[Sticker]".into()),
        _ => {}
    }
    lines.extend(attachment.caption.clone().filter(|caption| !caption.trim().is_empty()));
    match shown {
        Shown::File => {}
        Shown::OnItsWay => lines.push("[attachment on its way]".into()),
        Shown::Link { file, url } => lines.push(link_line(file, url)),
        Shown::Missing => lines.push(format!("[{} could not be fetched]", attachment.kind.word())),
    }
    lines
}

/// Name, size and address of a file that the inbox does not take.
pub(super) fn link_line(file: &File, url: &str) -> String {
    format!("[{}, {}: {url}]", file.name, note::size(file.bytes))
}

/// `0:07`
fn clock(duration_ms: u32) -> String {
    let seconds = duration_ms.div_ceil(1000);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn location_line(location: &Location) -> String {
    let (latitude, longitude) = (location.latitude, location.longitude);
    let mut words: Vec<String> = [&location.name, &location.address]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if words.is_empty() {
        words.push("Location".into());
    }
    words.push(format!(
        "https://www.google.com/maps/search/?api=1&query={latitude},{longitude}"
    ));
    words.join("\n")
}

fn card_line(card: &ContactCard) -> String {
    let mut words = vec![format!("[Contact] {}", card.name)];
    words.extend(card.organization.clone());
    words.extend(card.phones.iter().cloned());
    words.extend(card.emails.iter().cloned());
    words.join("\n")
}

#[cfg(test)]
mod tests {
    use mantle_model::inbound::{Alias, AliasKind, Author, Choice, Edit, Group, Person, Quote, Reaction, Referral};

    use super::*;

    fn message(content: Vec<Content>) -> Message {
        Message {
            id: "1".into(),
            person: Person {
                aliases: vec![Alias::new(AliasKind::Id, "7")],
                name: Some("Ada".into()),
                language: None,
            },
            chat: Chat::Direct,
            author: Author::Customer,
            content,
            quote: None,
            referral: None,
            forwarded: false,
            correlation: None,
        }
    }

    fn attachment(kind: AttachmentKind) -> Attachment {
        Attachment {
            kind,
            source: "f".into(),
            name: None,
            content_type: None,
            bytes: None,
            duration_ms: None,
            caption: None,
            emoji: None,
        }
    }

    fn check(content: Content, expected: &str) {
        let around = Surroundings {
            target: Some("Do you still have the blue one in size forty-two, please?".into()),
            ..Surroundings::default()
        };
        assert_eq!(text(&message(vec![content]), &around, &[Shown::File]), expected);
    }

    #[test]
    fn in_1_plain_text_is_kept_byte_for_byte() {
        let odd = "  שלום\u{200f} 👩‍👩‍👧‍👦\n\n\ttwo  spaces & <b>\n";
        check(Content::Text(odd.into()), odd);
    }

    #[test]
    fn in_13_unsupported_has_exactly_these_words() {
        let expected = "[Unsupported message: poll. Ask the customer to send it another way.]";
        check(Content::Unsupported("poll".into()), expected);
    }

    #[test]
    fn in_14_each_kind_has_its_line() {
        let reaction = |emoji: Option<&str>| {
            Content::Reaction(Reaction {
                target: "9".into(),
                emoji: emoji.map(Into::into),
            })
        };
        check(
            reaction(Some("👍")),
            "[Reacted 👍 to “Do you still have the blue one in size…”]",
        );
        check(
            reaction(None),
            "[Took back the reaction to “Do you still have the blue one in size…”]",
        );
        let edit = Edit {
            target: "9".into(),
            text: "new".into(),
        };
        check(Content::Edit(edit), "[Edited] new");
        let choice = Choice {
            label: "Yes".into(),
            payload: Some("Y1".into()),
        };
        check(Content::Choice(choice), "Yes");
        let location = Location {
            latitude: 53.35,
            longitude: -6.26,
            name: Some("Spire".into()),
            address: Some("O'Connell Street".into()),
        };
        let map = "https://www.google.com/maps/search/?api=1&query=53.35,-6.26";
        check(Content::Location(location), &format!("Spire\nO'Connell Street\n{map}"));
        let card = ContactCard {
            name: "Bob".into(),
            phones: vec!["+35312".into()],
            emails: vec![],
            organization: None,
        };
        check(Content::Contact(card), "[Contact] Bob\n+35312");
        let voice = Attachment {
            duration_ms: Some(6_400),
            ..attachment(AttachmentKind::Voice)
        };
        check(Content::Attachment(voice), "[Voice message, 0:07]");
        check(
            Content::Attachment(attachment(AttachmentKind::Voice)),
            "[Voice message]",
        );
        let sticker = Attachment {
            emoji: Some("🎉".into()),
            ..attachment(AttachmentKind::Sticker)
        };
        check(Content::Attachment(sticker), "[Sticker 🎉]");
        check(Content::Attachment(attachment(AttachmentKind::Sticker)), "[Sticker]");
    }

    #[test]
    fn in_14_quote_and_context_come_first() {
        let mut told = message(vec![Content::Text("Yes".into())]);
        told.forwarded = true;
        told.quote = Some(Quote { id: None, text: None });
        told.referral = Some(Referral {
            summary: "Came from the ad “Sale”".into(),
            url: Some("https://example.com/ad".into()),
            id: None,
        });
        let around = Surroundings {
            quoted: Some("Shall we?".into()),
            ..Surroundings::default()
        };
        let expected = "> Shall we?\n[Forwarded]\n[Came from the ad “Sale” https://example.com/ad]\nYes";
        assert_eq!(text(&told, &around, &[]), expected);
    }

    #[test]
    fn in_15_a_group_message_names_its_author() {
        let mut told = message(vec![Content::Text("Hello".into())]);
        told.chat = Chat::Group(Group {
            id: "-5".into(),
            title: None,
        });
        assert_eq!(text(&told, &Surroundings::default(), &[]), "Ada: Hello");
    }

    #[test]
    fn at_files_tell_what_became_of_them() {
        let told = message(vec![Content::Attachment(attachment(AttachmentKind::Image))]);
        let check = |shown: Shown, expected: &str| {
            assert_eq!(text(&told, &Surroundings::default(), &[shown]), expected);
        };
        check(Shown::File, "");
        check(Shown::OnItsWay, "[attachment on its way]");
        check(Shown::Missing, "[image could not be fetched]");
        let link = Shown::Link {
            file: File {
                media: mantle_model::ids::MediaId(1),
                name: "film.mp4".into(),
                content_type: "video/mp4".into(),
                bytes: 90_000_000,
            },
            url: "https://b.example/media/x".into(),
        };
        check(link, "[film.mp4, 90 MB: https://b.example/media/x]");
        assert_eq!(placeholder(&told), "[image]");
    }
}

//! What the files of a message tell of themselves: how long a voice message is, whom a card names.
//!
//! Read only where the provider did not say. What cannot be read is left out: the file itself arrives all the same.

use std::borrow::Cow;

use mantle_model::inbound::{Attachment, AttachmentKind, ContactCard, Content, Message};
use mantle_model::outbound::File;
use mantle_sandbox::ShelfError;

use super::media::{Gathered, State};
use crate::job::Job;

/// Enough for the identification of a stream, in bytes.
const HEAD_BYTES: u32 = 256;
/// The longest page of Ogg, in bytes (RFC 3533): the last one surely begins within so many.
const TAIL_BYTES: u32 = 65_307;
/// Opus counts time in 48 kHz whatever was recorded (RFC 7845).
const OPUS_SAMPLES_PER_MS: i64 = 48;
/// Cards with pictures are larger; their words stand at the beginning, in bytes.
const CARD_BYTES: u32 = 64 << 10;
/// Cards of one file that are shown.
const CARDS_MAX: usize = 10;

/// The message with what its files tell.
pub(super) async fn told<'m>(job: &Job<'_>, message: &'m Message, gathered: &Gathered) -> Cow<'m, Message> {
    if gathered.items.is_empty() {
        return Cow::Borrowed(message);
    }
    let mut content = Vec::with_capacity(message.content.len());
    let mut items = gathered.items.iter();
    for piece in &message.content {
        let Content::Attachment(attachment) = piece else {
            content.push(piece.clone());
            continue;
        };
        let mut attachment = attachment.clone();
        if let Some(State::Here(file)) = items.next().map(|item| &item.state) {
            match ask(job, &mut attachment, file).await {
                Ok(cards) => content.extend(cards.into_iter().map(Content::Contact)),
                Err(error) => tracing::info!(channel.id = %job.channel.id, %error, "A file was not looked into"),
            }
        }
        content.push(Content::Attachment(attachment));
    }
    Cow::Owned(Message {
        content,
        ..message.clone()
    })
}

/// Fills in the duration of a voice message; answers with the cards of a file of cards.
async fn ask(job: &Job<'_>, attachment: &mut Attachment, file: &File) -> Result<Vec<ContactCard>, ShelfError> {
    let shelf = job.flow.shelf();
    if attachment.kind == AttachmentKind::Voice && attachment.duration_ms.is_none() {
        let head = shelf.read(file.media, 0, HEAD_BYTES).await?;
        let behind = file.bytes.saturating_sub(u64::from(TAIL_BYTES));
        let tail = shelf.read(file.media, behind, TAIL_BYTES).await?;
        attachment.duration_ms = opus_duration_ms(&head, &tail);
    }
    let is_card = ["text/vcard", "text/x-vcard", "text/directory"].contains(&file.content_type.as_str());
    if !is_card {
        return Ok(Vec::new());
    }
    let bytes = shelf.read(file.media, 0, CARD_BYTES).await?;
    Ok(cards(&String::from_utf8_lossy(&bytes)))
}

/// From the time of the last page, without the samples that a player skips at the beginning.
fn opus_duration_ms(head: &[u8], tail: &[u8]) -> Option<u32> {
    let identified = find(head, b"OpusHead")?;
    let skipped: [u8; 2] = head.get(identified + 10..identified + 12)?.try_into().ok()?;
    let page = tail.windows(4).rposition(|window| window == b"OggS")?;
    let position: [u8; 8] = tail.get(page + 6..page + 14)?.try_into().ok()?;
    let samples = i64::from_le_bytes(position).checked_sub(i64::from(u16::from_le_bytes(skipped)))?;
    u32::try_from(samples / OPUS_SAMPLES_PER_MS)
        .ok()
        .filter(|duration| *duration > 0)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The cards of a vCard file, any version.
fn cards(text: &str) -> Vec<ContactCard> {
    // A long line goes on in the next one, behind a blank.
    let unfolded = text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "");
    unfolded
        .split("BEGIN:VCARD")
        .skip(1)
        .take(CARDS_MAX)
        .filter_map(card)
        .collect()
}

fn card(text: &str) -> Option<ContactCard> {
    let mut card = ContactCard {
        name: String::new(),
        phones: Vec::new(),
        emails: Vec::new(),
        organization: None,
    };
    let mut parts_of_name = None;
    for (property, value) in text.lines().filter_map(|line| line.split_once(':')) {
        // `item1.TEL;TYPE=CELL`
        let name = property.split(';').next().unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default().to_ascii_uppercase();
        let value = plain(value);
        match name.as_str() {
            _ if value.is_empty() => {}
            "FN" => card.name = value,
            "N" => parts_of_name = Some(value),
            "TEL" => card.phones.push(value.trim_start_matches("tel:").to_owned()),
            "EMAIL" => card.emails.push(value),
            "ORG" => card.organization = Some(value),
            _ => {}
        }
    }
    if card.name.is_empty() {
        let first = || card.phones.first().or(card.emails.first()).cloned();
        card.name = parts_of_name.or(card.organization.clone()).or_else(first)?;
    }
    Some(card)
}

/// Components side by side, escapes resolved.
fn plain(value: &str) -> String {
    let resolved = value.trim().replace("\\n", " ").replace("\\,", ",");
    let components = resolved
        .split(';')
        .map(|component| component.trim_end_matches('\\').trim());
    components
        .filter(|component| !component.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(position: i64, content: &[u8]) -> Vec<u8> {
        let mut bytes = b"OggS\0\0".to_vec();
        bytes.extend(position.to_le_bytes());
        bytes.extend([0; 13]);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn in_14_a_voice_message_is_as_long_as_its_last_page_says() {
        let head = page(0, b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0");
        let tail = [page(9_600, b"sound"), page(48_000 * 7 + 312, b"more")].concat();
        assert_eq!(opus_duration_ms(&head, &tail), Some(7_000));
        assert_eq!(opus_duration_ms(b"ID3", &tail), None, "another kind of sound");
        assert_eq!(opus_duration_ms(&head, &page(-1, b"")), None, "no end is told");
        assert_eq!(opus_duration_ms(&head, b"OggS"), None, "cut off");
    }

    #[test]
    fn in_14_cards_are_read_in_every_spelling() {
        let text = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Builder;Bob;;;\r\nFN:Bob Buil\r\n der\r\nORG:Build\\, Ltd;\r\n\
            item1.TEL;type=CELL:+353 1 234\r\nTEL;VALUE=uri:tel:+353-2\r\nEMAIL:bob@build.example\r\nEND:VCARD\r\n\
            BEGIN:VCARD\nVERSION:2.1\nN:Ada;\nEND:VCARD\nBEGIN:VCARD\nNOTE:nobody\nEND:VCARD";
        let expected = [
            ContactCard {
                name: "Bob Builder".into(),
                phones: vec!["+353 1 234".into(), "+353-2".into()],
                emails: vec!["bob@build.example".into()],
                organization: Some("Build, Ltd".into()),
            },
            ContactCard {
                name: "Ada".into(),
                phones: Vec::new(),
                emails: Vec::new(),
                organization: None,
            },
        ];
        assert_eq!(cards(text), expected);
    }
}

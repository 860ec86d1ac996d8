//! What a message holds, from its keys. Where Telegram repeats one thing under two keys, the telling one comes first:
//! `animation` before `document`, `venue` before `location`, `live_photo` before `photo`.

use mantle_sdk::phone;
use mantle_sdk::text::{self, Utf16Span};
use mantle_sdk::values::{Attachment, AttachmentKind, ContactCard, Content, Location, Referral, SpanKind};
use serde_json::{Map, Value};

use crate::wire::{Contact, Entity, File, Parts, Point, Sticker, Venue, joined};

/// Keys that every message may have and that are no content.
const FRAME: &[&str] = &[
    "message_id",
    "message_thread_id",
    "direct_messages_topic",
    "from",
    "sender_chat",
    "sender_boost_count",
    "sender_business_bot",
    "sender_tag",
    "date",
    "guest_query_id",
    "business_connection_id",
    "chat",
    "forward_origin",
    "is_topic_message",
    "is_automatic_forward",
    "reply_to_message",
    "external_reply",
    "quote",
    "reply_to_story",
    "reply_to_checklist_task_id",
    "reply_to_poll_option_id",
    "via_bot",
    "guest_bot_caller_user",
    "guest_bot_caller_chat",
    "edit_date",
    "has_protected_content",
    "is_from_offline",
    "is_paid_post",
    "media_group_id",
    "author_signature",
    "paid_star_count",
    "text",
    "entities",
    "link_preview_options",
    "suggested_post_info",
    "effect_id",
    "caption",
    "caption_entities",
    "show_caption_above_media",
    "has_media_spoiler",
    "reply_markup",
];

/// Housekeeping that the chat shows in grey: nothing for an inbox. A trailing `*` covers all keys that begin so.
const SERVICE: &[&str] = &[
    "new_chat_members",
    "left_chat_member",
    "chat_owner_*",
    "new_chat_title",
    "new_chat_photo",
    "delete_chat_photo",
    "group_chat_created",
    "supergroup_chat_created",
    "channel_chat_created",
    "message_auto_delete_timer_changed",
    "migrate_*",
    "pinned_message",
    "connected_website",
    "write_access_allowed",
    "passport_data",
    "proximity_alert_triggered",
    "boost_added",
    "chat_background_set",
    "checklist_tasks_*",
    "direct_message_price_changed",
    "paid_message_price_changed",
    "forum_topic_*",
    "general_forum_topic_*",
    "giveaway_created",
    "giveaway_completed",
    "managed_bot_created",
    "poll_option_*",
    "suggested_post_*",
    "video_chat_*",
];

/// The content in the order to show; empty for a service message.
pub fn of(parts: &mut Parts<'_>) -> Vec<Content> {
    if parts.has("text") {
        let unreadable = || Content::Unsupported("text".to_owned());
        return vec![text(parts).map_or_else(unreadable, Content::Text)];
    }
    if parts.fields.keys().any(|key| is_service(key)) {
        return Vec::new();
    }
    let caption = text(parts);
    let mut content: Vec<Content> = match file(parts) {
        Some(mut attachment) => {
            attachment.caption = caption;
            return vec![Content::Attachment(attachment)];
        }
        None => other(parts).into_iter().collect(),
    };
    if content.is_empty() {
        content.push(Content::Unsupported(unknown_kind(parts.fields)));
    }
    // The caption of something that could not be read, or that is shown as a line.
    content.extend(caption.map(Content::Text));
    content
}

/// The text or caption, with the addresses of linked words behind them.
pub fn text(parts: &mut Parts<'_>) -> Option<String> {
    let (text_key, entities_key) = match parts.has("text") {
        true => ("text", "entities"),
        false => ("caption", "caption_entities"),
    };
    let text = parts.take::<String>(text_key)?;
    let entities: Vec<Entity> = parts.take(entities_key).unwrap_or_default();
    let links = entities
        .into_iter()
        .filter(|entity| entity.kind == "text_link")
        .filter_map(|entity| {
            Some(Utf16Span {
                offset: entity.offset,
                length: entity.length,
                kind: SpanKind::Link(entity.url?),
            })
        });
    Some(text::plain(&text::from_utf16(text, links)))
}

fn file(parts: &mut Parts<'_>) -> Option<Attachment> {
    let kinds = [
        ("animation", AttachmentKind::Video, "video/mp4"),
        ("live_photo", AttachmentKind::Video, "video/mp4"),
        ("video", AttachmentKind::Video, "video/mp4"),
        ("video_note", AttachmentKind::Video, "video/mp4"),
        ("voice", AttachmentKind::Voice, "audio/ogg"),
        ("audio", AttachmentKind::Audio, ""),
    ];
    for (key, kind, usual_type) in kinds {
        if let Some(file) = parts.take::<File>(key) {
            return Some(attachment(kind, file, usual_type));
        }
    }
    // A list of sizes, the largest last; always JPEG, never with a name.
    if let Some(size) = parts.take::<Vec<File>>("photo").and_then(|mut sizes| sizes.pop()) {
        return Some(attachment(AttachmentKind::Image, size, "image/jpeg"));
    }
    if let Some(file) = parts.take::<File>("document") {
        return Some(attachment(AttachmentKind::Document, file, ""));
    }
    parts.take::<Sticker>("sticker").and_then(sticker)
}

fn attachment(kind: AttachmentKind, file: File, usual_type: &str) -> Attachment {
    let content_type = file
        .mime_type
        .or_else(|| (!usual_type.is_empty()).then(|| usual_type.to_owned()));
    Attachment {
        name: file.file_name,
        content_type,
        bytes: file.file_size,
        duration_ms: file.duration.map(|seconds| seconds.saturating_mul(1000)),
        ..Attachment::new(kind, file.file_id)
    }
}

/// A still sticker is WebP. A moving one (gzipped Lottie or WebM) is shown by its thumbnail, a still picture.
fn sticker(sticker: Sticker) -> Option<Attachment> {
    let moving = sticker.is_animated || sticker.is_video;
    let attachment = match (moving, sticker.thumbnail) {
        (false, _) => Attachment {
            content_type: Some("image/webp".to_owned()),
            bytes: sticker.file_size,
            ..Attachment::new(AttachmentKind::Sticker, sticker.file_id)
        },
        (true, Some(thumbnail)) => attachment(AttachmentKind::Sticker, thumbnail, ""),
        (true, None) if sticker.is_video => Attachment {
            content_type: Some("video/webm".to_owned()),
            bytes: sticker.file_size,
            ..Attachment::new(AttachmentKind::Sticker, sticker.file_id)
        },
        (true, None) => return None,
    };
    Some(Attachment {
        emoji: sticker.emoji,
        ..attachment
    })
}

fn other(parts: &mut Parts<'_>) -> Option<Content> {
    if let Some(venue) = parts.take::<Venue>("venue") {
        return Some(Content::Location(Location {
            name: Some(venue.title),
            address: Some(venue.address),
            ..place(&venue.location)
        }));
    }
    if let Some(point) = parts.take::<Point>("location") {
        return Some(Content::Location(place(&point)));
    }
    if let Some(contact) = parts.take::<Contact>("contact") {
        return Some(Content::Contact(card(contact)));
    }
    if let Some(blocks) = parts.fields.get("rich_message") {
        let mut lines = Vec::new();
        collect_texts(blocks, &mut lines);
        return (!lines.is_empty()).then(|| Content::Text(lines.join("\n")));
    }
    line(parts.fields).map(Content::Line)
}

fn place(point: &Point) -> Location {
    Location {
        latitude: point.latitude,
        longitude: point.longitude,
        name: None,
        address: None,
    }
}

fn card(contact: Contact) -> ContactCard {
    let vcard = contact.vcard.unwrap_or_default();
    let values = |name: &str| {
        vcard
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.split(';').next().is_some_and(|key| key.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value.trim().replace(';', " "))
            .collect::<Vec<_>>()
    };
    ContactCard {
        name: joined(Some(&contact.first_name), contact.last_name.as_deref()).unwrap_or_default(),
        phones: vec![phone::normalise(&contact.phone_number).unwrap_or(contact.phone_number)],
        emails: values("EMAIL"),
        organization: values("ORG").pop(),
    }
}

/// One readable line for what has no form of its own.
fn line(fields: &Map<String, Value>) -> Option<String> {
    let words = |path: &str| {
        let mut steps = path.split('.');
        let first = fields.get(steps.next()?)?;
        steps.try_fold(first, |value, key| value.get(key))?.as_str()
    };
    let list = |path: &str, key: &str| {
        let mut steps = path.split('.');
        let first = steps.next().and_then(|key| fields.get(key));
        let items = first.and_then(|first| steps.try_fold(first, |value, key| value.get(key)));
        let texts = items.and_then(Value::as_array).into_iter().flatten();
        texts
            .filter_map(|item| item.get(key)?.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let has = |key: &str| fields.contains_key(key);
    if let Some(dice) = fields.get("dice") {
        let emoji = dice.get("emoji").and_then(Value::as_str).unwrap_or("🎲");
        return Some(format!("{emoji} rolled {}", dice.get("value").and_then(Value::as_i64)?));
    }
    if let Some(emoji) = words("sticker.emoji") {
        return Some(format!("Sticker {emoji}"));
    }
    if let Some(question) = words("poll.question") {
        return Some(format!("Poll: {question} ({})", list("poll.options", "text")));
    }
    if let Some(title) = words("checklist.title") {
        return Some(format!("Checklist: {title} ({})", list("checklist.tasks", "text")));
    }
    if let Some(title) = words("game.title") {
        return Some(format!("Game: {title}"));
    }
    if let Some(title) = words("invoice.title") {
        return Some(format!("Invoice: {title}"));
    }
    if let Some(payment) = fields.get("successful_payment") {
        let amount = payment.get("total_amount").and_then(Value::as_i64)?;
        let currency = words("successful_payment.currency").unwrap_or_default();
        return Some(format!(
            "Payment of {amount} {currency}, counted in the currency's smallest unit"
        ));
    }
    if let Some(data) = words("web_app_data.data") {
        let button = words("web_app_data.button_text").unwrap_or("a web app");
        return Some(format!("Sent from “{button}”: {data}"));
    }
    if let Some(users) = fields
        .get("users_shared")
        .and_then(|shared| shared.get("users")?.as_array())
    {
        return Some(format!("Shared {} Telegram account(s)", users.len()));
    }
    let rest = [
        ("chat_shared", "Shared a Telegram chat"),
        ("story", "Shared a story"),
        ("paid_media", "Sent paid media"),
        ("refunded_payment", "A payment was refunded"),
        ("gift", "Sent a gift"),
        ("unique_gift", "Sent a gift"),
        ("gift_upgrade_sent", "Sent the upgrade of a gift"),
        ("giveaway", "Shared a giveaway"),
        ("giveaway_winners", "Shared the winners of a giveaway"),
    ];
    rest.iter()
        .find(|(key, _)| has(key))
        .map(|(_, words)| (*words).to_owned())
}

/// The first line of an earlier message, as a quote shows it.
pub fn summary(fields: &Map<String, Value>) -> Option<String> {
    let mut parts = Parts::new(fields);
    text(&mut parts)
        .or_else(|| line(fields))
        .or_else(|| match unknown_kind(fields).as_str() {
            "message" => None,
            kind => Some(kind.to_owned()),
        })
}

/// A deep link `t.me/<bot>?start=<payload>` arrives as the text `/start <payload>`, the only trace of an ad or a page.
pub fn referral(parts: &Parts<'_>) -> Option<Referral> {
    let payload = parts.text("text")?.strip_prefix("/start ")?.trim();
    (!payload.is_empty()).then(|| Referral {
        summary: format!("Came by the link with the mark “{payload}”"),
        url: None,
        id: Some(payload.to_owned()),
    })
}

/// What stands on the inline button that carries these data.
pub fn button_label(message: &Map<String, Value>, data: &str) -> Option<String> {
    let rows = message.get("reply_markup")?.get("inline_keyboard")?.as_array()?;
    rows.iter()
        .filter_map(Value::as_array)
        .flatten()
        .find(|button| button.get("callback_data").and_then(Value::as_str) == Some(data))
        .and_then(|button| button.get("text")?.as_str().map(str::to_owned))
}

fn is_service(key: &str) -> bool {
    SERVICE.iter().any(|service| match service.strip_suffix('*') {
        Some(begin) => key.starts_with(begin),
        None => key == *service,
    })
}

/// The key that says what the message is, in words.
fn unknown_kind(fields: &Map<String, Value>) -> String {
    let key = fields.keys().find(|key| !FRAME.contains(&key.as_str()));
    key.map_or_else(|| "message".to_owned(), |key| key.replace('_', " "))
}

/// The texts of a rich message's blocks, in order.
fn collect_texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field.as_str() {
                    Some(text) if key == "text" => lines.push(text.to_owned()),
                    _ => collect_texts(field, lines),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, lines)),
        _ => {}
    }
}

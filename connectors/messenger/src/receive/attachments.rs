//! What is attached to a message: files, links, shared posts, places.

use mantle_sdk::values::{Attachment, AttachmentKind, Content, Location};

use super::{Unread, joined, short};
use crate::media;
use crate::wire::{self, Element, Loose, Parts, Payload};

/// Attachments of one message that are shown. The host takes a hundred pieces of a message and refuses a whole batch
/// for more.
const SHOWN_MAX: usize = 50;

/// The thumb beside the input field.
const THUMB: &str = "369239263222822";

pub fn of(message: &Parts<'_>, mid: &str, words: Option<&str>, unread: &mut Unread) -> Vec<Content> {
    let items = message.items("attachments", unread);
    let more = items.len().saturating_sub(SHOWN_MAX);
    let mut content = Vec::new();
    let mut stickers = Vec::new();
    for (number, (place, raw)) in items.into_iter().take(SHOWN_MAX).enumerate() {
        let Some(attachment) = wire::read::<wire::Attachment>(raw, &place, unread) else {
            content.push(Content::Unsupported("attachment".to_owned()));
            continue;
        };
        let payload = attachment.payload.as_ref();
        // In the summer of 2026 one sticker came twice: as an image and as itself.
        if let Some(sticker) = payload.and_then(|payload| payload.sticker_id.0.clone()) {
            if stickers.contains(&sticker) {
                continue;
            }
            stickers.push(sticker);
        }
        content.extend(one(&attachment, &Spot { mid, number, words }));
    }
    if more > 0 {
        content.push(Content::Line(format!("And {more} more attachments.")));
    }
    content
}

/// Where an attachment stands.
struct Spot<'a> {
    mid: &'a str,
    number: usize,
    words: Option<&'a str>,
}

/// None: nothing that the words of the message do not say already.
fn one(attachment: &wire::Attachment, spot: &Spot<'_>) -> Option<Content> {
    let nothing = Payload::default();
    let payload = attachment.payload.as_ref().unwrap_or(&nothing);
    let kind = attachment.kind.as_str();
    Some(match kind {
        "image" if payload.sticker_id.is_some() => file(AttachmentKind::Sticker, kind, payload, spot),
        "image" => file(AttachmentKind::Image, kind, payload, spot),
        "sticker" => file(AttachmentKind::Sticker, kind, payload, spot),
        "audio" => file(AttachmentKind::Audio, kind, payload, spot),
        "video" => file(AttachmentKind::Video, kind, payload, spot),
        "file" => file(AttachmentKind::Document, kind, payload, spot),
        "location" => payload
            .coordinates
            .as_ref()
            .and_then(location)
            .unwrap_or_else(|| Content::Unsupported("location".to_owned())),
        "fallback" => return link(attachment, payload, spot),
        "post" | "ig_post" | "share" => shared("a post", attachment, payload),
        "reel" | "ig_reel" => shared("a reel", attachment, payload),
        "template" => template(payload),
        "appointment_booking" => Content::Line(booking(payload)),
        _ => Content::Unsupported(match kind {
            "" => "attachment".to_owned(),
            kind => short(kind).replace('_', " "),
        }),
    })
}

fn file(kind: AttachmentKind, word: &str, payload: &Payload, spot: &Spot<'_>) -> Content {
    let Some(url) = payload.url.as_deref() else {
        return Content::Unsupported(format!("{word} without an address"));
    };
    let mut attachment = Attachment::new(kind, media::source(spot.mid, spot.number, url));
    let is_thumb = payload.sticker_id.as_deref() == Some(THUMB);
    attachment.emoji = is_thumb.then(|| "👍".to_owned());
    Content::Attachment(attachment)
}

/// None: no place on earth.
fn location(place: &wire::Coordinates) -> Option<Content> {
    let on_earth = (-90.0..=90.0).contains(&place.lat) && (-180.0..=180.0).contains(&place.long);
    let location = Location {
        latitude: place.lat,
        longitude: place.long,
        name: None,
        address: None,
    };
    on_earth.then_some(Content::Location(location))
}

/// A link's title and address stand in the payload or beside it. The words of the message mostly are the address.
fn link(attachment: &wire::Attachment, payload: &Payload, spot: &Spot<'_>) -> Option<Content> {
    let (title, address) = titled(attachment, payload);
    let said = |part: &str| spot.words.is_some_and(|words| words.contains(part));
    let shown = joined(
        [
            title.filter(|title| !said(title)),
            address.filter(|address| !said(address)),
        ],
        ": ",
    );
    match (shown.is_empty(), spot.words) {
        (false, _) => Some(Content::Line(format!("Link: {shown}"))),
        (true, Some(_)) => None,
        (true, None) => Some(Content::Unsupported("attachment that Messenger cannot show".to_owned())),
    }
}

fn shared(what: &str, attachment: &wire::Attachment, payload: &Payload) -> Content {
    let (title, address) = titled(attachment, payload);
    Content::Line(match joined([title, address], ": ").as_str() {
        "" => format!("Shared {what}."),
        shown => format!("Shared {what}: {shown}"),
    })
}

/// An address of a reel may be a path: only a whole one is of use to anybody.
fn titled<'a>(attachment: &'a wire::Attachment, payload: &'a Payload) -> (Option<&'a str>, Option<&'a str>) {
    let title = payload.title.as_deref().or(attachment.title.as_deref());
    let address = payload.url.as_deref().or(attachment.url.as_deref());
    let whole = |address: &&str| address.starts_with("https://") || address.starts_with("http://");
    (title, address.filter(whole))
}

/// Products that a customer asks about, or the buttons and cards of another app.
fn template(payload: &Payload) -> Content {
    let products = payload.product.as_ref().map(|product| titles(&product.elements));
    if let Some(products) = products.filter(|products| !products.is_empty()) {
        return Content::Line(format!("Asks about the product {products}."));
    }
    let shown = joined(
        [
            payload.text.as_deref(),
            payload.title.as_deref(),
            Some(titles(&payload.elements).as_str()),
        ],
        " ",
    );
    match shown.is_empty() {
        true => Content::Unsupported("template".to_owned()),
        false => Content::Text(shown),
    }
}

fn titles(elements: &[Element]) -> String {
    let titles: Vec<String> = elements
        .iter()
        .take(SHOWN_MAX)
        .map(|element| joined([element.title.as_deref(), element.subtitle.as_deref()], ", "))
        .filter(|title| !title.is_empty())
        .collect();
    titles.join(" · ")
}

/// “Appointment: confirmed, 2026-11-20 10:00 UTC to 2026-11-20 10:30 UTC, Europe/Berlin.”
fn booking(payload: &Payload) -> String {
    let (start, end) = (moment(&payload.start_time), moment(&payload.end_time));
    let time = joined([start.as_deref(), end.as_deref()], " to ");
    let told = joined(
        [
            payload.status.as_deref(),
            Some(time.as_str()),
            payload.timezone.as_deref(),
        ],
        ", ",
    );
    match told.is_empty() {
        true => "Appointment.".to_owned(),
        false => format!("Appointment: {told}."),
    }
}

/// Unix seconds as a moment that people can read; anything else as it was written.
fn moment(told: &Loose) -> Option<String> {
    let told = told.as_deref()?;
    let Ok(seconds) = told.parse::<i64>() else {
        return Some(short(told));
    };
    let (days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    // Counted from March, so that the leap day is the last of its year: months then repeat every five.
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    Some(format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"))
}

const DAY_S: i64 = 24 * 60 * 60;
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;
/// The calendar repeats after 400 years.
const ERA_DAYS: i64 = 146_097;

#[cfg(test)]
mod tests {
    use mantle_sdk::time;

    use super::{DAY_S, moment};
    use crate::wire::Loose;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for day in -1_000..60_000 {
            let seconds = day * DAY_S + 45_296;
            let told = moment(&Loose(Some(seconds.to_string()))).expect("a moment");
            let calendar = time::to_rfc3339(time::from_unix_seconds(seconds)).expect("in range");
            assert_eq!(told, format!("{} 12:34 UTC", &calendar[..10]), "{seconds}");
        }
        let words = "2026-11-20T10:00:00+0100".to_owned();
        assert_eq!(moment(&Loose(Some(words.clone()))), Some(words));
        let far = moment(&Loose(Some(i64::MAX.to_string())));
        assert!(far.is_some(), "a nonsensical number does not stop anything");
    }
}

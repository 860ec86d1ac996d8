//! One message, of a customer or typed by a colleague in the WhatsApp Business app, to what it shows.

use mantle_sdk::values::{
    Alias, AliasKind, Attachment, AttachmentKind, Author, Chat, Choice, ContactCard, Content, Edit, Event, EventBody,
    Group, IdentityChange, Location, Message, Person, Quote, Reaction, Referral,
};
use serde_json::Value;

use super::people::{self, Ids};
use super::{Scope, lines};
use crate::{phone, wire};

/// How colleagues know the app that echoes come from.
const NATIVE_APP: &str = "WhatsApp Business app";

/// Cards of one message that are shown. The host takes a hundred pieces of a message and refuses a whole batch for more.
const CARDS_MAX: usize = 50;
/// Numbers, and addresses, of one card, for the same reason.
const CARD_LINES_MAX: usize = 40;

/// A message of a customer. The error says why it cannot be read.
pub fn incoming(raw: Value, scope: &Scope) -> Result<Option<Event>, String> {
    let wire: wire::Message = serde_json::from_value(raw).map_err(|error| super::unreadable(&error))?;
    let ids = Ids {
        number: wire.from.as_deref(),
        user: wire.from_user_id.as_deref(),
        parent: wire.from_parent_user_id.as_deref(),
    };
    let id = wire.id.clone().ok_or("The message has no id.")?;
    let person = people::person(&ids, scope)
        .ok_or("The message names neither a phone number nor a user id, so nobody could be answered.")?;
    let body = match identity_change(&wire, &person) {
        Some(change) => EventBody::IdentityChange(change),
        None => EventBody::Message(message(&wire, id.clone(), person, Author::Customer)),
    };
    Ok(Some(scope.event(id, wire.timestamp.as_deref(), body)))
}

/// A message that a colleague wrote in the app on the phone.
pub fn echo(raw: Value, scope: &Scope) -> Result<Option<Event>, String> {
    let wire: wire::Message = serde_json::from_value(raw).map_err(|error| super::unreadable(&error))?;
    let id = wire.id.clone().ok_or("The echo has no id.")?;
    // Samples of edits and deletions name the two sides the wrong way round: the customer is who we are not.
    let ours = scope.metadata.display_phone_number.as_deref().map(digits);
    let swapped = ours.is_some() && wire.to.as_deref().map(digits) == ours;
    let number = if swapped {
        wire.from.as_deref()
    } else {
        wire.to.as_deref()
    };
    let ids = Ids {
        number,
        user: wire.to_user_id.as_deref(),
        parent: wire.to_parent_user_id.as_deref(),
    };
    let person = people::person(&ids, scope).ok_or("The echo does not say whom the message went to.")?;
    let message = message(&wire, id.clone(), person, Author::NativeApp(NATIVE_APP.to_owned()));
    Ok(Some(scope.event(
        id,
        wire.timestamp.as_deref(),
        EventBody::Message(message),
    )))
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

fn message(wire: &wire::Message, id: String, person: Person, author: Author) -> Message {
    let context = wire.context.as_ref();
    let mut content = content(wire);
    if let Some(product) = context.and_then(|context| context.referred_product.as_ref()) {
        content.insert(0, Content::Line(lines::product(product)));
    }
    let mut message = Message::new(id, person, content);
    message.author = author;
    if let Some(group) = wire.group_id.as_ref() {
        message.chat = Chat::Group(Group {
            id: group.clone(),
            title: None,
        });
    }
    message.quote = context.and_then(|context| context.id.clone()).map(|target| Quote {
        id: Some(target),
        text: None,
    });
    message.forwarded = context.is_some_and(|context| context.forwarded || context.frequently_forwarded);
    message.referral = wire.referral.as_ref().map(referral);
    message
}

/// Never empty: what has no body, or a form that nobody knows, is named.
fn content(wire: &wire::Message) -> Vec<Content> {
    let kind = wire.kind.as_deref().unwrap_or("message without a type");
    let content = match kind {
        "text" => wire
            .text
            .as_ref()
            .filter(|text| !text.body.is_empty())
            .map(|text| Content::Text(text.body.clone())),
        "image" => file(wire.image.as_ref(), AttachmentKind::Image),
        "video" => file(wire.video.as_ref(), AttachmentKind::Video),
        "document" => file(wire.document.as_ref(), AttachmentKind::Document),
        "sticker" => file(wire.sticker.as_ref(), AttachmentKind::Sticker),
        "audio" | "voice" => {
            let voice = kind == "voice" || wire.audio.as_ref().is_some_and(|audio| audio.voice);
            file(
                wire.audio.as_ref(),
                if voice {
                    AttachmentKind::Voice
                } else {
                    AttachmentKind::Audio
                },
            )
        }
        "location" => wire.location.as_ref().and_then(location),
        "contacts" => match wire.contacts.as_deref() {
            Some(cards) if !cards.is_empty() => return self::cards(cards),
            _ => None,
        },
        "reaction" => wire.reaction.as_ref().map(|reaction| {
            let emoji = reaction.emoji.clone().filter(|emoji| !emoji.is_empty());
            Content::Reaction(Reaction {
                target: reaction.message_id.0.clone(),
                emoji,
            })
        }),
        "interactive" => wire.interactive.as_ref().and_then(interactive),
        "button" => wire
            .button
            .as_ref()
            .and_then(|button| choice(button.text.as_ref(), button.payload.as_ref())),
        "order" => wire.order.as_ref().map(|order| Content::Line(lines::order(order))),
        "edit" => wire.edit.as_ref().and_then(edit),
        "revoke" => wire
            .revoke
            .as_ref()
            .map(|revoke| Content::Deletion(revoke.original_message_id.0.clone())),
        "system" => wire.system.as_ref().map(|system| Content::Line(lines::system(system))),
        "request_welcome" => Some(Content::Line("Opened the chat for the first time.".to_owned())),
        _ => None,
    };
    vec![content.unwrap_or_else(|| Content::Unsupported(unsupported(wire, kind)))]
}

/// The provider's errors say which kind it was, where it tells at all.
fn unsupported(wire: &wire::Message, kind: &str) -> String {
    if let Some(told) = wire
        .unsupported
        .as_ref()
        .and_then(|unsupported| unsupported.kind.as_deref())
    {
        return told.replace('_', " ");
    }
    match (kind, wire.errors.first().map(|problem| problem.code)) {
        (_, Some(131052)) => "file that WhatsApp could not load".to_owned(),
        (_, Some(130501)) => "kind that groups do not have".to_owned(),
        ("unsupported" | "unknown", _) => "unknown kind".to_owned(),
        (kind, _) => kind.chars().take(40).collect::<String>().replace('_', " "),
    }
}

fn file(media: Option<&wire::Media>, kind: AttachmentKind) -> Option<Content> {
    let media = media?;
    // The address beside the id lives five minutes; the id, seven days.
    let mut attachment = Attachment::new(kind, media.id.clone()?);
    attachment.name = media.filename.clone().filter(|name| !name.is_empty());
    attachment.content_type = media.mime_type.clone();
    attachment.caption = media.caption.clone().filter(|caption| !caption.is_empty());
    Some(Content::Attachment(attachment))
}

/// None: no place on earth.
fn location(place: &wire::Location) -> Option<Content> {
    let on_earth = (-90.0..=90.0).contains(&place.latitude) && (-180.0..=180.0).contains(&place.longitude);
    on_earth.then(|| {
        Content::Location(Location {
            latitude: place.latitude,
            longitude: place.longitude,
            name: place.name.clone(),
            address: place.address.clone(),
        })
    })
}

/// All cards that fit, and how many did not.
fn cards(cards: &[wire::Card]) -> Vec<Content> {
    let mut content: Vec<Content> = cards.iter().take(CARDS_MAX).map(card).collect();
    if let Some(more) = cards.len().checked_sub(CARDS_MAX).filter(|more| *more > 0) {
        content.push(Content::Line(format!("And {more} more contacts.")));
    }
    content
}

fn card(card: &wire::Card) -> Content {
    let parts = [card.name.first_name.as_deref(), card.name.last_name.as_deref()];
    let spelled = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let phones: Vec<String> = card
        .phones
        .iter()
        .filter_map(phone_of_card)
        .take(CARD_LINES_MAX)
        .collect();
    let emails: Vec<String> = card
        .emails
        .iter()
        .filter_map(|email| email.email.clone())
        .take(CARD_LINES_MAX)
        .collect();
    let organization = card.org.company.clone().filter(|company| !company.is_empty());
    let name = card
        .name
        .formatted_name
        .clone()
        .or(Some(spelled))
        .filter(|name| !name.trim().is_empty())
        .or_else(|| organization.clone())
        .or_else(|| phones.first().cloned())
        .or_else(|| emails.first().cloned())
        .unwrap_or_else(|| "Contact without a name".to_owned());
    Content::Contact(ContactCard {
        name,
        phones,
        emails,
        organization,
    })
}

/// As it was written; the provider's own id of the number where nothing was.
fn phone_of_card(phone: &wire::CardPhone) -> Option<String> {
    let written = phone.phone.clone().filter(|number| !number.trim().is_empty());
    written.or_else(|| phone.wa_id.as_deref().and_then(phone::of))
}

fn interactive(interactive: &wire::Interactive) -> Option<Content> {
    let reply = interactive.button_reply.as_ref().or(interactive.list_reply.as_ref());
    if let Some(reply) = reply {
        return choice(reply.title.as_ref(), reply.id.as_ref());
    }
    if let Some(form) = &interactive.nfm_reply {
        return Some(Content::Line(lines::form(form)));
    }
    interactive
        .call_permission_reply
        .as_ref()
        .map(|reply| Content::Line(lines::call_permission(reply)))
}

fn choice(label: Option<&String>, payload: Option<&String>) -> Option<Content> {
    let label = label.or(payload)?.clone();
    Some(Content::Choice(Choice {
        label,
        payload: payload.cloned(),
    }))
}

/// The new text, or the new caption of a file that stays.
fn edit(edit: &wire::Edit) -> Option<Content> {
    let new = edit.message.as_deref()?;
    let media = [&new.image, &new.video, &new.document].into_iter().flatten().next();
    let text = match (&new.text, media) {
        (Some(text), _) => text.body.clone(),
        (None, Some(media)) => media.caption.clone().unwrap_or_default(),
        (None, None) => return None,
    };
    Some(Content::Edit(Edit {
        target: edit.original_message_id.0.clone(),
        text,
    }))
}

fn referral(wire: &wire::Referral) -> Referral {
    Referral {
        summary: lines::referral(wire),
        url: wire.source_url.clone(),
        id: wire.source_id.clone(),
    }
}

/// Set when the system tells that the person goes by another number or id from now on.
fn identity_change(wire: &wire::Message, person: &Person) -> Option<IdentityChange> {
    let system = wire
        .system
        .as_ref()
        .filter(|_| wire.kind.as_deref() == Some("system"))?;
    let moved = matches!(
        system.kind.as_str(),
        "user_changed_number" | "customer_changed_number" | "user_changed_user_id"
    );
    let told = Ids {
        number: system.wa_id.as_deref().or(system.new_wa_id.as_deref()),
        user: system.user_id.as_deref(),
        parent: system.parent_user_id.as_deref(),
    };
    let now = told.aliases();
    if !moved || now.is_empty() {
        return None;
    }
    let lasting = || {
        person
            .aliases
            .iter()
            .filter(|alias| alias.kind != AliasKind::Handle)
            .cloned()
    };
    let old: Vec<Alias> = lasting().filter(|alias| !now.contains(alias)).collect();
    // The person may be known by nothing but what stays.
    let was = if old.is_empty() { lasting().collect() } else { old };
    Some(IdentityChange {
        was,
        now,
        summary: lines::system(system),
    })
}

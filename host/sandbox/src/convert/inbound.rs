//! Events that a guest read out of a hook.

use mantle_model::inbound::{Alias, AliasKind};
use mantle_model::inbound::{
    Attachment, AttachmentKind, Author, Chat, Choice, ContactCard, Content, DeliveryReport, Edit, Event, EventBody,
    Group, IdentityChange, Location, Message, Person, Quote, Reach, Reachability, Reaction, Referral, Status,
};

use super::{Garbage, aliases, failure, id, label, optional_id, text, time};
use crate::bindings::mantle::connector::values as guest;
use crate::limits;

pub(super) fn event(event: guest::Event) -> Result<Event, Garbage> {
    let body = match event.body {
        guest::EventBody::Message(inner) => EventBody::Message(message(inner).map_err(|p| format!("message.{p}"))?),
        guest::EventBody::Status(inner) => EventBody::Status(status(inner)?),
        guest::EventBody::Reachability(inner) => EventBody::Reachability(Reachability {
            person: person(inner.person)?,
            reach: match inner.reach {
                guest::Reach::Reachable => Reach::Reachable,
                guest::Reach::Blocked => Reach::Blocked,
                guest::Reach::OptedOut => Reach::OptedOut,
                guest::Reach::OptedIn => Reach::OptedIn,
            },
        }),
        guest::EventBody::IdentityChange(inner) => EventBody::IdentityChange(IdentityChange {
            was: lasting("identity-change.was", inner.was)?,
            now: lasting("identity-change.now", inner.now)?,
            summary: label(inner.summary),
        }),
        guest::EventBody::Notice(inner) => EventBody::Notice(failure::notice(&inner)),
    };
    Ok(Event {
        key: id("key", event.key)?,
        at: time(event.at),
        account: optional_id("account", event.account)?,
        body,
    })
}

/// Aliases of which one at least finds the person again.
fn lasting(what: &str, given: Vec<guest::Alias>) -> Result<Vec<Alias>, Garbage> {
    let aliases = aliases(what, given)?;
    if aliases.iter().all(|alias| alias.kind == AliasKind::Handle) {
        return Err(format!("{what}: no alias but a handle, which can change hands"));
    }
    Ok(aliases)
}

fn person(person: guest::Person) -> Result<Person, Garbage> {
    Ok(Person {
        aliases: lasting("person.aliases", person.aliases)?,
        name: person.name.filter(|name| !name.trim().is_empty()).map(label),
        language: person.language.map(label),
    })
}

fn message(message: guest::Message) -> Result<Message, Garbage> {
    if message.content.is_empty() {
        return Err("content: is empty; `unsupported` says that something cannot be shown".to_owned());
    }
    if message.content.len() > limits::CONTENT_MAX {
        return Err(format!("content: more than {} pieces", limits::CONTENT_MAX));
    }
    let content = message.content.into_iter().enumerate();
    let content = content
        .map(|(place, piece)| self::content(piece).map_err(|problem| format!("content[{place}].{problem}")))
        .collect::<Result<_, _>>()?;
    Ok(Message {
        id: id("id", message.id)?,
        person: person(message.person)?,
        chat: match message.chat {
            guest::Chat::Direct => Chat::Direct,
            guest::Chat::Group(group) => Chat::Group(Group {
                id: id("chat.group.id", group.id)?,
                title: group.title.map(label),
            }),
        },
        author: match message.author {
            guest::Author::Customer => Author::Customer,
            guest::Author::NativeApp(app) => Author::NativeApp(label(app)),
            guest::Author::Ourselves => Author::Ourselves,
        },
        content,
        quote: message.quote.map(quote).transpose()?,
        referral: message.referral.map(|referral| Referral {
            summary: label(referral.summary),
            // An address that is cut leads elsewhere.
            url: referral.url.filter(|url| url.len() <= limits::SOURCE_BYTES_MAX),
            id: referral.id.map(label),
        }),
        forwarded: message.forwarded,
        correlation: optional_id("correlation", message.correlation)?,
    })
}

fn quote(quote: guest::Quote) -> Result<Quote, Garbage> {
    Ok(Quote {
        id: optional_id("quote.id", quote.id)?,
        text: quote.text.map(|quoted| text("quote.text", quoted)).transpose()?,
    })
}

fn content(content: guest::Content) -> Result<Content, Garbage> {
    Ok(match content {
        guest::Content::Text(inner) => Content::Text(text("text", inner)?),
        guest::Content::Attachment(inner) => Content::Attachment(attachment(inner)?),
        guest::Content::Location(inner) => Content::Location(location(inner)?),
        guest::Content::Contact(inner) => Content::Contact(contact(inner)?),
        guest::Content::Reaction(inner) => Content::Reaction(Reaction {
            target: id("reaction.target", inner.target)?,
            emoji: inner.emoji.map(label),
        }),
        guest::Content::Edit(inner) => Content::Edit(Edit {
            target: id("edit.target", inner.target)?,
            text: text("edit.text", inner.text)?,
        }),
        guest::Content::Deletion(target) => Content::Deletion(id("deletion", target)?),
        guest::Content::Choice(inner) => Content::Choice(Choice {
            label: text("choice.label", inner.label)?,
            payload: inner
                .payload
                .map(|payload| text("choice.payload", payload))
                .transpose()?,
        }),
        guest::Content::Line(inner) => Content::Line(text("line", inner)?),
        guest::Content::Unsupported(kind) => Content::Unsupported(label(kind)),
    })
}

fn attachment(attachment: guest::Attachment) -> Result<Attachment, Garbage> {
    if attachment.source.len() > limits::SOURCE_BYTES_MAX {
        return Err(format!(
            "attachment.source: longer than {} bytes",
            limits::SOURCE_BYTES_MAX
        ));
    }
    Ok(Attachment {
        kind: attachment_kind(attachment.kind),
        source: attachment.source,
        name: attachment.name.filter(|name| !name.is_empty()).map(label),
        content_type: attachment.content_type.map(label),
        bytes: attachment.bytes,
        duration_ms: attachment.duration_ms,
        caption: attachment
            .caption
            .map(|caption| text("attachment.caption", caption))
            .transpose()?,
        emoji: attachment.emoji.map(label),
    })
}

fn attachment_kind(kind: guest::AttachmentKind) -> AttachmentKind {
    match kind {
        guest::AttachmentKind::Image => AttachmentKind::Image,
        guest::AttachmentKind::Audio => AttachmentKind::Audio,
        guest::AttachmentKind::Voice => AttachmentKind::Voice,
        guest::AttachmentKind::Video => AttachmentKind::Video,
        guest::AttachmentKind::Document => AttachmentKind::Document,
        guest::AttachmentKind::Sticker => AttachmentKind::Sticker,
    }
}

fn location(location: guest::Location) -> Result<Location, Garbage> {
    let on_earth = (-90.0..=90.0).contains(&location.latitude) && (-180.0..=180.0).contains(&location.longitude);
    if !on_earth {
        return Err("location: no such place on earth".to_owned());
    }
    Ok(Location {
        latitude: location.latitude,
        longitude: location.longitude,
        name: location.name.map(label),
        address: location.address.map(label),
    })
}

fn contact(card: guest::ContactCard) -> Result<ContactCard, Garbage> {
    if card.phones.len() + card.emails.len() > limits::CONTENT_MAX {
        return Err(format!(
            "contact: more than {} numbers and addresses",
            limits::CONTENT_MAX
        ));
    }
    Ok(ContactCard {
        name: label(card.name),
        phones: card.phones.into_iter().map(label).collect(),
        emails: card.emails.into_iter().map(label).collect(),
        organization: card.organization.map(label),
    })
}

fn status(status: guest::Status) -> Result<Status, Garbage> {
    let report = match status.state {
        guest::DeliveryState::Sent => DeliveryReport::Sent,
        guest::DeliveryState::Delivered => DeliveryReport::Delivered,
        guest::DeliveryState::Read => DeliveryReport::Read,
        guest::DeliveryState::Failed => DeliveryReport::Failed,
    };
    let refusal = match (report, status.refusal) {
        (DeliveryReport::Failed, Some(refusal)) => Some(failure::refusal(&refusal)),
        (DeliveryReport::Failed, None) => Some(failure::unexplained()),
        _ => None,
    };
    Ok(Status {
        message_id: id("status.message-id", status.message_id)?,
        correlation: optional_id("status.correlation", status.correlation)?,
        report,
        refusal,
    })
}

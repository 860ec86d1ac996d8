//! Messages that a guest is to send, and what it says of them.

use mantle_model::clock::Time;
use mantle_model::inbound::{AttachmentKind, Location, Reaction};
use mantle_model::outbound::{
    Finding, Outgoing, OutgoingAttachment, OutgoingContent, Sent, TemplateParameter, TemplateUse,
};
use mantle_model::text::{RichText, Span, SpanKind, TextStyle};

use super::{Garbage, alias_to_guest, aliases, id};
use crate::bindings::mantle::connector::values as guest;
use crate::bindings::reconcile::exports::mantle::connector::reconcile as guest_reconcile;
use crate::call::Call;
use crate::limits;
use crate::shelf::ShelfFile;
use crate::values::CallError;

/// # Errors
/// The message holds more files than a call may.
pub(crate) fn outgoing(call: &mut Call, message: &Outgoing) -> Result<guest::Outgoing, CallError> {
    let content = match &message.content {
        OutgoingContent::Text(text) => guest::OutgoingContent::Text(rich_text(text)),
        OutgoingContent::Attachment(inner) => guest::OutgoingContent::Attachment(attachment(call, inner)?),
        OutgoingContent::Template(inner) => guest::OutgoingContent::Template(template(call, inner)?),
        OutgoingContent::Location(inner) => guest::OutgoingContent::Location(location(inner)),
        OutgoingContent::Reaction(inner) => guest::OutgoingContent::Reaction(reaction(inner)),
    };
    Ok(guest::Outgoing {
        id: message.id.clone(),
        recipient: message.recipient.iter().map(alias_to_guest).collect(),
        group_id: message.group_id.clone(),
        content,
        reply_to: message.reply_to.clone(),
        extras: Vec::new(),
    })
}

/// The message was made at the provider, so only an id that nobody can use is a fault.
pub(crate) fn sent(sent: guest::Sent) -> Result<Sent, Garbage> {
    Ok(Sent {
        id: id("sent.id", sent.id)?,
        aliases: aliases("sent.aliases", sent.aliases)?,
    })
}

/// # Errors
/// As [`outgoing`].
pub(crate) fn query(
    call: &mut Call,
    message: &Outgoing,
    announced_at: Time,
) -> Result<guest_reconcile::Query, CallError> {
    Ok(guest_reconcile::Query {
        message: outgoing(call, message)?,
        announced_at: announced_at.unix_ms(),
    })
}

pub(crate) fn finding(finding: guest_reconcile::Finding) -> Result<Finding, Garbage> {
    match finding {
        guest_reconcile::Finding::CannotTell => Ok(Finding::CannotTell),
        guest_reconcile::Finding::Made(made) if made.len() > limits::FOUND_MAX => Err(format!(
            "{} equal messages were found, at most {} are taken",
            made.len(),
            limits::FOUND_MAX
        )),
        guest_reconcile::Finding::Made(made) => {
            Ok(Finding::Made(made.into_iter().map(sent).collect::<Result<_, _>>()?))
        }
    }
}

fn attachment(call: &mut Call, attachment: &OutgoingAttachment) -> Result<guest::OutgoingAttachment, CallError> {
    let file = &attachment.file;
    let media = call.lend(ShelfFile {
        id: file.media,
        name: Some(file.name.clone()),
        content_type: file.content_type.clone(),
        bytes: file.bytes,
    })?;
    Ok(guest::OutgoingAttachment {
        media,
        kind: match attachment.kind {
            AttachmentKind::Image => guest::AttachmentKind::Image,
            AttachmentKind::Audio => guest::AttachmentKind::Audio,
            AttachmentKind::Voice => guest::AttachmentKind::Voice,
            AttachmentKind::Video => guest::AttachmentKind::Video,
            AttachmentKind::Document => guest::AttachmentKind::Document,
            AttachmentKind::Sticker => guest::AttachmentKind::Sticker,
        },
        name: file.name.clone(),
        content_type: file.content_type.clone(),
        bytes: file.bytes,
        caption: attachment.caption.as_ref().map(rich_text),
    })
}

fn template(call: &mut Call, template: &TemplateUse) -> Result<guest::TemplateUse, CallError> {
    let mut values = Vec::with_capacity(template.values.len());
    for value in &template.values {
        values.push(guest::TemplateValue {
            place: value.place.clone(),
            name: value.name.clone(),
            parameter: match &value.parameter {
                TemplateParameter::Text(text) => guest::TemplateParameter::Text(text.clone()),
                TemplateParameter::Media(inner) => guest::TemplateParameter::Media(attachment(call, inner)?),
            },
        });
    }
    Ok(guest::TemplateUse {
        name: template.name.clone(),
        language: template.language.clone(),
        values,
    })
}

fn location(location: &Location) -> guest::Location {
    guest::Location {
        latitude: location.latitude,
        longitude: location.longitude,
        name: location.name.clone(),
        address: location.address.clone(),
    }
}

fn reaction(reaction: &Reaction) -> guest::Reaction {
    guest::Reaction {
        target: reaction.target.clone(),
        emoji: reaction.emoji.clone(),
    }
}

fn rich_text(text: &RichText) -> guest::RichText {
    guest::RichText {
        text: text.text.clone(),
        spans: text.spans.iter().map(span).collect(),
    }
}

fn span(span: &Span) -> guest::Span {
    let style = |style: TextStyle| match style {
        TextStyle::Bold => guest::TextStyle::Bold,
        TextStyle::Italic => guest::TextStyle::Italic,
        TextStyle::Strike => guest::TextStyle::Strike,
        TextStyle::Code => guest::TextStyle::Code,
        TextStyle::Preformatted => guest::TextStyle::Preformatted,
    };
    // Texts are far below 4 GiB.
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    guest::Span {
        start: offset(span.start),
        end: offset(span.end),
        kind: match &span.kind {
            SpanKind::Style(kind) => guest::SpanKind::Style(style(*kind)),
            SpanKind::Link(address) => guest::SpanKind::Link(address.clone()),
        },
    }
}

//! Between the types of the interface and those of the host. What a guest returns is judged on the way.
//!
//! Ids and texts that break a limit make the whole answer garbage: cutting an id would make another one of it.
//! Names and titles, which customers choose, are cut.

mod failure;
mod inbound;
mod outbound;

use std::collections::BTreeSet;

use mantle_model::clock::Time;
use mantle_model::hook::{Answer, Hook};
use mantle_model::inbound::{Alias, AliasKind, Malformed};
use mantle_model::secret::Secrets;

use crate::bindings::exports::mantle::connector::connector as guest;
use crate::bindings::inbound_media::exports::mantle::connector::inbound_media::Fetched;
use crate::bindings::mantle::connector::values;
use crate::bindings::profile::exports::mantle::connector::profile::Details;
use crate::bindings::templates::exports::mantle::connector::templates as guest_templates;
use crate::call::CallState;
use crate::leaks;
use crate::limits;
use crate::shelf::ShelfFile;
use crate::values::{CallError, ChannelContext, Inbound, Profile, Template, TemplateButton};

pub(crate) use failure::{account, call_error, connect_error, connection, receive_error, report};
pub(crate) use outbound::{finding, outgoing, query, sent};

/// What is wrong with a guest's answer.
pub(crate) type Garbage = String;

/// Says once, in the log, that a guest answered nonsense.
pub(crate) fn garbage(plugin: &str, context: &ChannelContext, problem: String) -> CallError {
    tracing::warn!(
        target: "mantle::audit",
        plugin,
        channel = %context.channel,
        "An answer of the connector {plugin} was rejected: {problem}"
    );
    CallError::Garbage(problem)
}

/// The hook without the channel's secrets: providers send one along to prove themselves.
pub(crate) fn hook(secrets: &Secrets, hook: &Hook) -> guest::Hook {
    let needles = leaks::Needles::of(secrets);
    let clean = |value: &str| needles.scrub_text(value);
    let query = form_urlencoded::parse(hook.query().as_bytes());
    let headers = hook.headers.iter();
    guest::Hook {
        method: hook.method.clone(),
        query: query.map(|(name, value)| (clean(&name), clean(&value))).collect(),
        headers: headers.map(|(name, value)| (name.clone(), clean(value))).collect(),
        body: needles.scrub(hook.body.clone()),
        received_at: hook.received_at.unix_ms(),
    }
}

pub(crate) fn inbound(inbound: guest::Inbound) -> Result<Inbound, Garbage> {
    for (what, count) in [
        ("events", inbound.events.len()),
        ("unreadable items", inbound.malformed.len()),
    ] {
        if count > limits::EVENTS_MAX {
            return Err(format!(
                "{count} {what} from one hook, at most {} are taken",
                limits::EVENTS_MAX
            ));
        }
    }
    let mut keys = BTreeSet::new();
    let mut events = Vec::with_capacity(inbound.events.len());
    for (place, event) in inbound.events.into_iter().enumerate() {
        let event = inbound::event(event).map_err(|problem| format!("events[{place}].{problem}"))?;
        if !keys.insert(event.key.clone()) {
            return Err(format!("events[{place}].key: two events of one hook have the same key"));
        }
        events.push(event);
    }
    let malformed = inbound.malformed.into_iter().map(|item| Malformed {
        place: label(item.place),
        problem: label(item.problem),
    });
    Ok(Inbound {
        events,
        malformed: malformed.collect(),
        answer: inbound.answer.map(answer).transpose()?,
    })
}

fn answer(answer: guest::Answer) -> Result<Answer, Garbage> {
    if !(200..600).contains(&answer.status) {
        return Err(format!("answer.status: {} is no status of an answer", answer.status));
    }
    if answer.body.len() > limits::HOOK_ANSWER_BYTES_MAX {
        return Err(format!(
            "answer.body: more than {} bytes",
            limits::HOOK_ANSWER_BYTES_MAX
        ));
    }
    if answer
        .content_type
        .as_ref()
        .is_some_and(|value| http::HeaderValue::from_str(value).is_err())
    {
        return Err("answer.content-type: not the value of a header".to_owned());
    }
    Ok(Answer {
        status: answer.status,
        content_type: answer.content_type,
        body: answer.body,
    })
}

fn time(ms: i64) -> Time {
    Time::from_unix_ms(ms.max(0))
}

/// An id: whole or not at all.
fn id(what: &str, value: String) -> Result<String, Garbage> {
    if value.is_empty() {
        return Err(format!("{what}: is empty"));
    }
    if value.len() > limits::ID_BYTES_MAX {
        return Err(format!("{what}: longer than {} bytes", limits::ID_BYTES_MAX));
    }
    Ok(value)
}

fn optional_id(what: &str, value: Option<String>) -> Result<Option<String>, Garbage> {
    value.map(|value| id(what, value)).transpose()
}

fn text(what: &str, value: String) -> Result<String, Garbage> {
    if value.len() > limits::TEXT_BYTES_MAX {
        return Err(format!("{what}: longer than {} bytes", limits::TEXT_BYTES_MAX));
    }
    Ok(value)
}

/// A name or title: cut on a character.
fn label(mut value: String) -> String {
    if value.len() > limits::LABEL_BYTES_MAX {
        value.truncate(value.floor_char_boundary(limits::LABEL_BYTES_MAX));
    }
    value
}

fn aliases(what: &str, aliases: Vec<values::Alias>) -> Result<Vec<Alias>, Garbage> {
    if aliases.len() > limits::ALIASES_MAX {
        return Err(format!("{what}: more than {} aliases", limits::ALIASES_MAX));
    }
    let alias = |(place, alias): (usize, values::Alias)| {
        Ok(Alias {
            kind: match alias.kind {
                values::AliasKind::Id => AliasKind::Id,
                values::AliasKind::ParentId => AliasKind::ParentId,
                values::AliasKind::Phone => AliasKind::Phone,
                values::AliasKind::Handle => AliasKind::Handle,
            },
            value: id("", alias.value).map_err(|problem| format!("{what}[{place}]{problem}"))?,
        })
    };
    aliases.into_iter().enumerate().map(alias).collect()
}

pub(crate) fn alias_to_guest(alias: &Alias) -> values::Alias {
    values::Alias {
        kind: match alias.kind {
            AliasKind::Id => values::AliasKind::Id,
            AliasKind::ParentId => values::AliasKind::ParentId,
            AliasKind::Phone => values::AliasKind::Phone,
            AliasKind::Handle => values::AliasKind::Handle,
        },
        value: alias.value.clone(),
    }
}

/// The file that a guest names by its id.
fn file(state: &CallState, what: &str, id: u32) -> Result<ShelfFile, Garbage> {
    state
        .file(id)
        .cloned()
        .ok_or_else(|| format!("{what}: there is no file {id} in this call"))
}

/// The type that says nothing, for which the provider's own word is taken.
const UNKNOWN_TYPE: &str = "application/octet-stream";

pub(crate) fn fetched(state: &CallState, fetched: Fetched) -> Result<ShelfFile, Garbage> {
    let mut kept = file(state, "file", fetched.file)?;
    if let Some(name) = fetched.name.filter(|name| !name.is_empty()) {
        kept.name = Some(label(name));
    }
    if let Some(told) = fetched
        .content_type
        .filter(|told| http::HeaderValue::from_str(told).is_ok())
        && kept.content_type == UNKNOWN_TYPE
    {
        kept.content_type = told;
    }
    Ok(kept)
}

pub(crate) fn profile(state: &CallState, details: Details) -> Result<Profile, Garbage> {
    Ok(Profile {
        name: details.name.filter(|name| !name.trim().is_empty()).map(label),
        avatar: details.avatar.map(|avatar| file(state, "avatar", avatar)).transpose()?,
    })
}

pub(crate) fn template(template: guest_templates::Template) -> Template {
    use guest_templates::{ButtonKind, HeaderKind, TemplateState};
    let state = match template.state {
        TemplateState::Approved => "approved",
        TemplateState::Pending => "pending",
        TemplateState::Rejected => "rejected",
        TemplateState::Paused => "paused",
        TemplateState::Disabled => "disabled",
    };
    let header = match template.header {
        HeaderKind::None => "none",
        HeaderKind::Text => "text",
        HeaderKind::Image => "image",
        HeaderKind::Video => "video",
        HeaderKind::Document => "document",
        HeaderKind::Location => "location",
    };
    let button = |button: guest_templates::Button| TemplateButton {
        kind: match button.kind {
            ButtonKind::QuickReply => "quick_reply".to_owned(),
            ButtonKind::Url => "url".to_owned(),
            ButtonKind::PhoneNumber => "phone_number".to_owned(),
            ButtonKind::CopyCode => "copy_code".to_owned(),
            ButtonKind::Other(kind) => label(kind),
        },
        text: label(button.text),
        variables: button.variables.into_iter().map(label).collect(),
    };
    Template {
        id: label(template.id),
        name: label(template.name),
        language: label(template.language),
        category: label(template.category),
        state: state.to_owned(),
        reason: template.reason.map(label),
        header: header.to_owned(),
        header_text: template.header_text.map(label),
        header_variables: template.header_variables.into_iter().map(label).collect(),
        body: template.body,
        body_variables: template.body_variables.into_iter().map(label).collect(),
        footer: template.footer.map(label),
        buttons: template.buttons.into_iter().map(button).collect(),
    }
}

#[cfg(test)]
mod tests;

//! From one outgoing message to the call that makes it. The message's id is the host's, so that a repetition is refused as
//! one: then the first call was taken. Viber fetches files itself, at a public address.
//!
//! A message that Infobip took and refused for the time being has used up its id: the next attempt needs another one, or
//! its being refused as a repetition would pass for success. `kv` holds which one it is.

use mantle_sdk::Host;
use mantle_sdk::http::Method;
use mantle_sdk::values::{
    AttachmentKind, CallError, Location, Outgoing, OutgoingAttachment, OutgoingContent, Refusal, RefusalReason, Sent,
    TemplateParameter, TemplateUse,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::{self, Repeat};
use crate::errors::Verdict;
use crate::fields;
use crate::names::MessageName;

/// Infobip's answers come within seconds; the rest of the call's thirty stays unused.
const SEND_TIMEOUT_MS: u32 = 20_000;
/// What has not arrived by then is told as failed. Viber takes 48 at most.
const VALID_HOURS: u32 = 24;
/// Longer than the host tries a message again.
const MARK_MS: u64 = 48 * 3_600_000;

/// What Viber takes as a file, by the end of its name.
const FILE_EXTENSIONS: [&str; 21] = [
    "doc", "docx", "dot", "dotx", "xls", "xlsx", "xlsm", "xltx", "ods", "fods", "odt", "fodt", "odf", "rtf", "txt",
    "info", "pdf", "xps", "pdax", "eps", "csv",
];

/// Groups of statuses that refuse: undeliverable, expired, rejected.
const REFUSED: [i64; 3] = [2, 4, 5];

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    messages: Vec<Made>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    message_id: Option<String>,
    #[serde(default)]
    status: State,
    #[serde(default)]
    error: State,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct State {
    group_id: i64,
    id: i64,
    name: String,
    permanent: Option<bool>,
}

/// How a call that Infobip took did not end in a message.
enum Unsent {
    Refused(Verdict),
    Unclear(CallError),
}

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let number = recipient(message)?;
    let content = content(&message.content, host)?;
    let name = name(&message.id, host)?;
    let id = name.to_string();
    let body = json!({
        "messages": [{
            "sender": fields::sender(host)?,
            "destinations": [{ "to": number, "messageId": id }],
            "content": content,
            "options": options(&message.content),
        }],
        // Addresses in what a teammate wrote stay as they are.
        "options": { "tracking": { "shortenUrl": false, "trackClicks": false } },
    });
    let request = api::request(host, Method::Post, "/viber/2/messages")?
        .json(&body)
        .timeout_ms(SEND_TIMEOUT_MS);
    let made = sent(api::call(host, request, Repeat::Doubles)?, &id);
    made.map_err(|unsent| match unsent {
        Unsent::Refused(verdict) => refused(&verdict, &name, host),
        Unsent::Unclear(error) => error,
    })
}

/// The name of this attempt.
fn name(id: &str, host: &dyn Host) -> Result<MessageName, CallError> {
    let kept = host
        .kv_get(&mark(id))
        .map_err(|_| CallError::transient("kv", "The marks of earlier attempts cannot be read now."))?;
    let number = kept.and_then(|kept| String::from_utf8(kept).ok()?.parse().ok());
    Ok(MessageName {
        id: id.to_owned(),
        attempt: number.unwrap_or(0),
    })
}

fn mark(id: &str) -> String {
    format!("attempt:{id}")
}

/// What may be tried again gets another name for that.
fn refused(verdict: &Verdict, name: &MessageName, host: &dyn Host) -> CallError {
    let error = verdict.call_error();
    if !verdict.may_pass() {
        return error;
    }
    let next = name.attempt.saturating_add(1).to_string();
    match host.kv_set(&mark(&name.id), next.as_bytes(), Some(MARK_MS)) {
        Ok(()) => error,
        // Under the old name the next attempt would look like a success.
        Err(_) => verdict.refusal().into(),
    }
}

/// A good answer may hold a message that is refused.
fn sent(accepted: Accepted, id: &str) -> Result<Sent, Unsent> {
    let Some(made) = accepted.messages.into_iter().next() else {
        return Err(Unsent::Unclear(CallError::ambiguous(
            "no-message",
            "Infobip accepted the call but names no message.",
        )));
    };
    let name = if made.error.id == 0 {
        made.status.name
    } else {
        made.error.name
    };
    let verdict = Verdict {
        status: made.status.id,
        error: made.error.id,
        name,
        permanent: made.error.permanent,
    };
    if REFUSED.contains(&made.status.group_id) && !verdict.is_duplicate() {
        return Err(Unsent::Refused(verdict));
    }
    Ok(Sent::new(
        made.message_id
            .filter(|told| !told.is_empty())
            .unwrap_or_else(|| id.to_owned()),
    ))
}

/// Digits without a plus sign.
fn recipient(message: &Outgoing) -> Result<&str, CallError> {
    if message.group_id.is_some() {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "no-groups",
            "Viber Business has no groups. Write to the customer directly.",
        ));
    }
    let phone = message.recipient_phone().map(|phone| phone.trim_start_matches('+'));
    phone.ok_or_else(|| {
        CallError::refused(
            RefusalReason::Unreachable,
            "no-recipient",
            "No phone number of this customer is known.",
        )
    })
}

/// Within the customer's session everything goes at its rate; a template goes outside of it.
fn options(content: &OutgoingContent) -> Value {
    let mut options = json!({ "validityPeriod": { "amount": VALID_HOURS, "timeUnit": "HOURS" } });
    match content {
        OutgoingContent::Template(_) => options["label"] = json!("TRANSACTIONAL"),
        _ => options["applySessionRate"] = json!(true),
    }
    options
}

fn content(content: &OutgoingContent, host: &dyn Host) -> Result<Value, CallError> {
    match content {
        OutgoingContent::Text(text) => Ok(words(&text.text)),
        OutgoingContent::Attachment(attachment) => file(attachment, host),
        OutgoingContent::Location(place) => Ok(words(&map_link(place))),
        OutgoingContent::Template(used) => template(used),
        OutgoingContent::Reaction(_) => Err(Refusal::new(
            RefusalReason::Unsupported,
            "unsupported",
            "Viber Business has no reactions.",
        )
        .next_step("Send it as text.")
        .into()),
    }
}

fn words(text: &str) -> Value {
    json!({ "type": "TEXT", "text": text })
}

/// Videos would need a still and their length, sounds have no message: they go as links, as other files do.
fn file(attachment: &OutgoingAttachment, host: &dyn Host) -> Result<Value, CallError> {
    let link = host.media_link(attachment.media).map_err(|_| {
        CallError::refused(
            RefusalReason::Other,
            "no-media-link",
            "The file is no longer there for Viber to fetch.",
        )
    })?;
    let caption = attachment.caption.as_ref().map(|caption| caption.text.as_str());
    let caption = caption.filter(|caption| !caption.trim().is_empty());
    let is_image = matches!(attachment.content_type.as_str(), "image/jpeg" | "image/png");
    if attachment.kind == AttachmentKind::Image && is_image {
        let mut image = json!({ "type": "IMAGE", "mediaUrl": link });
        if let Some(caption) = caption {
            image["text"] = json!(caption);
        }
        return Ok(image);
    }
    // The end of the name is compared letter by letter by Infobip.
    let extension = attachment.name.rsplit_once('.').map(|(_, extension)| extension);
    if extension.is_some_and(|extension| FILE_EXTENSIONS.contains(&extension)) {
        return Ok(json!({ "type": "FILE", "mediaUrl": link, "fileName": attachment.name }));
    }
    let lines = [caption, Some(attachment.name.as_str()), Some(link.as_str())];
    Ok(words(&lines.into_iter().flatten().collect::<Vec<_>>().join("\n")))
}

/// There are no locations; every phone opens a map's address.
fn map_link(place: &Location) -> String {
    let address = format!("https://maps.google.com/?q={},{}", place.latitude, place.longitude);
    let lines = [place.name.as_deref(), place.address.as_deref(), Some(&address)];
    lines
        .into_iter()
        .flatten()
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Variables have names, and stand in the body alone.
fn template(used: &TemplateUse) -> Result<Value, CallError> {
    let mut parameters = Map::new();
    for value in &used.values {
        let (Some(name), TemplateParameter::Text(text), "body") = (&value.name, &value.parameter, value.place.as_str())
        else {
            return Err(Refusal::new(
                RefusalReason::Template,
                "template-value",
                "Templates of Viber take texts with names, in the body alone.",
            )
            .next_step("Fill in the variables that the template lists.")
            .into());
        };
        parameters.insert(name.clone(), json!(text));
    }
    Ok(json!({
        "type": "TEMPLATE",
        "templateId": used.name,
        "language": used.language,
        "parameters": parameters,
    }))
}

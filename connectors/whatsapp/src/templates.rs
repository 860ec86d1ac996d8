//! The account's message templates, one entry for each language of each.

use mantle_sdk::Host;
use mantle_sdk::connector::{Button, ButtonKind, HeaderKind, Page, Template, TemplateState};
use mantle_sdk::values::CallError;
use serde::Deserialize;
use serde_json::Value;

use crate::fields;
use crate::graph::{self, Repeat};
use crate::wire::Loose;

/// Templates a page: their texts and examples must stay under the host's 1 MiB for an answer.
const PAGE_SIZE: &str = "50";

const FIELDS: &str = "id,name,status,category,language,components,parameter_format,quality_score,rejected_reason";

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    data: Vec<Value>,
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Paging {
    cursors: Option<Cursors>,
}

#[derive(Deserialize)]
struct Cursors {
    after: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    id: Loose,
    name: String,
    language: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    category: String,
    rejected_reason: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "type", default)]
    kind: String,
    format: Option<String>,
    text: Option<String>,
    #[serde(default)]
    buttons: Vec<ListedButton>,
}

#[derive(Deserialize)]
struct ListedButton {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: String,
    url: Option<String>,
}

pub fn list_page(cursor: Option<&str>, host: &dyn Host) -> Result<Page, CallError> {
    let waba = fields::business_account_id(host)?;
    let mut request =
        graph::get(&format!("{waba}/message_templates")).query([("fields", FIELDS), ("limit", PAGE_SIZE)]);
    if let Some(cursor) = cursor {
        request = request.query([("after", cursor)]);
    }
    let listed: Listed = graph::call(host, request, Repeat::Harmless)?;
    let is_empty = listed.data.is_empty();
    // One that cannot be read is missing from the list; the others are not.
    let templates = listed
        .data
        .into_iter()
        .filter_map(|raw| serde_json::from_value::<Entry>(raw).ok())
        .map(template)
        .collect();
    // The last page names a cursor too; the page behind it is empty.
    let after = listed
        .paging
        .and_then(|paging| paging.cursors)
        .and_then(|cursors| cursors.after);
    let next = after.filter(|after| !is_empty && !after.is_empty() && Some(after.as_str()) != cursor);
    Ok(Page { templates, next })
}

fn template(entry: Entry) -> Template {
    let part = |kind: &str| {
        entry
            .components
            .iter()
            .find(|component| component.kind.eq_ignore_ascii_case(kind))
    };
    let header = part("HEADER");
    let header_text = header.and_then(|header| header.text.clone());
    let body = part("BODY").and_then(|body| body.text.clone()).unwrap_or_default();
    let buttons = part("BUTTONS")
        .into_iter()
        .flat_map(|buttons| &buttons.buttons)
        .map(button)
        .collect();
    let footer = part("FOOTER").and_then(|footer| footer.text.clone());
    Template {
        id: entry
            .id
            .0
            .unwrap_or_else(|| format!("{}:{}", entry.name, entry.language)),
        state: state(&entry.status),
        reason: entry
            .rejected_reason
            .filter(|reason| !reason.is_empty() && reason != "NONE"),
        header: header.map_or(HeaderKind::None, header_kind),
        header_variables: header_text.as_deref().map(variables).unwrap_or_default(),
        header_text,
        body_variables: variables(&body),
        body,
        footer,
        buttons,
        name: entry.name,
        language: entry.language,
        category: entry.category,
    }
}

/// Only `APPROVED` can be sent with certainty.
fn state(status: &str) -> TemplateState {
    match status {
        "APPROVED" => TemplateState::Approved,
        "REJECTED" => TemplateState::Rejected,
        "PAUSED" | "FLAGGED" | "LIMIT_EXCEEDED" => TemplateState::Paused,
        "DISABLED" | "DELETED" | "PENDING_DELETION" | "ARCHIVED" | "LOCKED" => TemplateState::Disabled,
        _ => TemplateState::Pending,
    }
}

fn header_kind(header: &Component) -> HeaderKind {
    match header.format.as_deref() {
        Some("IMAGE") => HeaderKind::Image,
        // A GIF is sent as a video.
        Some("VIDEO" | "GIF") => HeaderKind::Video,
        Some("DOCUMENT") => HeaderKind::Document,
        Some("LOCATION") => HeaderKind::Location,
        _ => HeaderKind::Text,
    }
}

fn button(button: &ListedButton) -> Button {
    let kind = match button.kind.as_str() {
        "QUICK_REPLY" => ButtonKind::QuickReply,
        "URL" => ButtonKind::Url,
        "PHONE_NUMBER" => ButtonKind::PhoneNumber,
        "COPY_CODE" => ButtonKind::CopyCode,
        other => ButtonKind::Other(other.to_lowercase()),
    };
    let variables = match kind {
        // Its code is always given with the message.
        ButtonKind::CopyCode => vec!["1".to_owned()],
        _ => button.url.as_deref().map(variables).unwrap_or_default(),
    };
    Button {
        kind,
        text: button.text.clone(),
        variables,
    }
}

/// `{{1}}` or `{{first_name}}`, each once, in order of appearance.
fn variables(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some((_, opened)) = rest.split_once("{{") {
        let Some((name, behind)) = opened.split_once("}}") else {
            break;
        };
        let name = name.trim();
        if !name.is_empty() && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
        rest = behind;
    }
    found
}

//! The templates that Viber has for this sender; one that exists in several languages is several.

use mantle_sdk::Host;
use mantle_sdk::connector::{HeaderKind, Page, Template, TemplateState};
use mantle_sdk::http::Method;
use mantle_sdk::values::{CallError, RefusalReason};
use serde::Deserialize;

use crate::api::{self, Repeat};
use crate::fields;

/// Infobip gives at most so many a page.
const PAGE_SIZE: u32 = 100;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    templates: Vec<Listed>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Paging {
    page: u32,
    total_pages: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    template_id: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    params: Vec<Param>,
    #[serde(default)]
    body: Vec<Body>,
}

#[derive(Deserialize)]
struct Param {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    language: String,
    #[serde(default)]
    template: String,
}

pub fn list_page(cursor: Option<&str>, host: &dyn Host) -> Result<Page, CallError> {
    // A page that is none of ours is the first one.
    let page: u32 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let path = format!("/viber/1/senders/{}/templates", api::segment(&fields::sender(host)?));
    let request =
        api::request(host, Method::Get, &path)?.query([("page", page.to_string()), ("size", PAGE_SIZE.to_string())]);
    let answer: Answer = api::call(host, request, Repeat::Harmless).map_err(|error| match error {
        // A key that may not list templates is still good for messages.
        CallError::Unauthorized(failure) if failure.code == "403" => {
            CallError::refused(RefusalReason::Account, failure.code, failure.message)
        }
        other => other,
    })?;
    let next = answer.paging.page.saturating_add(1);
    Ok(Page {
        templates: answer.templates.iter().flat_map(languages).collect(),
        next: (next < answer.paging.total_pages).then(|| next.to_string()),
    })
}

fn languages(listed: &Listed) -> impl Iterator<Item = Template> {
    listed.body.iter().map(|body| Template {
        id: listed.template_id.clone(),
        name: listed.template_id.clone(),
        language: body.language.clone(),
        category: listed.category.clone(),
        state: state(&listed.status),
        reason: None,
        header: HeaderKind::None,
        header_text: None,
        header_variables: Vec::new(),
        body: body.template.clone(),
        body_variables: listed.params.iter().map(|param| param.name.clone()).collect(),
        footer: None,
        buttons: Vec::new(),
    })
}

/// What nobody knows is not to be used.
fn state(status: &str) -> TemplateState {
    match status {
        "APPROVED" => TemplateState::Approved,
        "PENDING" => TemplateState::Pending,
        "DECLINED" => TemplateState::Rejected,
        _ => TemplateState::Disabled,
    }
}

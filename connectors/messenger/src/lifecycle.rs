//! Proving the credentials, subscribing the app to the Page, and watching both.
//!
//! The webhook's address belongs to the app and is entered there by hand: setting it wants a token of the app, which
//! this channel does not have. What belongs to the Page is the subscription, without which Meta is silent.

mod health;
mod subscription;

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Readiness, Report};
use mantle_sdk::values::{CallError, Notice, NoticeLevel};
use serde::Deserialize;
use serde_json::Value;

use crate::fields;
use crate::graph::{self, Repeat, Told};
use crate::wire::Loose;

/// The parameter that proves the app secret; the manifest adds it to every call.
const PROOF: &str = "appsecret_proof";

/// Whom a token belongs to.
#[derive(Deserialize)]
struct Owner {
    #[serde(default)]
    id: Loose,
    name: Option<String>,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let page = fields::page_id(host)?;
    let owner = owner(host)?.map_err(wrong)?;
    let name = owner.name.filter(|name| !name.trim().is_empty());
    let id = owner.id.0.unwrap_or_default();
    if id != page {
        return Err(ConnectError::field(
            "page_id",
            "other-page",
            format!(
                "The access token is that of “{}” ({id}), not of this Page. Enter that id, or this Page's own token.",
                name.unwrap_or_default()
            ),
        ));
    }
    Ok(Account {
        name: name.unwrap_or_else(|| page.clone()),
        external_id: page,
        foreign_webhook: None,
    })
}

fn owner(host: &dyn Host) -> Result<Result<Owner, Told>, CallError> {
    let request = graph::get("me").query([("fields", "id,name")]);
    graph::probe(host, request, Repeat::Harmless)
}

/// The field of the form that an error of Meta is about.
fn wrong(told: Told) -> ConnectError {
    let words = told.problem.words().unwrap_or("no reason given");
    let code = told.problem.name();
    // The code is that of any wrong parameter; only the words tell which one it is.
    if told.problem.code == 100 && words.contains(PROOF) {
        return ConnectError::field(
            "app_secret",
            code,
            format!("The app secret is not that of the access token's app. Meta says: {words}"),
        );
    }
    match told.problem.code {
        190 => ConnectError::field(
            "access_token",
            code,
            format!("Meta does not accept the access token: {words}"),
        ),
        3 | 10 | 200..=299 => ConnectError::field(
            "access_token",
            code,
            format!(
                "The access token needs pages_messaging and pages_manage_metadata, and the person behind it the Page's \
                 tasks MESSAGE and MODERATE: {words}"
            ),
        ),
        100 => ConnectError::field(
            "page_id",
            code,
            format!("Meta does not know this Page, or the access token may not see it: {words}"),
        ),
        _ => ConnectError::Call(told.error),
    }
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let page = fields::page_id(host)?;
    subscription::subscribe(host, &page)?.map_err(wrong)?;
    Ok(Connection {
        readiness: Readiness::Connected,
        notices: vec![by_hand(&host.hook_url())],
    })
}

/// What connecting cannot do. Several Pages of one app share one address: the plugin's, without the channel's part.
fn by_hand(hook_url: &str) -> Notice {
    let shared = hook_url.rsplit_once('/').map_or(hook_url, |(shared, _)| shared);
    let message = format!(
        "At the app (Meta for Developers, Webhooks, Page) enter once the callback URL {hook_url} and the verify token. For \
         several Pages of one app: {shared}"
    );
    Notice::new(NoticeLevel::Info, "webhook-by-hand", message)
}

/// Ends the Page's subscription of this app. The address at the app stays: other Pages may use it.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    let page = fields::page_id(host)?;
    let request = graph::delete(&format!("{page}/subscribed_apps"));
    graph::call::<Value>(host, request, Repeat::Harmless).map(|_| ())
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    health::check(host)
}

//! What Meta tells the app about the account. Meta may end a subscription by itself after an hour of failures.
//!
//! By Instagram's login the account is subscribed to fields. By the Page's the app only has to be on the Page, with any
//! field; the fields are chosen at the app. A Messenger channel of the same Page and app wants more, so what is
//! there is left as it is.

use mantle_sdk::Host;
use mantle_sdk::http::Method;
use mantle_sdk::values::CallError;
use serde::Deserialize;
use serde_json::Value;

use super::health;
use crate::fields::Login;
use crate::graph::{Graph, Repeat, Told};
use crate::wire::Loose;

/// Every field that `receive` reads. Always sent whole: a new list replaces the old one.
const FIELDS: &str = "messages,message_reactions,message_edit,messaging_postbacks,messaging_seen,messaging_referral,\
                      messaging_optins,messaging_handover,standby";

/// The one without which nothing arrives.
const MESSAGES: &str = "messages";

/// The field that puts an app on a Page in Meta's own samples.
const ON_PAGE: &str = "feed";

#[derive(Deserialize)]
pub struct Subscriptions {
    #[serde(default)]
    data: Vec<Subscription>,
}

#[derive(Deserialize)]
struct Subscription {
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    subscribed_fields: Vec<String>,
}

impl Subscriptions {
    /// Whether messages come. `app` is ours, where Meta tells it; otherwise any app's subscription will do.
    pub fn hold(&self, login: Login, app: Option<&str>) -> bool {
        let mut ours = self.data.iter().filter(|one| app.is_none() || one.id.as_deref() == app);
        match login {
            Login::Instagram => ours.any(|one| {
                let fields = &one.subscribed_fields;
                fields.is_empty() || fields.iter().any(|field| field == MESSAGES)
            }),
            Login::Page => ours.next().is_some(),
        }
    }

    /// Whether somebody but us wants to hear of the Page.
    fn are_shared(&self) -> bool {
        let mut fields = self.data.iter().flat_map(|one| &one.subscribed_fields);
        fields.any(|field| field != ON_PAGE)
    }
}

pub fn subscriptions(graph: &Graph<'_>) -> Result<Subscriptions, CallError> {
    graph.call(graph.edge(Method::Get, "subscribed_apps"), Repeat::Harmless)
}

/// Subscribes where it is needed. The inner error is what Meta says against it.
pub fn begin(graph: &Graph<'_>, host: &dyn Host) -> Result<Result<(), Told>, CallError> {
    if graph.login == Login::Page {
        let app = health::page_token(host)?.app();
        if subscriptions(graph)?.hold(Login::Page, app.as_deref()) {
            return Ok(Ok(()));
        }
    }
    subscribe(graph)
}

pub fn subscribe(graph: &Graph<'_>) -> Result<Result<(), Told>, CallError> {
    let fields = match graph.login {
        Login::Instagram => FIELDS,
        Login::Page => ON_PAGE,
    };
    let request = graph
        .edge(Method::Post, "subscribed_apps")
        .query([("subscribed_fields", fields)]);
    Ok(graph.probe::<Value>(request, Repeat::Harmless)?.map(|_| ()))
}

/// The app stays on a Page that a Messenger channel needs it on.
pub fn end(graph: &Graph<'_>) -> Result<(), CallError> {
    if graph.login == Login::Page && subscriptions(graph)?.are_shared() {
        return Ok(());
    }
    let request = graph.edge(Method::Delete, "subscribed_apps");
    graph.call::<Value>(request, Repeat::Harmless).map(|_| ())
}

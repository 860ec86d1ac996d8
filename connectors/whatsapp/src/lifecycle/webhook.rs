//! The places where Meta keeps a webhook's address.

use mantle_sdk::Host;
use mantle_sdk::http::Request;
use mantle_sdk::values::CallError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::graph::{self, Repeat, Told};

/// Credentials that add the access token and write the verify token into the body, where each call wants it.
const SUBSCRIBE: &str = "subscribe";
const SUBSCRIBE_NUMBER: &str = "subscribe-number";

/// The apps that hear of the account. Without ours among them no message arrives, whatever the app's own page says.
#[derive(Deserialize)]
pub struct Subscriptions {
    #[serde(default)]
    pub data: Vec<Subscription>,
}

#[derive(Deserialize)]
pub struct Subscription {
    override_callback_uri: Option<String>,
}

impl Subscriptions {
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.data
            .iter()
            .filter_map(|app| app.override_callback_uri.as_deref())
            .filter(|address| !address.is_empty())
    }
}

#[derive(Deserialize)]
struct Configured {
    webhook_configuration: Option<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    phone_number: Option<String>,
}

pub fn subscriptions(host: &dyn Host, waba: &str) -> Result<Result<Subscriptions, Told>, CallError> {
    graph::probe(host, graph::get(&format!("{waba}/subscribed_apps")))
}

/// The address of the account's only app. Where several apps listen, nothing tells which one is the token's, and the
/// others' addresses are no obstacle.
pub fn of_only_app(subscriptions: &Subscriptions) -> Option<String> {
    match subscriptions.data.as_slice() {
        [_] => subscriptions.addresses().next().map(str::to_owned),
        _ => None,
    }
}

/// The number's own address, if it has one. Not every version tells; silence is no trouble.
pub fn of_number(host: &dyn Host, number_id: &str) -> Option<String> {
    let request = graph::get(number_id).query([("fields", "webhook_configuration")]);
    let configured: Configured = graph::probe(host, request).ok()?.ok()?;
    configured
        .webhook_configuration?
        .phone_number
        .filter(|address| !address.is_empty())
}

/// Another channel of this host: the same address but for its last part.
pub fn is_sibling(address: &str, hook_url: &str) -> bool {
    match (address.rsplit_once('/'), hook_url.rsplit_once('/')) {
        (Some((theirs, _)), Some((ours, _))) => theirs == ours && address != hook_url,
        _ => false,
    }
}

/// Subscribes the app to the account and gives it this address. Meta tries the address before it answers.
pub fn set_on_account(host: &dyn Host, waba: &str, hook_url: &str) -> Result<Result<(), Told>, CallError> {
    let request = Request::post(graph::url(&format!("{waba}/subscribed_apps")))
        .credential(SUBSCRIBE)
        .json(&json!({ "override_callback_uri": hook_url }));
    done(graph::probe(host, request)?)
}

pub fn set_on_number(host: &dyn Host, number_id: &str, hook_url: &str) -> Result<Result<(), Told>, CallError> {
    let request = Request::post(graph::url(number_id))
        .credential(SUBSCRIBE_NUMBER)
        .json(&json!({ "webhook_configuration": { "override_callback_uri": hook_url } }));
    done(graph::probe(host, request)?)
}

fn done(answer: Result<Value, Told>) -> Result<Result<(), Told>, CallError> {
    Ok(answer.map(|_| ()))
}

/// An empty address takes the number's away.
pub fn clear_number(host: &dyn Host, number_id: &str) -> Result<(), CallError> {
    let request = graph::post(number_id).json(&json!({ "webhook_configuration": { "override_callback_uri": "" } }));
    graph::call::<Value>(host, request, Repeat::Harmless).map(|_| ())
}

/// Subscribing without an address takes the account's away, if there is one, and leaves the app subscribed.
pub fn subscribe_without_address(host: &dyn Host, waba: &str) -> Result<(), CallError> {
    let request = graph::post(&format!("{waba}/subscribed_apps")).json(&json!({}));
    graph::call::<Value>(host, request, Repeat::Harmless).map(|_| ())
}

pub fn unsubscribe(host: &dyn Host, waba: &str) -> Result<(), CallError> {
    let request = Request::delete(graph::url(&format!("{waba}/subscribed_apps"))).credential(graph::TOKEN);
    graph::call::<Value>(host, request, Repeat::Harmless).map(|_| ())
}

//! What Meta tells the app about the Page. Meta ends a subscription by itself after an hour of failures.

use mantle_sdk::Host;
use mantle_sdk::values::CallError;
use serde::Deserialize;
use serde_json::Value;

use crate::graph::{self, Repeat, Told};
use crate::wire::Loose;

/// Every field that `receive` reads. Always sent whole: a new list replaces the old one.
const FIELDS: [&str; 13] = [
    "messages",
    "message_echoes",
    "message_edits",
    "message_reactions",
    "message_reads",
    "message_deliveries",
    "messaging_postbacks",
    "messaging_referrals",
    "messaging_optins",
    "messaging_account_linking",
    "messaging_handovers",
    "messaging_policy_enforcement",
    "standby",
];

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
    /// Whether this app hears of everything. Where the app's id is not known, any app that does will do.
    pub fn are_whole(&self, app: Option<&str>) -> bool {
        self.data
            .iter()
            .filter(|one| app.is_none() || one.id.as_deref() == app)
            .any(|one| {
                FIELDS
                    .iter()
                    .all(|field| one.subscribed_fields.iter().any(|had| had == field))
            })
    }
}

pub fn subscriptions(host: &dyn Host, page: &str) -> Result<Subscriptions, CallError> {
    graph::call(host, graph::get(&format!("{page}/subscribed_apps")), Repeat::Harmless)
}

pub fn subscribe(host: &dyn Host, page: &str) -> Result<Result<(), Told>, CallError> {
    let request =
        graph::post(&format!("{page}/subscribed_apps")).query([("subscribed_fields", FIELDS.join(",").as_str())]);
    Ok(graph::probe::<Value>(host, request, Repeat::Harmless)?.map(|_| ()))
}

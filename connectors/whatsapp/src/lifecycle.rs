//! Proving the credentials, pointing Meta's webhook at this channel, and watching the number's health.
//!
//! Meta knows three places for a webhook's address, the nearer wins: the number, the WhatsApp Business Account, the
//! app. An account with one number gets the address, and the app's subscription with it. In an account with more, the
//! number gets an address of its own, so that nobody takes the messages of the others.

mod health;
mod webhook;

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Readiness, Report};
use mantle_sdk::values::{CallError, Notice, NoticeLevel};
use serde::Deserialize;

use crate::fields;
use crate::graph::{self, Told};
use crate::wire::Loose;
use webhook::Subscriptions;

/// The parameter that proves the app secret; the manifest adds it to every call.
const PROOF: &str = "appsecret_proof";

#[derive(Deserialize)]
struct Number {
    display_phone_number: Option<String>,
    verified_name: Option<String>,
}

#[derive(Deserialize)]
struct Numbers {
    #[serde(default)]
    data: Vec<NumberId>,
}

#[derive(Deserialize)]
struct NumberId {
    #[serde(default)]
    id: Loose,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let number_id = fields::phone_number_id(host)?;
    let request = graph::get(&number_id).query([("fields", "id,display_phone_number,verified_name,status")]);
    let number: Number = graph::probe(host, request)?.map_err(|told| wrong(told, "phone_number_id"))?;

    let waba = fields::business_account_id(host)?;
    let subscriptions = webhook::subscriptions(host, &waba)?.map_err(|told| wrong(told, "business_account_id"))?;
    number_of_account(host, &waba, &number_id)?;

    let hook_url = host.hook_url();
    let set = webhook::of_number(host, &number_id).or_else(|| webhook::of_only_app(&subscriptions));
    let display = number.display_phone_number.filter(|display| !display.is_empty());
    let name = match (display, number.verified_name.filter(|name| !name.is_empty())) {
        (Some(display), Some(name)) => format!("{display} ({name})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => number_id.clone(),
    };
    Ok(Account {
        external_id: number_id,
        name,
        foreign_webhook: set.filter(|address| *address != hook_url),
    })
}

/// The account must own the number. What cannot be listed is not held against the operator: the number and the account
/// have each been proven by then.
fn number_of_account(host: &dyn Host, waba: &str, number_id: &str) -> Result<(), ConnectError> {
    let Some(ids) = numbers(host, waba) else { return Ok(()) };
    if ids.is_empty() || ids.iter().any(|id| id == number_id) {
        return Ok(());
    }
    Err(ConnectError::field(
        "business_account_id",
        "other-account",
        "This WhatsApp Business Account does not own the number of that phone number ID.",
    ))
}

fn numbers(host: &dyn Host, waba: &str) -> Option<Vec<String>> {
    let request = graph::get(&format!("{waba}/phone_numbers")).query([("fields", "id"), ("limit", "100")]);
    let numbers: Numbers = graph::probe(host, request).ok()?.ok()?;
    Some(numbers.data.into_iter().filter_map(|number| number.id.0).collect())
}

/// The field of the form that an error of Meta is about.
fn wrong(told: Told, field: &str) -> ConnectError {
    let words = told.problem.words().unwrap_or("no reason given");
    // The code is that of any wrong parameter; only the words tell which one it is.
    if told.problem.code == 100 && words.contains(PROOF) {
        return ConnectError::field(
            "app_secret",
            "100",
            format!("The app secret is not that of the access token's app. Meta says: {words}"),
        );
    }
    match told.problem.code {
        0 | 190 => ConnectError::field(
            "access_token",
            "190",
            format!("Meta does not accept the access token: {words}"),
        ),
        // Meta says the same of what does not exist and of what the token may not see.
        33 | 100 => ConnectError::field(
            field,
            told.problem.code.to_string(),
            format!("Meta does not know this id, or the access token may not see it: {words}"),
        ),
        3 | 10 | 200..=299 | 131005 => ConnectError::field(
            "access_token",
            told.problem.code.to_string(),
            format!(
                "The access token needs whatsapp_business_messaging and whatsapp_business_management for this account: \
                 {words}"
            ),
        ),
        _ => ConnectError::Call(told.error),
    }
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let waba = fields::business_account_id(host)?;
    let number_id = fields::phone_number_id(host)?;
    let hook_url = host.hook_url();
    let subscriptions = match webhook::subscriptions(host, &waba)? {
        Ok(subscriptions) => subscriptions,
        Err(told) => return by_hand(told, &hook_url),
    };
    let set = match is_shared(host, &waba, &number_id, &subscriptions) {
        false => webhook::set_on_account(host, &waba, &hook_url)?,
        true => {
            // Without a subscription of the app the number's address is never called. Where an address is set, there
            // is one, and subscribing anew would clear it.
            if subscriptions.addresses().next().is_none() {
                webhook::subscribe_without_address(host, &waba)?;
            }
            webhook::set_on_number(host, &number_id, &hook_url)?
        }
    };
    match set {
        Ok(()) => Ok(Connection {
            readiness: Readiness::Connected,
            notices: Vec::new(),
        }),
        Err(told) => by_hand(told, &hook_url),
    }
}

/// Whether other numbers depend on what is set for the account.
fn is_shared(host: &dyn Host, waba: &str, number_id: &str, subscriptions: &Subscriptions) -> bool {
    let hook_url = host.hook_url();
    if subscriptions.addresses().any(|address| address == hook_url) {
        return false;
    }
    let sibling = subscriptions
        .addresses()
        .any(|address| webhook::is_sibling(address, &hook_url));
    sibling || numbers(host, waba).is_some_and(|ids| ids.iter().any(|id| id != number_id))
}

/// What a person can do at Meta is no failure of the channel; what passes by itself is.
fn by_hand(told: Told, hook_url: &str) -> Result<Connection, ConnectError> {
    if !matches!(told.error, CallError::Refused(_)) {
        return Err(wrong(told, "business_account_id"));
    }
    let words = told.problem.words().unwrap_or("no reason given").trim_end_matches('.');
    // What to do comes first: the end may be cut.
    let message = format!(
        "Set the webhook by hand: Meta for Developers, your app, WhatsApp, Configuration; callback URL {hook_url}, the \
         verify token of this channel, field “messages”. Meta did not let it be set: {words}."
    );
    let notice = Notice::new(NoticeLevel::Broken, told.problem.code.to_string(), message);
    Ok(Connection {
        readiness: Readiness::Pending,
        notices: vec![notice],
    })
}

/// Only what points here is taken away: somebody may have set another address since.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    let waba = fields::business_account_id(host)?;
    let number_id = fields::phone_number_id(host)?;
    let hook_url = host.hook_url();
    if webhook::of_number(host, &number_id).as_deref() == Some(hook_url.as_str()) {
        webhook::clear_number(host, &number_id)?;
    }
    let subscriptions = webhook::subscriptions(host, &waba)?.map_err(|told| told.error)?;
    if !subscriptions.addresses().any(|address| address == hook_url) {
        return Ok(());
    }
    // The app's subscription serves every number of the account.
    let is_only_number = numbers(host, &waba).is_none_or(|ids| ids.len() <= 1);
    match is_only_number {
        true => webhook::unsubscribe(host, &waba),
        false => webhook::subscribe_without_address(host, &waba),
    }
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    health::check(host)
}

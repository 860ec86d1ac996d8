//! Proving the credentials, pointing LINE's webhook at this channel, and watching both.
//!
//! Two switches stand in LINE's console alone: “Use webhook” and “Webhook redelivery”. The first one is looked at, and
//! the operator is told.

mod health;

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Readiness, Report};
use mantle_sdk::log::Level;
use mantle_sdk::values::{CallError, Notice, NoticeLevel, Refusal, RefusalReason};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::errors;

const WEBHOOK: &str = "/channel/webhook/endpoint";
/// Longest address of a webhook, in characters.
const ADDRESS_MAX: usize = 500;

/// Where the address of the account's picture is kept, so that not every video asks for it.
const PICTURE: &str = "picture";
/// A new picture is noticed within a day.
const PICTURE_MS: u64 = 24 * 3_600_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bot {
    user_id: String,
    #[serde(default)]
    basic_id: String,
    #[serde(default)]
    display_name: String,
    picture_url: Option<String>,
}

#[derive(Deserialize)]
struct Webhook {
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    active: bool,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    client_id: String,
    /// Seconds.
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trial {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    reason: String,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let bot: Bot = api::ask(host, api::get("/info")).map_err(wrong_token)?;
    let channel_id = host.config("channel_id").unwrap_or_default();
    if let Some(token) = token(host)?
        && !token.client_id.is_empty()
        && token.client_id != channel_id
    {
        return Err(ConnectError::field(
            "channel_id",
            "other-channel",
            format!("The access token belongs to the channel {}.", token.client_id),
        ));
    }
    let hook_url = host.hook_url();
    let set = webhook(host)?.map(|webhook| webhook.endpoint);
    let name = match (bot.display_name.as_str(), bot.basic_id.as_str()) {
        ("", "") => bot.user_id.clone(),
        (one, "") | ("", one) => one.to_owned(),
        (name, basic_id) => format!("{name} ({basic_id})"),
    };
    Ok(Account {
        external_id: bot.user_id,
        name,
        foreign_webhook: set.filter(|address| !address.is_empty() && *address != hook_url),
    })
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let hook_url = host.hook_url();
    if hook_url.len() > ADDRESS_MAX {
        return Err(CallError::refused(
            RefusalReason::Invalid,
            "address-too-long",
            format!("LINE takes webhook addresses of at most {ADDRESS_MAX} characters. Shorten `public_url`."),
        )
        .into());
    }
    let set = api::put(WEBHOOK).json(&json!({ "endpoint": hook_url }));
    let _empty: Value = api::ask(host, set).map_err(wrong_address)?;
    let mut notices: Vec<Notice> = trial(host)?.into_iter().collect();
    notices.extend(webhook(host)?.as_ref().and_then(switched_off));
    let readiness = if notices.is_empty() {
        Readiness::Connected
    } else {
        Readiness::Pending
    };
    Ok(Connection { readiness, notices })
}

/// LINE sends an empty webhook, signed with its own idea of the channel secret: a wrong one shows here.
fn trial(host: &dyn Host) -> Result<Option<Notice>, ConnectError> {
    let request = api::post("/channel/webhook/test").json(&json!({ "endpoint": host.hook_url() }));
    let trial: Trial = match api::ask(host, request) {
        Ok(trial) => trial,
        // Sixty trials an hour: the address is set all the same.
        Err(CallError::RateLimited(_)) => return Ok(None),
        Err(error) => return Err(wrong_token(error)),
    };
    if trial.success {
        return Ok(None);
    }
    if trial.status_code == 401 {
        return Err(ConnectError::field(
            "channel_secret",
            "401",
            "LINE signs with another channel secret. Copy it anew from Basic settings.",
        ));
    }
    let why = match trial.reason.as_str() {
        "COULD_NOT_CONNECT" => "it could not connect".to_owned(),
        "REQUEST_TIMEOUT" => "no answer came in time".to_owned(),
        "ERROR_STATUS_CODE" => format!("the answer had the status {}", trial.status_code),
        _ => "it gives no reason".to_owned(),
    };
    Ok(Some(Notice::new(
        NoticeLevel::Broken,
        "webhook-test",
        format!("LINE tried the webhook and failed: {why}. Check `public_url` and the proxy, then connect again."),
    )))
}

fn switched_off(webhook: &Webhook) -> Option<Notice> {
    (!webhook.active).then(|| {
        Notice::new(
            NoticeLevel::Broken,
            "webhook-off",
            "Switch on “Use webhook”, and “Webhook redelivery” below it: LINE Developers Console, Messaging API tab. \
             Nobody but you can do that.",
        )
    })
}

/// LINE has no call that takes an address away, and an empty one is not documented: it stays until another is set.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    let set = webhook(host)?;
    if set.is_some_and(|webhook| webhook.endpoint == host.hook_url()) {
        host.log(
            Level::Warn,
            "LINE keeps the address of the webhook. Switch off “Use webhook” in LINE Developers Console.",
        );
    }
    Ok(())
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    health::check(host)
}

/// An address of the account's picture; None: it has none, or LINE does not tell it now.
pub fn picture(host: &dyn Host) -> Option<String> {
    if let Ok(Some(kept)) = host.kv_get(PICTURE) {
        return String::from_utf8(kept).ok().filter(|address| !address.is_empty());
    }
    let bot: Bot = api::ask(host, api::get("/info")).ok()?;
    let address = bot.picture_url.unwrap_or_default();
    // Without it the next video asks again.
    let _kept = host.kv_set(PICTURE, address.as_bytes(), Some(PICTURE_MS));
    Some(address).filter(|address| !address.is_empty())
}

/// None: no address was ever set.
fn webhook(host: &dyn Host) -> Result<Option<Webhook>, CallError> {
    match api::ask(host, api::get(WEBHOOK)) {
        Ok(webhook) => Ok(Some(webhook)),
        Err(CallError::Refused(Refusal { code, .. })) if code == "404" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whose the token is. None: a kind of token that this call does not know, such as a long-lived one.
fn token(host: &dyn Host) -> Result<Option<Token>, CallError> {
    let response = api::exchange(host, api::verify(), Repeat::Harmless)?;
    match response.status {
        400 | 404 => Ok(None),
        _ if response.is_success() => api::read(&response, Repeat::Harmless).map(Some),
        _ => Err(errors::of(&response, Repeat::Harmless, host.now())),
    }
}

fn wrong_address(error: CallError) -> ConnectError {
    match error {
        CallError::Refused(Refusal { code, .. }) if code == "400" => CallError::Refused(
            Refusal::new(
                RefusalReason::Invalid,
                code,
                "LINE does not take the address of the webhook.",
            )
            .next_step("Check `public_url`: LINE wants https with a certificate that everybody trusts."),
        )
        .into(),
        other => wrong_token(other),
    }
}

fn wrong_token(error: CallError) -> ConnectError {
    match error {
        CallError::Unauthorized(failure) => ConnectError::field("access_token", failure.code, failure.message),
        other => other.into(),
    }
}

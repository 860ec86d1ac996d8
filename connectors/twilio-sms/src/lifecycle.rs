//! Proving the credentials, pointing the number's or the service's webhook at this channel, and watching both.

mod sender;

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Health, Readiness, Report};
use mantle_sdk::http::Request;
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, Refusal, RefusalReason};

use crate::api::{self, Repeat};
use crate::{fields, wire};
use sender::Found;

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    active(host).map_err(wrong_credentials)?;
    let found = found(host)?;
    let foreign_webhook = found.foreign_webhook(&host.hook_url());
    Ok(Account {
        external_id: found.external_id,
        name: found.name,
        foreign_webhook,
    })
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let found = found(host)?;
    found.point_here(host).map_err(wrong_credentials)?;
    Ok(Connection {
        readiness: Readiness::Connected,
        notices: Vec::new(),
    })
}

/// The number or service, or the field that is wrong.
fn found(host: &dyn Host) -> Result<Found, ConnectError> {
    let Some(found) = sender::look_up(host).map_err(wrong_credentials)? else {
        return Err(ConnectError::field(
            "from",
            "unknown-sender",
            "This Twilio account has no such number or messaging service.",
        ));
    };
    if !found.can_text {
        return Err(ConnectError::field(
            "from",
            "no-sms",
            "This number cannot send or receive SMS.",
        ));
    }
    Ok(found)
}

/// Only what points here is taken away: somebody may have set another address since.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    match sender::look_up(host)? {
        Some(found) if found.points_to(&host.hook_url()) => found.clear(host),
        _ => Ok(()),
    }
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Ok(notices) => {
            let health = if notices.is_empty() {
                Health::Connected
            } else {
                Health::Pending
            };
            Ok(Report { health, notices })
        }
        Err(CallError::Unauthorized(failure)) => Ok(trouble(Health::Disconnected, NoticeLevel::Broken, failure)),
        Err(CallError::Transient(failure)) => Ok(trouble(Health::Offline, NoticeLevel::Warning, failure)),
        Err(CallError::Refused(refusal)) => {
            let failure = Failure::new(refusal.code, refusal.message);
            Ok(trouble(Health::Pending, NoticeLevel::Broken, failure))
        }
        // Too many calls say nothing about the channel.
        Err(other) => Err(other),
    }
}

fn trouble(health: Health, level: NoticeLevel, failure: Failure) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, failure.code, failure.message)],
    }
}

fn look(host: &dyn Host) -> Result<Vec<Notice>, CallError> {
    active(host)?;
    let notice = match sender::look_up(host)? {
        None => Some((
            "unknown-sender",
            "The Twilio account no longer has this number or messaging service.",
        )),
        Some(found) if !found.points_to(&host.hook_url()) => Some((
            "webhook-elsewhere",
            "Twilio sends incoming messages to another address. Connect the channel again to take them back.",
        )),
        Some(_) => None,
    };
    Ok(notice
        .map(|(code, message)| Notice::new(NoticeLevel::Broken, code, message))
        .into_iter()
        .collect())
}

/// Proves SID and token: webhooks are signed with this token, so an API key would not do.
fn active(host: &dyn Host) -> Result<(), CallError> {
    let url = api::account_url(&fields::account_sid(host)?, ".json");
    let account: wire::Account = api::call(host, Request::get(url), Repeat::Harmless)?;
    if account.status == "active" {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalReason::Account,
        "account-not-active",
        format!(
            "The Twilio account is {}.",
            if account.status.is_empty() {
                "not active"
            } else {
                &account.status
            }
        ),
    )
    .next_step("See the notices in the Twilio Console.")
    .into())
}

/// The field that Twilio refuses. SID and token are proven as one pair: a 401 says in its words at most that it is the
/// user name, which is the SID, and the token is named otherwise.
fn wrong_credentials(error: CallError) -> ConnectError {
    match error {
        CallError::Unauthorized(failure) => {
            let is_user = failure.message.to_ascii_lowercase().contains("username");
            let field = if is_user { "account_sid" } else { "auth_token" };
            ConnectError::field(field, failure.code, failure.message)
        }
        CallError::Refused(refusal) if matches!(refusal.code.as_str(), "404" | "20404") => {
            ConnectError::field("account_sid", refusal.code, "Twilio does not know this account SID.")
        }
        other => other.into(),
    }
}

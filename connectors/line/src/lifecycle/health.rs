//! How the account is: its token, its webhook, and what is left of its plan.

use mantle_sdk::Host;
use mantle_sdk::connector::{Health, Report};
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel};
use serde::Deserialize;

use super::{Bot, switched_off, token, webhook};
use crate::api;

/// A token that ends sooner is worth a word; a person has a week to make a new one.
const TOKEN_ENDS_S: i64 = 7 * 86_400;
const DAY_S: i64 = 86_400;
/// From this share of the plan on, in percent, the team is warned.
const QUOTA_PERCENT: u64 = 90;

#[derive(Deserialize)]
struct Quota {
    /// Absent where the plan has no bound.
    value: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consumption {
    #[serde(default)]
    total_usage: u64,
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Ok(notices) => {
            let is_broken = notices.iter().any(|notice| notice.level == NoticeLevel::Broken);
            let health = if is_broken { Health::Pending } else { Health::Connected };
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
    let _alive: Bot = api::ask(host, api::get("/info"))?;
    let mut notices: Vec<Notice> = Vec::new();
    match webhook(host)? {
        Some(webhook) if webhook.endpoint == host.hook_url() => notices.extend(switched_off(&webhook)),
        _ => notices.push(Notice::new(
            NoticeLevel::Broken,
            "webhook-elsewhere",
            "LINE sends the webhooks of this account to another address. Connect the channel again to take them back.",
        )),
    }
    let ends_in = token(host)?.and_then(|token| token.expires_in);
    notices.extend(ends_in.filter(|left| *left < TOKEN_ENDS_S).map(token_ends));
    notices.extend(quota(host)?);
    Ok(notices)
}

fn token_ends(left_s: i64) -> Notice {
    let message = match left_s / DAY_S {
        0 => "The access token ends within a day. Issue a long-lived one and enter it.".to_owned(),
        1 => "The access token ends within two days. Issue a long-lived one and enter it.".to_owned(),
        days => format!("The access token ends in {days} days. Issue a long-lived one and enter it."),
    };
    Notice::new(NoticeLevel::Warning, "token-ends", message)
}

/// Pushes count for each person who gets them; replies do not.
fn quota(host: &dyn Host) -> Result<Option<Notice>, CallError> {
    let quota: Quota = api::ask(host, api::get("/message/quota"))?;
    let Some(value) = quota.value else { return Ok(None) };
    let used = api::ask::<Consumption>(host, api::get("/message/quota/consumption"))?.total_usage;
    let (code, message) = if used >= value {
        (
            "quota-used-up",
            format!(
                "All {value} messages of this month's LINE plan are used up: answers are refused until next month."
            ),
        )
    } else if used.saturating_mul(100) >= value.saturating_mul(QUOTA_PERCENT) {
        (
            "quota-low",
            format!("{used} of the {value} messages of this month's LINE plan are used."),
        )
    } else {
        return Ok(None);
    };
    Ok(Some(Notice::new(NoticeLevel::Warning, code, message)))
}

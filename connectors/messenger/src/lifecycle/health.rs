//! How the Page's token and subscription are, in the words of the channel's page.

use mantle_sdk::Host;
use mantle_sdk::connector::{Health, Report};
use mantle_sdk::time;
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, TimeMs};
use serde::Deserialize;

use super::subscription;
use crate::fields;
use crate::graph::{self, Repeat};
use crate::wire::Loose;

/// How long before its end a token is worth a warning.
const WARNED_MS: TimeMs = 10 * DAY_MS;
const DAY_MS: TimeMs = 24 * 60 * 60 * 1_000;

/// Without it nothing can be sent.
const SCOPE: &str = "pages_messaging";

#[derive(Deserialize)]
struct Introspected {
    #[serde(default)]
    data: Token,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Token {
    app_id: Loose,
    is_valid: Option<bool>,
    /// Unix seconds; 0: never.
    expires_at: i64,
    data_access_expires_at: i64,
    scopes: Vec<String>,
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Err(CallError::Unauthorized(failure)) => Ok(trouble(Health::Disconnected, NoticeLevel::Broken, failure)),
        Err(CallError::Transient(failure)) => Ok(trouble(Health::Offline, NoticeLevel::Warning, failure)),
        Err(CallError::Refused(refusal)) => {
            let failure = Failure::new(refusal.code, refusal.message);
            Ok(trouble(Health::Pending, NoticeLevel::Broken, failure))
        }
        // Too many calls say nothing about the channel.
        other => other,
    }
}

fn trouble(health: Health, level: NoticeLevel, failure: Failure) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, failure.code, failure.message)],
    }
}

fn look(host: &dyn Host) -> Result<Report, CallError> {
    let page = fields::page_id(host)?;
    let owner = super::owner(host)?.map_err(|told| told.error)?;
    if owner.id.as_deref() != Some(page.as_str()) {
        let failure = Failure::new(
            "other-page",
            "The access token is no longer that of this Page. Enter this Page's own token.",
        );
        return Ok(trouble(Health::Pending, NoticeLevel::Broken, failure));
    }
    let token = token(host)?;
    if token.is_valid == Some(false) {
        return Err(CallError::unauthorized(
            "invalid-token",
            "Meta says that the Page's access token is no longer valid. Enter a new one.",
        ));
    }
    let mut notices = of_token(&token, host.now());
    notices.extend(of_subscription(host, &page, token.app_id.as_deref())?);
    let broken = notices.iter().any(|notice| notice.level == NoticeLevel::Broken);
    Ok(Report {
        health: if broken { Health::Pending } else { Health::Connected },
        notices,
    })
}

/// Meta tells this to some tokens only; silence is no trouble.
fn token(host: &dyn Host) -> Result<Token, CallError> {
    match graph::call::<Introspected>(host, graph::introspect(), Repeat::Harmless) {
        Ok(told) => Ok(told.data),
        Err(CallError::Refused(_)) => Ok(Token::default()),
        Err(other) => Err(other),
    }
}

fn of_token(token: &Token, now: TimeMs) -> Vec<Notice> {
    let days = |ends: i64| {
        let left = time::from_unix_seconds(ends) - now;
        (ends > 0 && left < WARNED_MS).then(|| (left / DAY_MS).max(0))
    };
    let mut notices = Vec::new();
    if let Some(days) = days(token.expires_at) {
        notices.push(Notice::new(
            NoticeLevel::Warning,
            "token-expires",
            format!("The Page's access token ends in {days} days. Enter one that does not expire (see the README)."),
        ));
    }
    if let Some(days) = days(token.data_access_expires_at) {
        notices.push(Notice::new(
            NoticeLevel::Warning,
            "data-access-expires",
            format!(
                "In {days} days Meta stops telling names and pictures of customers, until you log in to the app again."
            ),
        ));
    }
    if !token.scopes.is_empty() && !token.scopes.iter().any(|scope| scope == SCOPE) {
        notices.push(Notice::new(
            NoticeLevel::Broken,
            "permission-missing",
            format!("The access token lacks the permission {SCOPE}, so no answer can be sent. Enter one that has it."),
        ));
    }
    notices
}

/// A subscription that has ended is renewed at once.
fn of_subscription(host: &dyn Host, page: &str, app: Option<&str>) -> Result<Option<Notice>, CallError> {
    if subscription::subscriptions(host, page)?.are_whole(app) {
        return Ok(None);
    }
    let renewed = subscription::subscribe(host, page)?;
    Ok(Some(match renewed {
        Ok(()) => Notice::new(
            NoticeLevel::Warning,
            "subscription-renewed",
            "The Page's subscription had ended or was not whole, and is renewed. Messages of the time between are only in the Page inbox.",
        ),
        Err(told) => Notice::new(
            NoticeLevel::Broken,
            told.problem.name(),
            format!(
                "The Page is not subscribed, so no message arrives, and Meta does not let it be: {}",
                told.problem.words().unwrap_or("no reason given")
            ),
        ),
    }))
}

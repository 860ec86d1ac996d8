//! How the account's token and subscription are, in the words of the channel's page.

use mantle_sdk::Host;
use mantle_sdk::connector::{Health, Report};
use mantle_sdk::time;
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, TimeMs};
use serde::Deserialize;

use super::subscription;
use crate::fields::{self, Login};
use crate::graph::{self, Graph, Repeat};
use crate::token;
use crate::wire::Loose;

/// How long before its end a token is worth a warning.
const WARNED_MS: TimeMs = 10 * DAY_MS;
const DAY_MS: TimeMs = 24 * 60 * 60 * 1_000;

/// Without it nothing can be sent.
const SCOPE: &str = "instagram_manage_messages";

#[derive(Deserialize)]
struct Introspected {
    #[serde(default)]
    data: Token,
}

/// A Page's token. Nothing tells this of an account's own.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Token {
    app_id: Loose,
    is_valid: Option<bool>,
    /// Unix seconds; 0: never.
    expires_at: i64,
    data_access_expires_at: i64,
    scopes: Vec<String>,
}

impl Token {
    pub fn app(&self) -> Option<String> {
        self.app_id.0.clone()
    }
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
    let wanted = fields::account_id(host)?;
    let graph = Graph::of(host)?;
    let owner = super::owner(&graph)?.map_err(|told| told.error)?;
    let problem = match owner.account(graph.login) {
        Some((id, _)) if id == wanted => None,
        Some(_) => Some((
            "other-account",
            "The access token is no longer that of this Instagram account. Enter this account's token.",
        )),
        None => Some(("no-account", super::without_account(graph.login))),
    };
    if let Some((code, message)) = problem {
        return Ok(trouble(
            Health::Pending,
            NoticeLevel::Broken,
            Failure::new(code, message),
        ));
    }
    let (mut notices, app) = match graph.login {
        Login::Instagram => (token::keep_alive(host), None),
        Login::Page => {
            let token = page_token(host)?;
            if token.is_valid == Some(false) {
                return Err(CallError::unauthorized(
                    "invalid-token",
                    "Meta says that the access token is no longer valid. Enter a new one.",
                ));
            }
            (of_token(&token, host.now()), token.app())
        }
    };
    notices.extend(of_subscription(&graph, app.as_deref())?);
    let broken = notices.iter().any(|notice| notice.level == NoticeLevel::Broken);
    Ok(Report {
        health: if broken { Health::Pending } else { Health::Connected },
        notices,
    })
}

/// Meta tells this to some tokens only; silence is no trouble.
pub fn page_token(host: &dyn Host) -> Result<Token, CallError> {
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
            format!("The access token ends in {days} days. Enter one that does not expire (see the README)."),
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
fn of_subscription(graph: &Graph<'_>, app: Option<&str>) -> Result<Option<Notice>, CallError> {
    if subscription::subscriptions(graph)?.hold(graph.login, app) {
        return Ok(None);
    }
    Ok(Some(match subscription::subscribe(graph)? {
        Ok(()) => Notice::new(
            NoticeLevel::Warning,
            "subscription-renewed",
            "The account's subscription had ended and is renewed. Messages of the time between are only in Instagram.",
        ),
        Err(told) => Notice::new(
            NoticeLevel::Broken,
            told.problem.name(),
            format!(
                "The account is not subscribed, so no message arrives, and Meta does not let it be: {}",
                told.problem.words().unwrap_or("no reason given")
            ),
        ),
    }))
}

//! Proving the token, pointing the bot's webhook at this channel, and watching both. Viber tries the address while
//! it is being set: the host answers that call meanwhile.

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Health, Readiness, Report};
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat, Trouble};
use crate::errors::INVALID_URL;

/// What is asked for beside messages, subscriptions and their ends, which always come.
const EVENTS: [&str; 6] = [
    "delivered",
    "seen",
    "failed",
    "subscribed",
    "unsubscribed",
    "conversation_started",
];

/// Where the bot's name is kept, so that not every message asks for it.
const NAME: &str = "name";
/// A new name is noticed within a day.
const NAME_MS: u64 = 24 * 3_600_000;
/// Longest name of a sender, in characters.
const NAME_CHARS_MAX: usize = 28;

#[derive(Deserialize)]
struct Bot {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    webhook: String,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let bot = bot(host).map_err(wrong_token)?;
    let hook_url = host.hook_url();
    let name = match (bot.name.as_str(), bot.uri.as_str()) {
        ("", "") => bot.id.clone(),
        (one, "") | ("", one) => one.to_owned(),
        (name, uri) => format!("{name} ({uri})"),
    };
    Ok(Account {
        external_id: bot.id,
        name,
        foreign_webhook: Some(bot.webhook).filter(|address| !address.is_empty() && *address != hook_url),
    })
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    match register(host) {
        Ok(()) => Ok(Connection {
            readiness: Readiness::Connected,
            notices: Vec::new(),
        }),
        Err(Trouble::No(no)) if no.status == INVALID_URL => Ok(Connection {
            readiness: Readiness::Pending,
            notices: vec![unreached()],
        }),
        Err(trouble) => Err(wrong_token(trouble)),
    }
}

/// Sets the webhook to this channel; the last one to do so wins.
pub fn register(host: &dyn Host) -> Result<(), Trouble> {
    let body = json!({
        "url": host.hook_url(),
        "event_types": EVENTS,
        "send_name": true,
        "send_photo": true,
    });
    let _set: Value = api::call(host, "set_webhook", &body, Repeat::Harmless)?;
    Ok(())
}

/// Only what points here is taken away. A bot without a webhook cannot send either.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    if bot(host)?.webhook != host.hook_url() {
        return Ok(());
    }
    let _gone: Value = api::call(host, "set_webhook", &json!({ "url": "" }), Repeat::Harmless)?;
    Ok(())
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host).map_err(CallError::from) {
        Ok(None) => Ok(Report {
            health: Health::Connected,
            notices: Vec::new(),
        }),
        Ok(Some(notice)) => Ok(Report {
            health: if notice.level == NoticeLevel::Broken {
                Health::Pending
            } else {
                Health::Connected
            },
            notices: vec![notice],
        }),
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

/// Viber drops the webhook of a host that was down for long: nobody else has taken it, so it is set again.
fn look(host: &dyn Host) -> Result<Option<Notice>, Trouble> {
    let webhook = bot(host)?.webhook;
    if webhook == host.hook_url() {
        return Ok(None);
    }
    if !webhook.is_empty() {
        return Ok(Some(Notice::new(
            NoticeLevel::Broken,
            "webhook-elsewhere",
            "Viber sends the bot's messages to another address. Connect the channel again to take them back.",
        )));
    }
    match register(host) {
        Ok(()) => Ok(Some(Notice::new(
            NoticeLevel::Info,
            "webhook-set-again",
            "Viber had dropped the bot's webhook; it is set again.",
        ))),
        Err(Trouble::No(no)) if no.status == INVALID_URL => Ok(Some(unreached())),
        Err(trouble) => Err(trouble),
    }
}

fn unreached() -> Notice {
    Notice::new(
        NoticeLevel::Broken,
        "webhook-refused",
        "Viber could not reach the address of the webhook. Check `public_url`, the proxy, and that the certificate is one \
         that everybody trusts; then connect the channel again.",
    )
}

/// The name that messages are sent under: the bot's own.
pub fn sender_name(host: &dyn Host) -> Result<String, CallError> {
    if let Ok(Some(kept)) = host.kv_get(NAME)
        && let Ok(name) = String::from_utf8(kept)
    {
        return Ok(name);
    }
    let bot = bot(host)?;
    let told = if bot.name.trim().is_empty() {
        &bot.uri
    } else {
        &bot.name
    };
    let name: String = told.trim().chars().take(NAME_CHARS_MAX).collect();
    // Without it the next message asks again.
    let _kept = host.kv_set(NAME, name.as_bytes(), Some(NAME_MS));
    Ok(name)
}

fn bot(host: &dyn Host) -> Result<Bot, Trouble> {
    api::call(host, "get_account_info", &json!({}), Repeat::Harmless)
}

fn wrong_token(trouble: Trouble) -> ConnectError {
    match trouble {
        Trouble::No(no) if no.is_about_the_token() => ConnectError::field(
            "auth_token",
            no.status.to_string(),
            "Viber does not know this auth token.",
        ),
        other => CallError::from(other).into(),
    }
}

//! Connecting a bot: whose token it is, where its updates go, and whether they still come to us.

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Health, Readiness, Report};
use mantle_sdk::time;
use mantle_sdk::values::{CallError, Notice, NoticeLevel, TimeMs};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{self, Trouble};

/// All kinds that `receive` reads. Telegram keeps the former list when one is left out, and reactions come only when named.
const ALLOWED_UPDATES: &[&str] = &[
    "message",
    "edited_message",
    "callback_query",
    "message_reaction",
    "my_chat_member",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
];
/// Chats whose updates Telegram delivers at the same time; it allows 1 to 100.
const MAX_CONNECTIONS: u32 = 20;
/// The manifest's credential that also fills in `secret_token`.
const REGISTER: &str = "register";
/// How long an error of delivery is worth telling.
const RECENT_MS: TimeMs = 15 * 60 * 1000;

#[derive(Deserialize)]
struct Bot {
    id: i64,
    first_name: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
struct Webhook {
    #[serde(default)]
    url: String,
    #[serde(default)]
    pending_update_count: u64,
    last_error_date: Option<i64>,
    last_error_message: Option<String>,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let bot: Bot = answer::ask(host, answer::method("getMe")).map_err(token_error)?;
    let webhook: Webhook = answer::ask(host, answer::method("getWebhookInfo")).map_err(token_error)?;
    let foreign = !webhook.url.is_empty() && webhook.url != host.hook_url();
    Ok(Account {
        external_id: bot.id.to_string(),
        name: match bot.username {
            Some(username) => format!("@{username}"),
            None => bot.first_name.unwrap_or_else(|| bot.id.to_string()),
        },
        foreign_webhook: foreign.then_some(webhook.url),
    })
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let request = answer::method("setWebhook").credential(REGISTER).json(&json!({
        "url": host.hook_url(),
        "allowed_updates": ALLOWED_UPDATES,
        "max_connections": MAX_CONNECTIONS,
        // What customers wrote while nobody listened is delivered now.
        "drop_pending_updates": false,
    }));
    let _set: bool = answer::ask(host, request).map_err(|trouble| match trouble {
        Trouble::No(no) if no.says("webhook") && no.code == 400 => {
            let refusal = mantle_sdk::values::Refusal::new(
                mantle_sdk::values::RefusalReason::Account,
                no.code.to_string(),
                format!("Telegram does not take the webhook's address: {}", no.description),
            );
            let step =
                "Make `public_url` an https address on port 443, 80, 88 or 8443 that Telegram reaches over IPv4.";
            ConnectError::Call(refusal.next_step(step).into())
        }
        other => token_error(other),
    })?;
    Ok(Connection {
        readiness: Readiness::Connected,
        notices: Vec::new(),
    })
}

pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    let webhook: Webhook = answer::ask(host, answer::method("getWebhookInfo"))?;
    if webhook.url != host.hook_url() {
        return Ok(());
    }
    let request = answer::method("deleteWebhook").json(&json!({"drop_pending_updates": false}));
    let _deleted: bool = answer::ask(host, request)?;
    Ok(())
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    let asked = answer::ask::<Bot>(host, answer::method("getMe"))
        .and_then(|_bot| answer::ask::<Webhook>(host, answer::method("getWebhookInfo")));
    let webhook = match asked {
        Ok(webhook) => webhook,
        Err(Trouble::No(no)) if no.is_about_the_token() => {
            let message = format!(
                "Telegram refuses the bot's token: {}. Fill in a new one from @BotFather.",
                no.description
            );
            return Ok(report(
                Health::Disconnected,
                NoticeLevel::Broken,
                "token-refused",
                message,
            ));
        }
        Err(trouble) => match CallError::from(trouble) {
            CallError::Transient(failure) => {
                return Ok(report(
                    Health::Offline,
                    NoticeLevel::Warning,
                    &failure.code,
                    failure.message,
                ));
            }
            other => return Err(other),
        },
    };
    Ok(judge(&webhook, host))
}

fn judge(webhook: &Webhook, host: &dyn Host) -> Report {
    if webhook.url.is_empty() {
        let message = "The bot has no webhook: somebody took it away. Connect the channel again.";
        return report(
            Health::Pending,
            NoticeLevel::Broken,
            "webhook-missing",
            message.to_owned(),
        );
    }
    if webhook.url != host.hook_url() {
        let message = format!(
            "Another service has taken the bot: its webhook is {}. Customers' messages do not come here. Connect the channel again to take it back.",
            webhook.url
        );
        return report(Health::Pending, NoticeLevel::Broken, "webhook-foreign", message);
    }
    let recent = webhook
        .last_error_date
        .is_some_and(|at| host.now() - time::from_unix_seconds(at) <= RECENT_MS);
    match &webhook.last_error_message {
        Some(error) if recent => {
            let message = format!(
                "Telegram could not deliver and tries again: {error} ({} waiting).",
                webhook.pending_update_count
            );
            report(Health::Connected, NoticeLevel::Warning, "webhook-errors", message)
        }
        _ => Report {
            health: Health::Connected,
            notices: Vec::new(),
        },
    }
}

fn report(health: Health, level: NoticeLevel, code: &str, message: String) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, code, message)],
    }
}

fn token_error(trouble: Trouble) -> ConnectError {
    match trouble {
        Trouble::No(no) if no.is_about_the_token() => ConnectError::field(
            "bot_token",
            no.code.to_string(),
            format!(
                "Telegram does not know this token ({}). Copy it again from @BotFather.",
                no.description
            ),
        ),
        other => ConnectError::Call(other.into()),
    }
}

//! Connecting accounts, telling them apart, how they fare, and that their secrets stay secret.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{ADMIN_TOKEN, Bridge, Channel, VERIFY_TOKEN, telegram_fields, text};
use mantle_world::{Fault, samples, telegram, twilio, whatsapp};
use serde_json::{Value, json};

use crate::logs;

/// A bot of the shape of tokens that nobody made.
const NO_BOT: &str = "987000111:AAHnobodyMadeThisBotAtAll0123456789";
/// A second bot of the same shop.
const SECOND_BOT: &str = "987654321:AAGsecondBotOfTheShop0123456789abcde";
/// A token that stands nowhere else: the usual one is the manifest's example as well.
const CANARY_BOT: &str = "555666777:AAKcanaryThatMustNotBeSeen0123456789ab";

async fn channels(bridge: &Bridge, workspace: &str) -> Result<Vec<Value>> {
    let list = bridge.get(&format!("/api/v1/workspaces/{workspace}/channels")).await?;
    Ok(list["channels"].as_array().context("no list")?.clone())
}

/// These credentials are refused at this field, in words that have the provider's reason, and leave no trace.
async fn assert_refused(bridge: &Bridge, workspace: &str, plugin: &str, asked: (&Value, &str, &str)) -> Result<()> {
    let (fields, field, reason) = asked;
    let (status, answer) = bridge.try_connect(workspace, plugin, fields).await?;
    ensure!(status == 422, "{plugin} {field}: {status} {answer}");
    let error = &answer["error"];
    ensure!(error["field"] == field, "{plugin}: not `{field}` in {error}");
    let message = text(error, "message")?;
    ensure!(
        message.contains(reason),
        "{plugin} {field}: no “{reason}” in “{message}”"
    );
    ensure!(error["reference"].is_string(), "no reference: {error}");
    let saved = channels(bridge, workspace).await?;
    ensure!(saved.is_empty(), "something was saved: {saved:?}");
    Ok(())
}

mod accounts;
mod away;
mod credentials;
mod secrets;
mod statuses;
mod unproven;

fn with(mut fields: Value, name: &str, value: &str) -> Value {
    fields[name] = json!(value);
    fields
}

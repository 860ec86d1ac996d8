//! What customers send (IN).

pub mod arriving;
mod echoes;
mod kinds;
mod refused;
pub mod repeated;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use mantle_it::Bridge;
use mantle_world::intercom::{Conversation, Part};
use serde_json::Value;

/// The ledger's messages, oldest first.
async fn ledger(bridge: &Bridge) -> Result<Vec<Value>> {
    let page = bridge.get("/api/v1/messages?limit=200").await?;
    let mut rows = page["messages"].as_array().cloned().unwrap_or_default();
    rows.reverse();
    Ok(rows)
}

/// The ledger's row of a message that the provider calls by this id.
async fn row(bridge: &Bridge, remote_id: &str) -> Result<Value> {
    let rows = ledger(bridge).await?;
    let found = rows.iter().find(|row| row["remote_id"] == remote_id).cloned();
    found.with_context(|| format!("no message {remote_id} among {rows:#?}"))
}

/// The sum of a counter's samples that carry all these labels.
async fn counted(bridge: &Bridge, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
    let page = bridge.get("/metrics").await?;
    let page = page.as_str().context("the metrics are text")?;
    let mut sum = 0;
    for line in page.lines().filter(|line| line.starts_with(&format!("{name}{{"))) {
        let carries = |(label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
        if labels.iter().all(carries) {
            let number = line.rsplit(' ').next().context("a sample without a number")?;
            sum += number.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// One call at any address of the host; answers with the status.
async fn post(bridge: &Bridge, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<u16> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let client = bridge.world.scene().client();
    Ok(client.call(Method::POST, url, &headers, body.into()).await?.status)
}

/// What the customer wrote, oldest first: texts alone.
fn texts(conversation: &Conversation) -> Vec<String> {
    conversation.from_customer().into_iter().map(|part| part.body).collect()
}

/// The newest part that a customer wrote in the only conversation.
fn newest(bridge: &Bridge) -> Result<Part> {
    let mut parts = bridge.only_conversation()?.from_customer();
    parts.pop().context("nothing from the customer")
}

//! Commands that a running host answers: workspaces, channels, messages.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Common;
use super::output::{Output, table, text};
use super::remote::Remote;

pub(super) async fn trace(common: &Common, message: &str, output: &Output) -> Result<bool> {
    let trace = Remote::new(common)?.get(&format!("/api/v1/messages/{message}")).await?;
    let mut page = format!(
        "{}  {}  {}  {}\n",
        text(&trace, "id"),
        text(&trace, "direction"),
        text(&trace, "kind"),
        text(&trace, "state")
    );
    for (label, field) in [
        ("channel", "channel_id"),
        ("customer", "identity_id"),
        ("remote id", "remote_id"),
        ("reason", "reason"),
        ("told", "deliveries"),
        ("tries", "tries"),
        ("next try", "next_attempt_at"),
        ("raw request", "receipt_id"),
    ] {
        let value = text(&trace, field);
        if !value.is_empty() {
            page.push_str(&format!("  {label:<12} {value}\n"));
        }
    }
    let hops = rows(&trace["hops"], &["at", "what", "id", "code", "detail"]);
    page.push('\n');
    page.push_str(&table(&["time", "what", "id", "code", "detail"], &hops));
    output.answer(&trace, &page);
    Ok(true)
}

pub(super) async fn workspaces(common: &Common, output: &Output) -> Result<bool> {
    let answer = Remote::new(common)?.get("/api/v1/workspaces").await?;
    let fields = ["id", "name", "platform", "status", "added_by", "status_cause"];
    let heads = ["id", "name", "platform", "status", "added by", "cause"];
    output.answer(&answer, &table(&heads, &rows(&answer["workspaces"], &fields)));
    Ok(true)
}

pub(super) async fn add_workspace(common: &Common, token: Option<&str>, output: &Output) -> Result<bool> {
    let remote = Remote::new(common)?;
    let token = match token {
        Some(token) => token.to_owned(),
        None => read_token(output)?,
    };
    let draft = json!({ "platform": "intercom", "access_token": token.trim() });
    let workspace = remote.post("/api/v1/workspaces", &draft).await?;
    let line = format!("Connected {} ({}).", text(&workspace, "name"), text(&workspace, "id"));
    output.answer(&workspace, &line);
    Ok(true)
}

fn read_token(output: &Output) -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output.progress("Paste the access token and press Enter:");
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("The token cannot be read from standard input")?;
    if line.trim().is_empty() {
        bail!("No access token was given. Use `--access-token`, INTERCOM_ACCESS_TOKEN or standard input.");
    }
    Ok(line)
}

pub(super) async fn channels(common: &Common, workspace: Option<&str>, output: &Output) -> Result<bool> {
    let remote = Remote::new(common)?;
    let workspaces = match workspace {
        Some(workspace) => vec![workspace.to_owned()],
        None => workspace_ids(&remote).await?,
    };
    let mut channels = Vec::new();
    for workspace in workspaces {
        let answer = remote.get(&format!("/api/v1/workspaces/{workspace}/channels")).await?;
        channels.extend(answer["channels"].as_array().cloned().unwrap_or_default());
    }
    let mut shown = channels.clone();
    for channel in &mut shown {
        channel["waiting"] = json!(waiting(&channel["backlog"]));
    }
    let answer = json!({ "channels": channels });
    let fields = [
        "id",
        "name",
        "plugin",
        "status",
        "external_name",
        "created_at",
        "waiting",
        "status_cause",
    ];
    let heads = [
        "id", "name", "plugin", "status", "account", "created", "waiting", "cause",
    ];
    output.answer(&answer, &table(&heads, &rows(&json!(shown), &fields)));
    Ok(true)
}

/// What waits of the channel, and for how long it will at the present rate: `120 in, 4 out, empty in 3 min`.
fn waiting(backlog: &Value) -> String {
    let count = |name: &str| backlog[name].as_u64().unwrap_or_default();
    let (inbound, outbound) = (count("inbound"), count("outbound"));
    if inbound + outbound == 0 {
        return "-".to_owned();
    }
    let end = match backlog["empty_in_seconds"].as_u64() {
        None => String::new(),
        Some(seconds) if seconds < 120 => format!(", empty in {seconds} s"),
        Some(seconds) if seconds < 7_200 => format!(", empty in {} min", seconds / 60),
        Some(seconds) => format!(", empty in {} h", seconds / 3_600),
    };
    format!("{inbound} in, {outbound} out{end}")
}

pub(super) async fn add_channel(
    common: &Common,
    workspace: Option<&str>,
    draft: &Value,
    output: &Output,
) -> Result<bool> {
    let remote = Remote::new(common)?;
    let workspace = match workspace {
        Some(workspace) => workspace.to_owned(),
        None => match workspace_ids(&remote).await?.as_slice() {
            [only] => only.clone(),
            [] => bail!("There is no workspace yet. Connect one: `mantle workspace add`."),
            several => bail!("There are {} workspaces. Name one with `--workspace`.", several.len()),
        },
    };
    let channel = remote
        .post(&format!("/api/v1/workspaces/{workspace}/channels"), draft)
        .await?;
    let mut page = format!(
        "{} ({}) is {}.\nHook: {}\n",
        text(&channel, "name"),
        text(&channel, "id"),
        text(&channel, "status"),
        text(&channel, "hook_url")
    );
    for notice in channel["notices"].as_array().into_iter().flatten() {
        page.push_str(&format!("{}: {}\n", text(notice, "level"), text(notice, "message")));
    }
    output.answer(&channel, &page);
    Ok(true)
}

async fn workspace_ids(remote: &Remote) -> Result<Vec<String>> {
    let answer = remote.get("/api/v1/workspaces").await?;
    let workspaces = answer["workspaces"].as_array().cloned().unwrap_or_default();
    Ok(workspaces.iter().map(|workspace| text(workspace, "id")).collect())
}

fn rows(list: &Value, fields: &[&str]) -> Vec<Vec<String>> {
    let list = list.as_array().into_iter().flatten();
    list.map(|item| fields.iter().map(|field| text(item, field)).collect())
        .collect()
}

//! `mantle doctor`: what usually is the matter, looked at one by one.
//!
//! The disk, rights, clock and reachability are looked at from here, and the server of a shared database; tokens and
//! channels through the running host.

mod postgres;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use http::Method;
use mantle_egress::{Body, Request};
use mantle_store::Database;
use serde_json::{Value, json};
use url::Url;

use super::Common;
use super::output::{Output, table, text};
use super::remote::{Remote, Way};
use crate::config::{self, HostConfig, process_environment};

/// Enough for a figure that does not jump.
const SYNCS: u32 = 40;
/// A page of the database.
const SYNC_BYTES: usize = 4096;
/// Below this every message waits noticeably for the disk.
const SYNC_RATE_LOW: f64 = 50.0;
/// Above this the disk says "written" before it is: no real disk is this fast.
const SYNC_RATE_UNREAL: f64 = 60_000.0;
/// Providers refuse signatures whose time is further off than some minutes.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was looked at and found.
struct Finding {
    what: &'static str,
    fine: bool,
    /// What was seen and, if it is not fine, what to do.
    detail: String,
}

fn finding(what: &'static str, fine: bool, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        fine,
        detail: detail.into(),
    }
}

pub(super) async fn run(common: &Common, output: &Output) -> Result<bool> {
    let config = config::load(&common.config, &process_environment)?;
    let mut findings = Vec::new();
    output.progress("Looking at the disk …");
    findings.extend(disk(&config));
    findings.extend(rights(&config));
    if let Database::Postgres(address) = &config.fixed.database {
        output.progress("Looking at the database …");
        findings.extend(postgres::findings(address).await);
    }
    output.progress("Looking at the public address and the clock …");
    findings.extend(public_address(&config).await);
    output.progress("Asking the running host …");
    findings.extend(host(common).await);
    let fine = findings.iter().all(|finding| finding.fine);
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let mark = if finding.fine { "ok" } else { "LOOK" };
            vec![mark.to_owned(), finding.what.to_owned(), finding.detail.clone()]
        })
        .collect();
    let mut page = table(&["", "what", "found"], &rows);
    // Tables cut long cells; what is not fine is told in full.
    for finding in findings.iter().filter(|finding| !finding.fine) {
        page.push_str(&format!("\n{}: {}\n", finding.what, finding.detail));
    }
    let open = findings.iter().filter(|finding| !finding.fine).count();
    page.push_str(&match open {
        0 => "\nAll is well.".to_owned(),
        open => format!("\n{open} to look at."),
    });
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| json!({ "what": finding.what, "ok": finding.fine, "found": finding.detail }))
        .collect();
    output.answer(&json!({ "ok": fine, "findings": list }), &page);
    Ok(fine)
}

fn disk(config: &HostConfig) -> Vec<Finding> {
    let folder = &config.fixed.data_dir;
    match sync_rate(folder) {
        Ok(rate) if rate < SYNC_RATE_LOW => {
            let advice = "every message waits for the disk. Use a faster one for data_dir";
            vec![finding("disk", false, format!("{rate:.0} syncs a second: {advice}."))]
        }
        Ok(rate) if rate > SYNC_RATE_UNREAL => {
            let advice = "this disk says that data is safe before it is, so a power cut may lose messages";
            vec![finding("disk", false, format!("{rate:.0} syncs a second: {advice}."))]
        }
        Ok(rate) => vec![finding("disk", true, format!("{rate:.0} syncs a second"))],
        Err(error) => {
            let place = folder.display();
            let advice = "Start the host once, or correct `server.data_dir`";
            vec![finding(
                "disk",
                false,
                format!("{place} cannot be written: {error}. {advice}."),
            )]
        }
    }
}

/// Syncs a second of one small write after the other: what a commit costs.
fn sync_rate(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join(format!(".sync-{}", std::process::id()));
    let mut file = std::fs::File::create(&path)?;
    let begun = Instant::now();
    let written = (0..SYNCS).try_for_each(|_| {
        file.write_all(&[0; SYNC_BYTES])?;
        file.sync_data()
    });
    let took = begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    written.map(|()| f64::from(SYNCS) / took.max(f64::EPSILON))
}

/// Nobody but the host's user may read tokens and messages.
fn rights(config: &HostConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, path, want) in [
        ("data folder", &config.fixed.data_dir, 0o700),
        ("key file", &config.fixed.key_file, 0o600),
    ] {
        let Ok(metadata) = std::fs::metadata(path) else {
            findings.push(finding(
                what,
                true,
                format!("{} is made on the first start", path.display()),
            ));
            continue;
        };
        let mode = metadata.permissions().mode() & 0o777;
        let fine = mode & 0o077 == 0;
        let detail = if fine {
            format!("{} is open to its owner alone", path.display())
        } else {
            let path = path.display();
            format!("{path} is open to others ({mode:03o}). Close it: chmod {want:o} {path}")
        };
        findings.push(finding(what, fine, detail));
    }
    findings
}

/// Whether the public address leads to a host of ours, and what time it is there.
async fn public_address(config: &HostConfig) -> Vec<Finding> {
    let Some(public_url) = &config.fixed.public_url else {
        let advice = "Set `server.public_url`: providers cannot reach this host without it.";
        return vec![finding("public url", false, advice), clock(None)];
    };
    match ask_public(public_url).await {
        Ok((200, there)) => {
            vec![
                finding("public url", true, format!("{public_url} leads to this host")),
                clock(there),
            ]
        }
        Ok((status, there)) => {
            let advice = "Lead it to the address of `server.listen`";
            let detail = format!("{public_url}/livez answers {status}. {advice}, without a path in between.");
            vec![finding("public url", false, detail), clock(there)]
        }
        Err(error) => {
            let advice = "Call /livez there from another network: if that fails too, no provider reaches this host";
            let detail = format!("{public_url} cannot be reached from here: {error:#}. {advice}.");
            vec![finding("public url", false, detail), clock(None)]
        }
    }
}

async fn ask_public(public_url: &str) -> Result<(u16, Option<SystemTime>)> {
    let url = Url::parse(&format!("{public_url}/livez"))?;
    let way = Way::to(&url)?;
    let request = Request {
        method: Method::GET,
        url: String::new(),
        headers: Vec::new(),
        body: Body::Empty,
        credential: None,
        timeout: TIMEOUT,
        redirects_max: 0,
    };
    let response = way.send(url.path(), request).await?;
    let there = response
        .header("date")
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    Ok((response.status, there.map(|zoned| SystemTime::from(zoned.timestamp()))))
}

/// `there`: the time at the public address; None when nothing told it.
fn clock(there: Option<SystemTime>) -> Finding {
    let Some(there) = there else {
        let advice =
            "Nothing outside told the time, so the clock was not compared. See that time synchronisation runs.";
        return finding("clock", false, advice);
    };
    let here = SystemTime::now();
    let skew = here
        .duration_since(there)
        .or_else(|_| there.duration_since(here))
        .unwrap_or_default();
    let fine = skew <= CLOCK_SKEW_MAX;
    let advice = if fine {
        ""
    } else {
        ". Signatures with a time will be refused; set up time synchronisation"
    };
    finding(
        "clock",
        fine,
        format!("{} s from the time of the public address{advice}", skew.as_secs()),
    )
}

/// Tokens and channels, as the running host has them.
async fn host(common: &Common) -> Vec<Finding> {
    let remote = match Remote::new(common) {
        Ok(remote) => remote,
        Err(error) => return vec![finding("host", false, format!("{error:#}"))],
    };
    match look(&remote).await {
        Ok(findings) => findings,
        Err(error) => vec![finding("host", false, format!("{error:#}"))],
    }
}

async fn look(remote: &Remote) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let plugins = remote.get("/api/v1/plugins").await?;
    findings.push(finding("host", true, format!("{} answers", remote.base())));
    let problems: Vec<String> = list(&plugins["configuration"], "problems").iter().map(said).collect();
    if !problems.is_empty() {
        findings.push(finding("configuration", false, problems.join(" ")));
    }
    for plugin in list(&plugins, "plugins") {
        let fine = text(plugin, "state") != "refused";
        let detail = format!(
            "{} {} {}",
            text(plugin, "name"),
            text(plugin, "state"),
            text(plugin, "reason")
        );
        findings.push(finding("plugin", fine, detail.trim_end()));
    }
    let workspaces = remote.get("/api/v1/workspaces").await?;
    for workspace in list(&workspaces, "workspaces") {
        findings.push(token(remote, workspace).await);
        let path = format!("/api/v1/workspaces/{}/channels", text(workspace, "id"));
        for channel in list(&remote.get(&path).await?, "channels") {
            findings.push(channel_state(remote, channel).await);
        }
    }
    Ok(findings)
}

/// Whether Intercom still takes the token.
async fn token(remote: &Remote, workspace: &Value) -> Finding {
    let name = text(workspace, "name");
    let path = format!("/api/v1/workspaces/{}/check", text(workspace, "id"));
    match remote.post(&path, &json!({})).await {
        Ok(checked) => {
            let status = text(&checked, "status");
            let cause = text(&checked, "status_cause");
            finding(
                "workspace",
                status == "active",
                format!("{name}: {status} {cause}").trim_end(),
            )
        }
        Err(error) => finding("workspace", false, format!("{name}: {error:#}")),
    }
}

async fn channel_state(remote: &Remote, channel: &Value) -> Finding {
    let name = text(channel, "name");
    let path = format!("/api/v1/channels/{}/check", text(channel, "id"));
    match remote.post(&path, &json!({})).await {
        Ok(checked) => {
            let status = text(&checked, "status");
            let rest = format!("{} {}", text(&checked, "status_cause"), text(&checked, "next_step"));
            finding(
                "channel",
                status == "connected",
                format!("{name}: {status} {}", rest.trim()).trim_end(),
            )
        }
        Err(error) => finding("channel", false, format!("{name}: {error:#}")),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn said(value: &Value) -> String {
    value.as_str().map(str::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_judged_or_said_to_be_unknown() {
        let check = |there: Option<SystemTime>, fine: bool, words: &str| {
            let found = clock(there);
            assert_eq!(found.fine, fine, "{}", found.detail);
            assert!(found.detail.contains(words), "{}", found.detail);
        };
        let now = SystemTime::now();
        check(Some(now), true, "0 s from the time");
        check(Some(now - CLOCK_SKEW_MAX * 2), false, "time synchronisation");
        check(Some(now + CLOCK_SKEW_MAX * 2), false, "time synchronisation");
        check(None, false, "was not compared");
    }
}

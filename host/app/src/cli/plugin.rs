//! `mantle plugin`: what connectors are, can do and ask for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mantle_egress::{EgressConfig, Holds};
use mantle_model::clock::SystemClock;
use mantle_model::secret::Secrets;
use mantle_sandbox::{Grants, NoShelf, Plugin, PluginEntry, Sandbox, SandboxConfig, TRIAL_PERCENT};
use mantle_supply::Source;
use serde_json::{Value, json};

use super::check;
use super::compiler;
use super::output::Output;
use super::supply;
use crate::catalog::body;
use crate::config::{self, process_environment};

pub(super) async fn list(file: &Path, output: &Output) -> Result<bool> {
    let config = config::load(file, &process_environment)?;
    let plugins = check::load(&config).await?;
    let mut page = check::plugin_table(&plugins);
    for plugin in &plugins {
        if let Some(reason) = &plugin.reason {
            page.push_str(&format!("\n{}: {reason}\n", plugin.state));
        }
        if let Some(pending) = &plugin.pending {
            page.push_str(&format!(
                "\n{} {} ({}) wants to, beyond what was consented to:\n  {}\n",
                plugin.name,
                pending.version,
                pending.digest,
                pending.difference.join("\n  ")
            ));
        }
    }
    output.answer(&json!({ "plugins": plugins }), &page);
    Ok(!plugins.iter().any(check::is_wanting))
}

pub(super) async fn inspect(file: &Path, named: &str, output: &Output) -> Result<bool> {
    let entry = entry(file, named).await?;
    let name = entry.name.clone();
    let plugin = sandbox(cache_dir(file))?.load(entry).await?;
    output.answer(&sheet_json(&name, &plugin), &sheet(&name, &plugin));
    Ok(true)
}

/// One that loads and calls nobody.
pub(super) fn sandbox(cache_dir: PathBuf) -> Result<Sandbox> {
    let config = SandboxConfig {
        cache_dir,
        compiler: compiler::of_this_program(),
        egress: EgressConfig::default(),
    };
    Ok(Sandbox::new(config, Arc::new(NoShelf), Arc::new(SystemClock))?)
}

/// The entry to look at, with all it asks for granted: looking is not consenting.
async fn entry(file: &Path, named: &str) -> Result<PluginEntry> {
    let path = Path::new(named);
    let component = if named.ends_with(".wasm") || named.contains('/') {
        path.to_path_buf()
    } else {
        let config = config::load(file, &|name| {
            Some(process_environment(name).unwrap_or_else(|| "unread".to_owned()))
        })?;
        let known: Vec<&str> = config.live.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let Some(setting) = config.live.plugins.iter().find(|plugin| plugin.name == named) else {
            bail!(
                "{} has no plugin `{named}`. It has: {}.",
                file.display(),
                known.join(", ")
            );
        };
        match &setting.entry {
            // Of a remote one, what is locked of it, or what is there now.
            Ok(_) if setting.source.as_ref().is_some_and(Source::is_remote) => {
                let path = supply::obtain(&config, setting).await?.kept.path;
                return Ok(looked_at(named.to_owned(), path));
            }
            Ok(entry) => entry.component.clone(),
            Err(problems) => bail!(
                "{}",
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            ),
        }
    };
    let stem = component.file_stem().and_then(|stem| stem.to_str());
    Ok(looked_at(stem.context("The file has no name")?.to_owned(), component))
}

/// With all that it asks for granted.
pub(super) fn looked_at(name: String, component: PathBuf) -> PluginEntry {
    PluginEntry {
        name,
        component,
        source: String::new(),
        sha256: None,
        memory_mib: None,
        grants: Some(Grants::Asked),
        secrets: Secrets::default(),
        before: None,
        trial_percent: TRIAL_PERCENT,
    }
}

/// Beside the host's own where there is a configuration, so that nothing is compiled twice.
fn cache_dir(file: &Path) -> PathBuf {
    match config::load(file, &|_| Some("unread".to_owned())) {
        Ok(config) => config.fixed.data_dir.join("compiled"),
        Err(_) => std::env::temp_dir().join(format!("mantle-compiled-{}", std::process::id())),
    }
}

fn sheet_json(name: &str, plugin: &Plugin) -> Value {
    let mut sheet = serde_json::to_value(body(name, Some(plugin), "ready", None)).unwrap_or_default();
    sheet["asks"] = plugin
        .policy()
        .rules
        .iter()
        .map(|rule| {
            json!({
                "origin": format!("{}://{}:{}", rule.scheme, rule.host, rule.port),
                "methods": rule.methods,
                "paths": rule.paths,
                "credentials": rule.credentials,
                "holds": holds(rule.holds),
            })
        })
        .collect();
    sheet["memory_mib"] = json!(plugin.memory_bytes_max() >> 20);
    sheet["registers_webhook"] = json!(plugin.registers_webhook());
    sheet
}

fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Always => "always",
        Holds::Redirected => "redirected",
    }
}

fn sheet(name: &str, plugin: &Plugin) -> String {
    let body = body(name, Some(plugin), "ready", None);
    let mut page = format!(
        "{} {} ({})\n{}\n\n  sha256     {}\n  memory     {} MiB for one call\n  inboxes    {}\n  abilities  {}\n  webhook    {}\n",
        body.title,
        body.version,
        body.name,
        body.description,
        body.digest,
        plugin.memory_bytes_max() >> 20,
        body.inboxes.join(", "),
        body.abilities.join(", "),
        if plugin.registers_webhook() {
            "wired by the connector"
        } else {
            "wired by a person"
        },
    );
    page.push_str("\nIt asks to reach:\n");
    for rule in &plugin.policy().rules {
        let paths = if rule.paths.is_empty() {
            "/".to_owned()
        } else {
            rule.paths.join(" ")
        };
        let with = if rule.credentials.is_empty() {
            String::new()
        } else {
            format!("  with {}", rule.credentials.join(", "))
        };
        let methods = rule.methods.join(", ");
        let only = match rule.holds {
            Holds::Always => "",
            Holds::Redirected => "  only while [egress.redirect] sends it elsewhere",
        };
        page.push_str(&format!(
            "  {}://{}{paths}  {methods}{with}{only}\n",
            rule.scheme, rule.host
        ));
    }
    page.push_str("\nSet-up fields:\n");
    for field in &body.fields {
        let secret = if field.secret { ", secret" } else { "" };
        let required = if field.required { "" } else { ", optional" };
        page.push_str(&format!(
            "  {:<20} {}{secret}{required}. {}\n",
            field.name, field.label, field.help
        ));
    }
    let rules = plugin.capabilities();
    page.push_str(&format!(
        "\nA channel can carry:\n  text up to {} {}\n",
        rules.text.limit,
        rules.text.unit.words()
    ));
    for rule in &rules.attachments {
        let types = rule.types.join(" ");
        page.push_str(&format!(
            "  {} up to {} bytes: {types}\n",
            rule.kind.word(),
            rule.max_bytes
        ));
    }
    if let Some(window) = &rules.window {
        page.push_str(&format!(
            "  free answers for {} hours after the customer's message\n",
            window.hours
        ));
    }
    page
}

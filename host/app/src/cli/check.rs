//! `mantle check`: the configuration, every connector in it and the way to a shared database, without starting
//! anything.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use mantle_model::clock::SystemClock;
use mantle_sandbox::NoShelf;
use mantle_store::Database;
use mantle_store::database::examine;
use mantle_web::api::plugins::PluginBody;
use serde_json::json;

use super::compiler;
use super::output::{Output, table};
use crate::catalog::{Duty, LiveCatalog, Workshop};
use crate::config::{self, HostConfig, process_environment};

pub(super) async fn run(file: &Path, output: &Output) -> Result<bool> {
    let config = match config::load(file, &process_environment) {
        Ok(config) => config,
        Err(error) => {
            let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
            let count = problems.len();
            let text = format!("{error}\n\n{count} to put right.");
            output.answer(&json!({ "ok": false, "problems": problems, "plugins": [] }), &text);
            return Ok(false);
        }
    };
    let plugins = load(&config).await?;
    let loaded = plugins.iter().all(|plugin| !is_wanting(plugin));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let mut problems: Vec<String> = plugins.iter().filter_map(|plugin| plugin.reason.clone()).collect();
    if let Database::Postgres(address) = &config.fixed.database
        && let Err(error) = examine::reach(address).await
    {
        problems.push(format!("{}: `database.url`: {error}.", file.display()));
    }
    let fine = loaded && problems.is_empty();

    let mut page = format!(
        "{}: read.\n  listens at   {}\n  public url   {}\n  database     {}\n  data folder  {}\n\n",
        file.display(),
        config.fixed.listen,
        config.fixed.public_url.as_deref().unwrap_or("(none)"),
        config.fixed.database,
        config.fixed.data_dir.display(),
    );
    page.push_str(&plugin_table(&plugins));
    for line in &warnings {
        page.push_str(&format!("\nwarning: {line}"));
    }
    for line in &problems {
        page.push_str(&format!("\nrefused: {line}"));
    }
    page.push_str(match (fine, warnings.is_empty()) {
        (false, _) => "\nNot all of it can be used: put right what is refused.",
        (true, false) => "\nIt can be used. Look at the warnings.",
        (true, true) => "\nAll is well.",
    });
    let answer = json!({ "ok": fine, "problems": problems, "warnings": warnings, "plugins": plugins });
    output.answer(&answer, &page);
    Ok(fine)
}

/// Whether somebody must do something about it.
pub(super) fn is_wanting(plugin: &PluginBody) -> bool {
    matches!(plugin.state.as_str(), "refused" | "pending")
}

pub(super) fn plugin_table(plugins: &[PluginBody]) -> String {
    let rows: Vec<Vec<String>> = plugins
        .iter()
        .map(|plugin| {
            vec![
                plugin.name.clone(),
                plugin.title.clone(),
                plugin.version.clone(),
                plugin.state.clone(),
                plugin.digest.chars().take(12).collect(),
            ]
        })
        .collect();
    table(&["plugin", "title", "version", "state", "digest"], &rows)
}

/// Loads every plugin of the configuration as a host would.
pub(super) async fn load(config: &HostConfig) -> Result<Vec<PluginBody>> {
    Ok(catalog(config).await?.describe())
}

pub(super) async fn catalog(config: &HostConfig) -> Result<LiveCatalog> {
    let workshop = Workshop {
        data_dir: config.fixed.data_dir.clone(),
        compiler: compiler::of_this_program(),
        shelf: Arc::new(NoShelf),
        clock: Arc::new(SystemClock),
        duty: Duty::Look,
    };
    let catalog = LiveCatalog::new(workshop, &config.live.redirects).context("The sandbox cannot be built")?;
    catalog
        .apply(&config.live)
        .await
        .context("The plugins cannot be loaded")?;
    // As a host would, and nobody waits here meanwhile.
    catalog.fetch().await;
    Ok(catalog)
}

//! D15: a component that costs its compiler all it can get, added while messages flow.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mantle_components::bombs::{Fuse, bomb};
use mantle_components::workspace_root;
use serde_json::Value;

use crate::process::PATIENCE;
use crate::stage::{Setup, Stage};
use crate::stopping::assert_no_request_failed;

const CUSTOMERS: std::ops::Range<i64> = 5_550_015_000..5_550_015_008;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Before the table that ends every configuration here.
const LAST_TABLE: &str = "[egress.redirect]\n";

fn entry(name: &str, component: &Path) -> Result<String> {
    let component = serde_json::to_string(component)?;
    Ok(format!(
        "[plugins.{name}]\ncomponent = {component}\ngrants = \"asked\"\n"
    ))
}

/// The plugin's state, and why, once it is loaded or refused.
async fn settled(stage: &mut Stage, name: &str) -> Result<(String, String)> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, text) = stage.get("/api/v1/plugins").await?;
        ensure!(status == 200, "{text}");
        let list: Value = serde_json::from_str(&text)?;
        let plugins = list["plugins"].as_array().context("no list")?;
        let word = |plugin: &Value, name: &str| plugin[name].as_str().unwrap_or_default().to_owned();
        let found = plugins.iter().find(|plugin| plugin["name"] == name);
        if let Some(plugin) = found
            && plugin["state"] != "loading"
        {
            return Ok((word(plugin, "state"), word(plugin, "reason")));
        }
        ensure!(tokio::time::Instant::now() < deadline, "{name} is not settled: {text}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_a_component_that_eats_its_compilers_memory_is_refused_while_messages_flow() -> Result<()> {
    let mut stage = Stage::telegram(Setup::default()).await?;
    let folder = stage.scratch("components")?;
    let manifest = std::fs::read_to_string(workspace_root().join("tests/guests/connector.toml"))?;
    let component = folder.join("bomb.wasm");
    std::fs::write(&component, bomb(&manifest, Fuse::Memory))?;
    let talk = stage.keep_saying(CUSTOMERS);
    stage.more_acked(10).await?;
    stage.reconfigure(LAST_TABLE, &(entry("bomb", &component)? + LAST_TABLE))?;
    let (state, reason) = settled(&mut stage, "bomb").await?;
    ensure!(state == "refused", "it is {state}");
    for part in [
        "plugins-0.toml:",
        "plugin `bomb`, ",
        "bomb.wasm: ",
        "the compiler ran out of its 1024 MiB",
    ] {
        ensure!(reason.contains(part), "{reason}\n does not hold\n{part}");
    }
    stage.more_applied(10).await?;
    talk.ends().await?;
    assert_no_request_failed(stage.world.telegram.webhooks())?;
    // The host's memory and files with them.
    stage.assert_promises().await
}

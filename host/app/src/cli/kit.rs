//! What authors of connectors are given: `mantle plugin test`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use mantle_egress::EgressConfig;
use mantle_kit::{Check, Claim, Report};
use mantle_model::clock::SystemClock;
use mantle_sandbox::{Sandbox, SandboxConfig};
use serde_json::json;

use super::compiler;
use super::output::Output;
use super::plugin;
use crate::no_shelf::NoShelf;

/// Where a connector's cases lie, in its folder.
const CASES: &str = "tests/golden";

/// Holds a component against its golden cases and what every connector must bear.
pub(super) async fn test(component: &Path, cases: Option<&Path>, output: &Output) -> Result<bool> {
    let cases = match cases {
        Some(cases) => cases.to_path_buf(),
        None => beside(component)?,
    };
    let compiled = tempdir()?;
    let sandbox = Sandbox::new(
        SandboxConfig {
            cache_dir: compiled.clone(),
            compiler: compiler::of_this_program(),
            egress: EgressConfig::default(),
        },
        Arc::new(NoShelf),
        Arc::new(SystemClock),
    )?;
    output.progress(&format!("Loading {} …", component.display()));
    let plugin = sandbox
        .load(plugin::looked_at(name_of(component)?, component.to_path_buf()))
        .await?;
    let rehearsal = sandbox.rehearse(component).await?;
    output.progress(&format!("Playing the cases of {} …\n", cases.display()));
    let report = mantle_kit::examine(&plugin, &rehearsal, &cases)
        .await
        .map_err(anyhow::Error::msg)?;
    // What was compiled for this run alone.
    let _ = std::fs::remove_dir_all(&compiled);
    let told = json!({
        "name": plugin.connector(),
        "version": plugin.version(),
        "digest": plugin.digest(),
        "good": report.good(),
        "report": report,
    });
    let head = format!(
        "{} {}  sha256 {}",
        plugin.title(),
        plugin.version(),
        plugin.digest().get(..12).unwrap_or_default()
    );
    output.answer(&told, &page(&head, &report));
    Ok(report.good())
}

fn beside(component: &Path) -> Result<PathBuf> {
    let folders = component.ancestors().skip(1);
    let mut cases = folders.map(|folder| folder.join(CASES)).filter(|cases| cases.is_dir());
    cases.next().with_context(|| {
        format!(
            "There is no {CASES} beside {} or above it. Name the folder of the cases: --cases <FOLDER>",
            component.display()
        )
    })
}

fn tempdir() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("mantle-kit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn name_of(component: &Path) -> Result<String> {
    let stem = component.file_stem().and_then(|stem| stem.to_str());
    Ok(stem.context("The file has no name")?.to_owned())
}

fn page(head: &str, report: &Report) -> String {
    let mut page = format!("{head}\n\nWhat it must bear\n");
    for check in &report.checks {
        page.push_str(&check_lines(check));
    }
    page.push_str("\nWhat it can do, and the cases that show it\n");
    for claim in &report.claims {
        page.push_str(&claim_line(claim));
    }
    let mib = |bytes: usize| format!("{}.{} MiB", bytes >> 20, (bytes % (1 << 20)) * 10 / (1 << 20));
    page.push_str(&format!(
        "\nMost memory of a call   {} of {}\nSlowest call           {} ms\n\n{}\n",
        mib(report.memory_bytes),
        mib(report.memory_bytes_max),
        report.slowest_us.div_ceil(1000),
        verdict(report),
    ));
    page
}

fn check_lines(check: &Check) -> String {
    let mark = match (check.problems.is_empty(), check.tried) {
        (true, 0) => "-",
        (true, _) => "ok",
        (false, _) => "FAILS",
    };
    let mut lines = format!("  {mark:<6} {} ({})\n", check.title, check.tried);
    for problem in &check.problems {
        lines.push_str(&format!("           {problem}\n"));
    }
    lines
}

fn claim_line(claim: &Claim) -> String {
    if claim.shown_by.is_empty() {
        return format!("  FAILS  {}: no case shows it\n", claim.claim);
    }
    format!("  ok     {}: {}\n", claim.claim, claim.shown_by.join(", "))
}

fn verdict(report: &Report) -> &'static str {
    if report.good() {
        "The connector keeps to its interface and shows all that it claims."
    } else {
        "The connector is not ready: mend what fails, or claim less in connector.toml."
    }
}

//! What authors of connectors are given: `mantle plugin new`, `build` and `test`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mantle_kit::scaffold::{self, Language};
use mantle_kit::{Check, Claim, Report};
use mantle_sandbox::{Plugin, Sandbox};
use serde_json::json;
use tempfile::TempDir;

use super::output::Output;
use super::plugin;

/// Where a connector's cases lie, in its folder.
const CASES: &str = "tests/golden";

/// What a connector is written in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Lang {
    Rust,
    Javascript,
    Python,
}

/// Makes the folder of a new connector.
pub(super) fn new(folder: &Path, lang: Lang, output: &Output) -> Result<bool> {
    let language = match lang {
        Lang::Rust => Language::Rust,
        Lang::Javascript => Language::JavaScript,
        Lang::Python => Language::Python,
    };
    scaffold::create(folder, language).map_err(anyhow::Error::msg)?;
    let place = folder.display();
    output.answer(
        &json!({ "folder": folder }),
        &format!(
            "Made {place}. Its README.md says what is where.\n\n  cd {place}\n  mantle plugin build\n  mantle plugin test"
        ),
    );
    Ok(true)
}

/// Builds the connector of a folder and loads what came out.
pub(super) async fn build(folder: &Path, output: &Output) -> Result<bool> {
    output.progress(&format!("Building {} …", folder.display()));
    let folder = folder.to_owned();
    let built = tokio::task::spawn_blocking(move || mantle_kit::build::build(&folder)).await?;
    let component = built.map_err(anyhow::Error::msg)?;
    let bytes = std::fs::metadata(&component)?.len();
    let bench = Bench::open()?;
    let plugin = bench.load(&component).await?;
    output.answer(
        &json!({
            "component": component,
            "bytes": bytes,
            "digest": plugin.digest(),
            "name": plugin.connector(),
            "version": plugin.version(),
        }),
        &format!(
            "{} {} is {} ({} KB, sha256 {}). It fits this host.",
            plugin.title(),
            plugin.version(),
            component.display(),
            bytes.div_ceil(1000),
            plugin.digest().get(..12).unwrap_or_default(),
        ),
    );
    Ok(true)
}

/// A sandbox for one run.
struct Bench {
    sandbox: Sandbox,
    /// What it compiles; gone with it, and nobody else's to write to meanwhile.
    _compiled: TempDir,
}

impl Bench {
    fn open() -> Result<Self> {
        let compiled = TempDir::with_prefix("mantle-kit-").context("a folder for what is compiled cannot be made")?;
        Ok(Self {
            sandbox: plugin::sandbox(compiled.path().to_owned())?,
            _compiled: compiled,
        })
    }

    async fn load(&self, component: &Path) -> Result<Arc<Plugin>> {
        let entry = plugin::looked_at(name_of(component)?, component.to_path_buf());
        Ok(self.sandbox.load(entry).await?)
    }
}

/// The component that is meant by a file, or by the folder of a connector.
fn meant(named: &Path) -> Result<PathBuf> {
    if !named.is_dir() {
        return Ok(named.to_owned());
    }
    let listed = std::fs::read_dir(named).with_context(|| format!("reading {}", named.display()))?;
    let mut found: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|end| end == "wasm") && path.file_stem() != Some(TOOLS_OWN.as_ref())
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(component), true) => Ok(component),
        (None, _) => bail!(
            "{} holds no .wasm file; build it first: mantle plugin build",
            named.display()
        ),
        _ => bail!("{} holds several .wasm files; name one", named.display()),
    }
}

/// What the tools of some languages leave beside the component with its manifest.
const TOOLS_OWN: &str = "component";

/// Holds a component against its golden cases and what every connector must bear.
pub(super) async fn test(named: &Path, cases: Option<&Path>, output: &Output) -> Result<bool> {
    let component = &std::path::absolute(meant(named)?)?;
    let cases = match cases {
        Some(cases) => cases.to_path_buf(),
        None => beside(component)?,
    };
    output.progress(&format!("Loading {} …", component.display()));
    let bench = Bench::open()?;
    let plugin = bench.load(component).await?;
    let rehearsal = bench.sandbox.rehearse(component).await?;
    output.progress(&format!("Playing the cases of {} …\n", cases.display()));
    let report = mantle_kit::examine(&plugin, &rehearsal, &cases)
        .await
        .map_err(anyhow::Error::msg)?;
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

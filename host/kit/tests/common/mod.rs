//! Loads components for the kit, without a host behind them.

use std::path::Path;
use std::sync::Arc;

use mantle_egress::EgressConfig;
use mantle_kit::Report;
use mantle_model::clock::SystemClock;
use mantle_model::secret::Secrets;
use mantle_sandbox::{Compiler, Grants, LoadError, NoShelf, Plugin, PluginEntry, Rehearsal, Sandbox, SandboxConfig};

pub async fn loaded(component: &Path) -> Result<(Arc<Plugin>, Rehearsal), LoadError> {
    let config = SandboxConfig {
        cache_dir: mantle_components::workspace_root().join("target/kit-compiled"),
        compiler: Compiler::inside(),
        egress: EgressConfig::default(),
    };
    let sandbox = Sandbox::new(config, Arc::new(NoShelf), Arc::new(SystemClock))?;
    let entry = PluginEntry {
        name: "tried".to_owned(),
        component: component.to_owned(),
        source: String::new(),
        sha256: None,
        memory_mib: None,
        grants: Some(Grants::Asked),
        secrets: Secrets::default(),
        before: None,
        trial_percent: 100,
    };
    let plugin = sandbox.load(entry).await?;
    Ok((plugin, sandbox.rehearse(component).await?))
}

/// Of all checks, and the claims that nothing shows.
pub fn problems(report: &Report) -> Vec<String> {
    let checks = report.checks.iter().flat_map(|check| {
        let problem = |problem: &String| format!("{}: {problem}", check.title);
        check.problems.iter().map(problem).collect::<Vec<_>>()
    });
    let claims = report.claims.iter().filter(|claim| claim.shown_by.is_empty());
    checks
        .chain(claims.map(|claim| format!("{}: not shown", claim.claim)))
        .collect()
}

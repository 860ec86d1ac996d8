//! Loads components for the kit, without a host behind them.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mantle_egress::{ByteStream, EgressConfig};
use mantle_kit::Report;
use mantle_model::clock::SystemClock;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::secret::{Secret, Secrets};
use mantle_sandbox::{
    Compiler, Grants, LoadError, Plugin, PluginEntry, Rehearsal, Sandbox, SandboxConfig, Shelf, ShelfError, ShelfFile,
};

struct Nothing;

fn nothing<T>() -> Result<T, ShelfError> {
    Err(ShelfError::Unavailable("nothing is kept here".to_owned()))
}

#[async_trait]
impl Shelf for Nothing {
    async fn put(&self, _: Option<String>, _: Option<String>, _: u64, _: ByteStream) -> Result<ShelfFile, ShelfError> {
        nothing()
    }
    async fn stat(&self, _: MediaId) -> Result<ShelfFile, ShelfError> {
        nothing()
    }
    async fn open(&self, _: MediaId) -> Result<ByteStream, ShelfError> {
        nothing()
    }
    async fn read(&self, _: MediaId, _: u64, _: u32) -> Result<Vec<u8>, ShelfError> {
        nothing()
    }
    fn link(&self, _: MediaId) -> String {
        String::new()
    }
    async fn kv_get(&self, _: ChannelId, _: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        nothing()
    }
    async fn kv_set(
        &self,
        _: ChannelId,
        _: &str,
        _: Option<Option<Vec<u8>>>,
        _: Option<Vec<u8>>,
        _: Option<u64>,
    ) -> Result<bool, ShelfError> {
        nothing()
    }
    async fn renew_secrets(&self, _: ChannelId, _: Vec<(String, Secret)>) -> Result<(), ShelfError> {
        nothing()
    }
}

pub async fn loaded(component: &Path) -> Result<(Arc<Plugin>, Rehearsal), LoadError> {
    let config = SandboxConfig {
        cache_dir: mantle_components::workspace_root().join("target/kit-compiled"),
        compiler: Compiler::inside(),
        egress: EgressConfig::default(),
    };
    let sandbox = Sandbox::new(config, Arc::new(Nothing), Arc::new(SystemClock))?;
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

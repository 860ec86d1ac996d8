//! XT-4: every connector of the repository passes the kit as a compiled component, and one that claims more than its
//! cases show does not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mantle_egress::{ByteStream, EgressConfig};
use mantle_kit::{Report, examine};
use mantle_model::clock::SystemClock;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::secret::Secrets;
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
}

fn folder(name: &str) -> PathBuf {
    mantle_components::workspace_root().join("connectors").join(name)
}

async fn loaded(component: &Path) -> Result<(Arc<Plugin>, Rehearsal), LoadError> {
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

fn problems(report: &Report) -> Vec<String> {
    let checks = report.checks.iter().flat_map(|check| {
        let problem = |problem: &String| format!("{}: {problem}", check.title);
        check.problems.iter().map(problem).collect::<Vec<_>>()
    });
    let claims = report.claims.iter().filter(|claim| claim.shown_by.is_empty());
    checks
        .chain(claims.map(|claim| format!("{}: not shown", claim.claim)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_every_connector_shows_what_it_claims_as_a_component() {
    let components = mantle_components::build().unwrap();
    for name in mantle_components::connector_names().unwrap() {
        let (plugin, rehearsal) = loaded(&components.join(format!("{name}.wasm"))).await.unwrap();
        let report = examine(&plugin, &rehearsal, &folder(&name).join("tests/golden"))
            .await
            .unwrap();
        assert_eq!(problems(&report), Vec::<String>::new(), "{name}");
        assert!(
            report.checks.iter().all(|check| check.tried > 0),
            "{name}: {:?}",
            report.checks
        );
        assert!(report.memory_bytes <= report.memory_bytes_max, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_a_claim_without_a_case_and_an_outcome_that_differs_fail() {
    let components = mantle_components::build().unwrap();
    let (plugin, rehearsal) = loaded(&components.join("telegram.wasm")).await.unwrap();
    let few = tempfile::tempdir().unwrap();
    for file in ["check_healthy.in.json", "check_healthy.out.json", "out_photo.in.json"] {
        let from = folder("telegram").join("tests/golden").join(file);
        std::fs::copy(from, few.path().join(file)).unwrap();
    }
    // The answer to another message than the one that was sent.
    let other = folder("telegram").join("tests/golden/out_audio.out.json");
    std::fs::copy(other, few.path().join("out_photo.out.json")).unwrap();
    let report = examine(&plugin, &rehearsal, few.path()).await.unwrap();
    assert!(!report.good());
    let problems = problems(&report);
    let has = |words: &str| problems.iter().any(|problem| problem.contains(words));
    assert!(has("out_photo: /requests/0/body/"), "{problems:?}");
    assert!(has("sends files as voice: not shown"), "{problems:?}");
    assert!(has("sends text: not shown"), "{problems:?}");
    assert!(!has("tells how the channel is"), "{problems:?}");
}

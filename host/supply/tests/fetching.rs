//! Components fetched from a registry and from a file server that do what they should, and from ones that do not.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test itself")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mantle_model::secret::Secret;
use mantle_supply::{Depot, Fetched, Fetcher, Limits, Login, Reference, Source, SupplyError, generate_key, sign};
use mantle_world::registry::{FILES, Push, REGISTRY};
use mantle_world::{Fault, World};
use sha2::{Digest, Sha256};
use url::Url;

/// As much as a component of these tests may have, in bytes.
const SMALL: u64 = 1_000;
/// A server that says nothing for so long is too slow.
const SILENCE: Duration = Duration::from_millis(200);

struct Stage {
    world: World,
    folder: tempfile::TempDir,
    fetcher: Fetcher,
}

impl Stage {
    async fn new() -> Self {
        Self::with(BTreeMap::new()).await
    }

    async fn with(logins: BTreeMap<String, Login>) -> Self {
        let world = World::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            component_bytes: SMALL,
            answer_time: Duration::from_secs(10),
            component_time: Duration::from_secs(10),
            silence: SILENCE,
        };
        let redirects: Vec<(Url, Url)> = world
            .redirects()
            .iter()
            .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
            .collect();
        let depot = Depot::new(folder.path().join("components"));
        Self {
            fetcher: Fetcher::new(&redirects, logins, depot, limits).unwrap(),
            folder,
            world,
        }
    }

    async fn pull(&self, text: &str) -> Result<Fetched, SupplyError> {
        self.fetcher.registry(&reference(text)).await
    }

    async fn get(&self, path: &str, sha256: &str) -> Result<Fetched, SupplyError> {
        let url = format!("{FILES}{path}").parse().unwrap();
        self.fetcher.https(&url, sha256, true).await
    }

    /// Files of the depot; a download that failed must leave none.
    fn kept(&self) -> usize {
        files(&self.folder.path().join("components"))
    }

    fn assert_lawful(&self) {
        assert_eq!(self.world.violations(), []);
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn reference(text: &str) -> Reference {
    match Source::parse(&format!("oci://{REGISTRY}/{text}")) {
        Some(Ok(Source::Registry(reference))) => reference,
        other => panic!("{other:?}"),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
fn refused(outcome: Result<Fetched, SupplyError>, words: &[&str]) {
    let problem = outcome.unwrap_err().to_string();
    for part in words {
        assert!(problem.contains(part), "{problem}\n does not hold\n{part}");
    }
}

#[tokio::test]
async fn xt_1_a_component_is_pulled_by_tag_and_by_digest_and_not_twice() {
    let stage = Stage::new().await;
    let key = generate_key().unwrap();
    let signature = sign(b"component", &key).unwrap();
    let push = Push {
        annotations: BTreeMap::from([("dev.mantle.signature.ed25519".to_owned(), signature.clone())]),
        ..Push::default()
    };
    let manifest = stage.world.registry.push("owner/echo", "1.0", b"component", &push);
    let fetched = stage.pull("owner/echo:1.0").await.unwrap();
    assert_eq!(fetched.kept.bytes, b"component");
    assert_eq!(fetched.kept.sha256, sha256(b"component"));
    assert_eq!(fetched.kept.signature.as_deref(), Some(signature.trim()));
    assert_eq!(fetched.manifest.as_deref(), Some(manifest.as_str()));
    assert_eq!(stage.world.registry.take_calls(), ["manifest", "blob"]);

    let again = stage.pull(&format!("owner/echo@sha256:{manifest}")).await.unwrap();
    assert_eq!(again, fetched);
    assert_eq!(stage.world.registry.take_calls(), ["manifest"], "it is here already");
    stage.assert_lawful();
}

#[tokio::test]
async fn a_token_is_asked_for_and_stays_with_the_registry() {
    let stage = Stage::new().await;
    stage.world.registry.push("echo", "1", b"component", &Push::default());
    stage.world.registry.want_token();
    stage.world.registry.keep_blobs_elsewhere();
    stage.pull("echo:1").await.unwrap();
    let calls = stage.world.registry.take_calls();
    assert_eq!(calls, ["manifest", "token", "manifest", "blob", "storage"]);
    // That the token did not go to the storage is a rule of the stand-in.
    stage.assert_lawful();
}

#[tokio::test]
async fn a_login_is_used_and_its_absence_is_told() {
    let login = Login {
        user: "robot".to_owned(),
        password: Secret::new("s3cret".to_owned()),
    };
    let stage = Stage::with(BTreeMap::from([(REGISTRY.to_owned(), login)])).await;
    stage.world.registry.push("echo", "1", b"component", &Push::default());
    stage.world.registry.want_login("robot", "s3cret");
    stage.pull("echo:1").await.unwrap();
    stage.world.registry.want_login("robot", "another");
    refused(
        stage.pull("echo:1").await,
        &[
            "auth.registry.example answered 401 when asked for the token",
            "[registries.",
        ],
    );
    stage.assert_lawful();
}

#[tokio::test]
async fn d18_what_is_not_what_it_should_be_is_not_kept() {
    let stage = Stage::new().await;
    let registry = &stage.world.registry;
    let manifest = registry.push("echo", "1", b"component", &Push::default());
    registry.corrupt(b"component", b"COMPONENT");
    refused(
        stage.pull("echo:1").await,
        &["registry.example sends has the SHA-256", "nothing was taken"],
    );
    registry.corrupt(b"component", b"compon");
    refused(
        stage.pull("echo:1").await,
        &["sent 6 bytes where its manifest announces 9"],
    );

    registry.push("echo", "1", b"another", &Push::default());
    registry.clean_up();
    refused(
        stage.pull(&format!("echo@sha256:{manifest}")).await,
        &["registry.example has no manifest of oci://registry.example/echo@sha256:"],
    );
    refused(stage.pull("echo:2").await, &["correct the name or the tag, or push it"]);

    let image = Push {
        config_type: Some("application/vnd.oci.image.config.v1+json".to_owned()),
        ..Push::default()
    };
    registry.push("nginx", "1", b"layers", &image);
    refused(
        stage.pull("nginx:1").await,
        &["is an image of something else", "`wkg oci push`"],
    );

    registry.put_file("/echo.wasm", b"component");
    refused(
        stage.get("/echo.wasm", &"00".repeat(32)).await,
        &[
            "files.example sends has the SHA-256",
            "change the digest if you trust this one",
        ],
    );
    refused(
        stage.get("/absent.wasm", &"00".repeat(32)).await,
        &["files.example answered 404 when asked for the component: there is none"],
    );
    assert_eq!(stage.kept(), 0, "nothing is left of what was refused");
    stage.assert_lawful();
}

#[tokio::test]
async fn d15_too_much_and_too_slow_is_given_up() {
    let stage = Stage::new().await;
    let registry = &stage.world.registry;
    let large = vec![7; SMALL as usize + 1];
    registry.push("large", "1", &large, &Push::default());
    refused(
        stage.pull("large:1").await,
        &["larger than 1000 bytes", "build it smaller"],
    );
    registry.put_file("/endless.wasm", b"x");
    // The signature's question is the first.
    registry.faults().next_on("file", Fault::Refuse(404));
    registry.faults().next_on("file", Fault::Endless);
    refused(
        stage.get("/endless.wasm", &"00".repeat(32)).await,
        &["larger than 1000 bytes"],
    );

    registry.push("echo", "1", b"component", &Push::default());
    registry.faults().next_on("blob", Fault::Slow(SILENCE * 5));
    refused(
        stage.pull("echo:1").await,
        &["registry.example is too slow: nothing came for 200ms"],
    );
    registry.faults().next_on("manifest", Fault::Reset);
    refused(stage.pull("echo:1").await, &["registry.example cannot be asked"]);
    registry.faults().next_on("manifest", Fault::Garbage);
    refused(stage.pull("echo:1").await, &["has a manifest that cannot be read"]);
    assert_eq!(stage.kept(), 0);
    // And it is no harm that lasts.
    stage.pull("echo:1").await.unwrap();
    stage.assert_lawful();
}

#[tokio::test]
async fn a_file_is_fetched_with_the_signature_beside_it() {
    let stage = Stage::new().await;
    let digest = sha256(b"component");
    stage.world.registry.put_file("/v1/echo.wasm", b"component");
    assert_eq!(stage.get("/v1/echo.wasm", &digest).await.unwrap().kept.signature, None);
    // It was signed later: the component is not fetched again.
    stage.world.registry.put_file("/v1/echo.wasm.sig", b"c2lnbmVk\n");
    let _ = stage.world.registry.take_calls();
    let signed = stage.get("/v1/echo.wasm", &digest).await.unwrap();
    assert_eq!(signed.kept.signature.as_deref(), Some("c2lnbmVk"));
    assert_eq!(stage.world.registry.take_calls(), ["file"]);
    assert_eq!(stage.kept(), 2, "component and signature");
}

#[tokio::test]
async fn a_place_that_is_not_public_is_reached_by_the_operators_word_alone() {
    let stage = Stage::new().await;
    let url: Url = "https://127.0.0.1:9/echo.wasm".parse().unwrap();
    let outcome = stage.fetcher.https(&url, &"00".repeat(32), false).await;
    refused(outcome, &["127.0.0.1 cannot be asked", "[egress.redirect]"]);
}

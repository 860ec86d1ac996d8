//! A registry of components by the OCI distribution specification (pull), and a plain file server beside it.
//!
//! It gives manifests by tag and by digest and blobs by digest, with the digest in a header; it asks for a token, of
//! anybody or of whoever knows the login; it leads to another host for blobs, where the token must not go along. Faults
//! find its calls as `manifest`, `blob`, `token`, `storage`, `file`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fault::Faults;
use crate::scene::{Scene, lock};
use crate::wire::{Call, Reply, Stand};

/// How the registry is called.
pub const REGISTRY: &str = "registry.example";
/// Where plain files lie.
pub const FILES: &str = "https://files.example";
const STORAGE: &str = "https://storage.example";
const TOKEN: &str = "registry-token-0123456789";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Cheap to copy; all copies are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    scene: Scene,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By digest, without `sha256:`.
    manifests: BTreeMap<String, Bytes>,
    blobs: BTreeMap<String, Bytes>,
    /// `name:tag` to the digest of the manifest.
    tags: BTreeMap<String, String>,
    files: BTreeMap<String, Bytes>,
    door: Door,
    blobs_elsewhere: bool,
    /// Operations that were answered, in order.
    calls: Vec<String>,
}

#[derive(Default, Clone, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// Anybody gets a token.
    Token,
    /// `user:password`
    Login(String),
}

/// What of a pushed image is out of the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Push {
    pub annotations: BTreeMap<String, String>,
    /// In place of that of WebAssembly.
    pub config_type: Option<String>,
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Registry {
    pub(crate) fn new(scene: Scene) -> Self {
        Self(Arc::new(Inner {
            scene,
            faults: Faults::default(),
            state: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Puts a component there under the tag, which is moved if it is elsewhere. Answers with the manifest's digest.
    pub fn push(&self, name: &str, tag: &str, component: &[u8], push: &Push) -> String {
        let config = Bytes::from_static(b"{}");
        let config_type = push
            .config_type
            .as_deref()
            .unwrap_or("application/vnd.wasm.config.v0+json");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": config_type, "digest": format!("sha256:{}", digest(&config)), "size": config.len()},
            "layers": [{"mediaType": "application/wasm", "digest": format!("sha256:{}", digest(component)),
                "size": component.len()}],
            "annotations": push.annotations,
        });
        let manifest = Bytes::from(manifest.to_string());
        let found = digest(&manifest);
        let mut state = lock(&self.0.state);
        state.blobs.insert(digest(component), Bytes::copy_from_slice(component));
        state.blobs.insert(digest(&config), config);
        state.tags.insert(format!("{name}:{tag}"), found.clone());
        state.manifests.insert(found.clone(), manifest);
        found
    }

    /// The blob of this component has other bytes from now on: a registry that lies.
    pub fn corrupt(&self, component: &[u8], bytes: &[u8]) {
        let mut state = lock(&self.0.state);
        state.blobs.insert(digest(component), Bytes::copy_from_slice(bytes));
    }

    /// Manifests that no tag names are gone, as after a clean-up.
    pub fn clean_up(&self) {
        let mut state = lock(&self.0.state);
        let State { manifests, tags, .. } = &mut *state;
        manifests.retain(|known, _| tags.values().any(|tagged| tagged == known));
    }

    /// Whoever asks needs a token, and gets one.
    pub fn want_token(&self) {
        lock(&self.0.state).door = Door::Token;
    }

    /// Whoever asks needs a token, and gets one for this login.
    pub fn want_login(&self, user: &str, password: &str) {
        lock(&self.0.state).door = Door::Login(format!("{user}:{password}"));
    }

    /// Blobs are given out by another host.
    pub fn keep_blobs_elsewhere(&self) {
        lock(&self.0.state).blobs_elsewhere = true;
    }

    /// A file at this path of [`FILES`].
    pub fn put_file(&self, path: &str, bytes: &[u8]) {
        lock(&self.0.state)
            .files
            .insert(path.to_owned(), Bytes::copy_from_slice(bytes));
    }

    /// Operations that were answered since the last time, in order.
    #[must_use]
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0.state).calls)
    }

    pub(crate) fn origins() -> [&'static str; 4] {
        [
            "https://registry.example",
            "https://auth.registry.example",
            STORAGE,
            FILES,
        ]
    }

    fn admits(&self, call: &Call, state: &State) -> bool {
        match &state.door {
            Door::Open => true,
            Door::Token | Door::Login(_) => call.header("authorization") == format!("Bearer {TOKEN}"),
        }
    }

    fn token(&self, call: &Call, state: &State) -> Reply {
        if let Door::Login(login) = &state.door
            && call.header("authorization") != format!("Basic {}", STANDARD.encode(login))
        {
            return error(401, "UNAUTHORIZED");
        }
        let scope = call.parameter("scope").unwrap_or_default();
        if !scope.starts_with("repository:") || !scope.ends_with(":pull") {
            self.violation("token", format!("the scope is `{scope}`"));
        }
        Reply::json(200, &json!({"token": TOKEN, "expires_in": 300}))
    }

    fn manifest(&self, call: &Call, state: &State, name: &str, reference: &str) -> Reply {
        if !call.header("accept").contains(MANIFEST) {
            self.violation("manifest", "the manifest of an image is not accepted".to_owned());
        }
        let found = match reference.strip_prefix("sha256:") {
            Some(digest) => Some(digest.to_owned()),
            None => state.tags.get(&format!("{name}:{reference}")).cloned(),
        };
        let manifest = found.and_then(|digest| Some((state.manifests.get(&digest)?.clone(), digest)));
        match manifest {
            Some((bytes, digest)) => {
                Reply::typed(200, MANIFEST, bytes).with("docker-content-digest", format!("sha256:{digest}"))
            }
            None => error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn violation(&self, call: &str, problem: String) {
        self.0.scene.violation("registry", call, problem);
    }
}

fn error(status: u16, code: &str) -> Reply {
    Reply::json(
        status,
        &json!({"errors": [{"code": code, "message": code, "detail": Value::Null}]}),
    )
}

fn bytes(found: Option<&Bytes>) -> Reply {
    found.map_or_else(
        || error(404, "BLOB_UNKNOWN"),
        |bytes| Reply::typed(200, "application/octet-stream", bytes.clone()),
    )
}

impl Stand for Registry {
    fn operation(&self, call: &Call) -> String {
        match call.pieces().as_slice() {
            [v2, .., what, _] if v2 == "v2" => what.trim_end_matches('s').to_owned(),
            [token] if token == "token" => "token".to_owned(),
            [storage, _] if storage == "storage" => "storage".to_owned(),
            _ => "file".to_owned(),
        }
    }

    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        error(status, "UNKNOWN")
    }

    async fn answer(&self, call: Call) -> Reply {
        let operation = self.operation(&call);
        if call.method != Method::GET {
            self.violation(&operation, format!("{} is no pull", call.method));
            return error(405, "UNSUPPORTED");
        }
        let mut state = lock(&self.0.state);
        state.calls.push(operation);
        let pieces = call.pieces();
        match pieces.as_slice() {
            [token] if token == "token" => self.token(&call, &state),
            [storage, digest] if storage == "storage" => {
                if !call.header("authorization").is_empty() {
                    self.violation("storage", "the registry's token went to another host".to_owned());
                }
                bytes(state.blobs.get(digest))
            }
            [v2, ..] if v2 == "v2" && !self.admits(&call, &state) => error(401, "UNAUTHORIZED").with(
                "www-authenticate",
                "Bearer realm=\"https://auth.registry.example/token\",service=\"registry.example\",\
                 scope=\"repository:x:pull\"",
            ),
            [v2, name @ .., what, reference] if v2 == "v2" && what == "manifests" => {
                self.manifest(&call, &state, &name.join("/"), reference)
            }
            [v2, .., what, digest] if v2 == "v2" && what == "blobs" => {
                let digest = digest.trim_start_matches("sha256:");
                if state.blobs_elsewhere {
                    return Reply::empty(307).with("location", format!("{STORAGE}/storage/{digest}"));
                }
                bytes(state.blobs.get(digest))
            }
            _ => bytes(state.files.get(&call.path)),
        }
    }
}

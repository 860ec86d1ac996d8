//! From a file and an entry of `plugins.toml` to a plugin, or to a sentence that names the place and the fix.
//!
//! Order: size, digest, manifest, grants, then compiling off the request path, then the type check. No code of the
//! connector runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantle_egress::Egress;
use mantle_model::capabilities::RetrySafety;
use mantle_model::secret::Secrets;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre};

use crate::admission::Admission;
use crate::bindings::{self, MinimalPre};
use crate::call::CallState;
use crate::engine::Shared;
use crate::grants;
use crate::imports::Allowance;
use crate::limits;
use crate::manifest::Manifest;
use crate::plugin::{Exports, Parts, Plugin};
use crate::plugins::Before;
use crate::rights::Rights;

/// One enabled connector as `plugins.toml` names it.
#[derive(Debug, Clone)]
pub struct PluginEntry {
    pub name: String,
    pub component: PathBuf,
    /// How errors call the component's place; empty: by its path.
    pub source: String,
    /// Hex; a mismatch refuses the plugin.
    pub sha256: Option<String>,
    pub memory_mib: Option<u32>,
    pub grants: Option<Grants>,
    /// Secrets of a provider app shared by all its channels.
    pub secrets: Secrets,
    /// None: nothing of this plugin was consented to before, so that `grants` is the consent.
    pub before: Option<Before>,
    /// What a newer version takes of the work at first. 100: all of it at once.
    pub trial_percent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// All that the manifest asks for.
    Asked,
    /// Only these hosts.
    Egress(Vec<String>),
}

/// Why a component is not loaded: names the place and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// The version of the interface that this host speaks.
const PACKAGE: &str = "mantle:connector/";
const MAJOR: &str = "1.";
/// What a component may import beside our own interfaces: all of it is linked without any right.
const INERT: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// # Errors
/// See [`LoadError`].
pub(crate) async fn load(shared: &Arc<Shared>, entry: PluginEntry) -> Result<Plugin, LoadError> {
    let place = match entry.source.as_str() {
        "" => entry.component.display().to_string(),
        source => source.to_owned(),
    };
    let plugin = entry.name.clone();
    prepare(shared, entry)
        .await
        .map_err(|problem| LoadError(format!("plugin `{plugin}`, {place}: {problem}")))
}

async fn prepare(shared: &Arc<Shared>, entry: PluginEntry) -> Result<Plugin, String> {
    let bytes = read(&entry.component).await?;
    let digest = hex::encode(Sha256::digest(&bytes));
    if let Some(pinned) = &entry.sha256
        && !pinned.eq_ignore_ascii_case(&digest)
    {
        return Err(format!(
            "its SHA-256 is {digest}, but [plugins.{}] pins {pinned}; take the right file, or change `sha256` if you trust this one",
            entry.name
        ));
    }
    let manifest = Manifest::of_component(&bytes)?;
    let policy = grants::decide(&entry.name, entry.grants.as_ref(), &manifest)?;
    check_secrets(&entry, &manifest)?;
    let memory_mib = entry.memory_mib.unwrap_or(manifest.memory_mib);
    if !(1..=limits::MEMORY_MIB_MAX).contains(&memory_mib) {
        return Err(format!(
            "[plugins.{}] memory_mib = {memory_mib} is not between 1 and {}",
            entry.name,
            limits::MEMORY_MIB_MAX
        ));
    }
    let exports = compile(shared, &entry.name, digest.clone(), bytes).await?;
    if manifest.capabilities.delivery.retry == RetrySafety::ReadBack && exports.reconcile.is_none() {
        return Err(
            "capabilities.delivery.retry = \"read-back\" needs the export `reconcile`; export it, or name another class"
                .to_owned(),
        );
    }
    // The operator's own limit is nothing that the connector could widen.
    let asked_memory = entry.memory_mib.is_none().then_some(manifest.memory_mib);
    let rights = Rights::of(&manifest, &policy, asked_memory);
    let egress = Egress::new(&shared.egress).map_err(|error| format!("its HTTP client cannot be set up: {error}"))?;
    let parts = Parts {
        name: entry.name,
        digest,
        manifest,
        policy,
        rights,
        egress,
        secrets: entry.secrets,
        memory_bytes_max: (memory_mib as usize) << 20,
        engine: shared.engine.clone(),
        shelf: Arc::clone(&shared.shelf),
        clock: Arc::clone(&shared.clock),
        http_calls: Arc::clone(&shared.http_calls),
        log_allowance: Allowance::default(),
    };
    Ok(Plugin {
        parts: Arc::new(parts),
        exports,
        admission: Admission::new(Arc::clone(&shared.calls)),
    })
}

pub(crate) async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file; build the connectors or correct `component`".to_owned(),
        _ => format!("it cannot be read ({error}); check its owner and rights"),
    };
    let bytes = tokio::fs::metadata(path).await.map_err(fail)?.len();
    if bytes > limits::COMPONENT_BYTES_MAX {
        return Err(format!(
            "it has {bytes} bytes, at most {} are loaded",
            limits::COMPONENT_BYTES_MAX
        ));
    }
    tokio::fs::read(path).await.map_err(fail)
}

fn check_secrets(entry: &PluginEntry, manifest: &Manifest) -> Result<(), String> {
    let known = manifest.secret_names().collect::<Vec<_>>();
    match entry.secrets.names().find(|name| !known.contains(name)) {
        Some(name) => Err(format!(
            "[plugins.{}.secrets] has `{name}`, which the connector does not use; its secrets are: {}",
            entry.name,
            known.join(", ")
        )),
        None => Ok(()),
    }
}

/// From the cache, or compiled, which takes seconds. Off the threads that serve requests.
async fn compile(shared: &Arc<Shared>, plugin: &str, digest: String, bytes: Vec<u8>) -> Result<Exports, String> {
    let begun = std::time::Instant::now();
    let (sandbox, name) = (Arc::clone(shared), digest.clone());
    let found = apart(move || {
        let component = sandbox.cache.find(&sandbox.engine, &name);
        component.map(|component| type_check(&sandbox, &component)).transpose()
    });
    let (exports, origin) = match found.await? {
        Some(exports) => (exports, "cache"),
        None => {
            let compiled = shared.compiler.compile(&shared.engine, bytes).await?;
            let sandbox = Arc::clone(shared);
            let made = apart(move || {
                let component = sandbox.cache.keep(&sandbox.engine, &digest, &compiled);
                let component =
                    component.map_err(|error| format!("what the compiler made of it does not fit: {error}"))?;
                type_check(&sandbox, &component)
            });
            (made.await?, "compiler")
        }
    };
    tracing::debug!(
        plugin,
        origin,
        ms = begun.elapsed().as_millis(),
        "Connector {plugin} is ready"
    );
    Ok(exports)
}

/// On a thread that may take its time.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("the sandbox crashed on it".to_owned()))
}

fn type_check(shared: &Shared, component: &Component) -> Result<Exports, String> {
    let component_type = component.component_type();
    for (import, _) in component_type.imports(&shared.engine) {
        check_import(import)?;
    }
    let named = |interface: &str| {
        let prefix = format!("{PACKAGE}{interface}@{MAJOR}");
        let mut names = component_type.exports(&shared.engine).map(|(name, _)| name);
        names.find(|name| name.starts_with(&prefix))
    };
    let exported = |interface: &str| named(interface).is_some();
    let Some(connector) = named("connector") else {
        let found = component_type
            .exports(&shared.engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.starts_with(PACKAGE))
            .collect::<Vec<_>>();
        let found = if found.is_empty() {
            "nothing of mantle:connector".to_owned()
        } else {
            found.join(", ")
        };
        return Err(format!(
            "{}: it does not export {PACKAGE}connector@{MAJOR}0.0; it exports {found}. Build it with a mantle-sdk of version 1",
            host()
        ));
    };
    let guest = connector.rsplit_once('@').map_or(connector, |(_, version)| version);
    let mismatch = |part: &str, error: &wasmtime::Error| mismatch(guest, part, error);
    let pre = shared
        .linker
        .instantiate_pre(component)
        .map_err(|error| mismatch("an import", &error))?;
    let minimal = MinimalPre::new(pre.clone()).map_err(|error| mismatch("`connector`", &error))?;
    let interface = component.get_export_index(None, connector);
    let receive = interface.and_then(|interface| component.get_export_index(Some(&interface), "receive"));
    Ok(Exports {
        interface: guest.to_owned(),
        receive: receive.ok_or_else(|| format!("{}: `connector` has no `receive`", host()))?,
        minimal,
        lifecycle: optional(
            (&pre, guest),
            exported("lifecycle"),
            "lifecycle",
            bindings::lifecycle::WithLifecyclePre::new,
        )?,
        inbound_media: optional(
            (&pre, guest),
            exported("inbound-media"),
            "inbound-media",
            bindings::inbound_media::WithInboundMediaPre::new,
        )?,
        reconcile: optional(
            (&pre, guest),
            exported("reconcile"),
            "reconcile",
            bindings::reconcile::WithReconcilePre::new,
        )?,
        profile: optional(
            (&pre, guest),
            exported("profile"),
            "profile",
            bindings::profile::WithProfilePre::new,
        )?,
        templates: optional(
            (&pre, guest),
            exported("templates"),
            "templates",
            bindings::templates::WithTemplatesPre::new,
        )?,
    })
}

fn optional<T>(
    (pre, guest): (&InstancePre<CallState>, &str),
    present: bool,
    interface: &str,
    new: impl FnOnce(InstancePre<CallState>) -> wasmtime::Result<T>,
) -> Result<Option<T>, String> {
    let made = present.then(|| new(pre.clone())).transpose();
    made.map_err(|error| mismatch(guest, &format!("`{interface}`"), &error))
}

pub(crate) fn check_import(import: &str) -> Result<(), String> {
    if import.starts_with(PACKAGE) || INERT.iter().any(|prefix| import.starts_with(prefix)) {
        return Ok(());
    }
    let fix = if import.starts_with("wasi:http/") {
        "make its calls through mantle:connector/http"
    } else {
        "remove what needs it; a connector may import mantle:connector and WASI 0.2 without http"
    };
    Err(format!(
        "{}: it imports `{import}`, which no connector gets; {fix}",
        host()
    ))
}

/// `guest` is the version of the interface that the component was built for; the error names the member.
fn mismatch(guest: &str, part: &str, error: &wasmtime::Error) -> String {
    format!(
        "{}, the component was built for {PACKAGE}*@{guest}: {part} does not fit: {error:#}. Build it with a mantle-sdk of \
         version 1 that is not newer than this host",
        host()
    )
}

fn host() -> String {
    format!("mantle {} speaks {PACKAGE}*@{MAJOR}0.0", env!("CARGO_PKG_VERSION"))
}

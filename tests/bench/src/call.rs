//! `call`: what the sandbox costs. The WhatsApp connector reads one text, once as the component in a fresh instance
//! and once as plain Rust in this program, turn by turn in one run, on one thread.
//!
//! The sandboxed call is the whole of what the host does for a hook: admission, a fresh store and instance, the hook
//! copied in, `receive`, the answer copied out and judged. The native one is `receive` alone with its copy of the hook.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mantle_connector_whatsapp::WhatsApp;
use mantle_egress::EgressConfig;
use mantle_model::clock::{Clock, SystemClock, Time};
use mantle_model::hook::Hook;
use mantle_model::ids::ChannelId;
use mantle_model::secret::Secrets;
use mantle_sandbox::{ChannelContext, Compiler, Grants, NoShelf, Plugin, PluginEntry, Sandbox, SandboxConfig};
use mantle_sdk::connector::Connector;
use mantle_sdk::host::Imports;
use mantle_world::whatsapp::Setup;
use serde::Serialize;

use crate::figures::{Measurement, Quantiles, Surroundings, rounded};
use crate::hooks::Writer;
use crate::stage;

/// 2026-11-18T11:06:40Z; no figure depends on it.
const NOW: i64 = 1_795_000_000;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Sandboxed calls, and as many native ones.
    pub calls: u32,
    /// Calls of one kind before the other kind has its turn.
    pub turn: u32,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub calls: u32,
    pub hook_bytes: usize,
    /// Microseconds of a call, the median of the turns' means.
    pub sandboxed_us: f64,
    pub native_us: f64,
    /// How many times longer the sandboxed call takes.
    pub ratio: f64,
    /// What the sandbox adds, in microseconds.
    pub added_us: f64,
    /// Sandboxed calls a second on one core.
    pub per_second_per_core: f64,
    /// Of the single sandboxed calls.
    #[serde(flatten)]
    pub latency: Quantiles,
}

/// # Errors
/// The component cannot be built or loaded, or reads something else than the native code does.
pub async fn run(folder: &Path, options: Options) -> Result<Measurement<Figures>> {
    std::fs::create_dir_all(folder)?;
    let surroundings = Surroundings::measure(folder)?;
    let bench = Bench::prepare().await?;
    bench.compare().await?;
    let turns = (options.calls / options.turn).max(1);
    let (mut sandboxed, mut native, mut single) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn warms caches and pool and is not counted.
    for turn in 0..=turns {
        let begun = Instant::now();
        let mut times = Vec::with_capacity(options.turn as usize);
        for _ in 0..options.turn {
            let begun = Instant::now();
            black_box(bench.sandboxed().await?);
            times.push(begun.elapsed());
        }
        let in_sandbox = begun.elapsed();
        let begun = Instant::now();
        for _ in 0..options.turn {
            black_box(bench.native()?);
        }
        if turn > 0 {
            sandboxed.push(in_sandbox / options.turn);
            native.push(begun.elapsed() / options.turn);
            single.extend(times);
        }
    }
    let (sandboxed, native) = (median_us(sandboxed), median_us(native));
    Ok(Measurement {
        measurement: "call.receive",
        figures: Figures {
            calls: turns * options.turn,
            hook_bytes: bench.hook.body.len(),
            sandboxed_us: rounded(sandboxed),
            native_us: rounded(native),
            ratio: rounded(sandboxed / native),
            added_us: rounded(sandboxed - native),
            per_second_per_core: rounded(1e6 / sandboxed),
            latency: Quantiles::of(single),
        },
        surroundings,
    })
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

struct Bench {
    plugin: Arc<Plugin>,
    context: ChannelContext,
    hook: Hook,
    native_hook: mantle_sdk::connector::Hook,
}

impl Bench {
    async fn prepare() -> Result<Self> {
        // The one choice of cryptography in the process; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = SandboxConfig {
            cache_dir: stage::compiled_folder()?,
            compiler: Compiler::inside(),
            egress: EgressConfig::default(),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let sandbox = Sandbox::new(config, Arc::new(NoShelf), clock)?;
        let plugin = sandbox
            .load(PluginEntry {
                name: "whatsapp".to_owned(),
                component: stage::components().await?.join("whatsapp.wasm"),
                sha256: None,
                memory_mib: None,
                grants: Some(Grants::Asked),
                secrets: Secrets::default(),
                source: String::new(),
                before: None,
                trial_percent: 100,
            })
            .await?;
        let signed = Writer::whatsapp(Setup::default()).write(1, 1);
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), "facebookexternalua".to_owned()),
            (signed.proof.0.to_owned(), signed.proof.1),
        ];
        let body = signed.body.to_vec();
        Ok(Self {
            plugin,
            context: ChannelContext {
                channel: ChannelId(1),
                fields: BTreeMap::from([("phone_number_id".to_owned(), Setup::default().phone_number_id)]),
                secrets: Secrets::default(),
                hook_url: "https://bridge.test/hooks/whatsapp/chn_1".to_owned(),
            },
            native_hook: mantle_sdk::connector::Hook {
                method: "POST".to_owned(),
                query: Vec::new(),
                headers: headers.clone(),
                body: body.clone(),
                received_at: NOW * 1000,
            },
            hook: Hook {
                method: "POST".to_owned(),
                path_and_query: "/hooks/whatsapp/chn_1".to_owned(),
                headers,
                body,
                received_at: Time::from_unix_seconds(NOW),
            },
        })
    }

    async fn sandboxed(&self) -> Result<mantle_sandbox::Inbound> {
        Ok(self.plugin.receive(&self.context, &self.hook).await?)
    }

    /// Reading a hook asks the host for nothing, so the imports, which do not exist here, are never called.
    fn native(&self) -> Result<mantle_sdk::connector::Inbound> {
        let read = WhatsApp::receive(black_box(self.native_hook.clone()), &Imports);
        read.map_err(|error| anyhow!("the connector refused the hook: {error:?}"))
    }

    /// Both must come to the same, or the ratio means nothing.
    async fn compare(&self) -> Result<()> {
        let (sandboxed, native) = (self.sandboxed().await?, self.native()?);
        let one = sandboxed.events.first().context("the component found no event")?;
        let other = native.events.first().context("the native code found no event")?;
        ensure!(
            sandboxed.events.len() == 1 && native.events.len() == 1 && one.key == other.key,
            "the component and the native code read the hook differently"
        );
        Ok(())
    }
}

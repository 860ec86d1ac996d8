//! `serve-compare`: a durable webhook through the sandbox beside what `wasmtime serve` makes of the same request when
//! nothing is stored, in one run.
//!
//! Both are processes of their own, take the same bodies from the same load generator over as many connections, and
//! have their turns one after the other. The component of `tests/bench/serve` verifies the same signature and reads the
//! request with the connector's own code. `wasmtime serve` runs as it does when nobody asks for anything else: a fresh
//! instance for each request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::ack::MEASURED_FROM;
use crate::cpu::{self, Cpu, CpuPerMessage};
use crate::figures::{Measurement, Quantiles, Surroundings, median, rate, rounded};
use crate::hooks::Writer;
use crate::load::{self, Door, Plan, Sent, Target, Until};
use crate::process::{Launch, Process, in_path};
use crate::stage::{Setup, Stage};

/// The version that Mantle's own sandbox is built from.
pub const VERSION: &str = "48.0.8";
const PROGRAM: &str = "wasmtime";
/// Around the address in the line that `wasmtime serve` says first.
const SERVES_AT: &str = "Serving HTTP on http://";

#[derive(Debug, Clone)]
pub struct Options {
    /// The program; see [`find`].
    pub wasmtime: PathBuf,
    pub connections: usize,
    pub customers: u64,
    /// Turns of each of the two.
    pub turns: usize,
    /// How long a turn is; the first one of each, half as long, warms up and is not counted.
    pub turn: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub connections: usize,
    pub turns: usize,
    pub turn_seconds: f64,
    pub mantle: Side,
    pub wasmtime_serve: Side,
    pub wasmtime_version: String,
    /// How many times as many Mantle acknowledges durably: of the medians.
    pub ratio: f64,
    /// The same of each pair of turns, lowest and highest.
    pub ratio_min: f64,
    pub ratio_max: f64,
    /// Of Mantle's CPU time for one webhook to that of `wasmtime serve`.
    pub cpu_ratio: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The median of the turns.
    pub per_second: f64,
    /// Of all turns together.
    #[serde(flatten)]
    pub latency: Quantiles,
    pub cpu_us_per_message: CpuPerMessage,
    pub turns_per_second: Vec<f64>,
}

/// Where the program is: here if it is named, else in `PATH`.
///
/// # Errors
/// It is nowhere; the text says how to have it.
pub fn find(named: Option<&Path>) -> Result<PathBuf> {
    let found = match named {
        Some(path) => path.is_file().then(|| path.to_owned()),
        None => in_path(PROGRAM),
    };
    found.with_context(|| {
        format!(
            "`{PROGRAM}` is not {}: install it with `cargo install wasmtime-cli --version ={VERSION} --locked`, or name \
             it with --wasmtime or MANTLE_WASMTIME",
            named.map_or_else(|| "in PATH".to_owned(), |path| format!("at {}", path.display()))
        )
    })
}

/// # Errors
/// One of the two does not start, refuses a hook, or takes a forged one; or the host stored something else than it
/// acknowledged.
pub async fn run(folder: &Path, setup: &Setup, options: &Options) -> Result<Measurement<Figures>> {
    let component = tokio::task::spawn_blocking(mantle_components::build_compared).await??;
    let version = version(&options.wasmtime).await?;
    let stage = Stage::start(folder, setup).await?;
    let stage = stage.context("the comparison is on SQLite, which is always there")?;
    stage.inbox.hold();
    let surroundings = Surroundings::measure(&stage.disk())?;
    let (process, addr) = Process::start(&launch(&options.wasmtime, &component), serving).await?;
    let other = Target {
        doors: vec![Door::at(addr)],
        path: "/".to_owned(),
        writer: stage.target().writer,
    };
    refuses_forged(&other).await?;
    let mut sides = (Turns::default(), Turns::default());
    let mut acknowledged = 0;
    for turn in 0..=options.turns {
        let sent = load::run(stage.target(), plan(options, turn)).await;
        acknowledged += sides.0.take(turn, sent?, stage.cpu().host)?;
        let sent = load::run(other.clone(), plan(options, turn)).await;
        sides.1.take(turn, sent?, cpu::of_process(process.id())?)?;
    }
    stage.holds(acknowledged).await?;
    process.kill().await?;
    stage.stop().await?;
    Ok(Measurement {
        measurement: "serve.compare",
        figures: figures(options, version, &sides),
        surroundings,
    })
}

fn plan(options: &Options, turn: usize) -> Plan {
    let time = if turn == 0 { options.turn / 2 } else { options.turn };
    Plan {
        first: MEASURED_FROM * (turn as u64 + 1),
        ..Plan::closed(options.connections, options.customers, Until::Time(time))
    }
}

fn figures(options: &Options, wasmtime_version: String, (mantle, other): &(Turns, Turns)) -> Figures {
    let (mantle, wasmtime_serve) = (mantle.side(), other.side());
    let pairs = mantle.turns_per_second.iter().zip(&wasmtime_serve.turns_per_second);
    let ratios: Vec<f64> = pairs.map(|(one, other)| rounded(one / other)).collect();
    Figures {
        connections: options.connections,
        turns: options.turns,
        turn_seconds: options.turn.as_secs_f64(),
        ratio: rounded(mantle.per_second / wasmtime_serve.per_second),
        ratio_min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratio_max: ratios.iter().copied().fold(0.0, f64::max),
        cpu_ratio: rounded(mantle.cpu_us_per_message.host / wasmtime_serve.cpu_us_per_message.host),
        mantle,
        wasmtime_serve,
        wasmtime_version,
    }
}

/// What one side did in its turns.
#[derive(Default)]
struct Turns {
    all: Vec<Sent>,
    /// CPU time of its process when the counted turns began, and at the end of the last one.
    cpu: (Duration, Duration),
}

impl Turns {
    /// `cpu`: of its process up to now. Answers with how many were acknowledged.
    fn take(&mut self, turn: usize, sent: Sent, cpu: Duration) -> Result<u64> {
        let good = sent.good().count();
        let bad = sent.samples.iter().find(|sample| !sample.is_good());
        ensure!(bad.is_none(), "a hook was answered otherwise than 200: {bad:?}");
        if turn == 0 {
            self.cpu.0 = cpu;
        } else {
            self.all.push(sent);
        }
        self.cpu.1 = cpu;
        Ok(good as u64)
    }

    fn side(&self) -> Side {
        let turns_per_second: Vec<f64> = self
            .all
            .iter()
            .map(|sent| rate(sent.samples.len(), sent.seconds()))
            .collect();
        let of = |host| Cpu { host, ..Cpu::default() };
        let messages = self.all.iter().map(|sent| sent.samples.len()).sum();
        let load = self.all.iter().map(|sent| sent.cpu).sum();
        Side {
            per_second: median(&turns_per_second).unwrap_or_default(),
            latency: Quantiles::of(self.all.iter().flat_map(Sent::took).collect()),
            cpu_us_per_message: CpuPerMessage::between(of(self.cpu.0), of(self.cpu.1), load, messages),
            turns_per_second,
        }
    }
}

fn launch(program: &Path, component: &Path) -> Launch {
    Launch {
        program: program.to_owned(),
        // `cli`: what the standard library of a component imports, the clock and the like.
        arguments: ["serve", "-S", "cli", "--addr", "127.0.0.1:0"]
            .into_iter()
            .map(Into::into)
            .chain([component.into()])
            .collect(),
        variables: Vec::new(),
        folder: std::env::temp_dir(),
    }
}

fn serving(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(SERVES_AT)?;
    rest.trim_end().trim_end_matches('/').parse().ok()
}

async fn version(program: &Path) -> Result<String> {
    let told = tokio::process::Command::new(program).arg("--version").output().await;
    let told = told.with_context(|| format!("starting {}", program.display()))?;
    let text = String::from_utf8_lossy(&told.stdout);
    let version = text
        .split_whitespace()
        .nth(1)
        .context("`wasmtime --version` told none")?;
    if version != VERSION {
        eprintln!("wasmtime is {version}; Mantle's sandbox is {VERSION}, and that is what to compare with");
    }
    Ok(version.to_owned())
}

/// Otherwise it would not do the same work.
async fn refuses_forged(target: &Target) -> Result<()> {
    let setup = mantle_world::whatsapp::Setup {
        app_secret: "another secret".to_owned(),
        ..mantle_world::whatsapp::Setup::default()
    };
    let forged = Target {
        writer: Writer::whatsapp(setup),
        ..target.clone()
    };
    let sent = load::run(forged, Plan::closed(1, 1, Until::Count(1))).await?;
    let status = sent.samples.first().map(|sample| sample.status);
    ensure!(
        status == Some(401),
        "a forged hook was answered {status:?} by the component"
    );
    Ok(())
}

//! The commands and what they mean when nobody says otherwise.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mantle_bench::stage::{Database, Setup};

use crate::all;

#[derive(Debug, Parser)]
#[command(
    name = "mantle-bench",
    about = "Measures Mantle; prints one line of JSON for each measurement."
)]
pub struct Cli {
    /// The folder for the databases: its disk is what is measured. PostgreSQL's lie in TMPDIR.
    #[arg(long, global = true, default_value = "target/bench")]
    pub folder: PathBuf,
    /// The host's program, instead of this one, which has the same host in it.
    #[arg(long, global = true)]
    pub mantle: Option<PathBuf>,
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// From a signed webhook to its durable 200, over HTTP.
    Ack(AckOptions),
    /// A sandboxed call of a connector beside the same code run natively.
    Call(CallOptions),
    /// Durable webhooks beside what `wasmtime serve` makes of the same requests and stores nothing, turn by turn.
    ServeCompare(CompareOptions),
    /// From a webhook to the message in the inbox.
    Roundtrip(RoundtripOptions),
    /// A backlog that goes into the inbox after an outage, and others who write meanwhile.
    Drain(DrainOptions),
    /// From the kill of a host to the next effect.
    Recovery(RecoveryOptions),
    /// Resident memory: idle, under load, and over minutes.
    Memory(MemoryOptions),
    /// Many times more hooks than the host can take.
    Overload(OverloadOptions),
    /// Acknowledgements while a large table is pruned, beside those at rest.
    Retention(RetentionOptions),
    /// All of them one after the other, small, with a table at the end.
    All(all::Options),
}

/// Where messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kept {
    Sqlite,
    Postgres,
}

#[derive(Debug, Args)]
pub struct On {
    #[arg(long, value_enum, default_value = "sqlite")]
    pub database: Kept,
    /// Hosts that share the database; more than one need PostgreSQL.
    #[arg(long, default_value_t = 1)]
    pub hosts: usize,
}

impl On {
    pub fn setup(&self, setup: Setup) -> Result<Setup> {
        ensure!(
            self.hosts == 1 || self.database == Kept::Postgres,
            "several hosts need a database that they can share: add --database postgres"
        );
        let database = match self.database {
            Kept::Sqlite => Database::Sqlite,
            Kept::Postgres => Database::Postgres,
        };
        Ok(setup.on(database, self.hosts))
    }
}

#[derive(Debug, Args)]
pub struct AckOptions {
    #[command(flatten)]
    pub on: On,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    #[arg(long, default_value_t = 1000)]
    pub customers: u64,
    /// How long it is measured, after a warm-up of a fifth of it.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Measures again with an open loop at so many requests a second.
    #[arg(long)]
    pub rate: Option<f64>,
    /// The inbox takes nothing meanwhile: the answer alone, without the work behind it.
    #[arg(long)]
    pub inbox_down: bool,
}

#[derive(Debug, Args)]
pub struct CallOptions {
    #[arg(long, default_value_t = 20_000)]
    pub calls: u32,
}

#[derive(Debug, Args)]
pub struct CompareOptions {
    /// The program; looked for in PATH otherwise.
    #[arg(long, env = "MANTLE_WASMTIME")]
    pub wasmtime: Option<PathBuf>,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    #[arg(long, default_value_t = 1000)]
    pub customers: u64,
    /// Turns of each.
    #[arg(long, default_value_t = 5)]
    pub turns: usize,
    /// Of one turn.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
}

#[derive(Debug, Args)]
pub struct RoundtripOptions {
    #[command(flatten)]
    pub on: On,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    #[arg(long, default_value_t = 512)]
    pub customers: u64,
    #[arg(long, default_value_t = 5000)]
    pub messages: u64,
    /// Messages a second, instead of as many as are acknowledged.
    #[arg(long)]
    pub rate: Option<f64>,
}

#[derive(Debug, Args)]
pub struct DrainOptions {
    #[command(flatten)]
    pub on: On,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    #[arg(long, default_value_t = 512)]
    pub customers: u64,
    /// Messages that wait when the inbox is back.
    #[arg(long, default_value_t = 20_000)]
    pub messages: u64,
    /// Messages a second of other customers meanwhile.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
}

#[derive(Debug, Args)]
pub struct RecoveryOptions {
    /// SQLite: the host is started again. PostgreSQL: one of two hosts stays dead.
    #[arg(long, value_enum, default_value = "sqlite")]
    pub database: Kept,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    #[arg(long, default_value_t = 512)]
    pub customers: u64,
    /// Messages in the database beforehand; SQLite.
    #[arg(long, default_value_t = 100_000)]
    pub stored: u64,
    /// SQLite.
    #[arg(long, default_value_t = 5)]
    pub kills: usize,
    /// Messages a second of the load; PostgreSQL.
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Under load, before each kill.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

#[derive(Debug, Args)]
pub struct MemoryOptions {
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Rounded up to a multiple of the connections.
    #[arg(long, default_value_t = 512)]
    pub customers: u64,
    /// Of the heaviest load.
    #[arg(long, default_value_t = 20.0)]
    pub burst_seconds: f64,
    /// Messages a second of the even load.
    #[arg(long, default_value_t = 300.0)]
    pub rate: f64,
    /// Of the even load.
    #[arg(long, default_value_t = 10)]
    pub minutes: u32,
}

#[derive(Debug, Args)]
pub struct OverloadOptions {
    /// Of the flood.
    #[arg(long, default_value_t = 1200)]
    pub connections: usize,
    #[arg(long, default_value_t = 512)]
    pub customers: u64,
    /// Times the capacity that is offered.
    #[arg(long, default_value_t = 10.0)]
    pub factor: f64,
    /// Of the flood.
    #[arg(long, default_value_t = 20.0)]
    pub seconds: f64,
}

#[derive(Debug, Args)]
pub struct RetentionOptions {
    /// Messages that are old enough to go.
    #[arg(long, default_value_t = 200_000)]
    pub stored: u64,
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Of each of the two measurements.
    #[arg(long, default_value_t = 15.0)]
    pub seconds: f64,
}

//! `mantle-bench`: the measurements from the command line. Figures go to standard output, everything else does not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use mantle_bench::{ack, call, figures, roundtrip};

#[derive(Debug, Parser)]
#[command(
    name = "mantle-bench",
    about = "Measures Mantle; prints one line of JSON for each measurement."
)]
struct Cli {
    /// The folder for the databases: its disk is what is measured.
    #[arg(long, global = true, default_value = "target/bench")]
    folder: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// From a signed webhook to its durable 200, over HTTP.
    Ack(AckOptions),
    /// A sandboxed call of a connector beside the same code run natively.
    Call(CallOptions),
    /// From a webhook to the message in the inbox.
    Roundtrip(RoundtripOptions),
}

#[derive(Debug, Args)]
struct AckOptions {
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 1000)]
    customers: u64,
    /// How long it is measured, after a warm-up of a fifth of it.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Measures again with an open loop at so many requests a second.
    #[arg(long)]
    rate: Option<f64>,
    /// The inbox takes nothing meanwhile: the answer alone, without the work behind it.
    #[arg(long)]
    inbox_down: bool,
}

#[derive(Debug, Args)]
struct CallOptions {
    #[arg(long, default_value_t = 20_000)]
    calls: u32,
}

#[derive(Debug, Args)]
struct RoundtripOptions {
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 500)]
    customers: u64,
    #[arg(long, default_value_t = 5000)]
    messages: u64,
    /// Messages a second, instead of as many as are acknowledged.
    #[arg(long)]
    rate: Option<f64>,
}

/// Calls of one kind before the other kind has its turn: long beside a clock's grain, short beside a machine's moods.
const TURN: u32 = 200;

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.what {
        What::Ack(options) => {
            let time = Duration::from_secs_f64(options.seconds);
            let options = ack::Options {
                connections: options.connections,
                customers: options.customers.max(1),
                time,
                warm_up: time / 5,
                rate: options.rate,
                inbox_works: !options.inbox_down,
            };
            figures::print(&every_core()?.block_on(ack::run(&cli.folder, options))?)
        }
        What::Call(options) => {
            let options = call::Options {
                calls: options.calls,
                turn: TURN,
            };
            let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            figures::print(&[one.block_on(call::run(&cli.folder, options))?])
        }
        What::Roundtrip(options) => {
            let options = roundtrip::Options {
                connections: options.connections,
                customers: options.customers.max(1),
                messages: options.messages,
                rate: options.rate,
            };
            figures::print(&every_core()?.block_on(roundtrip::run(&cli.folder, options))?)
        }
    }
}

/// As `mantle serve` has it.
fn every_core() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

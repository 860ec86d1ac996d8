//! `all`: every measurement, small enough that together they take minutes.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser};
use mantle_bench::{compare, table};

use crate::cli::Bench;
use crate::options::{Cli, What};

/// As one would type them. Those that take an option of `all` are completed below.
const COMMANDS: [&str; 14] = [
    "call",
    "ack --inbox-down --seconds 8 --rate 2000",
    "ack --seconds 8",
    "ack --database postgres --inbox-down --seconds 8 --rate 1000",
    "serve-compare --turns 4 --seconds 4",
    "roundtrip --messages 10000",
    "roundtrip --messages 3000 --rate 300",
    "roundtrip --database postgres --hosts 3 --messages 10000",
    "drain",
    "recovery --kills 3",
    "recovery --database postgres",
    "overload --seconds 10",
    "retention --seconds 12",
    "memory --burst-seconds 10",
];

#[derive(Debug, Args)]
pub struct Options {
    /// Of the even load that memory is watched under.
    #[arg(long, default_value_t = 2)]
    minutes: u32,
    /// For `serve-compare`; looked for in PATH otherwise, and left out where it is nowhere.
    #[arg(long, env = "MANTLE_WASMTIME")]
    wasmtime: Option<PathBuf>,
}

/// Runs them all, whatever becomes of each; prints the table at the end.
///
/// # Errors
/// One of them failed.
pub fn run(bench: &Bench, options: &Options) -> Result<()> {
    let mut printed = Vec::new();
    let mut failed = Vec::new();
    for command in COMMANDS {
        let Some(what) = completed(command, options) else {
            continue;
        };
        eprintln!("measuring: {command}");
        match bench.measure(&what) {
            Ok(mut lines) => printed.append(&mut lines),
            Err(error) => {
                eprintln!("{command}: {error:#}");
                failed.push(command);
            }
        }
    }
    print!("\n{}", table::markdown(&printed));
    ensure!(failed.is_empty(), "these failed: {}", failed.join("; "));
    Ok(())
}

/// None: what it needs is not here, and one line said so.
fn completed(command: &str, options: &Options) -> Option<What> {
    let words = std::iter::once("mantle-bench").chain(command.split(' '));
    let mut what = match Cli::try_parse_from(words) {
        Ok(cli) => cli.what,
        Err(error) => {
            eprintln!("{command}: {error}");
            return None;
        }
    };
    match &mut what {
        What::Memory(memory) => memory.minutes = options.minutes,
        What::ServeCompare(serve) => {
            serve.wasmtime.clone_from(&options.wasmtime);
            if let Err(missing) = compare::find(options.wasmtime.as_deref()) {
                eprintln!("skipped: serve-compare, {missing}");
                return None;
            }
        }
        _ => {}
    }
    Some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_one() {
        for command in COMMANDS {
            let words = std::iter::once("mantle-bench").chain(command.split(' '));
            let read = Cli::try_parse_from(words);
            assert!(read.is_ok(), "{command}: {:?}", read.err());
        }
    }
}

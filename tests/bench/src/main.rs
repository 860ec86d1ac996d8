//! `mantle-bench`: the measurements from the command line. Figures go to standard output, everything else does not.
//!
//! Started by itself as a host, or by such a host to compile, it is `mantle`, so that what is measured is never an older build.

mod all;
mod cli;
mod options;

use std::process::ExitCode;

use mantle_app::cli::compiler::COMMAND;
use mantle_bench::process::AS_HOST;

fn main() -> ExitCode {
    // The host gives nothing of its environment to what compiles.
    let compiles = std::env::args_os().nth(1).is_some_and(|command| command == COMMAND);
    if compiles || std::env::var_os(AS_HOST).is_some() {
        return mantle_app::cli::main();
    }
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

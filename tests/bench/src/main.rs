//! `mantle-bench`: the measurements from the command line. Figures go to standard output, everything else does not.
//!
//! Started by itself as a host it is `mantle`, so that what is measured is never an older build.

mod all;
mod cli;
mod options;

use std::process::ExitCode;

use mantle_bench::process::AS_HOST;

fn main() -> ExitCode {
    if std::env::var_os(AS_HOST).is_some() {
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

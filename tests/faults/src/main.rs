//! `mantle` with failpoints: the same host and command line, armed by the environment and over a loopback connection.
//!
//! `MANTLE_FAILPOINTS` holds rules (see `mantle-failpoint`), `MANTLE_FAULTS_SEED` a number for their percentages,
//! `MANTLE_FAULTS_CONTROL` the loopback address of a test that this process calls and takes orders from.

mod control;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let clock = control::Shifted::default();
    match prepared(&clock) {
        Ok(()) => mantle_app::cli::main_by(Arc::new(clock)),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn prepared(clock: &control::Shifted) -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(seed) = variable("MANTLE_FAULTS_SEED") {
        let seed = seed
            .parse()
            .map_err(|_| format!("MANTLE_FAULTS_SEED={seed} is no number"))?;
        mantle_failpoint::seed(seed);
    }
    if let Some(rules) = variable("MANTLE_FAILPOINTS") {
        mantle_failpoint::arm(&rules)?;
    }
    if let Some(address) = variable("MANTLE_FAULTS_CONTROL") {
        control::start(&address, clock.clone()).map_err(|error| format!("MANTLE_FAULTS_CONTROL={address}: {error}"))?;
    }
    Ok(())
}

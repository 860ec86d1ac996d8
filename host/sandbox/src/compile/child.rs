//! What the process does that compiles.
//!
//! Invariants: before it reads a byte of the component it can open no file, start no process and take no more memory or
//! CPU than it was granted; it ends when the host does.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::Order;
use crate::engine;

/// Its exit when the component is at fault, with the reason on standard error.
pub(super) const REFUSED: u8 = 3;
/// What it says when wasmtime or the system refuses it memory.
pub(super) const OUT_OF_MEMORY: &str = "out of memory";
/// What Rust says before it aborts for want of memory.
pub(super) const ALLOCATION_FAILED: &str = "memory allocation of ";
/// How the system calls it (`ENOMEM`).
const NO_MEMORY: &str = "os error 12";
/// Messages go before compiling, which still ends on a busy machine.
const NICENESS: i32 = 5;
/// The watching thread calls two functions.
const WATCH_STACK_BYTES: usize = 64 << 10;

/// Compiles one component from standard input to standard output, and answers with how the process is to end. For a
/// program that was started by [`super::Compiler::apart`]; call it before threads are started or files opened.
#[must_use]
pub fn serve() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Broken(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(End::Refused(reason)) => {
            if reason.contains(NO_MEMORY) {
                eprintln!("{OUT_OF_MEMORY}");
            }
            eprintln!("{reason}");
            ExitCode::from(REFUSED)
        }
    }
}

enum End {
    /// The host is gone, or the system does not do what it must.
    Broken(std::io::Error),
    /// The component is at fault.
    Refused(String),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error)
    }
}

fn compile() -> Result<(), End> {
    let mut order = [0; Order::BYTES];
    std::io::stdin().read_exact(&mut order)?;
    let order = Order::read(order);
    limit(&order)?;
    let mut component = Vec::new();
    std::io::stdin()
        .take(order.component_bytes)
        .read_to_end(&mut component)?;
    if component.len() as u64 != order.component_bytes {
        return Err(End::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    watch_the_host()?;
    // None but this one, from here on.
    confine(Resource::Nproc, 0)?;
    let refused = |error: wasmtime::Error| End::Refused(format!("{error:#}"));
    let engine = engine::for_compiling().map_err(refused)?;
    let code = engine.precompile_component(&component).map_err(refused)?;
    let mut output = std::io::stdout();
    output.write_all(&code)?;
    output.flush()?;
    Ok(())
}

fn limit(order: &Order) -> std::io::Result<()> {
    confine(Resource::As, order.memory_mib << 20)?;
    confine(Resource::Cpu, order.seconds)?;
    confine(Resource::Core, 0)?;
    confine(Resource::Fsize, 0)?;
    // What is open stays so: the pipes to the host.
    confine(Resource::Nofile, 0)?;
    nice(NICENESS)?;
    Ok(())
}

/// For good. The system may have set less already.
fn confine(resource: Resource, most: u64) -> std::io::Result<()> {
    let before = rustix::process::getrlimit(resource);
    let most = before.maximum.map_or(most, |maximum| most.min(maximum));
    setrlimit(
        resource,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )?;
    Ok(())
}

/// Ends the process when the host closes standard input: it was killed, or does not wait any more.
fn watch_the_host() -> std::io::Result<()> {
    std::thread::Builder::new().stack_size(WATCH_STACK_BYTES).spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::abort();
    })?;
    Ok(())
}

//! What the host says on its standard error.
//!
//! `MANTLE_LOG` chooses how much (`info`, `debug`, `mantle_flow=debug,info` …), `MANTLE_LOG_FORMAT=json` makes one
//! JSON object of each line. What is logged are ids, codes and durations; bodies, tokens, phone numbers and names
//! never reach a log line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How much is said when nobody chooses.
const DEFAULT_FILTER: &str = "info,wasmtime=warn,cranelift=warn,sqlx=warn,hyper=warn,h2=warn,rustls=warn";

/// Says everything from here on; called once, by commands that serve.
pub fn start() {
    let filter = EnvFilter::try_from_env("MANTLE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SystemTime)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let json = std::env::var("MANTLE_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    // A second start, in tests, leaves the first one's lines alone.
    let _ = if json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.try_init()
    };
}

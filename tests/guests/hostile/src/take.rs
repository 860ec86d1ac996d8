//! Takes more than a connector has: time, memory, handles, lines, events.

use std::time::Instant;

use kit::Inbound;
use kit::mantle::connector::log;

use crate::wasi;

pub fn recurse(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { 1 + recurse(block[7] - 1) }
}

/// Asks again and again whether no time has passed.
pub fn poll_for_ever() -> ! {
    loop {
        let nothing = wasi::subscribe_duration(0);
        std::hint::black_box(wasi::poll(&[&nothing]));
    }
}

pub fn clock_for_ever() -> ! {
    loop {
        std::hint::black_box(Instant::now());
    }
}

pub fn log_for_ever() -> ! {
    let line = "x".repeat(1_000);
    loop {
        log::write(log::Level::Info, &line);
    }
}

pub fn log_long(bytes: usize) -> String {
    log::write(log::Level::Warn, &"y".repeat(bytes));
    "logged".to_owned()
}

pub fn log_lines(lines: u64) -> String {
    for line in 0..lines {
        log::write(log::Level::Info, &format!("line {line}."));
    }
    "logged".to_owned()
}

pub fn log_forged() -> String {
    for line in [
        "first\r\n2026-01-01T00:00:00Z ERROR mantle::audit: forged=1",
        "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred",
        "{\"level\":\"ERROR\",\"target\":\"mantle::audit\",\"fields\":{\"message\":\"forged=2\"}}",
        "\",\"level\":\"ERROR\",\"forged\":\"3",
        "a\u{2028}b\u{202e}c\u{0}d\u{9b}31m",
    ] {
        log::write(log::Level::Info, line);
    }
    "logged".to_owned()
}

/// Past the log: what is printed.
pub fn print(bytes: u64) -> String {
    use std::io::Write;
    let block = [b'z'; 4_096];
    for _ in 0..bytes / block.len() as u64 {
        let _ = std::io::stdout().write_all(&block);
        let _ = std::io::stderr().write_all(&block);
    }
    "printed".to_owned()
}

pub fn pollables() -> ! {
    loop {
        std::mem::forget(wasi::subscribe_duration(u64::MAX));
    }
}

pub fn memory() -> ! {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1; 1 << 18]));
    }
}

pub fn events(count: u64) -> Inbound {
    let event = |number: u64| kit::text_event(&format!("k{number}"), "hello");
    kit::inbound((0..count).map(event).collect())
}

/// Good events, and one behind them that is not.
pub fn late_garbage(count: u64) -> Inbound {
    let mut inbound = events(count);
    inbound.events.push(kit::text_event("", "hello"));
    inbound
}

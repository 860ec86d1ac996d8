//! Takes memory until there is none. `log` fills the log instead, `calls` calls the host without end.

use kit::mantle::connector::{config, log};
use kit::{CallError, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Allocates;

impl Guest for Allocates {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        match kit::words(&hook).as_str() {
            "log" => {
                for line in 0..1_000 {
                    log::write(log::Level::Warn, &format!("line {line} {}", "x".repeat(10_000)));
                }
                Ok(kit::inbound(Vec::new()))
            }
            "calls" => loop {
                std::hint::black_box(config::now());
            },
            _ => {
                let mut blocks: Vec<Vec<u8>> = Vec::new();
                loop {
                    blocks.push(std::hint::black_box(vec![1; 1 << 20]));
                }
            }
        }
    }

    fn send(_message: Outgoing) -> Result<Sent, CallError> {
        Ok(kit::sent("m1".to_owned()))
    }
}

kit::guest!(Allocates);

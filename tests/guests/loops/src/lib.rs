//! Never ends. `sleep` waits without using the CPU.

use std::time::Duration;

use kit::{CallError, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Loops;

impl Guest for Loops {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        if kit::words(&hook) == "sleep" {
            std::thread::sleep(Duration::from_secs(3_600));
        }
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }

    fn send(_message: Outgoing) -> Result<Sent, CallError> {
        loop {
            std::hint::black_box(0);
        }
    }
}

kit::guest!(Loops);

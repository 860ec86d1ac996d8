//! Tries everything that a connector must not get: what it tries is the first word of the hook or of the message.

mod reach;
mod take;
mod wasi;

use std::sync::atomic::{AtomicU32, Ordering};

use kit::{CallError, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Hostile;

/// What would be there in the next call if an instance were used again.
static CALLS: AtomicU32 = AtomicU32::new(0);

impl Guest for Hostile {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let words = kit::words(&hook);
        let (verb, rest) = words.split_once(' ').unwrap_or((&words, ""));
        let number = rest.parse::<u64>().unwrap_or(0);
        let told = match verb {
            "remember" => (CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string(),
            "surroundings" => reach::surroundings(),
            "secrets" => reach::secrets(),
            "recurse" => take::recurse(number).to_string(),
            "poll" => take::poll_for_ever(),
            "clock" => take::clock_for_ever(),
            "log-for-ever" => take::log_for_ever(),
            "log-long" => take::log_long(number as usize),
            "log-forged" => take::log_forged(),
            "log" => take::log_lines(number),
            "print" => take::print(number),
            "pollables" => take::pollables(),
            "random" => wasi::random(number).to_string(),
            "insecure" => wasi::insecure(number).to_string(),
            "memory" => take::memory(),
            "events" => return Ok(take::events(number)),
            "late" => return Ok(take::late_garbage(number)),
            other => format!("what is {other}?"),
        };
        Ok(kit::inbound(vec![kit::text_event("k1", &told)]))
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        reach::send(&kit::words_of(&message))
    }
}

kit::guest!(Hostile);

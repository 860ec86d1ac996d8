//! Keeps values: `set <key> <bytes>`, `get <key>`, `fill <count>` in `send`, answered in the id of the message. In
//! `receive` it tells everything that it was given, and logs it.

use kit::mantle::connector::{kv, log};
use kit::{CallError, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Keeps;

impl Guest for Keeps {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let words = kit::words(&hook);
        let told = format!("{:?} {:?} {words}", hook.query, hook.headers);
        log::write(log::Level::Error, &told);
        Ok(kit::inbound(vec![kit::text_event("k1", &told)]))
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        let words = kit::words_of(&message);
        let words = words.split(' ').collect::<Vec<_>>();
        let answer = match words.as_slice() {
            ["set", key, bytes] => set(key, bytes.parse().unwrap_or(0)),
            ["get", key] => match kv::get(key) {
                Ok(Some(value)) => value.len().to_string(),
                Ok(None) => "nothing".to_owned(),
                Err(error) => error.name().to_owned(),
            },
            ["fill", count] => (0..count.parse().unwrap_or(0))
                .map(|number: u32| set(&format!("key-{number}"), 1))
                .find(|answer| answer != "kept")
                .unwrap_or_else(|| "kept".to_owned()),
            _ => "what?".to_owned(),
        };
        Ok(kit::sent(answer))
    }
}

fn set(key: &str, bytes: usize) -> String {
    match kv::set(key, &vec![1; bytes], None) {
        Ok(()) => "kept".to_owned(),
        Err(error) => error.name().to_owned(),
    }
}

kit::guest!(Keeps);

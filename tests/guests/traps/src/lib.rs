//! Panics: at once, or after its request has left.

use kit::mantle::connector::http;
use kit::{CallError, Guest, Hook, Inbound, Method, Outgoing, ReceiveError, Sent};

struct Traps;

impl Guest for Traps {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        panic!("cannot read {}", kit::words(&hook));
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        if kit::words_of(&message) == "after" {
            let _ = http::fetch(&kit::request(
                Method::Post,
                "https://api.granted.example/v1/messages",
                "{}",
            ));
        }
        panic!("at {}", message.id);
    }
}

kit::guest!(Traps);

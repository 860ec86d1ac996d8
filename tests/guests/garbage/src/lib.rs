//! Answers against the rules of the interface.

use kit::{CallError, Content, EventBody, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Garbage;

impl Guest for Garbage {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let mut event = kit::text_event("k1", "hello");
        if let EventBody::Message(message) = &mut event.body {
            match kit::words(&hook).as_str() {
                "nobody" => message.person.aliases.clear(),
                "huge" => message.content = vec![Content::Text("x".repeat(100_000))],
                _ => return Ok(kit::inbound(vec![event.clone(), event])),
            }
        }
        Ok(kit::inbound(vec![event]))
    }

    fn send(_message: Outgoing) -> Result<Sent, CallError> {
        Ok(kit::sent(String::new()))
    }
}

kit::guest!(Garbage);

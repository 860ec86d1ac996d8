//! The version before `fragile`: a hook becomes a message of its words, and a message is sent without a call.

use kit::{CallError, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Steady;

impl Guest for Steady {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let words = kit::words(&hook);
        if words.is_empty() {
            return Err(ReceiveError::Malformed("The hook is empty.".to_owned()));
        }
        // The same key for the same words: a hook that is read twice is one message.
        Ok(kit::inbound(vec![kit::text_event(&words, &words)]))
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        Ok(kit::sent(message.id))
    }
}

kit::guest!(Steady);

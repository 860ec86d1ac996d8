//! The version after `steady`: adds a mark to the words, so that one sees which version read them; `boom` makes it
//! panic; a message with `stranger` is refused as by a provider that does not know the token.

use kit::{CallError, Failure, Guest, Hook, Inbound, Outgoing, ReceiveError, Sent};

struct Fragile;

impl Guest for Fragile {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let words = kit::words(&hook);
        if words.is_empty() {
            return Err(ReceiveError::Malformed("The hook is empty.".to_owned()));
        }
        assert!(!words.contains("boom"), "it fell to pieces");
        Ok(kit::inbound(vec![kit::text_event(&words, &format!("{words} (2)"))]))
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        let words = kit::words_of(&message);
        assert!(!words.contains("boom"), "it fell to pieces");
        if words.contains("stranger") {
            return Err(CallError::Unauthorized(Failure {
                code: "unauthorized".to_owned(),
                message: "Nobody knows this token.".to_owned(),
            }));
        }
        Ok(kit::sent(message.id))
    }
}

kit::guest!(Fragile);

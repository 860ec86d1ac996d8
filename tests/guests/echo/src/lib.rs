//! Behaves: a hook becomes a message of its words, a message becomes one call with the credential.

use kit::mantle::connector::{config, http, kv, log};
use kit::{CallError, Guest, Hook, Inbound, Method, Outgoing, ReceiveError, Request, Sent};

struct Echo;

impl Guest for Echo {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        let words = kit::words(&hook);
        if words.is_empty() {
            return Err(ReceiveError::Malformed("The hook is empty.".to_owned()));
        }
        Ok(kit::inbound(vec![kit::text_event("k1", &words)]))
    }

    /// Answers with what the provider said; then with the secret that it told, as far as it can be seen.
    fn send(message: Outgoing) -> Result<Sent, CallError> {
        let words = kit::words_of(&message);
        log::write(log::Level::Info, &format!("sending\nat {}", config::now()));
        let _ = kv::set("last", words.as_bytes(), None);
        let request = Request {
            credential: Some("key".to_owned()),
            ..kit::request(Method::Post, "https://api.granted.example/v1/echo", &words)
        };
        match http::fetch(&request) {
            Ok(answer) => Ok(kit::sent(String::from_utf8_lossy(&answer.body).into_owned())),
            Err(error) => Err(kit::told(&error)),
        }
    }
}

kit::guest!(Echo);

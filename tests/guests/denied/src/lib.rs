//! Reaches for what it was not given: `<address>` or `<address> <body>` in `send`, everything in `receive`.

use kit::mantle::connector::{http, kv, media};
use kit::{CallError, Guest, Hook, Inbound, Method, Outgoing, ReceiveError, Request, Sent};

struct Denied;

impl Guest for Denied {
    fn receive(_hook: Hook) -> Result<Inbound, ReceiveError> {
        let call = http::fetch(&kit::request(Method::Get, "https://api.granted.example/v1/", ""));
        let call = call.map_err(|error| error.kind);
        let file = media::stat(1)
            .map(|file| file.bytes)
            .map_err(|error| error.name().to_owned());
        let value = kv::get("a").map_err(|error| error.name().to_owned());
        let tried = format!("{call:?} {file:?} {value:?}");
        Ok(kit::inbound(vec![kit::text_event("k1", &tried)]))
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        let words = kit::words_of(&message);
        let (url, body) = words.split_once(' ').unwrap_or((&words, ""));
        let credential = url.contains("other-path").then(|| "key".to_owned());
        let request = Request {
            credential,
            ..kit::request(Method::Post, url, body)
        };
        match http::fetch(&request) {
            Ok(answer) => Ok(kit::sent(answer.status.to_string())),
            Err(error) => Err(kit::told(&error)),
        }
    }
}

kit::guest!(Denied);

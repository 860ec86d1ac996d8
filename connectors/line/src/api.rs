//! Calls to LINE: addresses, and what comes of an exchange.

use mantle_sdk::Host;
use mantle_sdk::http::{Method, Request, Response};
use mantle_sdk::values::CallError;
use serde::de::DeserializeOwned;

use crate::errors;

const BASE: &str = "https://api.line.me/v2/bot";
/// Files of customers, and nothing else.
const DATA: &str = "https://api-data.line.me/v2/bot/message";
/// Tells of a token whose it is and how long it lives.
const VERIFY: &str = "https://api.line.me/oauth2/v2.1/verify";

/// The credential that adds the channel access token as a bearer.
pub const CHANNEL: &str = "channel";
/// The credential that adds it to the address.
const VERIFYING: &str = "verify";

/// What silence means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The call changes nothing, or nothing twice.
    Harmless,
    /// It may have made a message.
    Doubles,
}

pub fn get(path: &str) -> Request {
    Request::get(format!("{BASE}{path}")).credential(CHANNEL)
}

pub fn post(path: &str) -> Request {
    Request::post(format!("{BASE}{path}")).credential(CHANNEL)
}

pub fn put(path: &str) -> Request {
    Request::new(Method::Put, format!("{BASE}{path}")).credential(CHANNEL)
}

/// The file of a message, or what its preparation has come to.
pub fn content(message_id: &str, path: &str) -> Request {
    Request::get(format!("{DATA}/{message_id}/content{path}")).credential(CHANNEL)
}

pub fn verify() -> Request {
    Request::get(VERIFY).credential(VERIFYING)
}

/// Any answer, good or bad.
pub fn exchange(host: &dyn Host, request: Request, repeat: Repeat) -> Result<Response, CallError> {
    host.fetch(request).map_err(|error| match repeat {
        Repeat::Harmless => CallError::reading(error),
        Repeat::Doubles => CallError::from(error),
    })
}

/// A call that makes nothing, and its answer.
///
/// # Errors
/// By the table of `errors`.
pub fn ask<T: DeserializeOwned>(host: &dyn Host, request: Request) -> Result<T, CallError> {
    let response = exchange(host, request, Repeat::Harmless)?;
    if !response.is_success() {
        return Err(errors::of(&response, Repeat::Harmless, host.now()));
    }
    read(&response, Repeat::Harmless)
}

pub fn read<T: DeserializeOwned>(response: &Response, repeat: Repeat) -> Result<T, CallError> {
    response.json().map_err(|_| {
        errors::unclear(
            repeat,
            "unreadable-answer",
            "LINE answered, but not in the documented form.",
        )
    })
}

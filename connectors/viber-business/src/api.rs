//! Calls to Infobip: addresses, and what comes of an exchange.

use mantle_sdk::Host;
use mantle_sdk::http::{Method, Request, Response};
use mantle_sdk::values::CallError;
use serde::de::DeserializeOwned;

use crate::{errors, fields};

/// The credential that adds the API key.
pub const ACCOUNT: &str = "account";

/// What silence means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The call changes nothing, or nothing twice.
    Harmless,
    /// It may have made a message.
    Doubles,
}

/// A call to the account's own address; `path` begins with a slash.
pub fn request(host: &dyn Host, method: Method, path: &str) -> Result<Request, CallError> {
    let base = fields::api_base(host)?;
    Ok(Request::new(method, format!("{base}{path}")).credential(ACCOUNT))
}

/// A part of a path: names of senders may hold spaces and more.
pub fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

/// Makes the call and reads its answer.
///
/// # Errors
/// By the table of `errors`.
pub fn call<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<T, CallError> {
    let response = exchange(host, request, repeat)?;
    response.json().map_err(|_| {
        errors::unclear(
            repeat,
            "unreadable-answer",
            "Infobip answered, but not in the documented form.",
        )
    })
}

/// Makes a call whose answer says nothing more.
pub fn make(host: &dyn Host, request: Request) -> Result<(), CallError> {
    exchange(host, request, Repeat::Harmless).map(|_| ())
}

fn exchange(host: &dyn Host, request: Request, repeat: Repeat) -> Result<Response, CallError> {
    let response = host.fetch(request).map_err(|error| match repeat {
        Repeat::Harmless => CallError::reading(error),
        Repeat::Doubles => CallError::from(error),
    })?;
    if response.is_success() {
        return Ok(response);
    }
    Err(errors::of(&response, repeat, host.now()))
}

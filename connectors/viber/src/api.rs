//! Calls to Viber: addresses, and what comes of an exchange.

use mantle_sdk::Host;
use mantle_sdk::http::{Request, Response};
use mantle_sdk::values::CallError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors::{self, No};

const BASE: &str = "https://chatapi.viber.com/pa";
/// The credential that adds the auth token as a header.
const BOT: &str = "bot";

/// What silence means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The call changes nothing, or nothing twice.
    Harmless,
    /// It may have made a message.
    Doubles,
}

/// How a call ended that did not end well.
pub enum Trouble {
    /// Viber says no: surely nothing was done.
    No(No),
    /// No answer of Viber's own.
    Unclear(CallError),
}

impl From<Trouble> for CallError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::No(no) => errors::of(&no),
            Trouble::Unclear(error) => error,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    status: i64,
    #[serde(default)]
    status_message: String,
}

/// Calls the method and reads its answer. Every call is a POST, and so is asking.
pub fn call<T: DeserializeOwned>(host: &dyn Host, method: &str, body: &Value, repeat: Repeat) -> Result<T, Trouble> {
    let response = host
        .fetch(Request::post(format!("{BASE}/{method}")).credential(BOT).json(body))
        .map_err(|error| {
            Trouble::Unclear(match repeat {
                Repeat::Harmless => CallError::reading(error),
                Repeat::Doubles => CallError::from(error),
            })
        })?;
    let answer: Option<Answer> = response.json().ok();
    match answer {
        Some(answer) if answer.status != 0 => Err(Trouble::No(No {
            status: answer.status,
            words: answer.status_message,
        })),
        Some(_) if response.is_success() => response.json().map_err(|_| Trouble::Unclear(unreadable(repeat))),
        _ => Err(Trouble::Unclear(not_viber(&response, repeat, host))),
    }
}

/// Something that stands before Viber, or half an answer.
fn not_viber(response: &Response, repeat: Repeat, host: &dyn Host) -> CallError {
    let code = format!("http-{}", response.status);
    match response.status {
        200..=299 => unreadable(repeat),
        429 => CallError::rate_limited(response.retry_after_ms(host.now()), code, "Viber asks to slow down."),
        status => unclear(
            repeat,
            &code,
            &format!("Viber failed with the HTTP status {status} and without an answer of its own."),
        ),
    }
}

fn unreadable(repeat: Repeat) -> CallError {
    unclear(
        repeat,
        "unreadable-answer",
        "Viber answered, but not in the documented form.",
    )
}

fn unclear(repeat: Repeat, code: &str, message: &str) -> CallError {
    match repeat {
        Repeat::Harmless => CallError::transient(code, message),
        Repeat::Doubles => CallError::ambiguous(code, message),
    }
}

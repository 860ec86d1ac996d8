//! Calls to Slack: addresses, and what comes of an exchange. Slack says no with the status 200 and `"ok": false`.

use mantle_sdk::Host;
use mantle_sdk::http::{Body, Request, Response};
use mantle_sdk::values::{CallError, RefusalReason};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors;

const BASE: &str = "https://slack.com/api";

/// The credential that adds the bot token.
pub const BOT: &str = "bot";

/// What a repeated call would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing new at the provider.
    Harmless,
    /// A second message.
    Doubles,
}

/// What Slack says beside `"ok": false`.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub struct Problem {
    pub error: String,
    /// Scopes that the call wants.
    pub needed: Option<String>,
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize, Debug)]
struct Metadata {
    #[serde(default)]
    messages: Vec<String>,
}

impl Problem {
    /// Slack's own words, where it gives more than the code.
    pub fn words(&self) -> Option<&str> {
        let messages = &self.response_metadata.as_ref()?.messages;
        messages.first().map(String::as_str).filter(|words| !words.is_empty())
    }
}

/// An answer that says no, in both forms.
pub struct Told {
    pub problem: Problem,
    pub error: CallError,
}

/// Most reading methods take no JSON.
pub fn get<V: AsRef<str>>(method: &str, pairs: impl IntoIterator<Item = (&'static str, V)>) -> Request {
    Request::get(format!("{BASE}/{method}")).query(pairs).credential(BOT)
}

/// For methods of which nobody says that they take JSON.
pub fn form<V: AsRef<str>>(method: &str, pairs: impl IntoIterator<Item = (&'static str, V)>) -> Request {
    Request::post(format!("{BASE}/{method}")).form(pairs).credential(BOT)
}

pub fn json(method: &str, value: &Value) -> Request {
    // Slack warns where the character set is not named.
    let mut request = Request::post(format!("{BASE}/{method}"))
        .header("content-type", "application/json; charset=utf-8")
        .credential(BOT);
    request.body = Body::Bytes(value.to_string().into_bytes());
    request
}

/// One call and its answer.
///
/// # Errors
/// By the table of `errors`. Without a code of Slack's: a fault after the request went out is `ambiguous` where a
/// repetition would double a message.
pub fn call<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<T, CallError> {
    probe(host, request, repeat)?.map_err(|told| told.error)
}

/// As [`call`], with Slack's own code for whoever knows what to do about it.
pub fn probe<T: DeserializeOwned>(
    host: &dyn Host,
    request: Request,
    repeat: Repeat,
) -> Result<Result<T, Told>, CallError> {
    let response = exchange(host, request, repeat)?;
    told(&response, repeat, host)
}

/// A call that the channel does without where the app lacks a scope for it: that does not end the channel.
pub fn aside<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<T, CallError> {
    probe(host, request, repeat)?.map_err(|told| errors::aside(&told.problem, told.error))
}

/// Any answer, good or bad.
pub fn exchange(host: &dyn Host, request: Request, repeat: Repeat) -> Result<Response, CallError> {
    host.fetch(request).map_err(|error| match repeat {
        Repeat::Harmless => CallError::reading(error),
        Repeat::Doubles => CallError::from(error),
    })
}

/// What an answer of the Web API means.
pub fn told<T: DeserializeOwned>(
    response: &Response,
    repeat: Repeat,
    host: &dyn Host,
) -> Result<Result<T, Told>, CallError> {
    let body: Option<Value> = response.json().ok();
    let ok = body.as_ref().and_then(|body| body.get("ok")).and_then(Value::as_bool);
    let Some((body, ok)) = body.zip(ok) else {
        return Err(without_words(response, repeat, host));
    };
    let wait_ms = response.retry_after_ms(host.now());
    if !ok {
        let problem: Problem = serde_json::from_value(body).unwrap_or_default();
        let error = errors::of(&problem, repeat, wait_ms);
        return Ok(Err(Told { problem, error }));
    }
    serde_json::from_value(body).map(Ok).map_err(|_| {
        errors::unclear(
            repeat,
            "unreadable-answer",
            "Slack answered, but not in the documented form.".to_owned(),
        )
    })
}

/// An answer that is not the Web API's: a proxy's, a fault before the method ran, or after it.
fn without_words(response: &Response, repeat: Repeat, host: &dyn Host) -> CallError {
    let code = response.status.to_string();
    match response.status {
        429 => CallError::rate_limited(response.retry_after_ms(host.now()), code, "Slack asks to slow down."),
        400..=499 => CallError::refused(
            RefusalReason::Other,
            code.clone(),
            format!("Slack refused the call with the HTTP status {code} and no reason."),
        ),
        200..=299 => errors::unclear(
            repeat,
            "unreadable-answer",
            "Slack answered, but not in the documented form.".to_owned(),
        ),
        _ => errors::unclear(
            repeat,
            &code,
            format!("Slack failed with the HTTP status {code} and no reason."),
        ),
    }
}

//! Calls to the Graph API: addresses, what its answers mean, and when an outcome is unknown.

use mantle_sdk::Host;
use mantle_sdk::http::{Method, Request, Response};
use mantle_sdk::values::{CallError, RefusalReason};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::errors;
use crate::fields::{self, Login};
use crate::wire::Problem;

/// The version that Meta's own documents and kits of mid 2026 use (released in February 2026). A version lives about
/// two years, so this one is good until early 2028; v26.0 is out but has changed nothing that is used here.
const VERSION: &str = "v25.0";

/// The credentials that add the token: the account's own; the Page's, with the proof of the app secret; the Page's once
/// more as the one that is asked about.
const OF_ACCOUNT: &str = "instagram";
const OF_PAGE: &str = "page";
const INTROSPECT: &str = "introspect";

const MINUTE_MS: u64 = 60_000;

/// What a repeated call would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing new at the provider.
    Harmless,
    /// A second message.
    Doubles,
}

#[derive(Deserialize)]
struct Failed {
    error: Problem,
}

/// Where the calls of a channel go, and as whom.
pub struct Graph<'a> {
    pub login: Login,
    /// The account in addresses. By the Page's login it is the Page, which its token knows by `me`.
    node: String,
    host: &'a dyn Host,
}

impl<'a> Graph<'a> {
    /// # Errors
    /// A field of the channel is not filled in.
    pub fn of(host: &'a dyn Host) -> Result<Self, CallError> {
        let login = fields::login(host)?;
        let node = match login {
            Login::Instagram => fields::account_id(host)?,
            Login::Page => "me".to_owned(),
        };
        Ok(Self { login, node, host })
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::Get, path)
    }

    /// `{account}/{edge}`
    pub fn edge(&self, method: Method, edge: &str) -> Request {
        self.request(method, &format!("{}/{edge}", self.node))
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let origin = match self.login {
            Login::Instagram => "https://graph.instagram.com",
            Login::Page => "https://graph.facebook.com",
        };
        let request = Request::new(method, format!("{origin}/{VERSION}/{path}"));
        match self.login {
            Login::Page => request.credential(OF_PAGE),
            Login::Instagram => request.credential(OF_ACCOUNT),
        }
    }

    /// # Errors
    /// See [`call`].
    pub fn call<T: DeserializeOwned>(&self, request: Request, repeat: Repeat) -> Result<T, CallError> {
        call(self.host, request, repeat)
    }

    /// # Errors
    /// See [`call`].
    pub fn probe<T: DeserializeOwned>(&self, request: Request, repeat: Repeat) -> Result<Result<T, Told>, CallError> {
        probe(self.host, request, repeat)
    }
}

/// What Meta knows of a Page's token.
pub fn introspect() -> Request {
    Request::get(format!("https://graph.facebook.com/{VERSION}/debug_token")).credential(INTROSPECT)
}

/// One call and its answer.
///
/// # Errors
/// By the table of the provider's codes. Without a code of Meta's: a fault after the request went out is `ambiguous`
/// where a repetition would double a message.
pub fn call<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<T, CallError> {
    probe(host, request, repeat)?.map_err(|told| told.error)
}

/// As [`call`], with the provider's own error for whoever knows what to do about it.
fn probe<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<Result<T, Told>, CallError> {
    let response = host.fetch(request).map_err(|error| match repeat {
        Repeat::Harmless => CallError::reading(error),
        Repeat::Doubles => CallError::from(error),
    })?;
    match problem(&response) {
        Some(problem) => {
            let error = errors::call_error(&problem, response.status, wait_ms(&response));
            Ok(Err(Told { problem, error }))
        }
        None => read(&response, repeat).map(Ok),
    }
}

/// An error of the provider in both forms.
pub struct Told {
    pub problem: Problem,
    pub error: CallError,
}

fn read<T: DeserializeOwned>(response: &Response, repeat: Repeat) -> Result<T, CallError> {
    if response.is_success() {
        // By way of a value, as everything that Meta sends is read: one way of reading keeps the component small.
        return response.json().and_then(serde_json::from_value).map_err(|_| {
            unclear(
                repeat,
                "unreadable-answer",
                "Instagram answered, but not in the documented form.".to_owned(),
            )
        });
    }
    let code = response.status.to_string();
    match response.status {
        401 => Err(CallError::unauthorized(
            code,
            "Instagram no longer accepts the access token.",
        )),
        429 => Err(CallError::rate_limited(
            wait_ms(response),
            code,
            "Instagram asks to slow down.",
        )),
        500.. => Err(unclear(
            repeat,
            &code,
            format!("Instagram failed with the HTTP status {code} and no reason."),
        )),
        _ => Err(CallError::refused(
            RefusalReason::Other,
            code.clone(),
            format!("Instagram refused the call with the HTTP status {code} and no reason."),
        )),
    }
}

fn unclear(repeat: Repeat, code: &str, message: String) -> CallError {
    match repeat {
        Repeat::Harmless => CallError::transient(code, message),
        Repeat::Doubles => CallError::ambiguous(code, message),
    }
}

fn problem(response: &Response) -> Option<Problem> {
    let body: Value = response.json().ok()?;
    serde_json::from_value::<Failed>(body).ok().map(|failed| failed.error)
}

/// The longest wait in the usage headers. Meta documents no `Retry-After`; a proxy may add one.
fn wait_ms(response: &Response) -> Option<u64> {
    let told = response
        .header("x-business-use-case-usage")
        .and_then(|usage| serde_json::from_str::<Value>(usage).ok())
        .and_then(|usage| longest_minutes(&usage))
        .filter(|minutes| *minutes > 0)
        .map(|minutes| minutes.saturating_mul(MINUTE_MS));
    let seconds = response
        .header("retry-after")
        .and_then(|value| value.trim().parse::<u64>().ok());
    told.or(seconds.map(|seconds| seconds.saturating_mul(1_000)))
}

fn longest_minutes(usage: &Value) -> Option<u64> {
    match usage {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, value)| match name.as_str() {
                "estimated_time_to_regain_access" => value.as_u64(),
                _ => longest_minutes(value),
            })
            .max(),
        Value::Array(items) => items.iter().filter_map(longest_minutes).max(),
        _ => None,
    }
}

//! Calls to Twilio: addresses, what its answers mean, and when an outcome is unknown.

use mantle_sdk::Host;
use mantle_sdk::http::{Request, Response};
use mantle_sdk::values::CallError;
use serde::de::DeserializeOwned;

use crate::errors;
use crate::wire::Problem;

/// The only version of this API there is.
const BASE: &str = "https://api.twilio.com/2010-04-01/Accounts";
const ORIGIN: &str = "https://api.twilio.com";
const SERVICES: &str = "https://messaging.twilio.com/v1/Services";

/// The credential that adds the account SID and auth token.
pub const ACCOUNT: &str = "account";

/// Added to our address: three retries on any failure. Without it Twilio retries only when it cannot connect, and a
/// message that met a restart would be lost. The fragment is neither sent nor signed.
const RETRY_RULES: &str = "#rc=3&rp=all";

/// What a repeated call would do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing new at the provider.
    Harmless,
    /// A second message, paid twice.
    Doubles,
}

/// `…/Accounts/{sid}{path}`
pub fn account_url(account_sid: &str, path: &str) -> String {
    format!("{BASE}/{account_sid}{path}")
}

pub fn service_url(service_sid: &str) -> String {
    format!("{SERVICES}/{service_sid}")
}

/// The inside of this account's media addresses.
/// An address without TLS is left to the host: it calls none, unless the operator has sent Twilio's calls there
/// (`[egress.redirect]`) and what answers names itself.
pub fn is_media_url(url: &str) -> bool {
    let rest = match url.strip_prefix("http://") {
        Some(redirected) => redirected.split_once("/Accounts").map(|(_, rest)| rest),
        None => url.strip_prefix(BASE),
    };
    let rest = rest.and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| rest.contains("/Media/") && !rest.contains(".."))
}

/// The target of a redirect, which may leave the host out.
pub fn absolute(target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return Some(target.to_owned());
    }
    let is_path = target.starts_with('/') && !target.starts_with("//");
    is_path.then(|| format!("{ORIGIN}{target}"))
}

pub fn with_retry_rules(url: &str) -> String {
    format!("{url}{RETRY_RULES}")
}

/// Whether a registered address is this one, whatever its fragment.
pub fn is_same_address(registered: &str, ours: &str) -> bool {
    registered.split('#').next() == Some(ours)
}

/// One call and its answer, with Twilio's own error beside ours for whoever can name a field by it.
///
/// # Errors
/// By status and code. A fault of Twilio's, or a break after the request went out, is `ambiguous` where a repetition
/// would double a message.
pub fn call<T: DeserializeOwned>(host: &dyn Host, request: Request, repeat: Repeat) -> Result<T, CallError> {
    let response = host.fetch(request.credential(ACCOUNT)).map_err(|error| match repeat {
        Repeat::Harmless => CallError::reading(error),
        Repeat::Doubles => CallError::from(error),
    })?;
    if response.is_success() {
        return response.json().map_err(|_| {
            unclear(
                repeat,
                "unreadable-answer",
                "Twilio answered, but not in the documented form.",
            )
        });
    }
    Err(refused(&response, repeat))
}

fn refused(response: &Response, repeat: Repeat) -> CallError {
    let problem: Problem = response.json().unwrap_or_default();
    // Twilio's own advice for its faults is to look for the message before it is made again.
    if response.status >= 500 {
        let code = problem
            .code
            .map_or_else(|| response.status.to_string(), |code| code.to_string());
        return unclear(repeat, &code, "Twilio had a temporary fault.");
    }
    errors::call_error(
        &problem,
        response.status,
        response.header("retry-after").and_then(seconds_as_ms),
    )
}

/// `Retry-After` in seconds, the form that Twilio uses.
pub fn seconds_as_ms(seconds: &str) -> Option<u64> {
    seconds.trim().parse::<u64>().ok()?.checked_mul(1_000)
}

fn unclear(repeat: Repeat, code: &str, message: &str) -> CallError {
    match repeat {
        Repeat::Harmless => CallError::transient(code, message),
        Repeat::Doubles => CallError::ambiguous(code, message),
    }
}

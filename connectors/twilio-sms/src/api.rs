//! Calls to Twilio: addresses, what its answers mean, and when an outcome is unknown.

use mantle_sdk::Host;
use mantle_sdk::http::{Request, Response};
use mantle_sdk::values::CallError;
use serde::de::DeserializeOwned;

use crate::errors;
use crate::wire::Problem;

/// The only version of this API there is.
const BASE: &str = "https://api.twilio.com/2010-04-01/Accounts";
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
pub fn is_media_url(url: &str) -> bool {
    let rest = url.strip_prefix(BASE).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| rest.contains("/Media/") && !rest.contains(".."))
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
    if response.status >= 500 {
        // The message may have been made before the fault.
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

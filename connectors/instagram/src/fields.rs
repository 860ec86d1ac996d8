//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// Whose token it is, which decides where calls go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The Instagram account's own.
    Instagram,
    /// That of the Facebook Page it is linked to.
    Page,
}

pub fn login(host: &dyn Host) -> Result<Login, CallError> {
    match filled(host, "login")?.as_str() {
        "instagram" => Ok(Login::Instagram),
        "page" => Ok(Login::Page),
        other => Err(unset(&format!(
            "The field login of this channel is “{other}”; it takes instagram or page."
        ))),
    }
}

/// The professional account: `entry[].id` in webhooks.
pub fn account_id(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "account_id")
}

fn filled(host: &dyn Host, field: &str) -> Result<String, CallError> {
    host.config(field)
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| unset(&format!("The field {field} of this channel is empty.")))
}

fn unset(message: &str) -> CallError {
    Refusal::new(RefusalReason::Account, "unset-field", message)
        .next_step("Fill it in on the channel's page.")
        .into()
}

//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// Without a slash at its end.
pub fn api_base(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "api_base").map(|base| base.trim_end_matches('/').to_owned())
}

pub fn sender(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "sender")
}

pub fn hook_user(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "hook_user")
}

fn filled(host: &dyn Host, field: &str) -> Result<String, CallError> {
    host.config(field)
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| {
            Refusal::new(
                RefusalReason::Account,
                "unset-field",
                format!("The field {field} of this channel is empty."),
            )
            .next_step("Fill it in on the channel's page.")
            .into()
        })
}

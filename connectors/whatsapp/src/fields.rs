//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// The address of the number in every call; not the phone number.
pub fn phone_number_id(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "phone_number_id")
}

pub fn business_account_id(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "business_account_id")
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

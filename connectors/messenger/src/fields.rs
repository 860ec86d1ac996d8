//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// The Page: the sending address, and `entry[].id` in webhooks.
pub fn page_id(host: &dyn Host) -> Result<String, CallError> {
    host.config("page_id")
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| {
            Refusal::new(
                RefusalReason::Account,
                "unset-field",
                "The field page_id of this channel is empty.",
            )
            .next_step("Fill it in on the channel's page.")
            .into()
        })
}

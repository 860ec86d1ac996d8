//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// What messages go out from.
pub enum Sender {
    /// E.164.
    Number(String),
    /// `MG…`: picks a number out of its pool.
    MessagingService(String),
}

pub fn account_sid(host: &dyn Host) -> Result<String, CallError> {
    filled(host, "account_sid")
}

pub fn sender(host: &dyn Host) -> Result<Sender, CallError> {
    let from = filled(host, "from")?;
    Ok(if from.starts_with("MG") {
        Sender::MessagingService(from)
    } else {
        Sender::Number(from)
    })
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

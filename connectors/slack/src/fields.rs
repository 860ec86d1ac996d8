//! What the operator filled in.

use mantle_sdk::Host;
use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::names;

/// What a channel of the host is at Slack.
#[derive(Debug, PartialEq, Eq)]
pub enum Mode {
    /// The id of one Slack channel, whose threads are conversations.
    Channel(String),
    /// The direct messages that people write to the app.
    Direct,
}

impl Mode {
    /// What a channel of this mode is called in a workspace.
    pub fn account(&self, team: &str) -> String {
        match self {
            Self::Channel(channel) => names::account(team, channel),
            Self::Direct => team.to_owned(),
        }
    }
}

pub fn mode(host: &dyn Host) -> Result<Mode, CallError> {
    match filled("mode", host).as_deref() {
        Some("direct") => Ok(Mode::Direct),
        Some("channel") => filled("slack_channel", host)
            .map(Mode::Channel)
            .ok_or_else(|| unset("slack_channel")),
        _ => Err(unset("mode")),
    }
}

pub fn filled(field: &str, host: &dyn Host) -> Option<String> {
    host.config(field)
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn unset(field: &str) -> CallError {
    Refusal::new(
        RefusalReason::Account,
        "unset-field",
        format!("The field {field} of this channel is empty."),
    )
    .next_step("Fill it in on the channel's page.")
    .into()
}

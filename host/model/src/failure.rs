//! Why something did not work, in the closed set of cases that callers act upon.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// What went wrong, for people and logs. Holds no secret and no message text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The provider's code, or a short word of ours.
    pub code: String,
    /// One plain sentence.
    pub message: String,
}

impl Cause {
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// Whether the call ended before there was anybody to talk to, by the words that the host's client, the inboxes
    /// and the SDK use for it.
    #[must_use]
    pub fn found_nobody(&self) -> bool {
        matches!(self.code.as_str(), "dns" | "connect" | "tls")
    }
}

/// Why a message cannot be delivered, in the terms a team acts upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Unreachable,
    OptedOut,
    WindowClosed,
    TooLarge,
    Unsupported,
    Invalid,
    Template,
    Policy,
    Account,
    Other,
}

/// A final no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub reason: Reason,
    pub cause: Cause,
    /// What a person can do about it.
    pub next_step: Option<String>,
}

/// What became of a call to the outside, as the one who made it knows it. The caller decides by the case alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Surely not done. Costs no attempt; asked for or implied by the other side.
    #[error("held back: {} ({})", .cause.message, .cause.code)]
    RateLimited { after: Option<Duration>, cause: Cause },
    /// Surely not done; the same call may work later.
    #[error("failed for now: {} ({})", .0.message, .0.code)]
    Transient(Cause),
    /// Perhaps done: the request went out and no clear answer came.
    #[error("outcome unknown: {} ({})", .0.message, .0.code)]
    Unknown(Cause),
    /// Refused for good.
    #[error("refused: {} ({})", .0.cause.message, .0.cause.code)]
    Refused(Refusal),
    /// The credentials are no longer good.
    #[error("not authorised: {} ({})", .0.message, .0.code)]
    Unauthorized(Cause),
}

impl Failure {
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::RateLimited { cause, .. }
            | Self::Transient(cause)
            | Self::Unknown(cause)
            | Self::Unauthorized(cause) => cause,
            Self::Refused(refusal) => &refusal.cause,
        }
    }
}

/// How an outside HTTP exchange ended when there is no answer to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The request cannot have been applied: it never left whole.
    NotSent,
    /// The whole request may have arrived.
    Sent,
}

/// A note of when something is to be tried again and why it was put off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postponed {
    pub until: Time,
    pub cause: Cause,
}

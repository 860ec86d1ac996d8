//! What LINE's errors mean. They have no numbers: the HTTP status decides, and the words where one status has several
//! meanings.

use mantle_sdk::http::Response;
use mantle_sdk::values::{CallError, Refusal, RefusalReason, TimeMs};
use serde::Deserialize;

use crate::api::Repeat;

/// Used up, older than a minute, or none at all.
pub const REPLY_TOKEN: &str = "400-reply-token";

#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
    #[serde(default)]
    property: String,
}

impl Problem {
    /// In any case: the wording may change.
    fn says(&self, words: &str) -> bool {
        self.message.to_ascii_lowercase().contains(words)
    }

    /// The sentence with what LINE says, and the first member that it finds fault with.
    fn after(&self, sentence: &str) -> String {
        let said = self.message.trim();
        match self.details.first() {
            _ if said.is_empty() => format!("{sentence} and gives no reason."),
            Some(detail) => format!("{sentence} and says: {said}: {} {}", detail.property, detail.message),
            None => format!("{sentence} and says: {said}"),
        }
    }
}

/// The outcome of an answer that is no success.
pub fn of(response: &Response, repeat: Repeat, now: TimeMs) -> CallError {
    let problem: Problem = response.json().unwrap_or_default();
    let status = response.status;
    let code = status.to_string();
    match status {
        401 => CallError::unauthorized(code, "LINE no longer accepts the channel access token."),
        429 => too_many(&problem, response.retry_after_ms(now)),
        500.. => unclear(repeat, &code, "LINE had a temporary fault."),
        _ => refusal(status, &problem).into(),
    }
}

/// 429 has several meanings, and one of them does not pass before the month does.
fn too_many(problem: &Problem, retry_after_ms: Option<u64>) -> CallError {
    if problem.says("monthly limit") {
        return Refusal::new(
            RefusalReason::Account,
            "429-quota",
            "The account has used up the messages of its LINE plan for this month.",
        )
        .next_step("Take a larger plan in LINE Official Account Manager, or wait until next month.")
        .into();
    }
    let (code, sentence) = if problem.says("same user") {
        ("429-user", "Too many messages went to this person in a short time.")
    } else if problem.says("rate limit") {
        ("429", "The account has made more calls than LINE allows for now.")
    } else {
        ("429-other", "LINE asks to slow down.")
    };
    CallError::rate_limited(retry_after_ms, code, sentence)
}

fn refusal(status: u16, problem: &Problem) -> Refusal {
    let code = status.to_string();
    match status {
        400 if problem.says("reply token") => Refusal::new(
            RefusalReason::WindowClosed,
            REPLY_TOKEN,
            "The time for a free reply is over.",
        )
        .next_step("Send it as a push message."),
        400 if problem.says("failed to send") => Refusal::new(
            RefusalReason::Unreachable,
            code,
            "LINE does not know this person, group or room.",
        )
        .next_step("Reach the customer another way."),
        400 => Refusal::new(
            RefusalReason::Invalid,
            code,
            problem.after("LINE found fault with the message"),
        )
        .next_step("Change the message and send it again."),
        403 => Refusal::new(
            RefusalReason::Account,
            code,
            problem.after("LINE does not allow this call"),
        )
        .next_step("Check the account's plan, and that it is still a member of the group."),
        413 => Refusal::new(
            RefusalReason::TooLarge,
            code,
            "The message is larger than the 2 MB that LINE takes.",
        )
        .next_step("Send less at once."),
        415 => Refusal::new(
            RefusalReason::Unsupported,
            code,
            "LINE does not take a body of this type.",
        )
        .next_step("Send it as text."),
        _ => Refusal::new(
            RefusalReason::Other,
            code,
            problem.after(&format!("LINE refused the call with the HTTP status {status}")),
        ),
    }
}

/// No clear answer came.
pub fn unclear(repeat: Repeat, code: &str, message: &str) -> CallError {
    match repeat {
        Repeat::Harmless => CallError::transient(code, message),
        Repeat::Doubles => CallError::ambiguous(code, message),
    }
}

//! What goes wrong, in three layers: the HTTP status of a call, the status of a message, and the error beside it. A call
//! that Infobip took may hold a message that it refuses, and a report may bring the refusal later.

use mantle_sdk::http::Response;
use mantle_sdk::values::{CallError, Refusal, RefusalReason, TimeMs};
use serde::Deserialize;
use serde_json::Value;

use crate::api::Repeat;

const HOUR_MS: u64 = 3_600_000;

/// A message of this id was taken before.
const DUPLICATE_STATUS: i64 = 23;
const DUPLICATE_ERRORS: [i64; 2] = [5492, 7280];

/// How a message is refused: the status that Infobip gives it, and the error beside it.
#[derive(Default, Clone)]
pub struct Verdict {
    pub status: i64,
    pub error: i64,
    /// Of the error, or else of the status: `EC_NO_SESSION`, `SRVC_USER_BLOCKED`.
    pub name: String,
    pub permanent: Option<bool>,
}

enum Class {
    No(RefusalReason),
    /// None: the host's own back-off.
    Wait(Option<u64>),
    Again,
}

struct Meaning {
    class: Class,
    sentence: &'static str,
    step: &'static str,
}

const fn meaning(class: Class, sentence: &'static str, step: &'static str) -> Meaning {
    Meaning { class, sentence, step }
}

impl Verdict {
    /// The first call was taken, and this one is its repetition.
    pub fn is_duplicate(&self) -> bool {
        self.status == DUPLICATE_STATUS || DUPLICATE_ERRORS.contains(&self.error)
    }

    /// The error where there is one: it says more.
    fn code(&self) -> String {
        let number = if self.error == 0 { self.status } else { self.error };
        number.to_string()
    }

    fn meaning(&self) -> Option<Meaning> {
        of_error(self.error)
            .or_else(|| of_name(&self.name))
            .or_else(|| of_status(self.status))
    }

    fn unknown(&self) -> String {
        match self.name.as_str() {
            "" => "Infobip refused the message and gives no reason.".to_owned(),
            name => format!("Infobip refused the message and says: {name}"),
        }
    }

    /// Refused for the time being: in a call, the host tries again.
    pub fn may_pass(&self) -> bool {
        !matches!(self.call_error(), CallError::Refused(_))
    }

    /// For a call: the message was surely not sent.
    pub fn call_error(&self) -> CallError {
        let code = self.code();
        match self.meaning() {
            Some(Meaning {
                class: Class::No(reason),
                sentence,
                step,
            }) => Refusal::new(reason, code, sentence).next_step(step).into(),
            Some(Meaning {
                class: Class::Wait(ms),
                sentence,
                ..
            }) => CallError::rate_limited(ms, code, sentence),
            Some(Meaning {
                class: Class::Again,
                sentence,
                ..
            }) => CallError::transient(code, sentence),
            None if self.permanent == Some(false) => CallError::transient(code, self.unknown()),
            None => CallError::refused(RefusalReason::Other, code, self.unknown()),
        }
    }

    /// For a report: nobody tries it again, whatever the reason.
    pub fn refusal(&self) -> Refusal {
        let code = self.code();
        let Some(meaning) = self.meaning() else {
            return Refusal::new(RefusalReason::Other, code, self.unknown()).next_step("Send it again.");
        };
        let (reason, step) = match meaning.class {
            Class::No(reason) => (reason, meaning.step),
            Class::Wait(_) => (RefusalReason::Policy, "Send it again later."),
            Class::Again => (RefusalReason::Other, "Send it again."),
        };
        Refusal::new(reason, code, meaning.sentence).next_step(step)
    }
}

fn of_status(status: i64) -> Option<Meaning> {
    use Class::{Again, No, Wait};
    use RefusalReason::{Account, OptedOut, Other, TooLarge, Unreachable};
    Some(match status {
        6 | 8 | 51 | 52 => meaning(
            No(Unreachable),
            "The number cannot be reached.",
            "Check the number, or reach the customer another way.",
        ),
        10 | 14 => meaning(
            No(OptedOut),
            "The number is on a list of people who want no messages.",
            "Reach the customer another way.",
        ),
        11 | 13 | 18 | 19 => meaning(
            No(Account),
            "The sender, the trial or the route is not set up for this message.",
            "Ask Infobip's support to set up the sender.",
        ),
        12 | 17 => meaning(
            No(Account),
            "The Infobip account has no credit, or its package has ended.",
            "Top up the account in the Infobip portal.",
        ),
        15 | 29 => meaning(No(Other), "The message did not arrive in time.", "Send it again."),
        20 => meaning(
            Wait(Some(HOUR_MS)),
            "Too many messages went to this number within an hour.",
            "Send it again later.",
        ),
        21 => meaning(Again, "Infobip had a temporary fault.", "Send it again."),
        25 => meaning(
            No(TooLarge),
            "The message is longer than Viber takes.",
            "Write it shorter.",
        ),
        _ => return None,
    })
}

fn of_error(error: i64) -> Option<Meaning> {
    use Class::{Again, No, Wait};
    use RefusalReason::{Account, Invalid, Policy, Unreachable, WindowClosed};
    Some(match error {
        1 | 7002 => meaning(
            No(Unreachable),
            "The number is not on Viber, or no longer.",
            "Reach the customer another way.",
        ),
        7003 => blocked(),
        7201 => no_device(),
        7001 | 7004 | 7005 | 7011 | 7081 | 7083 | 7084 => meaning(
            No(Account),
            "The sender may not send this at Viber.",
            "Ask Infobip's support to check the sender and its rights.",
        ),
        7006 | 7008 | 7009 | 7015 | 7022 | 7023 | 7027 => meaning(
            No(Invalid),
            "Viber found fault with the text, the template or the file.",
            "Change the message and send it again.",
        ),
        7007 => bad_label(),
        7010 => meaning(
            No(WindowClosed),
            "Nothing may be sent until the customer has written: more than 24 hours have passed, or they never wrote.",
            "Send an approved template instead, or wait until the customer writes again.",
        ),
        7012 | 7013 | 7014 | 7050 | 7051 | 500..=504 => meaning(
            Again,
            "Viber, or the host that it fetches the file from, had a temporary fault.",
            "Send it again.",
        ),
        7016 | 7017 | 7026 => meaning(
            Wait(None),
            "Viber limits how much the sender may send for now.",
            "Send it again later.",
        ),
        7024 => meaning(
            Wait(Some(HOUR_MS)),
            "Viber takes no messages at this time of day.",
            "Send it again later.",
        ),
        // Named temporary and internal, and permanent all the same.
        7080 | 7082 => meaning(
            No(Policy),
            "Viber refused the message for reasons of its own.",
            "Send it another way, for example as plain text.",
        ),
        _ => return None,
    })
}

/// Viber's own words, which partners pass on.
fn of_name(name: &str) -> Option<Meaning> {
    use Class::No;
    Some(match name {
        "SRVC_USER_BLOCKED" => blocked(),
        "SRVC_NOT_VIBER_USER" => meaning(
            No(RefusalReason::Unreachable),
            "The number is not on Viber, or no longer.",
            "Reach the customer another way.",
        ),
        "SRVC_NO_SUITABLE_DEVICE" => no_device(),
        "SRVC_WAIT_FOR_USER_RESPONSE" => meaning(
            No(RefusalReason::WindowClosed),
            "Five messages in a row have gone without an answer of the customer.",
            "Wait until the customer writes again.",
        ),
        "SRVC_BAD_LABEL" => bad_label(),
        "SRVC_INVALID_TTL" => meaning(
            No(RefusalReason::Invalid),
            "Viber does not take the time within which the message is to arrive.",
            "Send it again.",
        ),
        _ => return None,
    })
}

fn blocked() -> Meaning {
    meaning(
        Class::No(RefusalReason::OptedOut),
        "The customer has blocked the sender.",
        "Reach the customer another way.",
    )
}

fn no_device() -> Meaning {
    meaning(
        Class::No(RefusalReason::Unreachable),
        "The customer has no device that can show the message.",
        "Reach the customer another way.",
    )
}

fn bad_label() -> Meaning {
    meaning(
        Class::No(RefusalReason::Policy),
        "The sender may not send messages of this kind: conversation, transaction or promotion.",
        "Ask Infobip's support what the sender is registered for.",
    )
}

/// Two forms, of newer and older calls.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Problem {
    error_code: String,
    description: String,
    violations: Vec<Violation>,
    request_error: RequestError,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Violation {
    property: String,
    violation: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RequestError {
    service_exception: ServiceException,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceException {
    text: String,
    #[serde(rename = "validationErrors")]
    validation_errors: Value,
}

impl Problem {
    fn after(&self, sentence: &str) -> String {
        let older = &self.request_error.service_exception;
        let said = [self.description.as_str(), older.text.as_str(), self.error_code.as_str()]
            .into_iter()
            .find(|words| !words.trim().is_empty());
        let Some(said) = said else {
            return format!("{sentence} and gives no reason.");
        };
        let said = said.trim().trim_end_matches('.');
        if let Some(wrong) = self.violations.first() {
            return format!("{sentence} and says: {said}: {} {}", wrong.property, wrong.violation);
        }
        match older
            .validation_errors
            .as_object()
            .and_then(|errors| errors.keys().next())
        {
            Some(member) => format!("{sentence} and says: {said}: {member}"),
            None => format!("{sentence} and says: {said}"),
        }
    }
}

/// The outcome of an answer that is no success.
pub fn of(response: &Response, repeat: Repeat, now: TimeMs) -> CallError {
    let problem: Problem = response.json().unwrap_or_default();
    let code = response.status.to_string();
    match response.status {
        400 => Refusal::new(
            RefusalReason::Invalid,
            code,
            problem.after("Infobip found fault with the message"),
        )
        .next_step("Change the message and send it again.")
        .into(),
        401 => CallError::unauthorized(code, "Infobip does not accept the API key."),
        403 => CallError::unauthorized(
            code,
            problem.after("The API key may not do this, or not from this address"),
        ),
        404 => Refusal::new(
            RefusalReason::Account,
            code,
            problem.after("Infobip does not know this address"),
        )
        .next_step("Check the field api_base of the channel.")
        .into(),
        429 => CallError::rate_limited(response.retry_after_ms(now), code, "Infobip asks to slow down."),
        500.. => unclear(repeat, &code, "Infobip had a temporary fault."),
        status => CallError::refused(
            RefusalReason::Other,
            code,
            problem.after(&format!("Infobip refused the call with the HTTP status {status}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    type Of = fn(i64) -> Verdict;

    fn error(error: i64) -> Verdict {
        Verdict {
            error,
            status: 5,
            ..Verdict::default()
        }
    }

    fn status(status: i64) -> Verdict {
        Verdict {
            status,
            ..Verdict::default()
        }
    }

    /// Codes and what comes of them, as the provider's pages class them.
    #[test]
    fn out_9_every_listed_code_has_its_outcome() {
        use RefusalReason as No;
        let refused: [(Of, &[i64], No); 12] = [
            (status, &[6, 8, 51, 52], No::Unreachable),
            (status, &[10, 14], No::OptedOut),
            (status, &[11, 13, 18, 19, 12, 17], No::Account),
            (status, &[15, 29], No::Other),
            (status, &[25], No::TooLarge),
            (error, &[1, 7002, 7201], No::Unreachable),
            (error, &[7003], No::OptedOut),
            (error, &[7001, 7004, 7005, 7011, 7081, 7083, 7084], No::Account),
            (error, &[7006, 7008, 7009, 7015, 7022, 7023, 7027], No::Invalid),
            (error, &[7007], No::Policy),
            (error, &[7010], No::WindowClosed),
            (error, &[7080, 7082], No::Policy),
        ];
        for (of, codes, reason) in refused {
            for code in codes {
                let refusal = of(*code).refusal();
                assert_eq!(refusal.reason, reason, "{code}");
                assert!(refusal.next_step.is_some(), "{code}");
                assert_eq!(of(*code).call_error(), CallError::Refused(refusal), "{code}");
            }
        }
        for waits in [status(20), error(7016), error(7017), error(7024), error(7026)] {
            assert!(
                matches!(waits.call_error(), CallError::RateLimited(_)),
                "{}",
                waits.code()
            );
        }
        for again in [7012, 7013, 7014, 7050, 7051, 500, 501, 502, 503, 504] {
            assert!(matches!(error(again).call_error(), CallError::Transient(_)), "{again}");
        }
        assert!(matches!(status(21).call_error(), CallError::Transient(_)));
        for duplicate in [status(23), error(5492), error(7280)] {
            assert!(duplicate.is_duplicate(), "{}", duplicate.code());
        }
    }

    #[test]
    fn of_an_unknown_code_its_own_word_decides() {
        let told = |permanent| {
            let verdict = Verdict {
                permanent,
                ..error(7999)
            };
            verdict.call_error()
        };
        assert!(matches!(told(Some(false)), CallError::Transient(_)));
        assert!(matches!(told(Some(true)), CallError::Refused(_)));
        assert!(matches!(told(None), CallError::Refused(_)));
    }
}

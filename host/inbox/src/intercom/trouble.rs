//! What an answer that is no success means: Intercom's error table as cases that the callers act upon.

use std::time::Duration;

use mantle_egress::{EgressError, ErrorKind, Response};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Evidence, Failure, Reason, Refusal};
use serde::Deserialize;

use super::pace::HOLD_MAX;
use crate::InboxError;

/// What a repetition of a call would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Reading, or writing the same values again.
    Harmless,
    /// A second contact, conversation or part.
    Doubles,
}

/// A call that did not work, before it is known what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    NotFound(Cause),
    /// Something of the same key exists; the message names it.
    Conflict(Cause),
    Merged {
        into: String,
    },
    Failure(Failure),
}

impl Trouble {
    pub fn cause(&self) -> Cause {
        match self {
            Self::NotFound(cause) | Self::Conflict(cause) => cause.clone(),
            Self::Merged { into } => Cause::new("contact_merged", format!("The contact was merged into {into}.")),
            Self::Failure(failure) => failure.cause().clone(),
        }
    }

    /// A final no to what was written, as opposed to trouble with the line, the limit or the token.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::Conflict(_) | Self::Failure(Failure::Refused(_))
        )
    }
}

impl From<Trouble> for InboxError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Merged { into } => Self::ContactMerged { into },
            Trouble::Failure(failure) => Self::Failure(failure),
            Trouble::NotFound(cause) | Trouble::Conflict(cause) => Self::Failure(refused(Reason::Invalid, cause, None)),
        }
    }
}

pub fn refused(reason: Reason, cause: Cause, next_step: Option<&str>) -> Failure {
    Failure::Refused(Refusal {
        reason,
        cause,
        next_step: next_step.map(str::to_owned),
    })
}

/// No answer, or only half of one.
pub fn unanswered(error: &EgressError, repeat: Repeat) -> Trouble {
    let word = match error.kind {
        ErrorKind::Denied => "denied",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Dns => "dns",
        ErrorKind::Connect => "connect",
        ErrorKind::Tls => "tls",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Broken => "broken",
        ErrorKind::TooLarge => "too_large",
    };
    let cause = Cause::new(word, format!("Intercom gave no answer: {}.", error.message));
    Trouble::Failure(match (error.evidence, repeat) {
        (Evidence::Sent, Repeat::Doubles) => Failure::Unknown(cause),
        _ if error.kind == ErrorKind::Invalid => refused(Reason::Invalid, cause, None),
        _ => Failure::Transient(cause),
    })
}

/// A good status with a body that cannot be read: applied, perhaps, and nobody knows under which id.
pub fn unreadable(repeat: Repeat) -> Trouble {
    let cause = Cause::new("unreadable", "Intercom answered with something that is not its format.");
    Trouble::Failure(match repeat {
        Repeat::Harmless => Failure::Transient(cause),
        Repeat::Doubles => Failure::Unknown(cause),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorList {
    errors: Vec<ErrorItem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

/// Characters of a foreign error message that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The body of a gateway's error may be a page or nothing at all: then the status is the code.
fn cause(status: u16, body: &[u8]) -> Cause {
    let item = serde_json::from_slice::<ErrorList>(body)
        .ok()
        .and_then(|list| list.errors.into_iter().next())
        .unwrap_or_default();
    let message = match item.message {
        Some(message) => message.chars().take(MESSAGE_CHARS_MAX).collect(),
        None => format!("Intercom answered with status {status}."),
    };
    Cause::new(item.code.unwrap_or_else(|| status.to_string()), message)
}

/// Reads an answer that is no success.
pub fn read(answer: &Response, body: &[u8], repeat: Repeat, now: Time) -> Trouble {
    let cause = cause(answer.status, body);
    let failure = match answer.status {
        401 => Failure::Unauthorized(cause),
        403 => refused(
            Reason::Account,
            cause,
            Some("Check the permissions of the app in Intercom and the plan of the workspace."),
        ),
        404 => return Trouble::NotFound(cause),
        409 => return Trouble::Conflict(cause),
        410 => match canonical_contact(answer) {
            Some(into) => return Trouble::Merged { into },
            None => return Trouble::NotFound(cause),
        },
        413 => refused(Reason::TooLarge, cause, None),
        429 => Failure::RateLimited {
            after: wait(answer, now),
            cause,
        },
        503 if answer.header("retry-after").is_some() => Failure::RateLimited {
            after: wait(answer, now),
            cause,
        },
        408 | 500.. if repeat == Repeat::Doubles => Failure::Unknown(cause),
        408 | 500.. => Failure::Transient(cause),
        400..=499 => refused(Reason::Invalid, cause, None),
        // No redirect and no informational answer is documented for the API.
        _ => return unreadable(repeat),
    };
    Trouble::Failure(failure)
}

/// `Link: </contacts/ID>; rel="canonical"` of a merged contact.
fn canonical_contact(answer: &Response) -> Option<String> {
    let link = answer.header("link")?;
    let address = link.split('<').nth(1)?.split('>').next()?;
    let id = address.trim_end_matches('/').rsplit('/').next()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// How long to stay away, as told by `Retry-After` (seconds or a date) or by `X-RateLimit-Reset` (unix seconds).
pub fn wait(answer: &Response, now: Time) -> Option<Duration> {
    let until = |unix_seconds: i64| {
        let wait = Time::from_unix_seconds(unix_seconds).since(now);
        (!wait.is_zero()).then_some(wait)
    };
    let told = answer.header("retry-after").and_then(|value| {
        let value = value.trim();
        match value.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => jiff::fmt::rfc2822::parse(value)
                .ok()
                .and_then(|date| until(date.timestamp().as_second())),
        }
    });
    let reset = || answer.header("x-ratelimit-reset")?.trim().parse().ok().and_then(until);
    told.or_else(reset).map(|wait| wait.min(HOLD_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Response {
        Response {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: futures_util::stream::empty().boxed(),
            content_length: None,
        }
    }

    #[test]
    fn c1_waits_are_read_in_every_spelling_and_capped() {
        let now = Time::from_unix_seconds(1_767_225_600);
        let check = |headers: &[(&str, &str)], expected: Option<u64>| {
            assert_eq!(
                wait(&answer(429, headers), now),
                expected.map(Duration::from_secs),
                "{headers:?}"
            );
        };
        check(&[("retry-after", "17")], Some(17));
        check(&[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")], Some(30));
        check(&[("retry-after", "Wed, 31 Dec 2025 00:00:30 GMT")], None);
        check(&[("retry-after", "9999999")], Some(21_600));
        check(&[("retry-after", "-5")], None);
        check(&[("retry-after", "soon")], None);
        check(&[("x-ratelimit-reset", "1767225610")], Some(10));
        check(&[("x-ratelimit-reset", "9767225610")], Some(21_600));
        check(&[("x-ratelimit-reset", "1767225000")], None);
        check(&[], None);
    }

    #[test]
    fn statuses_become_what_the_caller_does_next() {
        let now = Time::from_unix_seconds(1_767_225_600);
        let body = br#"{"type":"error.list","errors":[{"code":"c","message":"m"}]}"#;
        let known = Cause::new("c", "m");
        let check = |status: u16, headers: &[(&str, &str)], repeat, expected: Trouble| {
            assert_eq!(read(&answer(status, headers), body, repeat, now), expected, "{status}");
        };
        let failure = Trouble::Failure;
        check(401, &[], Repeat::Doubles, failure(Failure::Unauthorized(known.clone())));
        check(404, &[], Repeat::Doubles, Trouble::NotFound(known.clone()));
        check(409, &[], Repeat::Doubles, Trouble::Conflict(known.clone()));
        let link = [("link", r#"</contacts/6762f0dd1bb69f9f2193bb84>; rel="canonical""#)];
        check(
            410,
            &link,
            Repeat::Harmless,
            Trouble::Merged {
                into: "6762f0dd1bb69f9f2193bb84".into(),
            },
        );
        check(410, &[], Repeat::Harmless, Trouble::NotFound(known.clone()));
        check(
            422,
            &[],
            Repeat::Doubles,
            failure(refused(Reason::Invalid, known.clone(), None)),
        );
        check(
            413,
            &[],
            Repeat::Doubles,
            failure(refused(Reason::TooLarge, known.clone(), None)),
        );
        let limited = Failure::RateLimited {
            after: Some(Duration::from_secs(3)),
            cause: known.clone(),
        };
        check(429, &[("retry-after", "3")], Repeat::Doubles, failure(limited.clone()));
        check(503, &[("retry-after", "3")], Repeat::Doubles, failure(limited));
        for status in [408, 500, 502, 503, 504, 599] {
            check(status, &[], Repeat::Doubles, failure(Failure::Unknown(known.clone())));
            check(
                status,
                &[],
                Repeat::Harmless,
                failure(Failure::Transient(known.clone())),
            );
        }
        check(302, &[], Repeat::Doubles, unreadable(Repeat::Doubles));
    }

    #[test]
    fn c8_pages_instead_of_errors_leave_the_status_as_code() {
        let page = b"<html>Bad gateway</html>";
        let now = Time::default();
        assert_eq!(read(&answer(502, &[]), page, Repeat::Doubles, now).cause().code, "502");
    }
}

//! How a call ended, in the cases that the host acts upon: constructors for the typed outcomes and the one place
//! where a broken HTTP exchange becomes one of them.

use crate::connector::{ConnectError, FieldError, Malformed, ReceiveError};
use crate::http;
use crate::values::{CallError, Failure, RateLimit, Refusal, RefusalReason};

/// Longest message of a failure, in characters; the interface says so.
const MESSAGE_CHARS_MAX: usize = 300;

impl Failure {
    /// `message` is one plain sentence without secrets or message texts; a longer one is cut.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: sentence(message.into()),
        }
    }
}

impl Refusal {
    pub fn new(reason: RefusalReason, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason,
            code: code.into(),
            message: sentence(message.into()),
            next_step: None,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn next_step(self, step: impl Into<String>) -> Self {
        Self {
            next_step: Some(step.into()),
            ..self
        }
    }
}

impl CallError {
    /// Surely not done; `retry_after_ms` none leaves the time to the host.
    pub fn rate_limited(retry_after_ms: Option<u64>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::RateLimited(RateLimit {
            retry_after_ms,
            failure: Failure::new(code, message),
        })
    }

    /// Surely not done; the same call may work later.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Transient(Failure::new(code, message))
    }

    /// Perhaps done.
    pub fn ambiguous(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Ambiguous(Failure::new(code, message))
    }

    /// The provider said no, and would again.
    pub fn refused(reason: RefusalReason, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(reason, code, message))
    }

    /// The credentials are no longer good.
    pub fn unauthorized(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unauthorized(Failure::new(code, message))
    }

    /// A broken exchange whose request changes nothing at the provider: asking again is always safe, but for an
    /// answer above the limit, which would be above it again.
    #[must_use]
    pub fn reading(error: http::Error) -> Self {
        if error.kind == http::ErrorKind::TooLarge {
            return Self::refused(RefusalReason::TooLarge, error.kind.code(), error.message);
        }
        match Self::from(error) {
            Self::Ambiguous(failure) => Self::Transient(failure),
            other => other,
        }
    }
}

/// The conclusion for a request that makes something at the provider.
impl From<http::Error> for CallError {
    fn from(error: http::Error) -> Self {
        let failure = Failure::new(error.kind.code(), error.message);
        if error.request_sent {
            return Self::Ambiguous(failure);
        }
        match error.kind {
            http::ErrorKind::Denied | http::ErrorKind::Invalid | http::ErrorKind::Exhausted => {
                Self::Refused(Refusal::new(RefusalReason::Other, failure.code, failure.message))
            }
            _ => Self::Transient(failure),
        }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CallError> for ConnectError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl ConnectError {
    /// One field of the set-up form is wrong; `message` says why, in the provider's words where it gives any.
    pub fn field(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Field(FieldError {
            field: field.into(),
            code: code.into(),
            message: sentence(message.into()),
        })
    }
}

impl ReceiveError {
    pub fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed(sentence(problem.into()))
    }
}

impl Malformed {
    /// `place` as in `entry[0].changes[1]`.
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: sentence(problem.into()),
        }
    }
}

impl http::ErrorKind {
    /// A short word for logs and failure codes.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Invalid => "invalid-request",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "connection-broken",
            Self::TooLarge => "answer-too-large",
            Self::Exhausted => "calls-exhausted",
        }
    }
}

fn sentence(message: String) -> String {
    if message.chars().count() <= MESSAGE_CHARS_MAX {
        return message;
    }
    let mut cut: String = message.chars().take(MESSAGE_CHARS_MAX - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_CHARS_MAX, sentence};
    use crate::http::{Error, ErrorKind};
    use crate::values::CallError;

    fn broken(kind: ErrorKind, request_sent: bool) -> Error {
        Error {
            kind,
            message: "why".to_owned(),
            request_sent,
        }
    }

    #[test]
    fn evidence_decides_what_a_broken_exchange_means() {
        let case = |error: CallError| match error {
            CallError::Transient(failure) => ("transient", failure.code),
            CallError::Ambiguous(failure) => ("ambiguous", failure.code),
            CallError::Refused(refusal) => ("refused", refusal.code),
            CallError::RateLimited(_) | CallError::Unauthorized(_) => ("never", String::new()),
        };
        for (kind, making, reading) in [
            (broken(ErrorKind::Dns, false), "transient", "transient"),
            (broken(ErrorKind::Connect, false), "transient", "transient"),
            (broken(ErrorKind::Timeout, false), "transient", "transient"),
            (broken(ErrorKind::Timeout, true), "ambiguous", "transient"),
            (broken(ErrorKind::Broken, true), "ambiguous", "transient"),
            (broken(ErrorKind::TooLarge, true), "ambiguous", "refused"),
            (broken(ErrorKind::Denied, false), "refused", "refused"),
            (broken(ErrorKind::Exhausted, false), "refused", "refused"),
        ] {
            assert_eq!(
                case(CallError::from(kind.clone())),
                (making, kind.kind.code().to_owned()),
                "{kind:?}"
            );
            assert_eq!(case(CallError::reading(kind.clone())).0, reading, "{kind:?}");
        }
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let long = "ä".repeat(MESSAGE_CHARS_MAX + 1);
        let cut = sentence(long);
        assert_eq!(cut.chars().count(), MESSAGE_CHARS_MAX);
        assert!(cut.ends_with('…'));
        assert_eq!(sentence("short".to_owned()), "short");
    }
}

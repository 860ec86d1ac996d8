//! Times of providers: Unix seconds, RFC 3339 and RFC 2822, to and from the interface's milliseconds.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::values::TimeMs;

/// Unix seconds; a nonsensical number is held at the end of the range.
#[must_use]
pub fn from_unix_seconds(seconds: i64) -> TimeMs {
    seconds.saturating_mul(1000)
}

/// `2026-11-20T14:00:00Z`, with any offset and fraction.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<TimeMs> {
    text.trim().parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// `Fri, 20 Nov 2026 14:00:00 +0000`, as in HTTP headers (with `GMT`) and Twilio's answers.
#[must_use]
pub fn parse_rfc2822(text: &str) -> Option<TimeMs> {
    rfc2822::parse(text.trim())
        .ok()
        .map(|zoned| zoned.timestamp().as_millisecond())
}

/// In UTC, with milliseconds only where there are any. None: outside the years −9999 to 9999.
#[must_use]
pub fn to_rfc3339(time: TimeMs) -> Option<String> {
    Timestamp::from_millisecond(time).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::{from_unix_seconds, parse_rfc2822, parse_rfc3339, to_rfc3339};

    #[test]
    fn every_spelling_of_a_moment_is_the_same_moment() {
        let moment = from_unix_seconds(1_795_000_000);
        assert_eq!(moment, 1_795_000_000_000);
        assert_eq!(to_rfc3339(moment).as_deref(), Some("2026-11-18T11:06:40Z"));
        assert_eq!(parse_rfc3339("2026-11-18T12:06:40+01:00"), Some(moment));
        assert_eq!(parse_rfc2822("Wed, 18 Nov 2026 11:06:40 +0000"), Some(moment));
        assert_eq!(parse_rfc2822("Wed, 18 Nov 2026 11:06:40 GMT"), Some(moment));
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc2822("2026-11-18"), None);
        assert_eq!(to_rfc3339(i64::MAX), None);
        assert_eq!(from_unix_seconds(i64::MAX), i64::MAX);
    }
}

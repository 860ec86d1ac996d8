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

/// `Fri, 20 Nov 2026 14:00:00 +0000`, as in mail and in Twilio's answers.
#[must_use]
pub fn parse_rfc2822(text: &str) -> Option<TimeMs> {
    rfc2822::parse(text.trim())
        .ok()
        .map(|zoned| zoned.timestamp().as_millisecond())
}

/// `Fri, 20 Nov 2026 14:00:00 GMT`, the one form in which HTTP headers are written (RFC 9110, 5.6.7). By hand, because
/// every connector reads `Retry-After` and a calendar library makes a component a third larger.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<TimeMs> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_weekday, rest) = text.trim().split_once(", ")?;
    let mut words = rest.strip_suffix(" GMT")?.split(' ');
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()?;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Counted from March, so that the leap day is the last of its year: month lengths then repeat every five months.
    let (year, month) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970;
    Some(from_unix_seconds(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;

/// In UTC, with milliseconds only where there are any. None: outside the years −9999 to 9999.
#[must_use]
pub fn to_rfc3339(time: TimeMs) -> Option<String> {
    Timestamp::from_millisecond(time).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::{from_unix_seconds, parse_http_date, parse_rfc2822, parse_rfc3339, to_rfc3339};

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
    fn http_dates_are_those_of_the_calendar() {
        for day in 0..40_000 {
            let moment = from_unix_seconds(day * 86_400 + 45_296);
            let at = jiff::Timestamp::from_millisecond(moment).expect("in range");
            let written = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            assert_eq!(parse_http_date(&written), Some(moment), "{written}");
        }
        for nonsense in [
            "",
            "soon",
            "Wed, 18 Foo 2026 11:06:40 GMT",
            "Wed, 18 Nov 2026 11:06 GMT",
            "18 Nov 2026",
        ] {
            assert_eq!(parse_http_date(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc2822("2026-11-18"), None);
        assert_eq!(to_rfc3339(i64::MAX), None);
        assert_eq!(from_unix_seconds(i64::MAX), i64::MAX);
    }
}

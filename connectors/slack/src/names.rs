//! The names that this connector gives to messages, threads, people and accounts. What Slack counts per channel or per
//! workspace is named together with it.

use mantle_sdk::values::TimeMs;

/// A place in a Slack channel: a message, or the thread that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub channel: &'a str,
    pub ts: &'a str,
}

/// `<channel>:<ts>`
pub fn message(channel: &str, ts: &str) -> String {
    format!("{channel}:{ts}")
}

/// The other way round. None: it is no such name.
pub fn place(name: &str) -> Option<Place<'_>> {
    let (channel, ts) = name.split_once(':')?;
    (is_id(channel) && parts(ts).is_some()).then_some(Place { channel, ts })
}

/// `<workspace>:<user>`: ids of people are unique in a workspace or an organisation.
pub fn person(team: &str, user: &str) -> String {
    format!("{team}:{user}")
}

/// Slack's id of the person. None: the name is not a person's.
pub fn user(name: &str) -> Option<&str> {
    let (team, user) = name.split_once(':')?;
    (is_id(team) && is_id(user) && user.starts_with(['U', 'W'])).then_some(user)
}

/// The account of one Slack channel; that of direct messages is the workspace itself.
pub fn account(team: &str, channel: &str) -> String {
    format!("{team}:{channel}")
}

/// Direct conversations of a person with the app.
pub fn is_direct(channel: &str) -> bool {
    channel.starts_with('D')
}

/// The moment in a `ts`, which is an id: it is never calculated with beyond this.
pub fn time(ts: &str) -> Option<TimeMs> {
    let (seconds, fraction) = parts(ts)?;
    let thousandths: TimeMs = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    seconds
        .parse::<TimeMs>()
        .ok()?
        .checked_mul(1_000)?
        .checked_add(thousandths)
}

fn parts(ts: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ts.split_once('.')
        .filter(|(seconds, fraction)| digits(seconds) && digits(fraction))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::{Place, is_direct, place, time, user};

    #[test]
    fn a_ts_is_an_id_and_its_moment_is_read_from_its_digits() {
        assert_eq!(time("1767225599.000100"), Some(1_767_225_599_000));
        assert_eq!(time("1767225599.987654"), Some(1_767_225_599_987));
        assert_eq!(time("1767225599.5"), Some(1_767_225_599_500));
        for nonsense in [
            "",
            "1767225599",
            "1767225599.",
            ".1",
            "1e9.1",
            "-1.0",
            "99999999999999999999.0",
        ] {
            assert_eq!(time(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn names_of_places_and_people_are_not_taken_for_each_other() {
        let expected = Place {
            channel: "C0SUPPORT",
            ts: "1767225500.000200",
        };
        assert_eq!(place("C0SUPPORT:1767225500.000200"), Some(expected));
        assert_eq!(user("T0ACME001:U0CUST001"), Some("U0CUST001"));
        assert_eq!(user("T0ACME001:W0CUST001"), Some("W0CUST001"));
        for other in ["U0CUST001", "T0ACME001:U0CUST001", "C0SUPPORT", "C0 &x=1:1.1", ":1.1"] {
            assert_eq!(place(other), None, "{other}");
        }
        for other in [
            "C0SUPPORT:1767225500.000200",
            "U0CUST001",
            "T0ACME001:C0SUPPORT",
            "T0:U0&x",
        ] {
            assert_eq!(user(other), None, "{other}");
        }
        assert!(is_direct("D0DM00001") && !is_direct("C0SUPPORT"));
    }
}

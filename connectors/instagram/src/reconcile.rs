//! Looking for a message whose answer was lost, in the conversation with the person.
//!
//! Instagram shows no id of ours there, so words, number of files and time are compared. Two equal messages are two: all
//! that fit are told, and the host knows which of them it made for other replies.

use mantle_sdk::Host;
use mantle_sdk::connector::{Finding, Query};
use mantle_sdk::http::Method;
use mantle_sdk::values::{CallError, OutgoingContent, Sent, TimeMs};
use serde::Deserialize;
use serde_json::Value;

use crate::graph::{Graph, Repeat};
use crate::wire::Loose;

/// Instagram tells the details of so many of a conversation's newest messages.
const LOOKED_AT: usize = 20;
/// How far Instagram's clock may be behind the host's. An older equal message that nobody knows is not ours.
const CLOCKS_APART_MS: TimeMs = 5_000;
/// Instagram's times are in whole seconds.
const SECOND_MS: TimeMs = 1_000;

#[derive(Deserialize)]
struct Conversations {
    #[serde(default)]
    data: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Option<Messages>,
}

#[derive(Deserialize)]
struct Messages {
    #[serde(default)]
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    id: Loose,
    #[serde(default)]
    created_time: String,
    from: Option<From>,
    message: Option<String>,
    attachments: Option<Attachments>,
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    id: Loose,
}

#[derive(Deserialize)]
struct Attachments {
    #[serde(default)]
    data: Vec<Value>,
}

pub fn find_sent(query: &Query, host: &dyn Host) -> Result<Finding, CallError> {
    let Some(person) = query.message.recipient_id() else {
        return Ok(Finding::CannotTell);
    };
    let Some(wanted) = Wanted::of(query, person) else {
        return Ok(Finding::CannotTell);
    };
    let graph = Graph::of(host)?;
    let fields = format!("messages.limit({LOOKED_AT}){{id,created_time,from,message,attachments}}");
    let request = graph.edge(Method::Get, "conversations").query([
        ("platform", "instagram"),
        ("user_id", person),
        ("fields", fields.as_str()),
    ]);
    let conversations: Conversations = graph.call(request, Repeat::Harmless)?;
    // The conversation is there, because the person has written: a list without it proves nothing.
    let Some(messages) = conversations.data.into_iter().find_map(|one| one.messages) else {
        return Ok(Finding::CannotTell);
    };
    let listed = messages.data;
    let reaches_back = listed.len() < LOOKED_AT || listed.iter().any(|one| wanted.is_older(one));
    let are_dated = listed.iter().all(|one| created_at(one).is_some());
    if !reaches_back || !are_dated {
        return Ok(Finding::CannotTell);
    }
    let mut made: Vec<Listed> = listed.into_iter().filter(|one| wanted.is(one)).collect();
    made.sort_by_key(created_at);
    let made = made.into_iter().filter_map(|one| one.id.0);
    Ok(Finding::Made(made.map(Sent::new).collect()))
}

/// What the message looks like in the list.
struct Wanted<'a> {
    person: &'a str,
    words: &'a str,
    files: usize,
    not_before: TimeMs,
}

impl<'a> Wanted<'a> {
    /// None: a kind that the list does not show.
    fn of(query: &'a Query, person: &'a str) -> Option<Self> {
        let message = &query.message;
        let (words, files) = match &message.content {
            // Buttons are shown as an attachment without the words.
            OutgoingContent::Text(_) if message.extras.iter().any(|(name, _)| name.starts_with("button:")) => {
                return None;
            }
            OutgoingContent::Text(text) => (text.text.as_str(), 0),
            OutgoingContent::Attachment(_) => ("", 1),
            _ => return None,
        };
        let announced = query.announced_at - query.announced_at.rem_euclid(SECOND_MS);
        Some(Self {
            person,
            words,
            files,
            not_before: announced - CLOCKS_APART_MS,
        })
    }

    fn is_older(&self, listed: &Listed) -> bool {
        created_at(listed).is_some_and(|at| at < self.not_before)
    }

    /// The account has two ids, the person one: what is not theirs is ours.
    fn is(&self, listed: &Listed) -> bool {
        let from = listed.from.as_ref().and_then(|from| from.id.as_deref());
        let ours = from.is_some_and(|id| id != self.person);
        // Blanks at the end are not kept by everybody.
        let words = listed.message.as_deref().unwrap_or_default().trim_end() == self.words.trim_end();
        let files = listed.attachments.as_ref().map_or(0, |list| list.data.len()) == self.files;
        ours && words && files && !self.is_older(listed)
    }
}

/// `2026-11-18T11:06:40+0000`, always in UTC. By hand: a calendar library makes the component a third larger.
fn created_at(listed: &Listed) -> Option<TimeMs> {
    let told = listed.created_time.strip_suffix("+0000")?;
    let (date, clock) = told.split_once('T')?;
    let numbers = |text: &str, between: char| -> Option<[i64; 3]> {
        let parts: Option<Vec<i64>> = text.splitn(3, between).map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(clock, ':')?);
    let sensible = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sensible {
        return None;
    }
    // Counted from March, so that the leap day is the last of its year: months then repeat every five.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND_MS)
}

/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use mantle_sdk::time;

    use super::{Listed, created_at};
    use crate::wire::Loose;

    fn told(created_time: String) -> Listed {
        Listed {
            id: Loose(None),
            created_time,
            from: None,
            message: None,
            attachments: None,
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for day in 0..40_000 {
            let moment = time::from_unix_seconds(day * 86_400 + 45_296);
            let written = time::to_rfc3339(moment).expect("in range").replace('Z', "+0000");
            assert_eq!(created_at(&told(written.clone())), Some(moment), "{written}");
        }
        for nonsense in [
            "",
            "soon",
            "2026-11-18T11:06:40+0100",
            "2026-13-18T11:06:40+0000",
            "2026-11-18+0000",
        ] {
            assert_eq!(created_at(&told(nonsense.to_owned())), None, "{nonsense}");
        }
    }
}

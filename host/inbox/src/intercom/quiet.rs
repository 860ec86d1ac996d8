//! Since when a conversation of Intercom is at rest.

use mantle_model::clock::Time;

use super::reply::is_spoken;
use super::wire::{Conversation, Part};
use crate::Quiet;

const CLOSED: &str = "closed";
const CLOSING: &str = "close";

/// Snoozed is not closed: Intercom opens it again by itself.
pub fn of(conversation: &Conversation) -> Quiet {
    let parts = || conversation.conversation_parts.conversation_parts.iter();
    let newest = |of: &dyn Fn(&&Part) -> bool| parts().filter(of).map(|part| part.created_at).max();
    let spoken = |part: &&Part| is_spoken(&part.part_type) && !(part.body.is_empty() && part.attachments.is_empty());
    let closed = conversation.state == CLOSED;
    // Parts beyond the newest 500 are not shown. A closing that is not among them: the last change is not before it.
    let closed_at = newest(&|part| part.part_type == CLOSING)
        .or(Some(conversation.statistics.last_close_at).filter(|at| *at > 0))
        .unwrap_or(conversation.updated_at);
    let opened_at = Some(conversation.created_at).filter(|at| *at > 0);
    Quiet {
        closed_at: closed.then(|| Time::from_unix_seconds(closed_at)),
        spoken_at: newest(&spoken).max(opened_at).map(Time::from_unix_seconds),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn quiet(value: Value) -> Quiet {
        of(&serde_json::from_value(value).unwrap())
    }

    fn at(seconds: i64) -> Option<Time> {
        Some(Time::from_unix_seconds(seconds))
    }

    #[test]
    fn th_3_the_newest_closing_counts_and_notes_do_not() {
        let parts = json!([
            {"id": "1", "part_type": "close", "created_at": 20},
            {"id": "2", "part_type": "open", "body": "<p>Still there?</p>", "created_at": 30},
            {"id": "3", "part_type": "close", "body": null, "created_at": 40},
            {"id": "4", "part_type": "note", "body": "<p>secret</p>", "created_at": 50}]);
        let closed = json!({"id": "9", "state": "closed", "created_at": 10, "updated_at": 50,
            "conversation_parts": {"conversation_parts": parts}});
        let expected = Quiet {
            closed_at: at(40),
            spoken_at: at(30),
        };
        assert_eq!(quiet(closed), expected);
    }

    #[test]
    fn th_3_without_a_part_that_closes_the_statistics_tell_and_at_last_the_change() {
        let mut closed = json!({"id": "9", "state": "closed", "created_at": 10, "updated_at": 50,
            "statistics": {"last_close_at": 33}});
        assert_eq!(quiet(closed.clone()).closed_at, at(33));
        closed["statistics"] = Value::Null;
        assert_eq!(quiet(closed).closed_at, at(50));
    }

    #[test]
    fn th_4_th_11_open_and_snoozed_ones_are_not_closed() {
        for state in ["open", "snoozed", "brand_new_state"] {
            let parts = json!([{"id": "1", "part_type": "close", "created_at": 20}]);
            let told = json!({"id": "9", "state": state, "created_at": 10, "updated_at": 50,
                "conversation_parts": {"conversation_parts": parts}});
            let expected = Quiet {
                closed_at: None,
                spoken_at: at(10),
            };
            assert_eq!(quiet(told), expected, "{state}");
        }
    }
}

//! What an event carries, as it is stored. The shapes are part of the database and only grow.

use mantle_inbox::Author;
use mantle_model::clock::Time;
use mantle_model::ids::{IdentityId, MediaId, MessageId, WorkspaceId};
use mantle_model::inbound::{Attachment, IdentityChange, Message, Notice, Reachability, Status};
use serde::{Deserialize, Serialize};

/// Towards the inbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InPayload {
    Message(Message),
    Status(Status),
    Reachability(Reachability),
    IdentityChange(IdentityChange),
    Notice(Notice),
    Note(Note),
    LateFile(LateFile),
}

/// An internal note that we owe the team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub identity: IdentityId,
    /// None: the identity's conversation at the time of writing.
    pub conversation: Option<String>,
    /// Ours, escaped.
    pub html: String,
}

/// A file that follows its message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateFile {
    pub identity: IdentityId,
    /// The message that the file belongs to.
    pub message: MessageId,
    pub attachment: Attachment,
    /// Set when the file lies on the shelf already and only the inbox did not take it.
    pub media: Option<MediaId>,
    /// When the message came: bounds the tries.
    pub since: Time,
}

/// Towards the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutPayload {
    Reply(ReplyTold),
    /// A reply in a conversation that we may be opening at this moment: to be looked at again.
    Stray(ReplyTold),
}

/// A reply as the webhook told it; the whole of it is read afresh before it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTold {
    pub workspace: WorkspaceId,
    pub conversation: String,
    pub part: String,
    pub author: Author,
    /// For when the part cannot be read any more, and for snippets.
    pub text: String,
}

/// The id under which one unit of a reply goes out: the same on every attempt, and found again in echoes.
#[must_use]
pub fn correlation(message: MessageId, attempt_no: u32, unit: usize) -> String {
    format!("{message}.{attempt_no}.{unit}")
}

/// One unit of one attempt at a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlated {
    pub message: MessageId,
    pub attempt_no: u32,
    pub step: String,
}

/// What a correlation names; None if it is not one of ours.
#[must_use]
pub fn correlated(text: &str) -> Option<Correlated> {
    let mut pieces = text.split('.');
    let message = pieces.next()?.parse().ok()?;
    let attempt_no = pieces.next()?.parse().ok()?;
    let unit: usize = pieces.next()?.parse().ok()?;
    pieces.next().is_none().then(|| Correlated {
        message,
        attempt_no,
        step: send_step(unit),
    })
}

/// What the steps of all units begin with.
pub(crate) const SEND_STEPS: &str = "send:";

/// The step of a reply's unit.
#[must_use]
pub fn send_step(unit: usize) -> String {
    format!("{SEND_STEPS}{unit}")
}

/// The step that remembers that the team was told of the doubt about a send: only then is its end news to them.
pub(crate) fn doubt_step(send_step: &str) -> String {
    format!("doubt:{send_step}")
}

/// Bytes for the store. These types have string keys and no maps, so they always serialise; should that ever
/// change, the empty payload is reported as unreadable instead of being lost in silence.
pub(crate) fn to_bytes<T: Serialize>(payload: &T) -> Vec<u8> {
    serde_json::to_vec(payload).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mantle_model::ids::LaneId;

    use super::*;

    #[test]
    fn in_16_a_correlation_leads_back_to_its_message() {
        let message = MessageId {
            lane: LaneId(9),
            seq: 4,
        };
        assert_eq!(
            correlated(&correlation(message, 1, 2)),
            Some(Correlated {
                message,
                attempt_no: 1,
                step: "send:2".into()
            })
        );
        for foreign in [
            "",
            "abc",
            "msg_x.1.2",
            "msg_0000000000009_4.1",
            "msg_0000000000009_4.1.2.3",
        ] {
            assert_eq!(correlated(foreign), None, "{foreign}");
        }
    }
}

//! Webhooks of Intercom: proof that they are Intercom's, and what they say in neutral words.
//!
//! One subscription serves all workspaces, order is not promised, and one part may be told under several topics, so
//! the key of whatever is about a part is the part's id.

use hmac::{Hmac, KeyInit as _, Mac as _};
use mantle_model::clock::Time;
use mantle_model::secret::Secret;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::html;
use super::reply::{is_spoken, team_author};
use super::wire::{Part, id_of};
use crate::{InboxEvent, InboxEventBody};

/// Topics that can carry words for the customer.
const SPOKEN_TOPICS: [&str; 9] = [
    "conversation.admin.assigned",
    "conversation.admin.closed",
    "conversation.admin.open.assigned",
    "conversation.admin.opened",
    "conversation.admin.replied",
    "conversation.admin.single.created",
    "conversation.admin.snoozed",
    "conversation.admin.unsnoozed",
    "conversation.operator.replied",
];

/// `X-Hub-Signature: sha1=HEX` over the raw body. Each secret is tried in constant time.
pub fn verify(secrets: &[Secret], headers: &[(String, String)], body: &[u8]) -> bool {
    let header = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-hub-signature"));
    let Some(given) = header.and_then(|(_, value)| value.trim().strip_prefix("sha1=")) else {
        return false;
    };
    let Ok(given) = hex::decode(given) else {
        return false;
    };
    let matches = |secret: &Secret| {
        Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes())
            .is_ok_and(|mac| mac.chain_update(body).verify_slice(&given).is_ok())
    };
    // No short cut at the first match: which secret it was is nobody's business.
    secrets.iter().fold(false, |found, secret| found | matches(secret))
}

/// # Errors
/// What is missing, in a sentence.
pub fn parse(body: &[u8]) -> Result<Vec<InboxEvent>, String> {
    let root: Value = serde_json::from_slice(body).map_err(|error| format!("The webhook is not JSON: {error}."))?;
    let topic = root["topic"].as_str().ok_or("The webhook has no `topic`.")?;
    let notification = Notification {
        topic,
        platform_id: id_of(&root["app_id"]).unwrap_or_default(),
        key: id_of(&root["id"]).unwrap_or_else(|| format!("sha256:{}", hex::encode(Sha256::digest(body)))),
        at: Time::from_unix_seconds(root["created_at"].as_i64().unwrap_or_default()),
        root: &root,
    };
    if notification.platform_id.is_empty() && topic != "ping" {
        return Err(format!(
            "The webhook `{topic}` has no `app_id`, so its workspace cannot be found."
        ));
    }
    notification.events()
}

struct Notification<'a> {
    topic: &'a str,
    platform_id: String,
    key: String,
    at: Time,
    root: &'a Value,
}

impl Notification<'_> {
    fn item(&self) -> &Value {
        &self.root["data"]["item"]
    }

    fn item_id(&self) -> Result<String, String> {
        let item = self.item();
        id_of(&item["id"])
            .or_else(|| id_of(&item["conversation_id"]))
            .ok_or_else(|| format!("The webhook `{}` names no `data.item.id`.", self.topic))
    }

    fn events(&self) -> Result<Vec<InboxEvent>, String> {
        let events = match self.topic {
            topic if SPOKEN_TOPICS.contains(&topic) => self.replies()?,
            "conversation.user.replied" | "conversation.user.created" => self.customer_parts()?,
            "conversation.deleted" => {
                vec![self.event(InboxEventBody::ConversationDeleted {
                    conversation: self.item_id()?,
                })]
            }
            "contact.merged" => vec![self.event(self.merge()?)],
            // An archived contact takes no messages any more, which is all that matters here.
            "contact.deleted" | "contact.archived" => {
                vec![self.event(InboxEventBody::ContactDeleted {
                    contact: self.item_id()?,
                })]
            }
            _ => Vec::new(),
        };
        if events.is_empty() {
            return Ok(vec![self.event(InboxEventBody::Other {
                topic: self.topic.to_owned(),
            })]);
        }
        Ok(events)
    }

    fn event(&self, body: InboxEventBody) -> InboxEvent {
        InboxEvent {
            platform_id: self.platform_id.clone(),
            key: self.key.clone(),
            at: self.at,
            body,
        }
    }

    fn part_event(&self, part: &Part, body: InboxEventBody) -> InboxEvent {
        part_event(&self.platform_id, part, self.at, body)
    }

    /// The parts that caused the notification; for a new conversation its first message.
    fn parts(&self, or_source: bool) -> Vec<Part> {
        let list = &self.item()["conversation_parts"]["conversation_parts"];
        let mut parts: Vec<Part> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|part| serde_json::from_value(part.clone()).ok())
            .collect();
        if parts.is_empty() && or_source {
            parts.extend(serde_json::from_value::<Part>(self.item()["source"].clone()));
        }
        parts.retain(|part| !part.id.is_empty());
        parts
    }

    fn replies(&self) -> Result<Vec<InboxEvent>, String> {
        let conversation = self.item_id()?;
        let parts = self.parts(self.topic == "conversation.admin.single.created");
        let reply = |part: &Part| Some(self.part_event(part, reply(&conversation, part)?));
        Ok(parts.iter().filter_map(reply).collect())
    }

    fn customer_parts(&self) -> Result<Vec<InboxEvent>, String> {
        let conversation = self.item_id()?;
        let parts = self.parts(self.topic == "conversation.user.created");
        let wrote = |part: &Part| Some(self.part_event(part, customers(&conversation, part)?));
        Ok(parts.iter().filter_map(wrote).collect())
    }

    fn merge(&self) -> Result<InboxEventBody, String> {
        let places = [
            &self.item()["merged_from"],
            &self.root["data"]["merged_from"],
            &self.root["merged_from"],
        ];
        let from = places
            .into_iter()
            .find_map(|place| id_of(&place["id"]).or_else(|| id_of(place)))
            .ok_or("The webhook `contact.merged` does not name the contact that was merged.")?;
        Ok(InboxEventBody::ContactMerged {
            from,
            into: self.item_id()?,
        })
    }
}

/// What a webhook about the part says; None: none is sent, or it is for nobody.
pub fn told(platform_id: &str, conversation: &str, part: &Part, or_at: Time) -> Option<InboxEvent> {
    let body = reply(conversation, part).or_else(|| customers(conversation, part))?;
    (!part.id.is_empty()).then(|| part_event(platform_id, part, or_at, body))
}

fn part_event(platform_id: &str, part: &Part, or_at: Time, body: InboxEventBody) -> InboxEvent {
    let told = (part.created_at > 0).then(|| Time::from_unix_seconds(part.created_at));
    InboxEvent {
        platform_id: platform_id.to_owned(),
        key: format!("part:{}", part.id),
        at: told.unwrap_or(or_at),
        body,
    }
}

/// Words of the team for the customer.
fn reply(conversation: &str, part: &Part) -> Option<InboxEventBody> {
    let author = team_author(&part.author)?;
    let has_words = !part.body.trim().is_empty() || !part.attachments.is_empty();
    (is_spoken(&part.part_type) && has_words && !part.redacted).then(|| InboxEventBody::Reply {
        conversation: conversation.to_owned(),
        part: part.id.clone(),
        author,
        text: plain(&part.body),
    })
}

fn customers(conversation: &str, part: &Part) -> Option<InboxEventBody> {
    let is_customer = matches!(part.author.r#type.as_str(), "user" | "lead" | "contact");
    is_customer.then(|| InboxEventBody::ContactWrote {
        conversation: conversation.to_owned(),
        part: part.id.clone(),
    })
}

/// Apps of version 2.15 and later are told plain text, older ones HTML.
fn plain(body: &str) -> String {
    let trimmed = body.trim();
    if trimmed.starts_with('<') && trimmed.ends_with('>') {
        html::rich(trimmed).0.text
    } else {
        body.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Author;
    use serde_json::json;

    const SECRET: &str = "ic-test-client-secret-0001";
    const FIRST: &str = r#"{"type":"notification_event","app_id":"abc12345","topic":"conversation.admin.replied","id":"notif_00000000-0000-4000-8000-000000000001","created_at":1767225600,"delivery_attempts":1,"first_sent_at":1767225600,"data":{"type":"notification_event_data","item":{"type":"conversation","id":"215470000000001"}}}"#;
    const SECOND: &str = r#"{"type":"notification_event","topic":"ping","data":{"item":{"message":"héllo ✓"}}}"#;

    #[test]
    fn e1_only_intercoms_signature_is_taken() {
        let check = |secrets: &[&str], header: Option<&str>, body: &str, expected: bool| {
            let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
            let headers: Vec<_> = header
                .map(|value| ("x-hub-signature".to_owned(), value.to_owned()))
                .into_iter()
                .collect();
            assert_eq!(
                verify(&secrets, &headers, body.as_bytes()),
                expected,
                "{header:?} {body}"
            );
        };
        let first = "sha1=264bc95a87c8fe078130dda3f675d3870383508f";
        let second = "sha1=05d47d952a97c1e2c8904e4cb33dcba9c826a5c6";
        check(&[SECRET], Some(first), FIRST, true);
        check(&[SECRET], Some(second), SECOND, true);
        check(&["new", SECRET], Some(first), FIRST, true);
        check(&[SECRET, "new"], Some(first), FIRST, true);
        check(&["new"], Some(first), FIRST, false);
        check(&[], Some(first), FIRST, false);
        check(&[SECRET], None, FIRST, false);
        check(&[SECRET], Some(&first.replace("sha1", "sha256")), FIRST, false);
        check(&[SECRET], Some(&first[..30]), FIRST, false);
        check(&[SECRET], Some("sha1="), FIRST, false);
        check(&[SECRET], Some("sha1=zz"), FIRST, false);
        check(&[SECRET], Some(first), &FIRST.replace("abc12345", "abc12346"), false);
        check(&[SECRET], Some(first), &FIRST.replace(',', ", "), false);
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better with a literal")]
    fn told(topic: &str, item: Value) -> Vec<InboxEvent> {
        let body = json!({"type": "notification_event", "app_id": "abc12345", "topic": topic, "id": "notif_1",
            "created_at": 1_767_225_701, "data": {"type": "notification_event_data", "item": item}});
        parse(body.to_string().as_bytes()).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better with a literal")]
    fn with_parts(parts: Value) -> Value {
        json!({"type": "conversation", "id": 215_470_000_000_001_u64, "conversation_parts": {"conversation_parts": parts}})
    }

    #[test]
    fn out_3_one_part_under_two_topics_has_one_key() {
        let part = json!({"type": "conversation_part", "id": "9400000017", "part_type": "comment", "created_at": 1_767_225_700,
            "body": "Yes, blue is in stock. [Image]", "author": {"type": "admin", "id": 814_860, "name": "Dana"}});
        let expected = InboxEvent {
            platform_id: "abc12345".into(),
            key: "part:9400000017".into(),
            at: Time::from_unix_seconds(1_767_225_700),
            body: InboxEventBody::Reply {
                conversation: "215470000000001".into(),
                part: "9400000017".into(),
                author: Author::Teammate {
                    id: "814860".into(),
                    name: Some("Dana".into()),
                },
                text: "Yes, blue is in stock. [Image]".into(),
            },
        };
        for topic in ["conversation.admin.replied", "conversation.admin.closed"] {
            assert_eq!(
                told(topic, with_parts(json!([part]))),
                std::slice::from_ref(&expected),
                "{topic}"
            );
        }
    }

    #[test]
    fn several_parts_are_several_events() {
        let part = |id: u32, kind: &str, author: &str, body: &str| json!({"id": id, "part_type": kind, "body": body, "author": {"type": author, "id": "1"}});
        let parts = json!([
            part(1, "comment", "admin", "<p>a</p>"),
            part(2, "note", "admin", "secret"),
            part(3, "comment", "bot", "c"),
            part(4, "close", "admin", ""),
            part(5, "comment", "user", "e"),
        ]);
        let keys = |topic: &str| {
            told(topic, with_parts(parts.clone()))
                .into_iter()
                .map(|event| event.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("conversation.admin.replied"), ["part:1", "part:3"]);
        assert_eq!(keys("conversation.user.replied"), ["part:5"]);
        let InboxEventBody::Reply { text, .. } = told("conversation.admin.replied", with_parts(parts.clone()))
            .remove(0)
            .body
        else {
            panic!("no reply");
        };
        assert_eq!(text, "a");
    }

    #[test]
    fn what_else_is_told_is_understood() {
        let only = |topic: &str, item: Value| told(topic, item).remove(0).body;
        let other = |topic: &str| InboxEventBody::Other { topic: topic.into() };
        assert_eq!(
            only("conversation.admin.noted", with_parts(json!([]))),
            other("conversation.admin.noted")
        );
        assert_eq!(
            only("conversation.admin.closed", with_parts(json!([]))),
            other("conversation.admin.closed")
        );
        assert_eq!(only("some.new.topic", json!(null)), other("some.new.topic"));
        assert_eq!(
            only("conversation.deleted", json!({"type": "conversation", "id": "7"})),
            InboxEventBody::ConversationDeleted {
                conversation: "7".into()
            }
        );
        assert_eq!(
            only(
                "contact.merged",
                json!({"id": "b", "merged_from": {"type": "contact", "id": "a"}})
            ),
            InboxEventBody::ContactMerged {
                from: "a".into(),
                into: "b".into()
            }
        );
        assert_eq!(
            only("contact.archived", json!({"id": "c"})),
            InboxEventBody::ContactDeleted { contact: "c".into() }
        );
        assert_eq!(
            only(
                "conversation.user.created",
                json!({"id": "7", "source": {"id": "s", "author": {"type": "lead", "id": "c"}}})
            ),
            InboxEventBody::ContactWrote {
                conversation: "7".into(),
                part: "s".into()
            }
        );
        let first = json!({"id": "7", "source": {"id": "s", "body": "Hi", "author": {"type": "admin", "id": "1"}}});
        assert!(
            matches!(only("conversation.admin.single.created", first), InboxEventBody::Reply { part, .. } if part == "s")
        );
    }

    #[test]
    fn pings_and_broken_webhooks() {
        let ping = parse(SECOND.as_bytes()).unwrap();
        assert_eq!(ping[0].body, InboxEventBody::Other { topic: "ping".into() });
        assert!(ping[0].key.starts_with("sha256:"));
        for broken in [
            "",
            "[]",
            "{}",
            r#"{"topic":"contact.deleted"}"#,
            r#"{"topic":"contact.deleted","app_id":"a"}"#,
        ] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}

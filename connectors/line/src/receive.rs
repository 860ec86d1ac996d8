//! From one webhook to neutral events. A body holds several events, of different people; each is read by itself, and
//! what cannot be read is named with its place. Makes no calls.
//!
//! Left out on purpose: beacons, account links, memberships, changes of members and of modules, and videos that were
//! played to their end. An inbox has nothing to do with them.

mod content;

use mantle_sdk::Host;
use mantle_sdk::connector::{Hook, Inbound, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::members::{Members, Problems};
use mantle_sdk::values::{
    AliasKind, Chat, Choice, Content, Edit, Event, EventBody, Group, Message, Notice, NoticeLevel, Person, Quote,
    Reach, Reachability, TimeMs,
};
use serde_json::Value;

/// Another module owns the chat for now: an answer of ours would cross its own.
const STANDBY: &str = "Another module of the LINE account has this chat at the moment. Leave the answer to it.";

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let body: Value = hook
        .json()
        .map_err(|error| ReceiveError::malformed(format!("The body is not JSON: {error}.")))?;
    let Some(events) = body.get("events").and_then(Value::as_array) else {
        return Err(ReceiveError::malformed("The body has no list of events."));
    };
    // The account's own user id, by which `identify` names the channel.
    let destination = body.get("destination").and_then(Value::as_str);
    let problems = Problems::default();
    let told = events.iter().enumerate().filter_map(|(number, raw)| {
        let happening = Happening::read(raw, format!("events[{number}]"), &problems, hook.received_at)?;
        let event = happening.event(host)?;
        Some(match destination {
            Some(destination) => event.of_account(destination),
            None => event,
        })
    });
    let events = told.collect();
    Ok(Inbound {
        events,
        malformed: problems.into_inner(),
        answer: None,
    })
}

/// One event of LINE with what all kinds have in common.
struct Happening<'a> {
    fields: Members<'a>,
    kind: &'a str,
    /// The same when LINE delivers again.
    id: &'a str,
    at: TimeMs,
    is_standby: bool,
}

/// Where something happened, and who did it.
struct Source {
    chat: Chat,
    person: Person,
}

impl<'a> Happening<'a> {
    fn read(raw: &'a Value, place: String, problems: &'a Problems, received_at: TimeMs) -> Option<Self> {
        let fields = Members::of(raw, place, problems)?;
        let kind = fields.needed_text("type")?;
        let id = fields.needed_text("webhookEventId")?;
        Some(Self {
            kind,
            id,
            at: fields.time_ms("timestamp").unwrap_or(received_at),
            is_standby: fields.text("mode") == Some("standby"),
            fields,
        })
    }

    fn event(&self, host: &dyn Host) -> Option<Event> {
        let body = match self.kind {
            "message" => self.message(),
            "messageEdited" => self.edit(),
            "unsend" => self.deletion(),
            "postback" => self.postback(),
            "follow" => self.reach(Reach::Reachable),
            "unfollow" => self.reach(Reach::Blocked),
            "join" => self.membership(NoticeLevel::Info, "group-joined", "is now a member of"),
            "leave" => self.membership(NoticeLevel::Warning, "group-left", "is no longer a member of"),
            "botSuspended" => Some(EventBody::Notice(Notice::new(
                NoticeLevel::Broken,
                "bot-suspended",
                "LINE has suspended the account. See the messages in LINE Official Account Manager.",
            ))),
            "botResumed" => Some(EventBody::Notice(Notice::new(
                NoticeLevel::Info,
                "bot-resumed",
                "LINE has lifted the suspension of the account.",
            ))),
            other => {
                let kind: String = other.chars().take(40).collect();
                host.log(
                    Level::Debug,
                    &format!("An event of kind {kind} has nothing for an inbox."),
                );
                None
            }
        }?;
        Some(Event::new(self.id, self.at, body))
    }

    fn message(&self) -> Option<EventBody> {
        let source = self.source()?;
        let fields = self.fields.needed_object("message")?;
        let id = fields.needed_text("id")?;
        let mut message = self.told(&source, id.to_owned(), self.warned(content::of(&fields, id)));
        message.quote = fields.text("quotedMessageId").map(|quoted| Quote {
            id: Some(quoted.to_owned()),
            text: None,
        });
        Some(EventBody::Message(message))
    }

    fn edit(&self) -> Option<EventBody> {
        let source = self.source()?;
        let fields = self.fields.needed_object("message")?;
        let edit = Edit {
            target: fields.needed_text("id")?.to_owned(),
            text: fields.needed_text("text")?.to_owned(),
        };
        let id = format!("{}:edit:{}", edit.target, self.id);
        Some(EventBody::Message(self.told(&source, id, vec![Content::Edit(edit)])))
    }

    fn deletion(&self) -> Option<EventBody> {
        let source = self.source()?;
        let target = self.fields.needed_object("unsend")?.needed_text("messageId")?;
        let content = vec![Content::Deletion(target.to_owned())];
        let id = format!("{target}:unsend");
        Some(EventBody::Message(self.told(&source, id, content)))
    }

    /// LINE does not tell what stood on the button: the chosen time, or else what the button carries, is its label.
    fn postback(&self) -> Option<EventBody> {
        let source = self.source()?;
        let postback = self.fields.needed_object("postback")?;
        let data = postback.text("data");
        let params = postback.object("params");
        let param = |name: &str| params.as_ref().and_then(|params| params.text(name));
        // A tap that only changed the menu says nothing to the team.
        if param("newRichMenuAliasId").is_some() {
            return None;
        }
        let chosen = param("datetime").or_else(|| param("date")).or_else(|| param("time"));
        let content = match chosen.or(data) {
            Some(label) => Content::Choice(Choice {
                label: label.to_owned(),
                payload: data.map(str::to_owned),
            }),
            None => Content::Unsupported("button".to_owned()),
        };
        let id = format!("postback:{}", self.id);
        Some(EventBody::Message(self.told(&source, id, self.warned(vec![content]))))
    }

    fn reach(&self, reach: Reach) -> Option<EventBody> {
        let person = self.source()?.person;
        Some(EventBody::Reachability(Reachability { person, reach }))
    }

    fn membership(&self, level: NoticeLevel, code: &str, what: &str) -> Option<EventBody> {
        let Chat::Group(group) = self.source()?.chat else {
            return None;
        };
        let message = format!("The account {what} the group {}.", group.id);
        Some(EventBody::Notice(Notice::new(level, code, message)))
    }

    fn told(&self, source: &Source, id: String, content: Vec<Content>) -> Message {
        Message {
            chat: source.chat.clone(),
            ..Message::new(id, source.person.clone(), content)
        }
    }

    /// What somebody would answer to, with a warning where the answer is not ours to give.
    fn warned(&self, mut content: Vec<Content>) -> Vec<Content> {
        if self.is_standby {
            content.push(Content::Line(STANDBY.to_owned()));
        }
        content
    }

    /// People of a group who gave no consent have no id: the group then stands for them.
    fn source(&self) -> Option<Source> {
        let source = self.fields.needed_object("source")?;
        let group = match source.needed_text("type")? {
            "group" => Some(source.needed_text("groupId")?),
            "room" => Some(source.needed_text("roomId")?),
            _ => None,
        };
        let id = match group {
            Some(group) => source.text("userId").unwrap_or(group),
            None => source.needed_text("userId")?,
        };
        Some(Source {
            chat: group.map_or(Chat::Direct, |id| {
                Chat::Group(Group {
                    id: id.to_owned(),
                    title: None,
                })
            }),
            person: Person::new([(AliasKind::Id, id)]),
        })
    }
}

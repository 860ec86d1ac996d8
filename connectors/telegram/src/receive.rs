//! One update in, its events out. Telegram posts one update at a time, with one key beside `update_id`.

use mantle_sdk::connector::{Hook, Inbound, Malformed, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::values::{
    Alias, AliasKind, Author, Chat, Choice, Content, Edit, Event, EventBody, Group, Message, Notice, NoticeLevel,
    Person, Quote, Reach, Reachability, Reaction, TimeMs,
};
use mantle_sdk::{Host, time};
use serde_json::{Map, Value};

use crate::content;
use crate::wire::{
    self, BusinessConnection, CallbackQuery, ChatName, DeletedMessages, Head, MemberChange, Parts, ReactionChange, User,
};

/// The app in which the owner of a business account answers.
const NATIVE_APP: &str = "Telegram";

pub fn update(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let update: Map<String, Value> = hook
        .json()
        .map_err(|error| ReceiveError::malformed(format!("The body is no JSON object: {error}.")))?;
    let Some(id) = update.get("update_id").and_then(Value::as_i64) else {
        return Err(ReceiveError::malformed("The update has no update_id."));
    };
    let Some((kind, value)) = update.iter().find(|(key, _)| *key != "update_id") else {
        return Ok(Inbound::nothing());
    };
    let update = Update {
        id,
        kind,
        value,
        received_at: hook.received_at,
    };
    match kind.as_str() {
        "message" | "business_message" => update.message(),
        "edited_message" | "edited_business_message" => update.edit(),
        "deleted_business_messages" => update.deletions(),
        "callback_query" => update.tap(),
        "message_reaction" => update.reaction(),
        "my_chat_member" => update.membership(),
        "business_connection" => update.business(),
        other => {
            // Not asked for in `allowed_updates`: left over from a former webhook, or newer than this connector.
            host.log(
                Level::Debug,
                &format!("An update of kind {other} has nothing for an inbox."),
            );
            Ok(Inbound::nothing())
        }
    }
}

struct Update<'a> {
    /// The same when Telegram delivers again.
    id: i64,
    kind: &'a str,
    value: &'a Value,
    received_at: TimeMs,
}

impl Update<'_> {
    fn message(&self) -> Result<Inbound, ReceiveError> {
        let (head, mut parts) = (self.head()?, Parts::new(self.fields()?));
        if head.sender_business_bot.is_some() {
            // Ours, told again: a bot wrote it on behalf of the business account.
            return Ok(Inbound::nothing());
        }
        if let Some(moved_to) = parts.take::<i64>("migrate_to_chat_id") {
            let title = head.chat.title.as_deref().unwrap_or("without a title");
            let notice = format!(
                "The group “{title}” ({}) has become the group {moved_to}.",
                head.chat.id
            );
            return Ok(Inbound::of(self.notice(
                NoticeLevel::Info,
                "group-moved",
                notice,
                head.date,
            )));
        }
        let sender = Sender::of(&head);
        let content = content::of(&mut parts);
        let quote = quote(&mut parts, &sender.chat_name);
        let mut events = Vec::new();
        if !content.is_empty() {
            let mut person = sender.person;
            if let Some(phone) = own_phone(&parts, head.from.as_ref()) {
                person.aliases.insert(1, Alias::new(AliasKind::Phone, phone));
            }
            let message = Message {
                chat: sender.chat,
                author: sender.author,
                quote,
                referral: match head.chat.is_private() {
                    true => content::referral(&parts),
                    false => None,
                },
                forwarded: parts.has("forward_origin"),
                ..Message::new(sender.chat_name.message(head.message_id).to_string(), person, content)
            };
            events.push(Event::new(
                self.key(),
                time::from_unix_seconds(head.date),
                EventBody::Message(message),
            ));
        }
        Ok(Inbound {
            malformed: self.malformed(parts),
            ..Inbound::events(events)
        })
    }

    fn edit(&self) -> Result<Inbound, ReceiveError> {
        let (head, mut parts) = (self.head()?, Parts::new(self.fields()?));
        let text = match content::text(&mut parts) {
            Some(text) if head.sender_business_bot.is_none() => text,
            // A live location that moves, a button that changed: nothing that a team reads.
            _ => return Ok(Inbound::nothing()),
        };
        let sender = Sender::of(&head);
        let target = sender.chat_name.message(head.message_id).to_string();
        let edited = head.edit_date.unwrap_or(head.date);
        let message = Message {
            chat: sender.chat,
            author: sender.author,
            ..Message::new(
                format!("{target}:edit:{edited}"),
                sender.person,
                vec![Content::Edit(Edit {
                    target: target.clone(),
                    text,
                })],
            )
        };
        let event = Event::new(
            format!("edit:{target}:{edited}"),
            time::from_unix_seconds(edited),
            EventBody::Message(message),
        );
        Ok(Inbound {
            malformed: self.malformed(parts),
            ..Inbound::of(event)
        })
    }

    fn deletions(&self) -> Result<Inbound, ReceiveError> {
        let deleted: DeletedMessages = self.read()?;
        let chat = ChatName {
            id: deleted.chat.id,
            business: Some(deleted.business_connection_id),
        };
        let events = deleted.message_ids.iter().map(|message_id| {
            let target = chat.message(*message_id).to_string();
            let message = Message::new(
                format!("{target}:deletion"),
                chat_person(&chat, &deleted.chat),
                vec![Content::Deletion(target)],
            );
            Event::new(
                format!("{}:{message_id}", self.key()),
                self.received_at,
                EventBody::Message(message),
            )
        });
        Ok(Inbound::events(events.collect()))
    }

    fn tap(&self) -> Result<Inbound, ReceiveError> {
        let query: CallbackQuery = self.read()?;
        let below: Option<Head> = query
            .message
            .as_ref()
            .and_then(|fields| read_as(&fields.clone().into()).ok());
        let label = query
            .message
            .as_ref()
            .and_then(|fields| content::button_label(fields, query.data.as_deref()?))
            .or_else(|| query.data.clone())
            .or_else(|| query.game_short_name.clone());
        let message = Message {
            chat: below.as_ref().map_or(Chat::Direct, |head| chat_of(&head.chat)),
            quote: below.as_ref().map(|head| Quote {
                id: Some(name_of(head).message(head.message_id).to_string()),
                text: query
                    .message
                    .as_ref()
                    .and_then(|fields| content::text(&mut Parts::new(fields))),
            }),
            ..Message::new(
                format!("callback:{}", query.id),
                user_person(&query.from),
                vec![Content::Choice(Choice {
                    label: label.unwrap_or_else(|| "a button".to_owned()),
                    payload: query.data,
                })],
            )
        };
        Ok(Inbound::of(Event::new(
            self.key(),
            self.received_at,
            EventBody::Message(message),
        )))
    }

    fn reaction(&self) -> Result<Inbound, ReceiveError> {
        let change: ReactionChange = self.read()?;
        let person = match (&change.user, &change.actor_chat) {
            (Some(user), _) => user_person(user),
            (None, Some(chat)) => chat_person(
                &ChatName {
                    id: chat.id,
                    business: None,
                },
                chat,
            ),
            (None, None) => return Err(self.unreadable("nobody reacted")),
        };
        let target = ChatName {
            id: change.chat.id,
            business: None,
        }
        .message(change.message_id)
        .to_string();
        let shown: String = change
            .new_reaction
            .iter()
            .map(|reaction| match reaction.kind.as_str() {
                "paid" => "⭐",
                // A custom emoji is a picture with an id.
                _ => reaction.emoji.as_deref().unwrap_or("❔"),
            })
            .collect();
        let reaction = Reaction {
            target: target.clone(),
            emoji: (!shown.is_empty()).then_some(shown),
        };
        let message = Message {
            chat: chat_of(&change.chat),
            ..Message::new(
                format!("{target}:reaction:{}", self.id),
                person,
                vec![Content::Reaction(reaction)],
            )
        };
        Ok(Inbound::of(Event::new(
            self.key(),
            time::from_unix_seconds(change.date),
            EventBody::Message(message),
        )))
    }

    fn membership(&self) -> Result<Inbound, ReceiveError> {
        let change: MemberChange = self.read()?;
        let status = change.new_chat_member.status.as_str();
        let gone = matches!(status, "kicked" | "left");
        if change.chat.is_private() {
            let reachability = Reachability {
                person: user_person(&change.from),
                reach: if gone { Reach::Blocked } else { Reach::Reachable },
            };
            return Ok(Inbound::of(Event::new(
                self.key(),
                time::from_unix_seconds(change.date),
                EventBody::Reachability(reachability),
            )));
        }
        let title = change.chat.title.as_deref().unwrap_or("without a title");
        let (code, words) = match gone {
            true => ("group-left", "is no longer a member of"),
            false => ("group-joined", "is a member of"),
        };
        let notice = format!("The bot {words} the group “{title}” ({status}).");
        Ok(Inbound::of(self.notice(NoticeLevel::Info, code, notice, change.date)))
    }

    fn business(&self) -> Result<Inbound, ReceiveError> {
        let connection: BusinessConnection = self.read()?;
        let name = connection.user.name().unwrap_or_else(|| connection.user.id.to_string());
        let (code, words) = match connection.is_enabled {
            true => ("business-connected", "connected the bot to"),
            false => ("business-disconnected", "taken the bot from"),
        };
        let notice = format!("{name} has {words} their business account.");
        Ok(Inbound::of(self.notice(
            NoticeLevel::Info,
            code,
            notice,
            connection.date,
        )))
    }

    fn key(&self) -> String {
        format!("update:{}", self.id)
    }

    fn notice(&self, level: NoticeLevel, code: &str, message: String, date: i64) -> Event {
        let notice = Notice::new(level, code, message);
        Event::new(self.key(), time::from_unix_seconds(date), EventBody::Notice(notice))
    }

    fn fields(&self) -> Result<&Map<String, Value>, ReceiveError> {
        self.value.as_object().ok_or_else(|| self.unreadable("it is no object"))
    }

    fn head(&self) -> Result<Head, ReceiveError> {
        self.read()
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, ReceiveError> {
        read_as(self.value).map_err(|error| self.unreadable(&error.to_string()))
    }

    fn unreadable(&self, why: &str) -> ReceiveError {
        ReceiveError::malformed(format!(
            "The {} of update {} cannot be read: {why}.",
            self.kind, self.id
        ))
    }

    fn malformed(&self, parts: Parts<'_>) -> Vec<Malformed> {
        parts
            .unread
            .into_iter()
            .map(|(key, problem)| Malformed::new(format!("{}.{key}", self.kind), problem))
            .collect()
    }
}

/// Who wrote a message, and where.
struct Sender {
    chat_name: ChatName,
    chat: Chat,
    person: Person,
    author: Author,
}

impl Sender {
    fn of(head: &Head) -> Self {
        let chat_name = name_of(head);
        if chat_name.business.is_some() {
            // A business chat is with the customer; whoever else writes there is the owner of the account.
            let by_customer = head.from.as_ref().is_none_or(|from| from.id == head.chat.id);
            let mut person = chat_person(&chat_name, &head.chat);
            if by_customer {
                person.language = head.from.as_ref().and_then(|from| from.language_code.clone());
            }
            return Self {
                person,
                chat: Chat::Direct,
                author: match by_customer {
                    true => Author::Customer,
                    false => Author::NativeApp(NATIVE_APP.to_owned()),
                },
                chat_name,
            };
        }
        let person = match (&head.sender_chat, &head.from) {
            // Anonymous administrators and channels: `from` is a placeholder then.
            (Some(chat), _) => chat_person(
                &ChatName {
                    id: chat.id,
                    business: None,
                },
                chat,
            ),
            (None, Some(from)) => user_person(from),
            (None, None) => chat_person(&chat_name, &head.chat),
        };
        Self {
            chat: chat_of(&head.chat),
            person,
            author: Author::Customer,
            chat_name,
        }
    }
}

fn name_of(head: &Head) -> ChatName {
    ChatName {
        id: head.chat.id,
        business: head.business_connection_id.clone(),
    }
}

fn chat_of(chat: &wire::Chat) -> Chat {
    match chat.is_private() {
        true => Chat::Direct,
        false => Chat::Group(Group {
            id: chat.id.to_string(),
            title: chat.title.clone(),
        }),
    }
}

fn user_person(user: &User) -> Person {
    Person {
        language: user.language_code.clone(),
        ..person(user.id.to_string(), user.username.as_deref(), user.name())
    }
}

fn chat_person(name: &ChatName, chat: &wire::Chat) -> Person {
    person(name.to_string(), chat.username.as_deref(), chat.name())
}

fn person(id: String, username: Option<&str>, name: Option<String>) -> Person {
    let handle = username.map(|username| (AliasKind::Handle, format!("@{username}")));
    Person::new([(AliasKind::Id, id)].into_iter().chain(handle)).named(name)
}

/// A shared phone number is the sender's own only if Telegram says that the card is the sender's.
fn own_phone(parts: &Parts<'_>, from: Option<&User>) -> Option<String> {
    let contact: wire::Contact = read_as(parts.fields.get("contact")?).ok()?;
    (contact.user_id? == from?.id).then(|| mantle_sdk::phone::normalise(&contact.phone_number))?
}

fn quote(parts: &mut Parts<'_>, chat: &ChatName) -> Option<Quote> {
    let chosen = parts
        .fields
        .get("quote")
        .and_then(|quote| quote.get("text"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(replied) = parts.fields.get("reply_to_message").and_then(Value::as_object) {
        // In a forum every message of a topic answers the topic's first, which is no message at all.
        if replied.contains_key("forum_topic_created") {
            return None;
        }
        let id = replied.get("message_id").and_then(Value::as_i64);
        return Some(Quote {
            id: id.map(|id| chat.message(id).to_string()),
            text: chosen.or_else(|| content::summary(replied)),
        });
    }
    let elsewhere = parts.has("external_reply") || parts.has("reply_to_story");
    elsewhere.then(|| Quote {
        id: None,
        text: chosen.or_else(|| {
            let replied = parts.fields.get("external_reply").and_then(Value::as_object);
            match replied {
                Some(replied) => content::summary(replied),
                None => Some("a story".to_owned()),
            }
        }),
    })
}

fn read_as<T: serde::de::DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    T::deserialize(value)
}

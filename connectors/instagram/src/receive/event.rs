//! One item of `messaging` or `standby`: who it is about, and which kind it is.

use mantle_sdk::Host;
use mantle_sdk::connector::Malformed;
use mantle_sdk::log::Level;
use mantle_sdk::values::{
    AliasKind, Author, Choice, Content, DeliveryState, Edit, Event, EventBody, Message, Person, Reaction, Status,
    TimeMs,
};

use super::{Unread, control, message, milliseconds, referral, short};
use crate::wire::{Edited, Loose, OptIn, Parts, Party, Postback, Reacted, Seen};

/// How colleagues know the place that the account is answered in by hand.
pub const NATIVE_APP: &str = "the Instagram app";

/// How one kind of event is read.
type Reading<'a> = fn(&Item<'a>, &dyn Host, &mut Unread) -> Vec<Event>;

pub struct Item<'a> {
    pub parts: Parts<'a>,
    account: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
    pub at: TimeMs,
}

impl<'a> Item<'a> {
    /// `told_at` is the time of the entry, for items without their own.
    pub fn new(parts: Parts<'a>, account: Option<&str>, told_at: TimeMs, unread: &mut Unread) -> Self {
        let party = |key: &str, unread: &mut Unread| parts.take::<Party>(key, unread).and_then(|party| party.id.0);
        let sender = party("sender", unread);
        let recipient = party("recipient", unread);
        let timestamp = parts.take::<Loose>("timestamp", unread);
        Self {
            account: account.map(str::to_owned),
            sender,
            recipient,
            at: timestamp.and_then(|time| milliseconds(&time)).unwrap_or(told_at),
            parts,
        }
    }

    pub fn events(&self, host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let kinds: [(&str, Reading<'a>); 10] = [
            ("message", message::message),
            ("message_edit", Self::edit),
            ("reaction", Self::reaction),
            ("postback", Self::postback),
            ("referral", Self::referral),
            ("read", Self::seen),
            ("optin", Self::opt_in),
            ("pass_thread_control", control::passed),
            ("take_thread_control", control::taken),
            ("request_thread_control", control::requested),
        ];
        match kinds.iter().find(|(key, _)| self.parts.has(key)) {
            Some((_, read)) => read(self, host, unread),
            None => {
                let frame = ["sender", "recipient", "timestamp"];
                let keys: Vec<&str> = self.parts.keys().filter(|key| !frame.contains(key)).collect();
                host.log(
                    Level::Debug,
                    &format!(
                        "An event of the kind “{}” has nothing for an inbox.",
                        short(&keys.join(", "))
                    ),
                );
                Vec::new()
            }
        }
    }

    pub fn event(&self, key: String, body: EventBody) -> Event {
        Event {
            key,
            at: self.at,
            account: self.account.clone(),
            body,
        }
    }

    /// Whether the account's own side did it.
    pub fn is_ours(&self) -> bool {
        self.sender.is_some() && self.sender == self.account
    }

    /// The customer: who wrote, or whom an echo went to. None is noted.
    pub fn customer(&self, ours: bool, unread: &mut Unread) -> Option<Person> {
        let id = if ours { &self.recipient } else { &self.sender };
        let Some(id) = id else {
            unread.push(Malformed::new(
                self.parts.place(),
                "It names no customer, so nobody could be answered.",
            ));
            return None;
        };
        Some(Person::new([(AliasKind::Id, id.as_str())]))
    }

    /// A name for what Meta gives none.
    pub fn unnamed(&self, kind: &str) -> String {
        format!("{kind}:{}:{}", self.sender.as_deref().unwrap_or_default(), self.at)
    }

    fn edit(&self, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(edited) = self.parts.take::<Edited>("message_edit", unread) else {
            return Vec::new();
        };
        let ours = self.is_ours();
        let Some(person) = self.customer(ours, unread) else {
            return Vec::new();
        };
        // Without a count the time tells one edit from the next.
        let count = edited.num_edit.0.unwrap_or_else(|| self.at.to_string());
        let content = Content::Edit(Edit {
            target: edited.mid.0.clone(),
            text: edited.text,
        });
        let mut message = Message::new(format!("{}:edit:{count}", edited.mid.0), person, vec![content]);
        if ours {
            message.author = Author::NativeApp(NATIVE_APP.to_owned());
        }
        vec![self.event(message.id.clone(), EventBody::Message(message))]
    }

    fn reaction(&self, host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(reacted) = self.parts.take::<Reacted>("reaction", unread) else {
            return Vec::new();
        };
        if self.is_ours() {
            host.log(
                Level::Debug,
                "A reaction of the account's own side has nothing for an inbox.",
            );
            return Vec::new();
        }
        let Some(person) = self.customer(false, unread) else {
            return Vec::new();
        };
        let sender = self.sender.as_deref().unwrap_or_default();
        let name = format!(
            "{}:reaction:{sender}:{}:{}",
            reacted.mid.0,
            self.at,
            short(&reacted.action)
        );
        let emoji = match reacted.action.as_str() {
            "unreact" => None,
            _ => Some(sign(&reacted)),
        };
        let content = Content::Reaction(Reaction {
            target: reacted.mid.0,
            emoji,
        });
        let message = Message::new(name, person, vec![content]);
        vec![self.event(message.id.clone(), EventBody::Message(message))]
    }

    fn postback(&self, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(below) = self.parts.below("postback", unread) else {
            return Vec::new();
        };
        let Some(postback) = self.parts.take::<Postback>("postback", unread) else {
            return Vec::new();
        };
        let Some(person) = self.customer(false, unread) else {
            return Vec::new();
        };
        // Older versions name no message.
        let payload = postback.payload.0;
        let name = postback.mid.0.unwrap_or_else(|| {
            let what = short(payload.as_deref().unwrap_or_default());
            format!("{}:{what}", self.unnamed("postback"))
        });
        let title = postback.title.filter(|title| !title.trim().is_empty());
        let content = Content::Choice(Choice {
            // In `standby` the payload is kept back.
            label: title
                .or_else(|| payload.clone())
                .unwrap_or_else(|| "a button".to_owned()),
            payload,
        });
        let mut message = Message::new(name, person, vec![content]);
        message.referral = referral::of(&below, unread);
        vec![self.event(message.id.clone(), EventBody::Message(message))]
    }

    /// A known customer came back by a link or an ad, without a word yet.
    fn referral(&self, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(referral) = referral::of(&self.parts, unread) else {
            return Vec::new();
        };
        self.without_words("referral", "Opened the chat.", unread, |message| {
            message.referral = Some(referral);
        })
    }

    fn opt_in(&self, host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(opted) = self.parts.take::<OptIn>("optin", unread) else {
            return Vec::new();
        };
        if self.sender.is_none() {
            // The checkbox of a website: Meta names the browser, not the person.
            host.log(Level::Debug, "An opt-in without a person has nothing for an inbox.");
            return Vec::new();
        }
        let line = match opted.title.as_deref().map(str::trim).filter(|title| !title.is_empty()) {
            Some(title) => format!("Agreed to messages about “{title}”."),
            None => "Agreed to be written to.".to_owned(),
        };
        self.without_words("optin", &line, unread, |message| {
            message.referral = opted.mark.0.map(referral::by_mark);
        })
    }

    fn without_words(
        &self,
        kind: &str,
        line: &str,
        unread: &mut Unread,
        complete: impl FnOnce(&mut Message),
    ) -> Vec<Event> {
        let Some(person) = self.customer(false, unread) else {
            return Vec::new();
        };
        let mut message = Message::new(self.unnamed(kind), person, vec![Content::Line(line.to_owned())]);
        complete(&mut message);
        vec![self.event(message.id.clone(), EventBody::Message(message))]
    }

    /// Instagram names the newest message that was read; those before it were read too.
    fn seen(&self, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
        let Some(seen) = self.parts.take::<Seen>("read", unread) else {
            return Vec::new();
        };
        let key = format!("{}:read", seen.mid.0);
        let status = Status {
            message_id: seen.mid.0,
            correlation: None,
            state: DeliveryState::Read,
            refusal: None,
        };
        vec![self.event(key, EventBody::Status(status))]
    }
}

/// The sign itself, or the one that Meta's word stands for.
fn sign(reacted: &Reacted) -> String {
    if let Some(emoji) = reacted.emoji.as_deref().filter(|emoji| !emoji.is_empty()) {
        return emoji.to_owned();
    }
    let sign = match reacted.reaction.as_deref() {
        Some("love") => "❤️",
        _ => "❔",
    };
    sign.to_owned()
}

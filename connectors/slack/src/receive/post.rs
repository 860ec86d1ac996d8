//! One message as Slack writes it, the same in every event that tells of it: who wrote it, where, in which thread.

use mantle_sdk::members::Members;
use mantle_sdk::values::{AliasKind, Author, Chat, Event, EventBody, Group, Message, Person, Quote, TimeMs};

use super::content;
use super::envelope::Envelope;
use crate::names;

/// How the team's colleagues who answer in a shared channel are shown.
const NATIVE_APP: &str = "Slack";

/// The user by whose hand Slack itself writes, reminders and the like.
const SLACKBOT: &str = "USLACKBOT";

pub enum Writer {
    /// This very app.
    Ourselves,
    /// Another app, a workflow, or Slack itself.
    Bot,
    Somebody,
}

pub struct Post<'a> {
    pub fields: &'a Members<'a>,
    pub channel: &'a str,
    pub ts: &'a str,
    envelope: &'a Envelope<'a>,
}

impl<'a> Post<'a> {
    /// `ts` names the message, whatever event tells of it.
    pub fn new(envelope: &'a Envelope<'a>, fields: &'a Members<'a>, channel: &'a str, ts: &'a str) -> Self {
        Self {
            fields,
            channel,
            ts,
            envelope,
        }
    }

    pub fn id(&self) -> String {
        names::message(self.channel, self.ts)
    }

    /// By identity: names can be anybody's, and an agent's name may stand on our own messages.
    pub fn writer(&self) -> Writer {
        let app = self.fields.text("app_id").or_else(|| {
            let profile = self.fields.object("bot_profile")?;
            profile.text("app_id")
        });
        let user = self.fields.text("user");
        if (app.is_some() && app == self.envelope.app) || (user.is_some() && user == self.envelope.bot) {
            return Writer::Ourselves;
        }
        let is_bot = self.fields.text("bot_id").is_some()
            || self.fields.text("subtype") == Some("bot_message")
            || user == Some(SLACKBOT);
        if is_bot { Writer::Bot } else { Writer::Somebody }
    }

    /// A message of this post's writer about it. None: Slack does not say who wrote, which is noted.
    pub fn told(&self, id: String, content: Vec<mantle_sdk::values::Content>) -> Option<Message> {
        let user = self.fields.needed_text("user")?;
        let name = self.name();
        let person = Person::new([(AliasKind::Id, names::person(self.envelope.team, user))]).named(name.clone());
        let mut message = Message::new(id, person, content);
        if names::is_direct(self.channel) {
            return Some(message);
        }
        let thread = self.thread();
        message.chat = Chat::Group(Group {
            id: names::message(self.channel, thread.unwrap_or(self.ts)),
            // Whoever began the thread gives it the name; an answer does not rename it.
            title: name.filter(|_| thread.is_none()),
        });
        if self.is_colleague() {
            message.author = Author::NativeApp(NATIVE_APP.to_owned());
        }
        Some(message)
    }

    pub fn event(&self, at: TimeMs, message: Message) -> Event {
        let key = message.id.clone();
        Event::new(key, at, EventBody::Message(message)).of_account(self.envelope.account(self.channel))
    }

    /// In direct messages an answer in a thread belongs to the person's one conversation: the thread is what it answers.
    pub fn quote(&self) -> Option<Quote> {
        let thread = self.thread().filter(|_| names::is_direct(self.channel))?;
        Some(Quote {
            id: Some(names::message(self.channel, thread)),
            text: None,
        })
    }

    pub fn text(&self) -> &'a str {
        self.fields.text("text").unwrap_or_default()
    }

    pub fn content(&self) -> Vec<mantle_sdk::values::Content> {
        content::of(self.fields)
    }

    /// The moment of the message itself.
    pub fn at(&self) -> TimeMs {
        names::time(self.ts).unwrap_or(self.envelope.at)
    }

    /// The thread that the message answers in. None: it may begin one.
    fn thread(&self) -> Option<&'a str> {
        self.fields.text("thread_ts").filter(|thread| *thread != self.ts)
    }

    /// Slack tells the name of people of other firms along with their words.
    fn name(&self) -> Option<String> {
        let profile = self.fields.object("user_profile")?;
        ["display_name", "real_name", "name"]
            .into_iter()
            .filter_map(|key| profile.text(key))
            .map(str::trim)
            .find(|name| !name.is_empty())
            .map(str::to_owned)
    }

    /// In a channel that two firms share, the people of our own are colleagues; in any other one, everybody is a
    /// customer.
    fn is_colleague(&self) -> bool {
        let home = ["user_team", "source_team", "team"]
            .into_iter()
            .find_map(|key| self.fields.text(key));
        self.envelope.is_shared && home == Some(self.envelope.team)
    }
}

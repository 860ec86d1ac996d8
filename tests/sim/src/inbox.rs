//! An inbox in memory: what the team sees, and how its answers get lost.
//!
//! A write may be applied and its answer lost, lost before it arrives, or applied some seconds after the caller gave
//! up; a search does not show what is younger than the index's lag. Everything applied stands in the [`Desk`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mantle_egress::ByteStream;
use mantle_inbox::{
    Access, Author, Changed, ChangedConversation, ChannelLabel, Contact, ContactMatch, Fetched, Inbox, InboxError,
    InboxEvent, InboxEventBody, Opened, Operator, Part, Profile, Quiet, Reply, ReplyFile, Spoken, Trail, Upload, Voice,
    Written,
};
use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::failure::{Cause, Failure};
use mantle_model::inbound::Person;
use mantle_model::secret::Secret;
use mantle_model::text::RichText;

use crate::life::{Life, held};
use crate::rng::Rng;

/// How long a search may not show what was written, at most. Documented lags are seconds.
const INDEX_LAG_MAX_MS: u64 = 45_000;
/// How long after the caller gave up a write may still be applied, at most.
const LATE_WRITE_MAX_MS: u64 = 4_000;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Customer,
    Teammate,
    Note,
}

/// One part of a conversation.
#[derive(Debug, Clone)]
pub struct Line {
    pub part: String,
    pub conversation: String,
    pub who: Who,
    pub text: String,
    /// The second it carries; for a note the second of its writing.
    pub at: i64,
}

#[derive(Debug, Clone)]
struct Indexed {
    id: String,
    /// The person's label for a contact, the contact for a conversation.
    of: String,
    visible_at: Time,
}

/// A write on its way.
#[derive(Debug, Clone)]
enum Write {
    Contact(String),
    Open {
        contact: String,
        text: String,
        at: i64,
    },
    Line {
        conversation: String,
        who: Who,
        text: String,
        at: i64,
    },
}

/// What the inbox holds, and what it is about to hold.
#[derive(Debug, Default)]
pub struct Desk {
    pub lines: Vec<Line>,
    contacts: Vec<Indexed>,
    conversations: Vec<Indexed>,
    late: Vec<(Time, Write)>,
    parts: u64,
}

impl Desk {
    /// Labels of the people that are contacts, one for each contact.
    #[must_use]
    pub fn contacts(&self) -> Vec<&str> {
        self.contacts.iter().map(|contact| contact.of.as_str()).collect()
    }

    /// (conversation, label of its contact).
    #[must_use]
    pub fn conversations(&self) -> Vec<(&str, &str)> {
        let label = |contact: &str| {
            self.contacts
                .iter()
                .find(|known| known.id == contact)
                .map_or("", |known| &known.of)
        };
        self.conversations
            .iter()
            .map(|known| (known.id.as_str(), label(&known.of)))
            .collect()
    }

    /// A teammate writes in the conversation. Tells the part's id.
    pub fn teammate_writes(&mut self, conversation: &str, text: &str, now: Time) -> String {
        self.line(
            conversation.to_owned(),
            Who::Teammate,
            text.to_owned(),
            now.unix_seconds(),
        )
    }

    /// Applies what was on its way until now.
    pub fn arrive(&mut self, now: Time, rng: &mut Rng) {
        let (due, late) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.late = late;
        let due: Vec<(Time, Write)> = due;
        for (_, write) in due {
            self.apply(write, now, rng);
        }
    }

    /// When the next late write arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        self.late.iter().map(|(at, _)| *at).min()
    }

    fn apply(&mut self, write: Write, now: Time, rng: &mut Rng) -> Opened {
        let visible_at = now.after(Duration::from_millis(rng.below(INDEX_LAG_MAX_MS)));
        match write {
            Write::Contact(of) => {
                let id = format!("contact{}", self.contacts.len() + 1);
                self.contacts.push(Indexed {
                    id: id.clone(),
                    of,
                    visible_at,
                });
                Opened {
                    conversation: id,
                    part: None,
                }
            }
            Write::Open { contact, text, at } => {
                let id = format!("conversation{}", self.conversations.len() + 1);
                self.conversations.push(Indexed {
                    id: id.clone(),
                    of: contact,
                    visible_at,
                });
                let part = self.line(id.clone(), Who::Customer, text, at);
                Opened {
                    conversation: id,
                    part: Some(part),
                }
            }
            Write::Line {
                conversation,
                who,
                text,
                at,
            } => {
                let part = self.line(conversation.clone(), who, text, at);
                Opened {
                    conversation,
                    part: Some(part),
                }
            }
        }
    }

    fn line(&mut self, conversation: String, who: Who, text: String, at: i64) -> String {
        self.parts += 1;
        let part = format!("part{}", self.parts);
        self.lines.push(Line {
            part: part.clone(),
            conversation,
            who,
            text,
            at,
        });
        part
    }
}

/// What becomes of one write.
enum Fate {
    Fine,
    AnswerLost,
    RequestLost,
    Late(Duration),
    Refused(Failure),
}

/// One host's way to the inbox.
pub struct SimInbox {
    pub desk: Arc<Mutex<Desk>>,
    pub life: Arc<Life>,
    pub clock: ManualClock,
    pub rng: Arc<Mutex<Rng>>,
    /// How many writes in a hundred go wrong, for all hosts together.
    pub faults: Arc<Mutex<u64>>,
}

impl SimInbox {
    fn fate(&self) -> Fate {
        let faults = *held(&self.faults);
        let rng = &mut *held(&self.rng);
        if !rng.chance(faults) {
            return Fate::Fine;
        }
        let cause = Cause::new("sim", "The simulation wants it so.");
        match rng.below(6) {
            0 | 1 => Fate::AnswerLost,
            2 => Fate::RequestLost,
            3 => Fate::Late(Duration::from_millis(rng.below(LATE_WRITE_MAX_MS))),
            4 => Fate::Refused(Failure::RateLimited {
                after: Some(Duration::from_secs(3)),
                cause,
            }),
            _ => Fate::Refused(Failure::Transient(cause)),
        }
    }

    async fn write(&self, write: Write) -> Result<Opened, InboxError> {
        self.life.gate().await;
        let fate = self.fate();
        let now = self.clock.now();
        let unknown = || Failure::Unknown(Cause::new("timeout", "No answer came."));
        let outcome = {
            let desk = &mut *held(&self.desk);
            let rng = &mut *held(&self.rng);
            match fate {
                Fate::Fine => Ok(desk.apply(write, now, rng)),
                Fate::AnswerLost => {
                    desk.apply(write, now, rng);
                    Err(unknown())
                }
                Fate::RequestLost => Err(unknown()),
                Fate::Late(after) => {
                    desk.late.push((now.after(after), write));
                    Err(unknown())
                }
                Fate::Refused(failure) => Err(failure),
            }
        };
        self.life.gate().await;
        Ok(outcome?)
    }

    async fn read<T>(&self, look: impl FnOnce(&Desk, Time) -> T + Send) -> Result<T, InboxError> {
        self.life.gate().await;
        let refused = { held(&self.rng).chance(*held(&self.faults) / 4) };
        if refused {
            return Err(Failure::Transient(Cause::new("sim", "The simulation wants it so.")).into());
        }
        let seen = look(&held(&self.desk), self.clock.now());
        self.life.gate().await;
        Ok(seen)
    }
}

#[async_trait]
impl Inbox for SimInbox {
    async fn connect(&self, _token: &Secret) -> Result<Profile, InboxError> {
        Ok(Profile {
            platform_id: "sim".into(),
            name: "Simulation".into(),
            facts: BTreeMap::new(),
            added_by: Operator {
                id: "op".into(),
                name: "Operator".into(),
                email: None,
                usable: true,
            },
        })
    }

    async fn prepare_channel(&self, _access: &Access, _label: &ChannelLabel) -> Result<(), InboxError> {
        Ok(())
    }

    async fn operators(&self, _access: &Access) -> Result<Vec<Operator>, InboxError> {
        Ok(Vec::new())
    }

    async fn find_contact(
        &self,
        _access: &Access,
        _label: &ChannelLabel,
        person: &Person,
        _prefer_users: bool,
    ) -> Result<ContactMatch, InboxError> {
        let label = person.label().to_owned();
        self.read(move |desk, now| {
            let seen = desk
                .contacts
                .iter()
                .filter(|contact| contact.of == label && contact.visible_at <= now);
            let mut seen = seen.map(|contact| (contact.id.clone(), contact.of.clone()));
            ContactMatch {
                chosen: seen.next().map(|(id, name)| Contact { id, name: Some(name) }),
                others: seen.collect(),
            }
        })
        .await
    }

    async fn create_contact(
        &self,
        _access: &Access,
        _label: &ChannelLabel,
        person: &Person,
    ) -> Result<Contact, InboxError> {
        let made = self.write(Write::Contact(person.label().to_owned())).await?;
        Ok(Contact {
            id: made.conversation,
            name: person.name.clone(),
        })
    }

    async fn refresh_contact(
        &self,
        _access: &Access,
        _label: &ChannelLabel,
        contact: &str,
        person: &Person,
        _written_name: Option<&str>,
    ) -> Result<Contact, InboxError> {
        Ok(Contact {
            id: contact.to_owned(),
            name: person.name.clone(),
        })
    }

    async fn mark_origin(&self, _access: &Access, _contact: &str, _origin: &str) -> Result<(), InboxError> {
        Ok(())
    }

    async fn open_conversation(&self, _access: &Access, part: Part<'_>) -> Result<Opened, InboxError> {
        self.write(Write::Open {
            contact: part.contact.to_owned(),
            text: part.text.to_owned(),
            at: part.at.unix_seconds(),
        })
        .await
    }

    async fn label_conversation(
        &self,
        _access: &Access,
        _conversation: &str,
        _label: &ChannelLabel,
        _person: &Person,
        _tag: bool,
    ) -> Result<(), InboxError> {
        Ok(())
    }

    async fn append(&self, _access: &Access, conversation: &str, part: Part<'_>) -> Result<Option<String>, InboxError> {
        let write = Write::Line {
            conversation: conversation.to_owned(),
            who: Who::Customer,
            text: part.text.to_owned(),
            at: part.at.unix_seconds(),
        };
        Ok(self.write(write).await?.part)
    }

    async fn quiet_since(&self, _access: &Access, _conversation: &str) -> Result<Quiet, InboxError> {
        self.read(|_, _| Quiet::default()).await
    }

    async fn note(
        &self,
        _access: &Access,
        conversation: &str,
        _voice: &Voice,
        html: &str,
    ) -> Result<Written, InboxError> {
        self.as_team(conversation, Who::Note, html).await
    }

    async fn comment(
        &self,
        _access: &Access,
        conversation: &str,
        _voice: &Voice,
        text: &str,
        _files: Vec<Upload>,
    ) -> Result<Written, InboxError> {
        self.as_team(conversation, Who::Teammate, text).await
    }

    async fn locate(&self, _access: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError> {
        let trail = trail.clone();
        self.read(move |desk, now| {
            let mine = |line: &&Line| {
                let place = match &trail.conversation {
                    Some(conversation) => line.conversation == *conversation,
                    // Found by searching the contact's conversations, and the search lags.
                    None => desk.conversations.iter().any(|known| {
                        known.id == line.conversation
                            && known.of == trail.contact
                            && known.visible_at <= now
                            && !trail.except.contains(&known.id)
                    }),
                };
                let time = if trail.as_team {
                    line.at >= trail.at.unix_seconds()
                } else {
                    line.at == trail.at.unix_seconds()
                };
                place && time && (line.who != Who::Customer) == trail.as_team && line.text == trail.text
            };
            let seen: Vec<&Line> = desk.lines.iter().filter(mine).collect();
            let landed = seen.len() > trail.known_equal as usize;
            seen.last().filter(|_| landed).map(|line| Opened {
                conversation: line.conversation.clone(),
                part: Some(line.part.clone()),
            })
        })
        .await
    }

    async fn fetch_reply(&self, _access: &Access, _conversation: &str, part: &str) -> Result<Fetched, InboxError> {
        let part = part.to_owned();
        self.read(move |desk, _| {
            let place = desk
                .lines
                .iter()
                .position(|line| line.part == part && line.who == Who::Teammate);
            place.map_or(Fetched::Missing, |place| {
                let line = &desk.lines[place];
                let before = desk.lines[..place].iter();
                let earlier =
                    before.filter(|earlier| earlier.who == Who::Teammate && earlier.conversation == line.conversation);
                Fetched::Reply(Box::new(Reply {
                    part,
                    author: teammate(),
                    text: RichText::plain(line.text.clone()),
                    attachments: Vec::new(),
                    at: Time::from_unix_seconds(line.at),
                    earlier: earlier.map(spoken).collect(),
                }))
            })
        })
        .await
    }

    /// By the second of their newest line.
    async fn changed_conversations(
        &self,
        _access: &Access,
        since: Time,
        _page: Option<&str>,
    ) -> Result<Changed, InboxError> {
        self.read(move |desk, _| {
            let newest = |id: &str| {
                let lines = desk.lines.iter().filter(|line| line.conversation == id);
                lines.map(|line| line.at).max()
            };
            let known = desk.conversations.iter();
            let changed = known.filter_map(|known| {
                let at = Time::from_unix_seconds(newest(&known.id)?);
                (at >= since).then(|| ChangedConversation {
                    id: known.id.clone(),
                    at,
                })
            });
            Changed {
                conversations: changed.collect(),
                next: None,
            }
        })
        .await
    }

    async fn told_in(&self, _access: &Access, _: &str, conversation: &str) -> Result<Vec<InboxEvent>, InboxError> {
        let conversation = conversation.to_owned();
        self.read(move |desk, _| {
            let lines = desk.lines.iter();
            let theirs = lines.filter(|line| line.conversation == conversation && line.who == Who::Teammate);
            theirs.map(told).collect()
        })
        .await
    }

    async fn download(&self, _file: &ReplyFile) -> Result<ByteStream, InboxError> {
        Err(InboxError::ConversationGone)
    }

    fn verify_webhook(&self, _headers: &[(String, String)], _body: &[u8]) -> bool {
        true
    }

    /// `conversation|part|text`
    fn parse_webhook(&self, body: &[u8]) -> Result<Vec<InboxEvent>, String> {
        let text = String::from_utf8(body.to_vec()).map_err(|error| error.to_string())?;
        let words: Vec<&str> = text.split('|').collect();
        let [conversation, part, text] = words[..] else {
            return Err("three words are expected".into());
        };
        Ok(vec![told(&Line {
            part: part.to_owned(),
            conversation: conversation.to_owned(),
            who: Who::Teammate,
            text: text.to_owned(),
            at: self.clock.now().unix_seconds(),
        })])
    }

    fn conversation_url(&self, _platform_id: &str, _facts: &BTreeMap<String, String>, conversation: &str) -> String {
        format!("https://inbox.example/{conversation}")
    }
}

impl SimInbox {
    async fn as_team(&self, conversation: &str, who: Who, text: &str) -> Result<Written, InboxError> {
        let write = Write::Line {
            conversation: conversation.to_owned(),
            who,
            text: text.to_owned(),
            at: self.clock.now().unix_seconds(),
        };
        let written = self.write(write).await?;
        Ok(Written {
            part: written.part,
            fell_back_to: None,
        })
    }
}

fn told(line: &Line) -> InboxEvent {
    InboxEvent {
        platform_id: "sim".into(),
        key: line.part.clone(),
        at: Time::from_unix_seconds(line.at),
        body: InboxEventBody::Reply {
            conversation: line.conversation.clone(),
            part: line.part.clone(),
            author: teammate(),
            text: line.text.clone(),
        },
    }
}

fn spoken(line: &Line) -> Spoken {
    Spoken {
        part: line.part.clone(),
        author: teammate(),
        text: line.text.clone(),
        at: Time::from_unix_seconds(line.at),
    }
}

fn teammate() -> Author {
    Author::Teammate {
        id: "op".into(),
        name: None,
    }
}

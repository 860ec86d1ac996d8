//! A flow on a real store, with an inbox and a connector that do as they are told and remember everything.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use mantle_egress::ByteStream;
use mantle_flow::connector::{Catalog, Connector};
use mantle_flow::metrics::Metrics;
use mantle_flow::shelf::StoreShelf;
use mantle_flow::{Flow, FlowParts, HookAnswer, channels, inbound, outbound, workspaces};
use mantle_inbox::{
    Access, Author, Changed, ChannelLabel, Contact, ContactMatch, Fetched, Inbox, InboxError, InboxEvent,
    InboxEventBody, Opened, Operator, Part, Profile, Quiet, Reply, ReplyFile, Spoken, Trail, Voice, Written,
};
use mantle_model::capabilities::{AttachmentRule, Capabilities, Delivery, Formatting, RetrySafety, TextRule, Window};
use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::hook::{Answer, Hook, Overload};
use mantle_model::ids::{ChannelId, IdSource, MediaId, WorkspaceId};
use mantle_model::inbound::{AttachmentKind, Event, Malformed, Person};
use mantle_model::outbound::{Finding, Outgoing, OutgoingContent, Sent};
use mantle_model::secret::{Secret, Secrets};
use mantle_model::text::{RichText, Unit};
use mantle_sandbox::{
    Abilities, CallError, ChannelContext, Field, HealthReport, Inbound, ProviderAccount, Shelf, ShelfFile, Verdict,
};
use mantle_store::Store;
use mantle_store::directory::{ChannelSettings, Platform};
use mantle_store::testing::TestStore;
use prometheus_client::registry::Registry;

/// What the inbox holds: (conversation, who, text, names of files).
pub type Line = (String, &'static str, String, Vec<String>);

#[derive(Default)]
pub struct Desk {
    pub lines: Vec<Line>,
    pub searches: u32,
    pub contacts: Vec<String>,
    pub conversations: u32,
    pub parts: u32,
    /// What the next writes of the customer's side end with; Ok lets one through.
    pub script: VecDeque<Result<(), InboxError>>,
    /// The write was applied although the answer says that nobody knows.
    pub applied_all_the_same: bool,
    pub located: Vec<Trail>,
    pub replies: HashMap<String, Reply>,
    /// What the team wrote, in order: conversation and words.
    pub spoken: Vec<(String, Spoken)>,
    /// Since when conversations are at rest; others are open.
    pub quiet: HashMap<String, Quiet>,
    pub asked_for_quiet: u32,
    /// Above 0: calls let so many others go first, up to 7, each time another number.
    pub chance: u64,
}

#[derive(Default)]
pub struct FakeInbox(pub Mutex<Desk>);

impl FakeInbox {
    pub fn desk<T>(&self, look: impl FnOnce(&mut Desk) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Lets others go first, as the seed says.
    async fn dawdle(&self) {
        let turns = self.desk(|desk| {
            // Knuth's multiplier: one seed, one order of events.
            desk.chance = desk
                .chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(desk.chance.min(1));
            desk.chance >> 61
        });
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn write(&self, conversation: &str, part: &Part<'_>) -> Result<Option<String>, InboxError> {
        self.desk(|desk| {
            let outcome = desk.script.pop_front().unwrap_or(Ok(()));
            if outcome.is_err() && !desk.applied_all_the_same {
                return outcome.map(|()| None);
            }
            desk.parts += 1;
            let id = format!("p{}", desk.parts);
            let files = part.files.iter().map(|file| file.name.clone()).collect();
            desk.lines
                .push((conversation.to_owned(), "customer", part.text.to_owned(), files));
            outcome.map(|()| Some(id))
        })
    }
}

#[async_trait]
impl Inbox for FakeInbox {
    async fn connect(&self, _: &Secret) -> Result<Profile, InboxError> {
        let added_by = Operator {
            id: "op1".into(),
            name: "Grace".into(),
            email: None,
            usable: true,
        };
        Ok(Profile {
            platform_id: "ws1".into(),
            name: "Shop".into(),
            facts: BTreeMap::new(),
            added_by,
        })
    }
    async fn prepare_channel(&self, _: &Access, _: &ChannelLabel) -> Result<(), InboxError> {
        Ok(())
    }
    async fn operators(&self, _: &Access) -> Result<Vec<Operator>, InboxError> {
        Ok(Vec::new())
    }
    async fn find_contact(
        &self,
        _: &Access,
        _: &ChannelLabel,
        _: &Person,
        _: bool,
    ) -> Result<ContactMatch, InboxError> {
        self.dawdle().await;
        self.desk(|desk| desk.searches += 1);
        Ok(ContactMatch {
            chosen: None,
            others: Vec::new(),
        })
    }
    async fn create_contact(&self, _: &Access, _: &ChannelLabel, person: &Person) -> Result<Contact, InboxError> {
        self.dawdle().await;
        Ok(self.desk(|desk| {
            desk.contacts.push(person.label().to_owned());
            Contact {
                id: format!("c{}", desk.contacts.len()),
                name: person.name.clone(),
            }
        }))
    }
    async fn refresh_contact(
        &self,
        _: &Access,
        _: &ChannelLabel,
        contact: &str,
        person: &Person,
        _: Option<&str>,
    ) -> Result<Contact, InboxError> {
        Ok(Contact {
            id: contact.to_owned(),
            name: person.name.clone(),
        })
    }
    async fn mark_origin(&self, _: &Access, _: &str, _: &str) -> Result<(), InboxError> {
        Ok(())
    }
    async fn open_conversation(&self, _: &Access, part: Part<'_>) -> Result<Opened, InboxError> {
        self.dawdle().await;
        let conversation = self.desk(|desk| {
            desk.conversations += 1;
            format!("v{}", desk.conversations)
        });
        let part = self.write(&conversation, &part)?;
        Ok(Opened { conversation, part })
    }
    async fn label_conversation(
        &self,
        _: &Access,
        _: &str,
        _: &ChannelLabel,
        _: &Person,
        _: bool,
    ) -> Result<(), InboxError> {
        Ok(())
    }
    async fn append(&self, _: &Access, conversation: &str, part: Part<'_>) -> Result<Option<String>, InboxError> {
        self.dawdle().await;
        self.write(conversation, &part)
    }
    async fn quiet_since(&self, _: &Access, conversation: &str) -> Result<Quiet, InboxError> {
        self.dawdle().await;
        Ok(self.desk(|desk| {
            desk.asked_for_quiet += 1;
            desk.quiet.get(conversation).copied().unwrap_or_default()
        }))
    }
    async fn note(&self, _: &Access, conversation: &str, _: &Voice, html: &str) -> Result<Written, InboxError> {
        Ok(self.desk(|desk| {
            desk.parts += 1;
            desk.lines
                .push((conversation.to_owned(), "note", html.to_owned(), Vec::new()));
            Written {
                part: Some(format!("p{}", desk.parts)),
                fell_back_to: None,
            }
        }))
    }
    async fn comment(
        &self,
        _: &Access,
        conversation: &str,
        _: &Voice,
        text: &str,
        _: Vec<mantle_inbox::Upload>,
    ) -> Result<Written, InboxError> {
        Ok(self.desk(|desk| {
            desk.parts += 1;
            desk.lines
                .push((conversation.to_owned(), "operator", text.to_owned(), Vec::new()));
            Written {
                part: Some(format!("p{}", desk.parts)),
                fell_back_to: None,
            }
        }))
    }
    async fn locate(&self, _: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError> {
        Ok(self.desk(|desk| {
            desk.located.push(trail.clone());
            let equal = |line: &&Line| line.1 == "customer" && line.2 == trail.text;
            let seen = desk.lines.iter().filter(equal).count();
            let line = desk.lines.iter().rfind(equal)?;
            (seen > trail.known_equal as usize).then(|| Opened {
                conversation: line.0.clone(),
                part: Some("located".into()),
            })
        }))
    }
    async fn fetch_reply(&self, _: &Access, conversation: &str, part: &str) -> Result<Fetched, InboxError> {
        Ok(self.desk(|desk| {
            let Some(mut known) = desk.replies.get(part).cloned() else {
                return Fetched::Missing;
            };
            let before = desk.spoken.iter().take_while(|(_, spoken)| spoken.part != part);
            let theirs = before.filter(|(of, _)| of == conversation);
            known.earlier = theirs.map(|(_, spoken)| spoken.clone()).collect();
            Fetched::Reply(Box::new(known))
        }))
    }
    async fn changed_conversations(&self, _: &Access, _: Time, _: Option<&str>) -> Result<Changed, InboxError> {
        Ok(Changed::default())
    }
    async fn told_in(&self, _: &Access, _: &str, _: &str) -> Result<Vec<InboxEvent>, InboxError> {
        Ok(Vec::new())
    }
    async fn download(&self, file: &ReplyFile) -> Result<ByteStream, InboxError> {
        let bytes = file.url.clone().into_bytes();
        Ok(futures_util::stream::once(async move { Ok(Bytes::from(bytes)) }).boxed())
    }
    fn verify_webhook(&self, headers: &[(String, String)], _: &[u8]) -> bool {
        headers.iter().any(|(name, _)| name == "good")
    }
    /// `conversation|part|text`
    fn parse_webhook(&self, body: &[u8]) -> Result<Vec<InboxEvent>, String> {
        let text = String::from_utf8(body.to_vec()).map_err(|error| error.to_string())?;
        let words: Vec<&str> = text.split('|').collect();
        let [conversation, part, text] = words[..] else {
            return Err("three words are expected".into());
        };
        Ok(vec![InboxEvent {
            platform_id: "ws1".into(),
            key: part.to_owned(),
            at: Time::from_unix_ms(0),
            body: InboxEventBody::Reply {
                conversation: conversation.to_owned(),
                part: part.to_owned(),
                author: teammate(),
                text: text.to_owned(),
            },
        }])
    }
    fn conversation_url(&self, _: &str, _: &BTreeMap<String, String>, conversation: &str) -> String {
        format!("https://inbox.example/{conversation}")
    }
}

pub fn teammate() -> Author {
    Author::Teammate {
        id: "op1".into(),
        name: None,
    }
}

/// What the connector reads in one hook.
pub type Read = Result<(Vec<Event>, Vec<Malformed>), CallError>;

/// What the connector makes of hooks and sends.
pub struct Script {
    /// The next answers of `receive`, in order.
    pub received: VecDeque<Read>,
    /// What certain bodies are read as, whenever they come.
    pub by_body: HashMap<Vec<u8>, Vec<Event>>,
    pub sends: VecDeque<Result<(), CallError>>,
    pub fetches: VecDeque<Result<&'static str, CallError>>,
    pub sent: Vec<Outgoing>,
}

pub struct FakeConnector {
    overload: Overload,
    pub script: Mutex<Script>,
    capabilities: Capabilities,
    secrets: Secrets,
    inboxes: Vec<String>,
    shelf: Arc<StoreShelf>,
}

impl FakeConnector {
    fn new(shelf: &Arc<StoreShelf>, rate: Option<f64>) -> Arc<Self> {
        let mut capabilities = capabilities();
        capabilities.delivery.per_second = rate;
        Arc::new(Self {
            script: Mutex::new(Script {
                received: VecDeque::new(),
                by_body: HashMap::new(),
                sends: VecDeque::new(),
                fetches: VecDeque::new(),
                sent: Vec::new(),
            }),
            capabilities,
            secrets: Secrets::default(),
            inboxes: vec!["intercom".into()],
            overload: Overload::default(),
            shelf: Arc::clone(shelf),
        })
    }

    pub fn script<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.script.lock().unwrap())
    }
}

#[async_trait]
impl Connector for FakeConnector {
    fn title(&self) -> &str {
        "WhatsApp"
    }
    fn attribute(&self) -> &str {
        "whatsapp"
    }
    fn inboxes(&self) -> &[String] {
        &self.inboxes
    }
    fn fields(&self) -> &[Field] {
        &[]
    }
    fn renewed(&self) -> Vec<(&str, Option<&str>)> {
        Vec::new()
    }
    fn generated(&self) -> &[(String, usize)] {
        &[]
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn abilities(&self) -> Abilities {
        Abilities {
            lifecycle: false,
            inbound_media: true,
            reconcile: true,
            profile: false,
            templates: false,
        }
    }
    fn secrets(&self) -> &Secrets {
        &self.secrets
    }
    fn default_answer(&self) -> Answer {
        Answer::empty(200)
    }
    fn overload(&self) -> &Overload {
        &self.overload
    }
    fn check_fields(&self, _: &BTreeMap<String, String>) -> Result<(), (String, String)> {
        Ok(())
    }
    fn verify(&self, _: &Secrets, hook: &Hook, _: &str) -> Verdict {
        match hook.header("good") {
            Some(_) => Verdict::Genuine,
            None => Verdict::Forged { why: "signature" },
        }
    }
    async fn receive(&self, _: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError> {
        if let Some(events) = self.script(|script| script.by_body.remove(&hook.body)) {
            return Ok(Inbound {
                events,
                malformed: Vec::new(),
                answer: None,
            });
        }
        let (events, malformed) = self
            .script(|script| script.received.pop_front())
            .expect("a hook was scripted")?;
        Ok(Inbound {
            events,
            malformed,
            answer: None,
        })
    }
    async fn send(&self, _: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError> {
        self.script(|script| {
            script.sent.push(message.clone());
            let number = script.sent.len();
            script.sends.pop_front().unwrap_or(Ok(())).map(|()| Sent {
                id: format!("wamid{number}"),
                aliases: Vec::new(),
            })
        })
    }
    async fn find_sent(&self, _: &ChannelContext, _: &Outgoing, _: Time) -> Result<Finding, CallError> {
        Ok(Finding::CannotTell)
    }
    async fn identify(&self, _: &ChannelContext) -> Result<ProviderAccount, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn connect(&self, _: &ChannelContext) -> Result<HealthReport, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn disconnect(&self, _: &ChannelContext) -> Result<(), CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn check(&self, _: &ChannelContext) -> Result<HealthReport, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn fetch_media(&self, _: &ChannelContext, source: &str) -> Result<ShelfFile, CallError> {
        let bytes = self
            .script(|script| script.fetches.pop_front())
            .unwrap_or(Ok("\u{89}PNG"))?;
        let body = futures_util::stream::once(async move { Ok(Bytes::from_static(bytes.as_bytes())) }).boxed();
        let put = self.shelf.put(
            Some(source.to_owned()),
            Some("application/octet-stream".into()),
            1_000,
            body,
        );
        put.await.map_err(|error| CallError::Trapped(error.to_string()))
    }
}

struct OneConnector(Arc<FakeConnector>);

impl Catalog for OneConnector {
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        let connector: Arc<dyn Connector> = self.0.clone();
        (name == "whatsapp").then_some(connector)
    }
}

/// Everything of one test.
pub struct World {
    pub flow: Arc<Flow>,
    /// A second host on the same store.
    pub other_host: Arc<Flow>,
    pub inbox: Arc<FakeInbox>,
    pub connector: Arc<FakeConnector>,
    /// The second host's; the first one's again where both have one store.
    pub other_connector: Arc<FakeConnector>,
    pub clock: ManualClock,
    pub channel: ChannelId,
    pub store: TestStore,
    _other_store: Option<TestStore>,
}

impl World {
    pub async fn new() -> Self {
        Self::on(TestStore::open().await.unwrap(), None, None).await
    }

    /// Two hosts on one PostgreSQL database; `rate`: calls per second of the provider. None: there is no PostgreSQL.
    pub async fn on_two_hosts(rate: Option<f64>) -> Option<Self> {
        let store = TestStore::open_postgres().await.unwrap()?;
        let other = store.beside().await.unwrap();
        Some(Self::on(store, Some(other), rate).await)
    }

    async fn on(held: TestStore, other: Option<TestStore>, rate: Option<f64>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(held.clock.clone());
        let ids = Arc::new(IdSource::new().unwrap());
        let store: Arc<dyn Store> = held.store.clone();
        let shelf = Arc::new(StoreShelf {
            store: Arc::clone(&store),
            files: held.store.files().clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            link: Arc::new(|id: MediaId| format!("https://bridge.example/media/{id}")),
            renewed: Arc::default(),
        });
        let inbox = Arc::new(FakeInbox::default());
        let connector = FakeConnector::new(&shelf, rate);
        let platform: Arc<dyn Inbox> = inbox.clone();
        let parts = |store: &Arc<dyn Store>, connector: &Arc<FakeConnector>| FlowParts {
            store: Arc::clone(store),
            catalog: Arc::new(OneConnector(Arc::clone(connector))),
            inboxes: HashMap::from([(Platform::Intercom, Arc::clone(&platform))]),
            shelf: shelf.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            metrics: Metrics::register(&mut Registry::default()),
            chance: mantle_flow::retry::system_chance,
            public_url: "https://bridge.example".into(),
            resend_link: Arc::new(|attempt| format!("https://bridge.example/resend/{attempt}")),
        };
        let flow = Flow::open(parts(&store, &connector)).await.unwrap();
        let token = Secret::new("token".into());
        let workspace = workspaces::connect(&flow, Platform::Intercom, token).await.unwrap();
        let channel = channels::connect(&flow, line(workspace.id)).await.unwrap().id;
        // Nothing in memory is shared with the first but what stands for the network and the database.
        let (other_host, other_connector) = match &other {
            Some(other) => {
                let (store, connector) = (other.store.clone() as Arc<dyn Store>, FakeConnector::new(&shelf, rate));
                (Flow::open(parts(&store, &connector)).await.unwrap(), connector)
            }
            None => (
                Flow::open(parts(&store, &connector)).await.unwrap(),
                Arc::clone(&connector),
            ),
        };
        Self {
            flow,
            other_host,
            inbox,
            connector,
            other_connector,
            clock: held.clock.clone(),
            channel,
            store: held,
            _other_store: other,
        }
    }

    /// A second line of the same workspace, known to both hosts.
    pub async fn another_channel(&self) -> ChannelId {
        let workspace = self.flow.directory().channel(self.channel).unwrap().workspace;
        let mut another = line(workspace);
        // The connector identifies nobody: other values are another account.
        another.fields.insert("line".into(), "second".into());
        let channel = channels::connect(&self.flow, another).await.unwrap().id;
        self.other_host.refresh().await.unwrap();
        channel
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// A genuine hook that the connector reads as these events; worked to rest.
    pub async fn told(&self, events: Vec<Event>) -> HookAnswer {
        self.connector
            .script(|script| script.received.push_back(Ok((events, Vec::new()))));
        let answer = self.hook("good").await;
        self.flow.settle().await.unwrap();
        answer
    }

    pub async fn hook(&self, header: &str) -> HookAnswer {
        let hook = Hook {
            method: "POST".into(),
            path_and_query: format!("/hooks/whatsapp/{}", self.channel),
            headers: vec![(header.into(), "1".into())],
            // Each its own, so that none is taken for a hook that is kept already.
            body: self.flow_body(),
            received_at: self.now(),
        };
        inbound::receive(&self.flow, hook, "whatsapp", Some(self.channel)).await
    }

    fn flow_body(&self) -> Vec<u8> {
        self.connector
            .script(|script| script.received.len().to_be_bytes().to_vec())
    }

    /// A teammate's answer, told by webhook and shown by the inbox; worked to rest.
    pub async fn answered(&self, conversation: &str, part: &str, text: &str, attachments: Vec<ReplyFile>) {
        self.writes(conversation, part, text, attachments);
        self.webhook(conversation, part, text).await;
        self.flow.settle().await.unwrap();
    }

    /// A teammate's answer that no webhook has told yet.
    pub fn writes(&self, conversation: &str, part: &str, text: &str, attachments: Vec<ReplyFile>) {
        let reply = Reply {
            part: part.into(),
            author: teammate(),
            text: RichText::plain(text),
            attachments,
            at: self.now(),
            earlier: Vec::new(),
        };
        let spoken = Spoken {
            part: part.into(),
            author: teammate(),
            text: text.into(),
            at: self.now(),
        };
        self.inbox.desk(|desk| {
            desk.replies.insert(part.into(), reply);
            if desk.spoken.iter().all(|(_, known)| known.part != part) {
                desk.spoken.push((conversation.into(), spoken));
            }
        });
    }

    pub async fn webhook(&self, conversation: &str, part: &str, text: &str) -> HookAnswer {
        self.webhook_at(&self.flow, conversation, part, text).await
    }

    pub async fn webhook_at(&self, host: &Arc<Flow>, conversation: &str, part: &str, text: &str) -> HookAnswer {
        let body = Bytes::from(format!("{conversation}|{part}|{text}"));
        outbound::receive(host, Platform::Intercom, vec![("good".into(), "1".into())], body).await
    }

    pub async fn later(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
        self.flow.settle().await.unwrap();
    }

    /// (who, text) of every line in the inbox.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        self.inbox
            .desk(|desk| desk.lines.iter().map(|line| (line.1, line.2.clone())).collect())
    }

    /// Words or file names that reached the provider.
    pub fn sent(&self) -> Vec<String> {
        self.connector.script(|script| {
            let words = |message: &Outgoing| match &message.content {
                OutgoingContent::Text(text) => text.text.clone(),
                OutgoingContent::Attachment(sent) => sent.file.name.clone(),
                other => format!("{other:?}"),
            };
            script.sent.iter().map(words).collect()
        })
    }
}

fn line(workspace: WorkspaceId) -> channels::NewChannel {
    channels::NewChannel {
        workspace,
        plugin: "whatsapp".into(),
        name: "Line".into(),
        fields: BTreeMap::new(),
        take_over: false,
        settings: ChannelSettings::default(),
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        text: TextRule {
            limit: 40,
            unit: Unit::Characters,
            formatting: Formatting::Plain,
            markers: None,
        },
        caption: None,
        attachments: vec![AttachmentRule {
            kind: AttachmentKind::Document,
            types: vec!["*/*".into()],
            max_bytes: 20,
        }],
        refused: Vec::new(),
        window: Some(Window {
            hours: 24,
            code: "window_closed".into(),
            next_step: "Send an approved template instead.".into(),
        }),
        delivery: Delivery {
            receipts: Vec::new(),
            proactive: true,
            templates: false,
            retry: RetrySafety::Echo,
            per_recipient_per_second: None,
            per_second: None,
            recipient_limits: Vec::new(),
            unclear_limits: Vec::new(),
        },
    }
}

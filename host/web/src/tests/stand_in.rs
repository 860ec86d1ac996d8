//! A front on a free port, and a client that says exactly what it is told to.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use mantle_flow::HookAnswer;
use mantle_flow::outbound::resend::{Offer, Standing};
use mantle_model::clock::Clock;
use mantle_model::hook::{Answer, Hook, Overload};
use mantle_model::ids::{ChannelId, MediaId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::Notice;
use mantle_model::secret::{Secret, Secrets};
use mantle_store::database::SqlStore;
use mantle_store::directory::{
    Channel, ChannelChange, ChannelStatus, Directory, Platform, Workspace, WorkspaceChange, WorkspaceSettings,
    WorkspaceStatus,
};
use mantle_store::testing::TestStore;
use mantle_store::upkeep::Upkeep;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::api::channels::Condition;
use crate::api::plugins::{FieldBody, PluginBody};
use crate::api::templates::{TemplateBody, TemplateButtonBody};
use crate::desk::{ChannelDraft, ChannelEdit, Configuration, Desk, DeskError, OpenFile, WorkspaceEdit};
use crate::figures::StoreFigures;
use crate::media::MediaLinks;
use crate::metrics::HttpMetrics;
use crate::operations::Pulse;
use crate::resend::ResendLinks;
use crate::server::{Stop, serve};
use crate::{Admission, Front};

pub(super) const TOKEN: &str = "the-key-of-the-tests";

/// Hooks that the tests' front takes at once.
pub(super) const HOOKS_MAX: usize = 20;

/// Stores what it is asked for, and counts.
pub(super) struct TestDesk {
    store: Arc<SqlStore>,
    clock: Arc<dyn Clock>,
    pub(super) hooks: Mutex<Vec<(String, Option<String>, Hook)>>,
    /// While true, hooks that have been read are not answered.
    pub(super) held: tokio::sync::watch::Sender<bool>,
    /// How many hooks came this far.
    pub(super) arrived: tokio::sync::watch::Sender<usize>,
    pub(super) shed: Mutex<Vec<String>>,
    pub(super) connects: AtomicUsize,
    channels: AtomicI64,
}

#[async_trait]
impl Desk for TestDesk {
    fn overload(&self, plugin: &str) -> Option<Overload> {
        let (retried_for, too_many_requests) = match plugin {
            "patient" => (Duration::from_secs(86_400), true),
            "brief" => (Duration::from_secs(45), false),
            "once" => (Duration::ZERO, false),
            _ => return None,
        };
        Some(Overload {
            retried_for,
            too_many_requests,
            status_query: Some("status".to_owned()),
        })
    }

    fn shed(&self, channel: Option<&str>, reason: &'static str) {
        let told = format!("{} {reason}", channel.unwrap_or_default());
        self.shed.lock().unwrap().push(told);
    }

    fn shed_intercom(&self, reason: &'static str) {
        self.shed.lock().unwrap().push(format!("intercom {reason}"));
    }

    async fn hook(&self, plugin: &str, channel: Option<&str>, hook: Hook) -> HookAnswer {
        let told = (plugin.to_owned(), channel.map(str::to_owned), hook);
        self.hooks.lock().unwrap().push(told);
        self.arrived.send_modify(|hooks| *hooks += 1);
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        let answer = Answer {
            status: 200,
            content_type: Some("text/xml".to_owned()),
            body: b"<Response></Response>".to_vec(),
        };
        HookAnswer {
            answer,
            retry_after: Some(Duration::from_millis(1_200)),
        }
    }

    async fn intercom(&self, hook: Hook) -> HookAnswer {
        self.hooks.lock().unwrap().push(("intercom".to_owned(), None, hook));
        HookAnswer {
            answer: Answer::empty(200),
            retry_after: None,
        }
    }

    async fn connect_workspace(&self, access_token: Secret) -> Result<Workspace, DeskError> {
        self.connects.fetch_add(1, Ordering::SeqCst);
        if access_token.expose() == "wrong" {
            return Err(DeskError::Invalid {
                field: Some("access_token".to_owned()),
                code: "unauthorized".to_owned(),
                message: "Intercom refuses the token.".to_owned(),
            });
        }
        let now = self.clock.now();
        let workspace = Workspace {
            id: WorkspaceId(1 + self.connects.load(Ordering::SeqCst) as i64),
            platform: Platform::Intercom,
            name: "Shop".to_owned(),
            platform_id: format!("app{}", self.connects.load(Ordering::SeqCst)),
            facts: [("region".to_owned(), "eu".to_owned())].into(),
            status: WorkspaceStatus::Active,
            status_cause: None,
            status_since: now,
            added_by: "Ada".to_owned(),
            settings: WorkspaceSettings::default(),
            warning: None,
            token: access_token,
            created_at: now,
            updated_at: now,
        };
        self.store.create_workspace(&workspace).await.unwrap();
        Ok(workspace)
    }

    async fn edit_workspace(&self, id: WorkspaceId, edit: WorkspaceEdit) -> Result<Workspace, DeskError> {
        let change = WorkspaceChange {
            settings: edit.settings,
            token: edit.access_token,
            ..WorkspaceChange::default()
        };
        Ok(self.store.change_workspace(id, change, self.clock.now()).await.unwrap())
    }

    async fn check_workspace(&self, id: WorkspaceId) -> Result<Workspace, DeskError> {
        Ok(self.store.workspace(id).await.unwrap().unwrap())
    }

    async fn archive_workspace(&self, id: WorkspaceId) -> Result<(), DeskError> {
        let change = WorkspaceChange {
            status: Some((WorkspaceStatus::Archived, None)),
            ..WorkspaceChange::default()
        };
        self.store.change_workspace(id, change, self.clock.now()).await.unwrap();
        Ok(())
    }

    async fn plugins(&self) -> Vec<PluginBody> {
        let field = FieldBody {
            name: "bot_token".to_owned(),
            label: "Bot token".to_owned(),
            help: "From @BotFather".to_owned(),
            kind: "text".to_owned(),
            choices: Vec::new(),
            secret: true,
            required: true,
            pattern: None,
            example: None,
        };
        vec![PluginBody {
            name: "telegram".to_owned(),
            title: "Telegram".to_owned(),
            description: "One bot".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "00".repeat(32),
            state: "ready".to_owned(),
            reason: None,
            inboxes: vec!["intercom".to_owned()],
            fields: vec![field],
            abilities: vec!["lifecycle".to_owned()],
            capabilities: Some(serde_json::json!({"text": {"limit": 4096}})),
            source: "connectors/telegram.wasm".to_owned(),
            signer: None,
            pending: None,
            trial: None,
            previous: None,
            pinned: Vec::new(),
        }]
    }

    async fn approve_plugin(&self, name: &str, _digest: Option<&str>) -> Result<PluginBody, DeskError> {
        let found = self.plugins().await.into_iter().find(|plugin| plugin.name == name);
        found.ok_or_else(|| DeskError::NotFound("There is no such plugin.".to_owned()))
    }

    async fn roll_back_plugin(&self, _name: &str) -> Result<PluginBody, DeskError> {
        Err(DeskError::Conflict {
            code: "nothing_to_do".to_owned(),
            message: "No version before is kept.".to_owned(),
        })
    }

    fn configuration(&self) -> Configuration {
        Configuration::default()
    }

    fn hook_url(&self, channel: &Channel) -> String {
        format!("https://bridge.example.com/hooks/{}/{}", channel.plugin, channel.id)
    }

    fn notices(&self, _channel: &Channel) -> Vec<Notice> {
        Vec::new()
    }

    fn condition(&self, channel: &Channel, _heard: bool) -> Condition {
        Condition {
            status: channel.status,
            cause: channel.status_cause.clone(),
            since: channel.status_since,
            next_step: None,
        }
    }

    async fn connect_channel(&self, draft: ChannelDraft) -> Result<Channel, DeskError> {
        let now = self.clock.now();
        let mut secrets = Secrets::default();
        for (name, value) in draft.fields {
            secrets.add(name, value);
        }
        let channel = Channel {
            id: ChannelId(77 + self.channels.fetch_add(1, Ordering::SeqCst)),
            workspace: draft.workspace,
            plugin: draft.plugin,
            name: draft.name,
            external_id: "123456789".to_owned(),
            external_name: "@shop_bot".to_owned(),
            fields: [("mode".to_owned(), "direct".to_owned())].into(),
            secrets,
            status: ChannelStatus::PendingVerification,
            status_cause: Some("The provider has not verified it yet.".to_owned()),
            status_since: now,
            notices: Vec::new(),
            settings: draft.settings,
            refused_groups: 0,
            created_at: now,
            updated_at: now,
        };
        self.store
            .create_channel(&channel)
            .await
            .map_err(|_| DeskError::Conflict {
                code: "taken".to_owned(),
                message: "The bot is a channel already.".to_owned(),
            })?;
        Ok(channel)
    }

    async fn edit_channel(&self, id: ChannelId, edit: ChannelEdit) -> Result<Channel, DeskError> {
        let change = ChannelChange {
            name: edit.name,
            settings: edit.settings,
            ..ChannelChange::default()
        };
        Ok(self.store.change_channel(id, change, self.clock.now()).await.unwrap())
    }

    async fn archive_channel(&self, id: ChannelId) -> Result<(), DeskError> {
        let change = ChannelChange {
            status: Some((ChannelStatus::Archived, None)),
            ..ChannelChange::default()
        };
        self.store.change_channel(id, change, self.clock.now()).await.unwrap();
        Ok(())
    }

    async fn check_channel(&self, id: ChannelId) -> Result<Channel, DeskError> {
        let change = ChannelChange {
            status: Some((ChannelStatus::Connected, None)),
            ..ChannelChange::default()
        };
        Ok(self.store.change_channel(id, change, self.clock.now()).await.unwrap())
    }

    async fn templates(&self, _id: ChannelId) -> Result<Vec<TemplateBody>, DeskError> {
        let button = TemplateButtonBody {
            kind: "url".to_owned(),
            text: "Track".to_owned(),
            variables: vec!["1".to_owned()],
        };
        Ok(vec![TemplateBody {
            id: "1".to_owned(),
            name: "order".to_owned(),
            language: "en".to_owned(),
            category: "utility".to_owned(),
            state: "approved".to_owned(),
            reason: None,
            header: "none".to_owned(),
            header_text: None,
            header_variables: Vec::new(),
            body: "Hello {{1}}".to_owned(),
            body_variables: vec!["1".to_owned()],
            footer: None,
            buttons: vec![button],
        }])
    }

    async fn replay(&self, message: MessageId) -> Result<MessageId, DeskError> {
        Ok(message)
    }

    async fn resend_offer(&self, attempt: MessageId) -> Result<Option<Offer>, DeskError> {
        Ok((attempt.seq < 9).then(|| Offer {
            title: "SMS".to_owned(),
            words: "“Is <b>it</b> there?”".to_owned(),
            standing: match attempt.seq {
                1 => Standing::Failed,
                2 => Standing::Unknown,
                3 => Standing::SentAgain,
                _ => Standing::Arrived,
            },
        }))
    }

    async fn resend(&self, attempt: MessageId) -> Result<Option<MessageId>, DeskError> {
        Ok((attempt.seq < 3).then_some(attempt))
    }

    async fn read_hook_again(&self, hook: ReceiptId) -> Result<(), DeskError> {
        let now = self.clock.now();
        self.store
            .read_hook_again(hook, now)
            .await
            .map_err(|error| DeskError::NotFound(error.to_string()))
    }

    async fn file(&self, id: MediaId) -> Result<Option<OpenFile>, DeskError> {
        Ok((id == MediaId(5)).then(|| OpenFile {
            name: Some("invoice.html".to_owned()),
            content_type: "text/html".to_owned(),
            bytes: 4,
            body: futures_util::stream::iter([Ok("<p>x".into())]).boxed(),
        }))
    }
}

/// A running front; ends with the test.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) desk: Arc<TestDesk>,
    pub(super) front: Arc<Front>,
    pub(super) store: TestStore,
    stop: Stop,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.force.cancel();
    }
}

pub(super) async fn start(admin_token: Option<&str>) -> Running {
    let store = TestStore::open().await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(store.clock.clone());
    let desk = Arc::new(TestDesk {
        store: Arc::clone(&store.store),
        clock: Arc::clone(&clock),
        hooks: Mutex::default(),
        held: tokio::sync::watch::Sender::new(false),
        arrived: tokio::sync::watch::Sender::new(0),
        shed: Mutex::default(),
        connects: AtomicUsize::default(),
        channels: AtomicI64::default(),
    });
    let mut registry = Registry::default();
    let http = HttpMetrics::register(&mut registry);
    let figures = StoreFigures::register(&mut registry);
    let front = Arc::new(Front {
        desk: Arc::clone(&desk) as Arc<dyn Desk>,
        store: Arc::clone(&store.store) as Arc<dyn mantle_store::Store>,
        links: MediaLinks::new([7; 32], "", Arc::clone(&clock)),
        resends: ResendLinks::new([8; 32], "", Arc::clone(&clock)),
        clock,
        admin_token: admin_token.map(|token| Secret::new(token.to_owned())),
        registry: Arc::new(registry),
        http,
        figures,
        backlog: Default::default(),
        pulse: Pulse::default(),
        tasks: TaskTracker::new(),
        admission: Arc::new(Admission::with(HOOKS_MAX, 1 << 30)),
        under_way: Mutex::new(HashSet::new()),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::default();
    tokio::spawn(serve(listener, crate::router(Arc::clone(&front)), stop.clone()));
    Running {
        address,
        desk,
        front,
        store,
        stop,
    }
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Running {
    /// Sends the bytes and reads until the host closes the connection.
    pub(super) async fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The host may answer and close before it has read all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Reply {
            status: head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(super) async fn ask(&self, line: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }

    /// A call of the API with the key.
    pub(super) async fn call(&self, line: &str, body: &str) -> Reply {
        let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        self.ask(line, &headers, body).await
    }
}

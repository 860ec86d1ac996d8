//! Intercom as its documents say, version 2.16: workspaces with tokens, teammates, contacts and their search index,
//! conversations with parts, files with addresses that end, and signed webhooks with plain text bodies.
//!
//! Operations for faults: `me`, `admins`, `contact`, `search`, `attributes`, `create` (conversation), `reply`, `parts`,
//! `conversation`, `conversations` (list and search), `tags`, `messages`, `download`.
//! Absent: companies, tickets, articles, help centre, Fin.

mod api;
mod conversation;
mod people;
mod query;
mod teammate;
mod threads;
mod workspace;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::fault::Faults;
use crate::multipart::File;
use crate::scene::{Scene, lock, random_hex};
use crate::signature;
use crate::webhooks::{Delivered, Post, Webhooks};
use crate::wire::{Call, Reply, Stand};

pub use conversation::{Author, Conversation, Part};
pub use teammate::{Replied, Teammate};

/// A workspace that a test needs no other properties of.
pub const WORKSPACE: &str = "abc12345";
/// Its first teammate, who installed the app.
pub const ADMIN: &str = "814860";
/// How long a file's address is good.
const TICKET_MS: i64 = 30 * 60 * 1000;
/// Our app as it stands on parts that were written over the API.
const PACKAGE_CODE: &str = "mantle-bridge-0001";

/// Where a workspace lives; each region has its own host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Region {
    #[default]
    Us,
    Eu,
    Au,
}

impl Region {
    fn name(self) -> &'static str {
        match self {
            Self::Us => "US",
            Self::Eu => "EU",
            Self::Au => "AU",
        }
    }
}

/// The stand-in. Cheap to copy.
#[derive(Clone)]
pub struct Intercom(Arc<Inner>);

struct Inner {
    scene: Scene,
    faults: Faults,
    webhooks: Webhooks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    workspaces: BTreeMap<String, WorkspaceState>,
    calls: Vec<CallSeen>,
    client_secret: String,
    webhook: Option<String>,
    /// None: all.
    topics: Option<Vec<String>>,
    echo_first: bool,
}

/// One API call that came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct CallSeen {
    pub operation: String,
    pub method: String,
    pub path: String,
    pub body: Value,
    pub status: u16,
}

struct WorkspaceState {
    id: String,
    name: String,
    region: Region,
    token: String,
    admins: Vec<Admin>,
    contacts: BTreeMap<String, ContactState>,
    contact_attributes: Vec<Value>,
    conversation_attributes: Vec<Value>,
    tags: BTreeMap<String, String>,
    conversations: BTreeMap<String, Conversation>,
    files: HashMap<String, Kept>,
    index_lag_ms: i64,
    file_bytes_max: usize,
    next_contact: u64,
    next_conversation: u64,
    next_part: u64,
}

#[derive(Debug, Clone)]
struct Kept {
    file: File,
    tickets: Vec<(String, i64)>,
}

/// A teammate as `GET /admins` shows one.
#[derive(Debug, Clone)]
pub struct Admin {
    pub id: String,
    pub name: String,
    pub email: String,
    pub has_inbox_seat: bool,
}

#[derive(Debug, Clone)]
struct ContactState {
    value: Value,
    /// From when on the search index knows it, unix ms.
    indexed_at: i64,
    archived: bool,
    merged_into: Option<String>,
}

/// One workspace. Cheap to copy.
#[derive(Clone)]
pub struct Workspace {
    intercom: Intercom,
    id: String,
}

impl Intercom {
    pub(crate) fn new(scene: Scene) -> Self {
        let state = State {
            client_secret: "ic-test-client-secret-0001".to_owned(),
            ..State::default()
        };
        Self(Arc::new(Inner {
            faults: Faults::default(),
            webhooks: Webhooks::new(scene.clone()),
            state: Mutex::new(state),
            scene,
        }))
    }

    /// The workspace of this id, in the US with one teammate; made at the first mention.
    #[must_use]
    pub fn workspace(&self, id: &str) -> Workspace {
        lock(&self.0.state)
            .workspaces
            .entry(id.to_owned())
            .or_insert_with(|| WorkspaceState::new(id));
        Workspace {
            intercom: self.clone(),
            id: id.to_owned(),
        }
    }

    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    #[must_use]
    pub fn calls(&self) -> Vec<CallSeen> {
        lock(&self.0.state).calls.clone()
    }

    #[must_use]
    pub fn client_secret(&self) -> String {
        lock(&self.0.state).client_secret.clone()
    }

    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut lock(&self.0.state).client_secret);
    }

    /// Which topics the app is subscribed to; at first all.
    pub fn subscribe(&self, topics: &[&str]) {
        lock(&self.0.state).topics = Some(topics.iter().map(|topic| (*topic).to_owned()).collect());
    }

    /// Webhooks about a write over the API go out and are answered before the write itself is.
    pub fn echo_first(&self, on: bool) {
        lock(&self.0.state).echo_first = on;
    }

    /// Saves the app's webhook address as the Developer Hub does, which asks it with HEAD.
    ///
    /// # Errors
    /// The address does not answer 200.
    pub async fn set_webhook(&self, url: &str) -> Result<(), String> {
        let answer = self
            .0
            .scene
            .client()
            .call(Method::HEAD, url, &[], bytes::Bytes::new())
            .await;
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        if answer.status != 200 {
            return Err(format!(
                "HEAD {url} answers {}: Intercom does not save such an address",
                answer.status
            ));
        }
        lock(&self.0.state).webhook = Some(url.to_owned());
        Ok(())
    }

    /// Saves the address without asking it.
    pub fn force_webhook(&self, url: &str) {
        lock(&self.0.state).webhook = Some(url.to_owned());
    }

    fn with_workspace<T>(&self, id: &str, then: impl FnOnce(&mut WorkspaceState) -> T) -> Option<T> {
        let done = lock(&self.0.state).workspaces.get_mut(id).map(then);
        self.0.scene.ring();
        done
    }

    /// Signs and sends a notification. None: nobody wants it.
    async fn notify(&self, workspace: &str, topic: &str, item: Value) -> Option<Delivered> {
        let (url, secret) = {
            let state = lock(&self.0.state);
            let wanted = state
                .topics
                .as_ref()
                .is_none_or(|topics| topics.iter().any(|known| known == topic));
            (state.webhook.clone().filter(|_| wanted)?, state.client_secret.clone())
        };
        let now = self.0.scene.now();
        let part = random_hex(12);
        let id = format!("notif_00000000-0000-4000-8000-{part}");
        let body = json!({"type": "notification_event", "app_id": workspace, "topic": topic, "id": id, "created_at": now,
            "delivery_status": "pending", "delivery_attempts": 1, "delivered_at": 0, "first_sent_at": now, "self": null, "links": {},
            "data": {"type": "notification_event_data", "item": item}})
        .to_string();
        Some(
            self.deliver_raw(&url, &id, &body, &signature::intercom(&secret, body.as_bytes()))
                .await,
        )
    }

    /// Any body with any signature, to any address.
    pub async fn deliver_raw(&self, url: &str, id: &str, body: &str, signature: &str) -> Delivered {
        let post = Post {
            method: Method::POST,
            url: url.to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("x-hub-signature".to_owned(), signature.to_owned()),
                ("user-agent".to_owned(), "intercom-parrot-service-client/1.0".to_owned()),
            ],
            body: body.to_owned().into(),
        };
        self.0.webhooks.deliver(id, post).await
    }

    /// Tells about a write over the API, beside or before its answer.
    async fn echo(&self, workspace: &str, topic: &'static str, item: Value) {
        if lock(&self.0.state).echo_first {
            self.notify(workspace, topic, item).await;
            return;
        }
        let (intercom, workspace) = (self.clone(), workspace.to_owned());
        self.0.scene.spawn(async move {
            intercom.notify(&workspace, topic, item).await;
        });
    }

    pub(crate) fn region(&self, region: Region) -> Api {
        Api(self.clone(), region)
    }

    pub(crate) fn downloads(&self) -> Downloads {
        Downloads(self.clone())
    }
}

impl WorkspaceState {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: "Shop".to_owned(),
            region: Region::Us,
            token: format!("dG9rOi{id}"),
            admins: vec![Admin {
                id: ADMIN.to_owned(),
                name: "Dana Ops".to_owned(),
                email: "dana@shop.example".to_owned(),
                has_inbox_seat: true,
            }],
            contacts: BTreeMap::new(),
            contact_attributes: people::built_in_attributes(),
            conversation_attributes: Vec::new(),
            tags: BTreeMap::new(),
            conversations: BTreeMap::new(),
            files: HashMap::new(),
            index_lag_ms: 0,
            file_bytes_max: 20 << 20,
            next_contact: 0x83,
            next_conversation: 215_470_000_000_000,
            next_part: 9_400_000_000,
        }
    }

    /// Keeps a file and answers with its id.
    fn keep(&mut self, file: File) -> String {
        let id = random_hex(10);
        self.files.insert(
            id.clone(),
            Kept {
                file,
                tickets: Vec::new(),
            },
        );
        id
    }

    /// A fresh address of a file, good for half an hour.
    fn address(&mut self, id: &str, now_ms: i64) -> String {
        let (workspace, ticket) = (self.id.clone(), random_hex(20));
        let Some(kept) = self.files.get_mut(id) else {
            return String::new();
        };
        kept.tickets.push((ticket.clone(), now_ms + TICKET_MS));
        let name = percent_encoding::utf8_percent_encode(&kept.file.name, percent_encoding::NON_ALPHANUMERIC);
        let expires = (now_ms + TICKET_MS) / 1000;
        format!(
            "https://downloads.intercomcdn.com/i/o/{workspace}/{id}/{name}?expires={expires}&signature={ticket}&req=bb"
        )
    }
}

/// One region's API host.
pub(crate) struct Api(Intercom, Region);

impl Stand for Api {
    fn operation(&self, call: &Call) -> String {
        api::operation(call).to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.0.faults
    }

    fn refusal(&self, status: u16, retry_after: Option<&str>) -> Reply {
        let (code, text) = match status {
            401 => ("unauthorized", "Access Token Invalid"),
            429 => ("rate_limit_exceeded", "Exceeded rate limit"),
            500.. => (
                "service_unavailable",
                "Sorry, the API service is temporarily unavailable",
            ),
            _ => ("bad_request", "Refused on purpose"),
        };
        let reply = api::error(status, code, text);
        match retry_after {
            Some(after) => {
                let reset = self.0.0.scene.now() + after.parse::<i64>().unwrap_or(1);
                reply
                    .with("retry-after", after)
                    .with("x-ratelimit-limit", "1667")
                    .with("x-ratelimit-remaining", "0")
                    .with("x-ratelimit-reset", reset.to_string())
            }
            None => reply,
        }
    }

    async fn answer(&self, call: Call) -> Reply {
        api::answer(&self.0, self.1, call).await
    }
}

/// Serves `downloads.intercomcdn.com`.
pub(crate) struct Downloads(Intercom);

impl Stand for Downloads {
    fn operation(&self, _: &Call) -> String {
        "download".to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        Reply::empty(status)
    }

    /// `/i/o/<workspace>/<file>/<name>?expires=…&signature=…`
    async fn answer(&self, call: Call) -> Reply {
        if call.headers.contains_key("authorization") {
            self.0
                .0
                .scene
                .violation("intercom", "download", "the access token was sent to the file host");
        }
        let pieces = call.pieces();
        let piece = |at: usize| pieces.get(at).map_or("", String::as_str);
        let ticket = call.parameter("signature").unwrap_or_default();
        let now = self.0.0.scene.now_ms();
        let found = self.0.with_workspace(piece(2), |state| {
            let kept = state.files.get(piece(3))?;
            kept.tickets
                .iter()
                .any(|(known, until)| *known == ticket && *until > now)
                .then(|| kept.file.clone())
        });
        match found.flatten() {
            Some(file) => Reply::typed(200, &file.content_type, file.bytes),
            None => Reply::typed(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>"),
        }
    }
}

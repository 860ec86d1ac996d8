//! Telegram as its Bot API documents say: bots with tokens, one webhook each, chats that customers start.
//!
//! Operations for faults are the methods' names (`sendMessage`, `getFile` …) and `file` for downloads.
//! Absent: channels, forums, payments, inline queries, games.

mod calls;
mod customer;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::fault::Faults;
use crate::multipart::File;
use crate::scene::{Scene, lock, random_hex};
use crate::webhooks::{Delivered, Post, Webhooks};
use crate::wire::{Call, Reply, Stand};

pub use customer::{Customer, Told};

/// A bot that a test needs no other properties of.
pub const TOKEN: &str = "123456789:AAF0bCdEfGhIjKlMnOpQrStUvWxYz012345";
/// Downloads above this are refused by the Bot API, in bytes.
pub const DOWNLOAD_BYTES_MAX: usize = 20 << 20;

/// The stand-in. Cheap to copy.
#[derive(Clone)]
pub struct Telegram(Arc<Inner>);

struct Inner {
    scene: Scene,
    faults: Faults,
    webhooks: Webhooks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bots: BTreeMap<String, BotState>,
    calls: Vec<CallSeen>,
}

/// One API call that came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct CallSeen {
    pub method: String,
    pub parameters: Value,
    pub status: u16,
}

/// One message that was put into a chat.
#[derive(Debug, Clone)]
pub struct Sent {
    pub bot: i64,
    pub chat: i64,
    pub message_id: i64,
    pub method: String,
    /// The text, or the caption of a file.
    pub text: String,
    /// `photo`, `document`, `voice` … with the file's bytes.
    pub file: Option<(String, File)>,
    pub reply_to: Option<i64>,
    pub parameters: Value,
    pub at_ms: i64,
    /// The versions before edits, oldest first.
    pub edited_from: Vec<String>,
    pub deleted: bool,
}

struct BotState {
    id: i64,
    username: String,
    name: String,
    revoked: bool,
    webhook: Option<Webhook>,
    last_error: Option<(i64, String)>,
    next_message: i64,
    next_update: i64,
    chats: HashMap<i64, Chat>,
    files: HashMap<String, File>,
    sent: Vec<Sent>,
    reactions: Vec<(i64, i64, Value)>,
}

#[derive(Debug, Clone)]
struct Webhook {
    url: String,
    secret: Option<String>,
    /// None: Telegram's default, which is all but reactions and members.
    allowed: Option<Vec<String>>,
    max_connections: i64,
}

#[derive(Default)]
struct Chat {
    profile: Value,
    blocked: bool,
    /// By message id, as the Bot API would show them.
    messages: BTreeMap<i64, Value>,
}

/// One bot. Cheap to copy.
#[derive(Clone)]
pub struct Bot {
    telegram: Telegram,
    token: String,
}

impl Telegram {
    pub(crate) fn new(scene: Scene) -> Self {
        Self(Arc::new(Inner {
            faults: Faults::default(),
            webhooks: Webhooks::new(scene.clone()),
            state: Mutex::default(),
            scene,
        }))
    }

    /// The bot of this token; made at the first mention.
    #[must_use]
    pub fn bot(&self, token: &str) -> Bot {
        let mut state = lock(&self.0.state);
        state
            .bots
            .entry(token.to_owned())
            .or_insert_with(|| BotState::new(token));
        Bot {
            telegram: self.clone(),
            token: token.to_owned(),
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

    /// What all bots put into chats, in the order of arrival.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        let state = lock(&self.0.state);
        let mut all: Vec<_> = state.bots.values().flat_map(|bot| bot.sent.clone()).collect();
        all.sort_by_key(|sent| sent.at_ms);
        all
    }

    /// Every call, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<CallSeen> {
        lock(&self.0.state).calls.clone()
    }

    fn with_bot<T>(&self, token: &str, then: impl FnOnce(&mut BotState) -> T) -> Option<T> {
        let done = lock(&self.0.state).bots.get_mut(token).map(then);
        self.0.scene.ring();
        done
    }
}

impl BotState {
    fn new(token: &str) -> Self {
        let id = token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(1);
        Self {
            id,
            username: format!("shop_{id}_bot"),
            name: "Shop".to_owned(),
            revoked: false,
            webhook: None,
            last_error: None,
            next_message: 40,
            next_update: 802_300_000,
            chats: HashMap::new(),
            files: HashMap::new(),
            sent: Vec::new(),
            reactions: Vec::new(),
        }
    }

    fn me(&self) -> Value {
        json!({"id": self.id, "is_bot": true, "first_name": self.name, "username": self.username,
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false,
            "can_connect_to_business": false, "has_main_web_app": false})
    }

    /// Keeps a file and answers with its id.
    fn keep(&mut self, file: File) -> String {
        let id = format!("BQAC{}", random_hex(28));
        self.files.insert(id.clone(), file);
        id
    }
}

impl Bot {
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    #[must_use]
    pub fn id(&self) -> i64 {
        self.telegram.with_bot(&self.token, |bot| bot.id).unwrap_or_default()
    }

    /// The customer with this user id in a private chat with the bot. Has not started the bot until the first message.
    #[must_use]
    pub fn customer(&self, id: i64) -> Customer {
        Customer::new(self.clone(), id)
    }

    /// The address that was registered with `setWebhook`.
    #[must_use]
    pub fn webhook(&self) -> Option<String> {
        self.telegram
            .with_bot(&self.token, |bot| {
                bot.webhook.as_ref().map(|webhook| webhook.url.clone())
            })
            .flatten()
    }

    /// Somebody else's program took the webhook.
    pub fn foreign_webhook(&self, url: &str) {
        self.telegram.with_bot(&self.token, |bot| {
            bot.webhook = Some(Webhook {
                url: url.to_owned(),
                secret: None,
                allowed: None,
                max_connections: 40,
            });
        });
    }

    /// The owner revoked the token in BotFather: every call answers 401 from now on.
    pub fn revoke(&self) {
        self.telegram.with_bot(&self.token, |bot| bot.revoked = true);
    }

    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.telegram
            .with_bot(&self.token, |bot| bot.sent.clone())
            .unwrap_or_default()
    }

    /// Reactions that the bot set: (chat, message, reaction list).
    #[must_use]
    pub fn reactions(&self) -> Vec<(i64, i64, Value)> {
        self.telegram
            .with_bot(&self.token, |bot| bot.reactions.clone())
            .unwrap_or_default()
    }

    /// Delivers an update: the given key (`message` …) beside a fresh `update_id`. Kinds that the webhook did not
    /// ask for are not delivered, as with Telegram.
    pub async fn update(&self, kind: &str, content: Value) -> Delivered {
        let (id, wanted) = self
            .telegram
            .with_bot(&self.token, |bot| {
                bot.next_update += 1;
                let wanted = bot.webhook.as_ref().is_none_or(|webhook| webhook.takes(kind));
                (bot.next_update, wanted)
            })
            .unwrap_or_default();
        if !wanted {
            return Delivered {
                id: id.to_string(),
                problem: Some(format!("the webhook did not ask for `{kind}` in allowed_updates")),
                ..Delivered::default()
            };
        }
        let mut update = json!({"update_id": id});
        update[kind] = content;
        self.deliver_raw(&id.to_string(), update.to_string()).await
    }

    /// Delivers any body with the registered secret.
    pub async fn deliver_raw(&self, id: &str, body: impl Into<bytes::Bytes>) -> Delivered {
        let webhook = self.telegram.with_bot(&self.token, |bot| bot.webhook.clone()).flatten();
        let Some(webhook) = webhook else {
            return Delivered {
                id: id.to_owned(),
                problem: Some("the bot has no webhook: nobody called setWebhook".to_owned()),
                ..Delivered::default()
            };
        };
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(secret) = &webhook.secret {
            headers.push(("x-telegram-bot-api-secret-token".to_owned(), secret.clone()));
        }
        let post = Post {
            method: Method::POST,
            url: webhook.url,
            headers,
            body: body.into(),
        };
        let delivered = self.telegram.0.webhooks.deliver(id, post).await;
        if delivered.answer.text().contains("\"method\"") {
            let problem = "the answer has a `method`: Telegram runs it as a call";
            self.telegram.0.scene.violation("telegram", "webhook answer", problem);
        }
        if let Some(status) = delivered.status.filter(|status| !(200..300).contains(status)) {
            let error = format!("Wrong response from the webhook: {status}");
            let now = self.telegram.0.scene.now();
            self.telegram
                .with_bot(&self.token, |bot| bot.last_error = Some((now, error)));
        }
        delivered
    }
}

impl Webhook {
    fn takes(&self, kind: &str) -> bool {
        const NOT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
        match &self.allowed {
            Some(allowed) if !allowed.is_empty() => allowed.iter().any(|known| known == kind),
            _ => !NOT_BY_DEFAULT.contains(&kind),
        }
    }
}

impl Stand for Telegram {
    fn operation(&self, call: &Call) -> String {
        let pieces = call.pieces();
        match pieces.first().map(String::as_str) {
            Some("file") => "file".to_owned(),
            _ => pieces.get(1).cloned().unwrap_or_default(),
        }
    }

    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn refusal(&self, status: u16, retry_after: Option<&str>) -> Reply {
        let text = match status {
            429 => format!("Too Many Requests: retry after {}", retry_after.unwrap_or("1")),
            500 => "Internal Server Error".to_owned(),
            502 => "Bad Gateway".to_owned(),
            503 => "Service Unavailable".to_owned(),
            _ => "Bad Request: refused on purpose".to_owned(),
        };
        let mut body = json!({"ok": false, "error_code": status, "description": text});
        if let Some(seconds) = retry_after.and_then(|after| after.parse::<i64>().ok()) {
            body["parameters"] = json!({"retry_after": seconds});
        }
        Reply::json(status, &body)
    }

    async fn answer(&self, call: Call) -> Reply {
        calls::answer(self, call).await
    }
}

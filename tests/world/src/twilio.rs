//! Twilio's programmable messaging as its documents say: accounts, numbers and messaging services with webhooks,
//! messages in a list that can be read back, media behind a redirect to an open store.
//!
//! Operations for faults: `send`, `list`, `message`, `number`, `service`, `account`, `media`, `cdn`.
//! Absent: voice, XML answers, templates, scheduling.

mod account;
mod api;
mod customer;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::fault::Faults;
use crate::multipart::File;
use crate::scene::{Scene, lock};
use crate::webhooks::Webhooks;
use crate::wire::{Call, Reply, Stand};

pub use customer::{Customer, Told};

/// An account that a test needs no other properties of.
pub const ACCOUNT_SID: &str = "AC00112233445566778899aabbccddeeff";
pub const AUTH_TOKEN: &str = "4f1c9d2ab7e84c05a6d3f0917be25c88";
pub const NUMBER: &str = "+15005550010";

/// The stand-in. Cheap to copy.
#[derive(Clone)]
pub struct Twilio(Arc<Inner>);

struct Inner {
    scene: Scene,
    faults: Faults,
    webhooks: Webhooks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, AccountState>,
    calls: Vec<CallSeen>,
}

/// One API call that came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct CallSeen {
    pub operation: String,
    pub method: String,
    pub path: String,
    pub form: Vec<(String, String)>,
    pub status: u16,
}

struct AccountState {
    sid: String,
    auth_token: String,
    status: String,
    numbers: Vec<NumberState>,
    services: BTreeMap<String, Service>,
    messages: Vec<Message>,
    media: HashMap<String, Media>,
    opted_out: Vec<String>,
    fails: HashMap<String, i64>,
    statuses_by_itself: bool,
    /// A message shows in the list so long after it was made.
    list_lag_ms: i64,
}

#[derive(Debug, Clone)]
struct NumberState {
    sid: String,
    number: String,
    sms_url: String,
    sms_method: String,
    status_callback: String,
}

#[derive(Debug, Clone, Default)]
struct Service {
    inbound_url: String,
    inbound_method: String,
    status_callback: String,
    use_number: bool,
    numbers: Vec<String>,
}

#[derive(Debug, Clone)]
struct Media {
    message: String,
    file: File,
    /// Tickets of the store and when they end, unix ms.
    tickets: Vec<(String, i64)>,
}

/// One message of an account, in either direction.
#[derive(Debug, Clone)]
pub struct Message {
    pub sid: String,
    pub outbound: bool,
    pub from: String,
    pub to: String,
    pub service: Option<String>,
    pub body: String,
    pub status: String,
    pub error_code: Option<i64>,
    pub media_urls: Vec<String>,
    /// Outbound: what was fetched from `media_urls`, in their order, once it was.
    pub files: Vec<File>,
    pub status_callback: Option<String>,
    pub at_ms: i64,
}

/// One account. Cheap to copy.
#[derive(Clone)]
pub struct Account {
    twilio: Twilio,
    sid: String,
}

impl Twilio {
    pub(crate) fn new(scene: Scene) -> Self {
        Self(Arc::new(Inner {
            faults: Faults::default(),
            webhooks: Webhooks::new(scene.clone()),
            state: Mutex::default(),
            scene,
        }))
    }

    /// The account of this SID; made with this token at the first mention.
    #[must_use]
    pub fn account(&self, sid: &str, auth_token: &str) -> Account {
        let fresh = || AccountState {
            sid: sid.to_owned(),
            auth_token: auth_token.to_owned(),
            status: "active".to_owned(),
            numbers: Vec::new(),
            services: BTreeMap::new(),
            messages: Vec::new(),
            media: HashMap::new(),
            opted_out: Vec::new(),
            fails: HashMap::new(),
            statuses_by_itself: false,
            list_lag_ms: 0,
        };
        lock(&self.0.state).accounts.entry(sid.to_owned()).or_insert_with(fresh);
        Account {
            twilio: self.clone(),
            sid: sid.to_owned(),
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

    /// What all accounts sent, in the order of arrival.
    #[must_use]
    pub fn sent(&self) -> Vec<Message> {
        let state = lock(&self.0.state);
        let all = state.accounts.values().flat_map(|account| account.messages.clone());
        let mut all: Vec<_> = all.filter(|message| message.outbound).collect();
        all.sort_by_key(|message| message.at_ms);
        all
    }

    #[must_use]
    pub fn calls(&self) -> Vec<CallSeen> {
        lock(&self.0.state).calls.clone()
    }

    fn with_account<T>(&self, sid: &str, then: impl FnOnce(&mut AccountState) -> T) -> Option<T> {
        let done = lock(&self.0.state).accounts.get_mut(sid).map(then);
        self.0.scene.ring();
        done
    }

    pub(crate) fn media_store(&self) -> MediaStore {
        MediaStore(self.clone())
    }
}

impl Stand for Twilio {
    fn operation(&self, call: &Call) -> String {
        api::operation(call).to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        let code = match status {
            401 => 20_003,
            429 => 20_429,
            503 => 20_503,
            500.. => 20_500,
            _ => 20_001,
        };
        api::error(status, code, "Refused on purpose")
    }

    async fn answer(&self, call: Call) -> Reply {
        api::answer(self, call).await
    }
}

/// Serves `mms.twiliocdn.com`.
pub(crate) struct MediaStore(Twilio);

impl Stand for MediaStore {
    fn operation(&self, _: &Call) -> String {
        "cdn".to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        Reply::empty(status)
    }

    async fn answer(&self, call: Call) -> Reply {
        api::from_store(&self.0, &call)
    }
}

impl Message {
    fn json(&self, account: &str) -> Value {
        let uri = format!("/2010-04-01/Accounts/{account}/Messages/{}", self.sid);
        let media = if self.outbound {
            self.media_urls.len()
        } else {
            self.files.len()
        };
        json!({"sid": self.sid, "account_sid": account, "messaging_service_sid": self.service,
            "from": if self.service.is_some() && self.status == "accepted" { Value::Null } else { json!(self.from) },
            "to": self.to, "body": self.body, "status": self.status,
            "direction": if self.outbound { "outbound-api" } else { "inbound" },
            "num_media": media.to_string(), "num_segments": if self.service.is_some() { "0" } else { "1" },
            "error_code": self.error_code, "error_message": null, "price": null, "price_unit": "USD", "api_version": "2010-04-01",
            "date_created": api::rfc2822(self.at_ms / 1000), "date_updated": api::rfc2822(self.at_ms / 1000),
            "date_sent": if self.status == "accepted" || self.status == "queued" { Value::Null } else { json!(api::rfc2822(self.at_ms / 1000)) },
            "uri": format!("{uri}.json"), "subresource_uris": {"media": format!("{uri}/Media.json")}})
    }
}

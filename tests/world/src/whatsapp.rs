//! WhatsApp's Cloud API as Meta's documents say: numbers of business accounts, one app that signs the webhooks,
//! media in two steps, templates, the 24-hour window.
//!
//! Operations for faults: `messages`, `media` (upload, look-up, deletion), `download`, `templates`, `subscribe`, `number`.
//! Absent: flows, calls, catalogues, business portfolios.

mod customer;
mod graph;
mod media;
mod number;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::fault::Faults;
use crate::multipart::File;
use crate::scene::{Scene, lock, random_hex};
use crate::webhooks::Webhooks;
use crate::wire::{Call, Reply, Stand};

pub use customer::{Customer, Told};

/// A number that a test needs no other properties of.
pub const PHONE_NUMBER_ID: &str = "110987654321098";
pub const BUSINESS_ACCOUNT_ID: &str = "104996122399160";

/// The stand-in. Cheap to copy.
#[derive(Clone)]
pub struct WhatsApp(Arc<Inner>);

struct Inner {
    scene: Scene,
    faults: Faults,
    webhooks: Webhooks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    numbers: BTreeMap<String, NumberState>,
    calls: Vec<CallSeen>,
}

/// One Graph call that came in, whatever became of it.
#[derive(Debug, Clone)]
pub struct CallSeen {
    pub operation: String,
    pub method: String,
    pub path: String,
    pub body: Value,
    pub status: u16,
}

/// What a number is made with.
#[derive(Debug, Clone)]
pub struct Setup {
    pub phone_number_id: String,
    pub business_account_id: String,
    /// Digits only.
    pub display_phone_number: String,
    pub verified_name: String,
    pub access_token: String,
    pub app_secret: String,
    pub app_id: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            phone_number_id: PHONE_NUMBER_ID.to_owned(),
            business_account_id: BUSINESS_ACCOUNT_ID.to_owned(),
            display_phone_number: "4930555010".to_owned(),
            verified_name: "Shop".to_owned(),
            access_token: "EAAGworldToken0123456789abcdef".to_owned(),
            app_secret: "9f2c4b7e1a6d8035c4e1f7a2b8d90e36".to_owned(),
            app_id: "670843887433847".to_owned(),
        }
    }
}

/// One message that was accepted for a customer.
#[derive(Debug, Clone)]
pub struct Sent {
    pub id: String,
    /// The phone number without `+`, or the business-scoped user id.
    pub to: String,
    pub kind: String,
    /// The text, or the caption of a file.
    pub text: String,
    /// The file's bytes, with the name the customer sees.
    pub file: Option<File>,
    pub body: Value,
    pub at_ms: i64,
}

struct NumberState {
    setup: Setup,
    status: String,
    /// Set for the number, for its account, for the whole app: the first that is there counts.
    number_hook: Option<(String, String)>,
    account_hook: Option<(String, String)>,
    app_hook: Option<(String, String)>,
    subscribed: bool,
    media: HashMap<String, Media>,
    templates: Vec<Value>,
    sent: Vec<Sent>,
    read: Vec<String>,
    /// When each customer last wrote, unix ms.
    last_inbound: HashMap<String, i64>,
    unreachable: HashMap<String, i64>,
    statuses_by_itself: bool,
}

#[derive(Debug, Clone)]
struct Media {
    file: File,
    /// Addresses handed out for it and when they end, unix ms.
    tickets: Vec<(String, i64)>,
}

/// One business number. Cheap to copy.
#[derive(Clone)]
pub struct Number {
    whatsapp: WhatsApp,
    id: String,
}

impl WhatsApp {
    pub(crate) fn new(scene: Scene) -> Self {
        Self(Arc::new(Inner {
            faults: Faults::default(),
            webhooks: Webhooks::new(scene.clone()),
            state: Mutex::default(),
            scene,
        }))
    }

    /// The number of this id with everything else by default; made at the first mention.
    #[must_use]
    pub fn number(&self, phone_number_id: &str) -> Number {
        let exists = lock(&self.0.state).numbers.contains_key(phone_number_id);
        if exists {
            return Number {
                whatsapp: self.clone(),
                id: phone_number_id.to_owned(),
            };
        }
        self.add(Setup {
            phone_number_id: phone_number_id.to_owned(),
            ..Setup::default()
        })
    }

    #[must_use]
    pub fn add(&self, setup: Setup) -> Number {
        let id = setup.phone_number_id.clone();
        lock(&self.0.state).numbers.insert(id.clone(), NumberState::new(setup));
        Number {
            whatsapp: self.clone(),
            id,
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

    /// What all numbers sent, in the order of arrival.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        let state = lock(&self.0.state);
        let mut all: Vec<_> = state.numbers.values().flat_map(|number| number.sent.clone()).collect();
        all.sort_by_key(|sent| sent.at_ms);
        all
    }

    #[must_use]
    pub fn calls(&self) -> Vec<CallSeen> {
        lock(&self.0.state).calls.clone()
    }

    fn with_number<T>(&self, id: &str, then: impl FnOnce(&mut NumberState) -> T) -> Option<T> {
        let done = lock(&self.0.state).numbers.get_mut(id).map(then);
        self.0.scene.ring();
        done
    }

    /// The listener of `lookaside.fbsbx.com`.
    pub(crate) fn media_host(&self) -> MediaHost {
        MediaHost(self.clone())
    }
}

impl NumberState {
    fn new(setup: Setup) -> Self {
        Self {
            setup,
            status: "CONNECTED".to_owned(),
            number_hook: None,
            account_hook: None,
            app_hook: None,
            subscribed: false,
            media: HashMap::new(),
            templates: Vec::new(),
            sent: Vec::new(),
            read: Vec::new(),
            last_inbound: HashMap::new(),
            unreachable: HashMap::new(),
            statuses_by_itself: false,
        }
    }

    fn keep(&mut self, file: File) -> String {
        let number = u64::from_str_radix(&random_hex(12), 16).unwrap_or(7);
        let id = format!("1{number:015}");
        self.media.insert(
            id.clone(),
            Media {
                file,
                tickets: Vec::new(),
            },
        );
        id
    }

    /// The webhook that a message event goes to. An account nobody subscribed the app to gets nothing.
    fn hook(&self) -> Option<&(String, String)> {
        let app = self.subscribed.then_some(self.app_hook.as_ref()).flatten();
        self.number_hook.as_ref().or(self.account_hook.as_ref()).or(app)
    }
}

fn wamid() -> String {
    format!("wamid.HBgN{}", random_hex(32).to_uppercase())
}

impl Stand for WhatsApp {
    fn operation(&self, call: &Call) -> String {
        graph::operation(call)
    }

    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        let code = match status {
            401 => 190,
            429 => 130_429,
            500.. => 131_000,
            _ => 100,
        };
        graph::error(status, code, graph::title(code))
    }

    async fn answer(&self, call: Call) -> Reply {
        graph::answer(self, call).await
    }
}

/// Serves `lookaside.fbsbx.com`.
pub(crate) struct MediaHost(WhatsApp);

impl Stand for MediaHost {
    fn operation(&self, _: &Call) -> String {
        "download".to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.0.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        Reply::empty(status)
    }

    async fn answer(&self, call: Call) -> Reply {
        media::download(&self.0, &call)
    }
}

//! Twilio's programmable messaging as its documents say: accounts, numbers and messaging services with webhooks,
//! messages in a list that can be read back, media behind a redirect to an open store.
//!
//! Operations for faults: `send`, `list`, `message`, `number`, `service`, `account`, `media`, `cdn`.
//! Absent: voice, XML answers, templates, scheduling.

mod api;
mod customer;

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

impl Account {
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    #[must_use]
    pub fn auth_token(&self) -> String {
        self.twilio
            .with_account(&self.sid, |account| account.auth_token.clone())
            .unwrap_or_default()
    }

    /// Buys a number.
    pub fn add_number(&self, number: &str) -> &Self {
        let state = NumberState {
            sid: format!("PN{}", random_hex(32)),
            number: number.to_owned(),
            sms_url: String::new(),
            sms_method: "POST".to_owned(),
            status_callback: String::new(),
        };
        self.twilio
            .with_account(&self.sid, |account| account.numbers.push(state));
        self
    }

    /// Makes a messaging service with these numbers in its pool.
    pub fn add_service(&self, sid: &str, numbers: &[&str]) -> &Self {
        let service = Service {
            inbound_method: "POST".to_owned(),
            numbers: numbers.iter().map(|number| (*number).to_owned()).collect(),
            ..Service::default()
        };
        self.twilio
            .with_account(&self.sid, |account| account.services.insert(sid.to_owned(), service));
        self
    }

    /// A handset that writes to one of the account's numbers.
    #[must_use]
    pub fn customer(&self, phone: &str, writes_to: &str) -> Customer {
        Customer::new(self.clone(), phone, writes_to)
    }

    /// `active`, `suspended`, `closed`
    pub fn set_status(&self, status: &str) {
        self.twilio
            .with_account(&self.sid, |account| account.status = status.to_owned());
    }

    /// A new auth token, as after a rotation in the console.
    pub fn rotate_token(&self, token: &str) {
        self.twilio
            .with_account(&self.sid, |account| account.auth_token = token.to_owned());
    }

    /// From now on every message is followed by `sent` and `delivered`.
    pub fn reports_statuses(&self, on: bool) {
        self.twilio
            .with_account(&self.sid, |account| account.statuses_by_itself = on);
    }

    /// Messages to this number are queued and then end undelivered with the code.
    pub fn fails_for(&self, to: &str, code: i64) {
        self.twilio
            .with_account(&self.sid, |account| account.fails.insert(to.to_owned(), code));
    }

    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.twilio
            .with_account(&self.sid, |account| account.messages.clone())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn sent(&self) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.outbound).collect()
    }

    /// Where messages to this number are told: (address, method).
    #[must_use]
    pub fn webhook(&self, number: &str) -> Option<(String, String)> {
        let found = self.twilio.with_account(&self.sid, |account| {
            let service = account
                .services
                .values()
                .find(|service| service.numbers.iter().any(|known| known == number));
            if let Some(service) = service.filter(|service| !service.use_number) {
                return Some((service.inbound_url.clone(), service.inbound_method.clone()));
            }
            let known = account.numbers.iter().find(|known| known.number == number)?;
            Some((known.sms_url.clone(), known.sms_method.clone()))
        });
        found.flatten().filter(|(url, _)| !url.is_empty())
    }

    /// Tells a status of a message to the address that it names, or its service, or its number.
    pub async fn status(&self, message: &str, status: &str, code: Option<i64>) -> Delivered {
        let found = self.twilio.with_account(&self.sid, |account| {
            let known = account.messages.iter_mut().find(|known| known.sid == message)?;
            status.clone_into(&mut known.status);
            known.error_code = code;
            let known = known.clone();
            let of_service = known
                .service
                .as_ref()
                .and_then(|sid| account.services.get(sid))
                .map(|service| service.status_callback.clone());
            let of_number = account
                .numbers
                .iter()
                .find(|number| number.number == known.from)
                .map(|number| number.status_callback.clone());
            let set = |url: &String| !url.is_empty();
            let url = known
                .status_callback
                .clone()
                .or(of_service.filter(set))
                .or(of_number.filter(set));
            Some((known, url))
        });
        let Some((known, Some(url))) = found.flatten() else {
            return Delivered {
                id: format!("{message}:{status}"),
                problem: Some("the message is unknown or has no status callback".to_owned()),
                ..Delivered::default()
            };
        };
        let mut form = vec![
            ("SmsSid", message.to_owned()),
            ("SmsStatus", status.to_owned()),
            ("MessageStatus", status.to_owned()),
            ("MessageSid", message.to_owned()),
            ("AccountSid", self.sid.clone()),
            ("From", known.from),
            ("To", known.to),
            ("ApiVersion", "2010-04-01".to_owned()),
        ];
        if let Some(service) = known.service {
            form.push(("MessagingServiceSid", service));
        }
        if let Some(code) = code {
            form.push(("ErrorCode", code.to_string()));
        }
        self.deliver(&format!("{message}:{status}"), &url, "POST", &form).await
    }

    /// Signs and sends a form to an address as Twilio does: the fragment only tunes the connection.
    pub async fn deliver(&self, id: &str, url: &str, method: &str, form: &[(&str, String)]) -> Delivered {
        let form: Vec<(String, String)> = form
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let mut url = url.split('#').next().unwrap_or("").to_owned();
        let encoded = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        let (body, signed) = if method == "GET" {
            let joint = if url.contains('?') { '&' } else { '?' };
            url = format!("{url}{joint}{encoded}");
            (String::new(), Vec::new())
        } else {
            (encoded, form)
        };
        let signature = signature::twilio(&self.auth_token(), &url, &signed);
        self.deliver_signed(id, &url, method, (body, signature)).await
    }

    /// Any body with any signature.
    pub async fn deliver_signed(&self, id: &str, url: &str, method: &str, signed: (String, String)) -> Delivered {
        let headers = vec![
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded; charset=UTF-8".to_owned(),
            ),
            ("x-twilio-signature".to_owned(), signed.1),
            ("i-twilio-idempotency-token".to_owned(), random_hex(32)),
            ("user-agent".to_owned(), "TwilioProxy/1.1".to_owned()),
        ];
        let post = Post {
            method: if method == "GET" { Method::GET } else { Method::POST },
            url: url.to_owned(),
            headers,
            body: signed.0.into(),
        };
        let delivered = self.twilio.0.webhooks.deliver(id, post).await;
        let kind = delivered.answer.header("content-type");
        let harmless =
            delivered.answer.body.is_empty() || kind.starts_with("text/xml") || kind.starts_with("application/xml");
        if delivered.is_good() && !harmless {
            let problem = format!(
                "an answer of type `{kind}` with a body: plain text is sent to the customer, others raise an error"
            );
            self.twilio.0.scene.violation("twilio", "webhook answer", problem);
        }
        delivered
    }
}

impl Stand for Twilio {
    fn operation(&self, call: &Call) -> String {
        api::operation(call).to_owned()
    }

    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn refusal(&self, status: u16, retry_after: Option<&str>) -> Reply {
        let code = match status {
            401 => 20_003,
            429 => 20_429,
            503 => 20_503,
            500.. => 20_500,
            _ => 20_001,
        };
        let reply = api::error(status, code, "Refused on purpose");
        match retry_after {
            Some(after) => reply.with("retry-after", after),
            None => reply,
        }
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

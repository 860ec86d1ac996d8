//! What a test sees of an account, and what Twilio tells about its messages.

use std::time::Duration;

use http::Method;

use super::customer::Customer;
use super::{Account, Message, NumberState, Service};
use crate::scene::random_hex;
use crate::signature;
use crate::webhooks::{Delivered, Post};

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

    /// The list of messages shows a new one only after so long.
    pub fn list_lags(&self, lag: Duration) {
        let lag = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
        self.twilio.with_account(&self.sid, |account| account.list_lag_ms = lag);
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

//! The handset's side of Twilio: texts and pictures as webhooks.

use super::{Account, Media, Message};
use crate::multipart::File;
use crate::scene::random_hex;
use crate::webhooks::Delivered;

/// A message of the customer and what became of its delivery.
#[derive(Debug, Clone)]
pub struct Told {
    pub sid: String,
    pub delivered: Delivered,
}

/// One handset that writes to one number. Cheap to copy.
#[derive(Clone)]
pub struct Customer {
    account: Account,
    phone: String,
    writes_to: String,
}

/// Words by which a person leaves and comes back; Twilio acts on them itself.
const STOP: [&str; 8] = [
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
];
const START: [&str; 3] = ["START", "YES", "UNSTOP"];

impl Customer {
    pub(super) fn new(account: Account, phone: &str, writes_to: &str) -> Self {
        Self {
            account,
            phone: phone.to_owned(),
            writes_to: writes_to.to_owned(),
        }
    }

    pub async fn writes(&self, text: &str) -> Told {
        self.sends(text, &[]).await
    }

    /// A picture message: files without names, as carriers hand them over.
    pub async fn sends(&self, text: &str, files: &[File]) -> Told {
        let (sid, form) = self.compose(text, files);
        let delivered = self.deliver(&sid, &form).await;
        Told { sid, delivered }
    }

    /// Sends any form from this handset's point of view.
    pub async fn deliver(&self, sid: &str, form: &[(&str, String)]) -> Delivered {
        match self.account.webhook(&self.writes_to) {
            Some((url, method)) => self.account.deliver(sid, &url, &method, form).await,
            None => Delivered {
                id: sid.to_owned(),
                problem: Some(format!("no webhook is set for {}", self.writes_to)),
                ..Delivered::default()
            },
        }
    }

    /// The form of one message, kept in the account's list; nothing is sent.
    #[must_use]
    pub fn compose(&self, text: &str, files: &[File]) -> (String, Vec<(&'static str, String)>) {
        const URLS: [&str; 3] = ["MediaUrl0", "MediaUrl1", "MediaUrl2"];
        const TYPES: [&str; 3] = ["MediaContentType0", "MediaContentType1", "MediaContentType2"];
        let sid = format!("{}{}", if files.is_empty() { "SM" } else { "MM" }, random_hex(32));
        let account = self.account.sid.clone();
        let mut form = vec![
            ("ToCountry", "US".to_owned()),
            ("MessageSid", sid.clone()),
            ("SmsMessageSid", sid.clone()),
            ("SmsSid", sid.clone()),
            ("AccountSid", account.clone()),
            ("From", self.phone.clone()),
            ("To", self.writes_to.clone()),
            ("Body", text.to_owned()),
            ("NumMedia", files.len().to_string()),
            ("NumSegments", "1".to_owned()),
            ("SmsStatus", "received".to_owned()),
            ("FromCity", String::new()),
            ("ApiVersion", "2010-04-01".to_owned()),
        ];
        let now = self.account.twilio.0.scene.now_ms();
        self.account.twilio.with_account(&account, |state| {
            for (at, file) in files.iter().enumerate().take(URLS.len()) {
                let media = format!("ME{}", random_hex(32));
                let url = format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Messages/{sid}/Media/{media}");
                form.push((URLS[at], url));
                form.push((TYPES[at], file.content_type.clone()));
                state.media.insert(
                    media,
                    Media {
                        message: sid.clone(),
                        file: file.clone(),
                        tickets: Vec::new(),
                    },
                );
            }
            if let Some((service, _)) = state
                .services
                .iter()
                .find(|(_, service)| service.numbers.contains(&self.writes_to))
            {
                form.push(("MessagingServiceSid", service.clone()));
            }
            let word = text.trim().to_uppercase();
            if STOP.contains(&word.as_str()) {
                state.opted_out.push(self.phone.clone());
            } else if START.contains(&word.as_str()) {
                state.opted_out.retain(|number| *number != self.phone);
            }
            state.messages.push(Message {
                sid: sid.clone(),
                outbound: false,
                from: self.phone.clone(),
                to: self.writes_to.clone(),
                service: None,
                body: text.to_owned(),
                status: "received".to_owned(),
                error_code: None,
                media_urls: Vec::new(),
                files: files.to_vec(),
                status_callback: None,
                at_ms: now,
            });
        });
        (sid, form)
    }

    /// What the account sent to this handset.
    #[must_use]
    pub fn received(&self) -> Vec<Message> {
        self.account
            .sent()
            .into_iter()
            .filter(|message| message.to == self.phone)
            .collect()
    }
}

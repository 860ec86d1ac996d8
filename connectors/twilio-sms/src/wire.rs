//! What Twilio sends: forms with text in every field, and JSON answers. Nothing here knows neutral values.

use mantle_sdk::connector::Hook;
use serde::Deserialize;
use serde_json::Value;

/// The parameters of a webhook: a form, the query of a GET, or the fields of a flat JSON body.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn of(hook: &Hook) -> Self {
        if hook.method.eq_ignore_ascii_case("GET") {
            return Self(hook.query.clone());
        }
        match hook.json::<Value>() {
            Ok(Value::Object(fields)) => Self(
                fields
                    .into_iter()
                    .map(|(name, value)| match value {
                        Value::String(text) => (name, text),
                        other => (name, other.to_string()),
                    })
                    .collect(),
            ),
            _ => Self(hook.form()),
        }
    }

    /// None where it is absent or empty, which mean the same here.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The body of every error.
#[derive(Deserialize, Default)]
pub struct Problem {
    #[serde(default)]
    pub code: Option<i64>,
    #[serde(default)]
    pub message: Option<String>,
}

/// A message resource, as a send answers it.
#[derive(Deserialize)]
pub struct Made {
    #[serde(default)]
    pub sid: String,
}

/// A page of the account's messages, newest first.
#[derive(Deserialize)]
pub struct Messages {
    #[serde(default)]
    pub messages: Vec<Listed>,
    pub next_page_uri: Option<String>,
}

/// A message resource, as the list shows it.
#[derive(Deserialize)]
pub struct Listed {
    #[serde(default)]
    pub sid: String,
    /// None until a messaging service has chosen a number.
    pub from: Option<String>,
    pub messaging_service_sid: Option<String>,
    #[serde(default)]
    pub to: String,
    pub body: Option<String>,
    #[serde(default)]
    pub direction: String,
    /// A count, as text.
    pub num_media: Option<String>,
    /// RFC 2822, always in UTC.
    #[serde(default)]
    pub date_created: String,
}

#[derive(Deserialize)]
pub struct Account {
    #[serde(default)]
    pub status: String,
}

#[derive(Deserialize)]
pub struct Numbers {
    #[serde(default)]
    pub incoming_phone_numbers: Vec<Number>,
}

#[derive(Deserialize)]
pub struct Number {
    pub sid: String,
    #[serde(default)]
    pub phone_number: String,
    pub friendly_name: Option<String>,
    pub sms_url: Option<String>,
    /// An application's address comes before the number's own.
    pub sms_application_sid: Option<String>,
    pub capabilities: Option<NumberCapabilities>,
}

#[derive(Deserialize)]
pub struct NumberCapabilities {
    #[serde(alias = "SMS")]
    pub sms: Option<bool>,
}

#[derive(Deserialize)]
pub struct MessagingService {
    pub friendly_name: Option<String>,
    pub inbound_request_url: Option<String>,
    #[serde(default)]
    pub use_inbound_webhook_on_number: bool,
}

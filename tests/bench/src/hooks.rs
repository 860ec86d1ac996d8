//! Webhooks as providers send them: one thing each, signed. The same customer and number make the same message.

use std::sync::Arc;

use bytes::Bytes;
use mantle_model::clock::{Clock, SystemClock};
use mantle_world::whatsapp::Setup;
use mantle_world::{signature, twilio};

/// What is sent to the host: a whole body and what proves it.
#[derive(Debug, Clone)]
pub struct SignedHook {
    pub content_type: &'static str,
    /// A header and its value.
    pub proof: (&'static str, String),
    pub body: Bytes,
}

/// Writes hooks of one kind for one channel.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Texts to a business number of WhatsApp.
    WhatsApp(Setup),
    /// Texts to a number of Twilio, whose webhook is this address.
    Sms { url: String },
    /// Statuses of messages that nobody here knows, told to this address.
    SmsStatus { url: String },
}

impl Writer {
    pub fn whatsapp(setup: Setup) -> Self {
        Self(Arc::new(Kind::WhatsApp(setup)))
    }

    pub fn sms(url: String) -> Self {
        Self(Arc::new(Kind::Sms { url }))
    }

    pub fn sms_status(url: String) -> Self {
        Self(Arc::new(Kind::SmsStatus { url }))
    }

    /// The text `… #number`, or a status of message `number`, from this customer, now.
    pub fn write(&self, customer: u64, number: u64) -> SignedHook {
        match &*self.0 {
            Kind::WhatsApp(setup) => whatsapp(setup, customer, number),
            Kind::Sms { url } => sms(url, customer, number),
            Kind::SmsStatus { url } => sms_status(url, customer, number),
        }
    }
}

fn whatsapp(setup: &Setup, customer: u64, number: u64) -> SignedHook {
    let Setup {
        business_account_id,
        phone_number_id,
        display_phone_number,
        ..
    } = setup;
    let at = SystemClock.now().unix_seconds();
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{business_account_id}","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"{display_phone_number}","phone_number_id":"{phone_number_id}"}},"contacts":[{{"profile":{{"name":"Customer {customer}"}},"wa_id":"49151{customer:08}","user_id":"DE.8412{customer:010}"}}],"messages":[{{"from":"49151{customer:08}","from_user_id":"DE.8412{customer:010}","id":"wamid.HBgNNDkxNTE1NTUwMTIzNBUCABIYFD{number:012}","timestamp":"{at}","type":"text","text":{{"body":"Hello, is the blue one still available in size 42? #{number}"}}}}]}},"field":"messages"}}]}}]}}"#
    );
    SignedHook {
        content_type: "application/json",
        proof: (
            "x-hub-signature-256",
            signature::meta(&setup.app_secret, body.as_bytes()),
        ),
        body: Bytes::from(body),
    }
}

fn sms(url: &str, customer: u64, number: u64) -> SignedHook {
    let sid = format!("SM{number:032x}");
    form(
        url,
        &[
            ("MessageSid", sid.clone()),
            ("SmsMessageSid", sid),
            ("AccountSid", twilio::ACCOUNT_SID.to_owned()),
            ("From", format!("+1500{customer:07}")),
            ("To", twilio::NUMBER.to_owned()),
            ("Body", format!("Is the blue one still available? #{number}")),
            ("NumMedia", "0".to_owned()),
            ("NumSegments", "1".to_owned()),
            ("SmsStatus", "received".to_owned()),
            ("ApiVersion", "2010-04-01".to_owned()),
        ],
    )
}

fn sms_status(url: &str, customer: u64, number: u64) -> SignedHook {
    let sid = format!("SM{number:032x}");
    form(
        url,
        &[
            ("MessageSid", sid.clone()),
            ("SmsSid", sid),
            ("MessageStatus", "delivered".to_owned()),
            ("SmsStatus", "delivered".to_owned()),
            ("AccountSid", twilio::ACCOUNT_SID.to_owned()),
            ("From", twilio::NUMBER.to_owned()),
            ("To", format!("+1500{customer:07}")),
            ("ApiVersion", "2010-04-01".to_owned()),
        ],
    )
}

/// A form as Twilio signs it: the address, then the fields by their names.
fn form(url: &str, fields: &[(&str, String)]) -> SignedHook {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let encoded = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&fields)
        .finish();
    SignedHook {
        content_type: "application/x-www-form-urlencoded; charset=UTF-8",
        proof: (
            "x-twilio-signature",
            signature::twilio(twilio::AUTH_TOKEN, url, &fields),
        ),
        body: Bytes::from(encoded),
    }
}

/// The number in a text that a [`Writer`] wrote, wherever it ended up.
pub fn number_in(text: &str) -> Option<u64> {
    let digits = text.rsplit_once('#')?.1;
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_carries_its_number() {
        let hook = Writer::whatsapp(Setup::default()).write(7, 42);
        let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
        let text = &body["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"];
        assert_eq!(number_in(text.as_str().unwrap()), Some(42));
        assert_eq!(number_in("<p>x #42</p>"), Some(42));
        assert_eq!(number_in("no number"), None);
    }
}

//! Webhooks of WhatsApp as Meta sends them: one text each, signed.

use bytes::Bytes;
use mantle_world::signature;
use mantle_world::whatsapp::Setup;

/// What is sent to the host: a whole body and its signature.
#[derive(Debug, Clone)]
pub struct SignedHook {
    pub body: Bytes,
    pub signature: String,
}

/// Writes hooks for one business number.
#[derive(Debug, Clone)]
pub struct Writer {
    setup: Setup,
    /// Seconds since 1970, on every message.
    at: i64,
}

impl Writer {
    pub fn new(setup: Setup, at: i64) -> Self {
        Self { setup, at }
    }

    /// The text `… #number`, from this customer. The same number is the same message.
    pub fn text(&self, customer: u64, number: u64) -> SignedHook {
        let Setup {
            business_account_id,
            phone_number_id,
            display_phone_number,
            ..
        } = &self.setup;
        let at = self.at;
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{business_account_id}","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"{display_phone_number}","phone_number_id":"{phone_number_id}"}},"contacts":[{{"profile":{{"name":"Customer {customer}"}},"wa_id":"49151{customer:08}","user_id":"DE.8412{customer:010}"}}],"messages":[{{"from":"49151{customer:08}","from_user_id":"DE.8412{customer:010}","id":"wamid.HBgNNDkxNTE1NTUwMTIzNBUCABIYFD{number:012}","timestamp":"{at}","type":"text","text":{{"body":"Hello, is the blue one still available in size 42? #{number}"}}}}]}},"field":"messages"}}]}}]}}"#
        );
        let signature = signature::meta(&self.setup.app_secret, body.as_bytes());
        SignedHook {
            body: Bytes::from(body),
            signature,
        }
    }
}

/// The number in a text that [`Writer::text`] wrote, wherever it ended up.
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
        let hook = Writer::new(Setup::default(), 1_795_000_000).text(7, 42);
        let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
        let text = &body["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"];
        assert_eq!(number_in(text.as_str().unwrap()), Some(42));
        assert_eq!(number_in("<p>x #42</p>"), Some(42));
        assert_eq!(number_in("no number"), None);
    }
}

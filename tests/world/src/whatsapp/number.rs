//! What a test sees of a number, and what Meta tells about it.

use http::Method;
use serde_json::{Value, json};

use super::customer::Customer;
use super::{Number, Sent, Setup, graph, wamid};
use crate::scene::random_hex;
use crate::signature;
use crate::webhooks::{Delivered, Post};

impl Number {
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.whatsapp
            .with_number(&self.id, |number| number.setup.clone())
            .unwrap_or_default()
    }

    /// The customer with this phone number (digits only).
    #[must_use]
    pub fn customer(&self, wa_id: &str) -> Customer {
        Customer::new(self.clone(), Some(wa_id), None)
    }

    /// A customer who hides the phone number: known by the business-scoped user id alone.
    #[must_use]
    pub fn hidden_customer(&self, user_id: &str) -> Customer {
        Customer::new(self.clone(), None, Some(user_id))
    }

    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.whatsapp
            .with_number(&self.id, |number| number.sent.clone())
            .unwrap_or_default()
    }

    /// Ids of messages that were marked as read.
    #[must_use]
    pub fn read(&self) -> Vec<String> {
        self.whatsapp
            .with_number(&self.id, |number| number.read.clone())
            .unwrap_or_default()
    }

    /// What `status` says of the number: `CONNECTED`, `FLAGGED`, `DISCONNECTED` …
    pub fn set_status(&self, status: &str) {
        self.whatsapp
            .with_number(&self.id, |number| number.status = status.to_owned());
    }

    /// Adds a template as the listing shows it.
    pub fn add_template(&self, template: Value) {
        self.whatsapp
            .with_number(&self.id, |number| number.templates.push(template));
    }

    /// Resets the app secret: webhooks are signed, and proofs are checked, with this one from now on.
    pub fn reset_app_secret(&self, secret: &str) {
        self.whatsapp.with_number(&self.id, |number| {
            secret.clone_into(&mut number.setup.app_secret);
        });
    }

    /// The access token stops being good.
    pub fn revoke_token(&self) {
        self.whatsapp.with_number(&self.id, |number| {
            number.setup.access_token = format!("revoked-{}", random_hex(12))
        });
    }

    /// From now on every accepted message is followed by `sent` and `delivered`.
    pub fn reports_statuses(&self, on: bool) {
        self.whatsapp
            .with_number(&self.id, |number| number.statuses_by_itself = on);
    }

    /// Sends to this customer are accepted and then fail with the code.
    pub fn fails_for(&self, to: &str, code: i64) {
        self.whatsapp
            .with_number(&self.id, |number| number.unreachable.insert(to.to_owned(), code));
    }

    /// Registers the app's webhook as the dashboard does, handshake included.
    ///
    /// # Errors
    /// The handshake was not answered as Meta wants it.
    pub async fn set_app_webhook(&self, url: &str, verify_token: &str) -> Result<(), String> {
        self.whatsapp.handshake(url, verify_token).await?;
        let hook = (url.to_owned(), verify_token.to_owned());
        self.whatsapp.with_number(&self.id, |number| {
            number.app_hook = Some(hook);
            number.subscribed = true;
        });
        Ok(())
    }

    /// One change of the field `messages` for this number; put several into [`Number::deliver`] for a batch.
    #[must_use]
    pub fn change(&self, content: Value) -> Value {
        let setup = self.setup();
        let mut value = json!({"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": setup.display_phone_number, "phone_number_id": setup.phone_number_id}});
        if let (Some(value), Value::Object(content)) = (value.as_object_mut(), content) {
            value.extend(content);
        }
        json!({"value": value, "field": "messages"})
    }

    /// One POST with all these changes, escaped and signed as Meta does.
    pub async fn deliver(&self, id: &str, changes: Vec<Value>) -> Delivered {
        let account = self.setup().business_account_id;
        let body = json!({"object": "whatsapp_business_account", "entry": [{"id": account, "changes": changes}]});
        self.deliver_raw(id, &body.to_string()).await
    }

    /// Any text, escaped and signed as Meta does.
    pub async fn deliver_raw(&self, id: &str, body: &str) -> Delivered {
        let escaped = signature::meta_escaped(body);
        let signature = signature::meta(&self.setup().app_secret, escaped.as_bytes());
        self.deliver_signed(id, escaped, &signature).await
    }

    /// Any bytes with any signature.
    pub async fn deliver_signed(&self, id: &str, body: impl Into<bytes::Bytes>, signature: &str) -> Delivered {
        let hook = self
            .whatsapp
            .with_number(&self.id, |number| number.hook().cloned())
            .flatten();
        let Some((url, _)) = hook else {
            return Delivered {
                id: id.to_owned(),
                problem: Some("no webhook is registered for the number, its account or its app".to_owned()),
                ..Delivered::default()
            };
        };
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-hub-signature-256".to_owned(), signature.to_owned()),
            ("user-agent".to_owned(), "facebookexternalua".to_owned()),
        ];
        let post = Post {
            method: Method::POST,
            url,
            headers,
            body: body.into(),
        };
        self.whatsapp.0.webhooks.deliver(id, post).await
    }

    /// Tells a status of one of our messages: `sent`, `delivered`, `read`, `played`, or `failed` with its code.
    pub async fn status(&self, message: &str, status: &str, code: Option<i64>) -> Delivered {
        let sent = self.sent().into_iter().find(|sent| sent.id == message);
        let (to, opaque) = sent.map_or((String::new(), Value::Null), |sent| {
            (sent.to, sent.body["biz_opaque_callback_data"].clone())
        });
        let mut item = json!({"id": message, "status": status, "timestamp": self.whatsapp.0.scene.now().to_string()});
        let by_phone = to.chars().all(|letter| letter.is_ascii_digit());
        item[if by_phone { "recipient_id" } else { "recipient_user_id" }] = json!(to);
        if opaque.is_string() {
            item["biz_opaque_callback_data"] = opaque;
        }
        if let Some(code) = code {
            item["errors"] = json!([{"code": code, "title": graph::title(code), "message": graph::title(code),
                "error_data": {"details": graph::title(code)}}]);
        }
        self.deliver(
            &format!("{message}:{status}"),
            vec![self.change(json!({"statuses": [item]}))],
        )
        .await
    }

    /// What somebody typed in the phone app for this number.
    pub async fn echo(&self, to: &str, text: &str) -> Delivered {
        let setup = self.setup();
        let id = wamid();
        let echo = json!({"from": setup.display_phone_number, "to": to, "id": id,
            "timestamp": self.whatsapp.0.scene.now().to_string(), "type": "text", "text": {"body": text}});
        let mut change = self.change(json!({"message_echoes": [echo]}));
        change["field"] = json!("smb_message_echoes");
        self.deliver(&id, vec![change]).await
    }
}

//! The workspace and the channels, made over the API as an operator makes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use mantle_world::{twilio, whatsapp};
use serde_json::{Value, json};

use super::{ADMIN_TOKEN, LOOK_EVERY, Stage};

const VERIFY_TOKEN: &str = "bench-verify-token-0123456789";
/// Hosts on one database tell one another at once; by polling it takes seconds.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

impl Stage {
    pub(super) async fn connect(&mut self) -> Result<()> {
        self.deliver_here()?;
        let setup = self.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID).setup();
        let fields = json!({"phone_number_id": setup.phone_number_id, "business_account_id": setup.business_account_id,
            "access_token": setup.access_token, "app_secret": setup.app_secret, "verify_token": VERIFY_TOKEN});
        let workspace = json!({"platform": "intercom", "access_token": "bench"});
        self.workspace = self.made("/api/v1/workspaces", &workspace).await?;
        let channel = json!({"plugin": "whatsapp", "name": "Bench line", "fields": fields});
        self.channel = self.made(&self.channels(), &channel).await?;
        self.known_everywhere(&format!("/hooks/whatsapp/{}", self.channel))
            .await
    }

    /// Hosts hear of a channel that another one made a moment later: until then they know no such address.
    async fn known_everywhere(&self, path: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + HEARD_WITHIN;
        for door in &self.doors {
            loop {
                let url = format!("http://{}{path}", door.addr());
                let client = self.world.scene().client();
                let answer = client.call(Method::POST, &url, &[], Bytes::new()).await?;
                // Nobody signed it.
                if answer.status == 401 {
                    break;
                }
                ensure!(
                    tokio::time::Instant::now() < deadline,
                    "a host answers {} to an unsigned hook",
                    answer.status
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    fn channels(&self) -> String {
        format!("/api/v1/workspaces/{}/channels", self.workspace)
    }

    /// Connects a Twilio number; answers with the path of its webhook.
    ///
    /// # Errors
    /// It is not connected.
    pub async fn connect_sms(&self) -> Result<String> {
        let account = self.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
        account.add_number(twilio::NUMBER);
        let fields =
            json!({"account_sid": twilio::ACCOUNT_SID, "auth_token": twilio::AUTH_TOKEN, "from": twilio::NUMBER});
        let channel = json!({"plugin": "twilio-sms", "name": "Bench number", "fields": fields});
        let channel = self.made(&self.channels(), &channel).await?;
        let path = format!("/hooks/twilio-sms/{channel}");
        self.known_everywhere(&path).await?;
        Ok(path)
    }

    /// Makes something over the API; answers with its id.
    async fn made(&self, path: &str, body: &Value) -> Result<String> {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {ADMIN_TOKEN}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let url = format!("http://{}{path}", self.door(0)?.addr());
        let bytes = Bytes::from(body.to_string());
        let client = self.world.scene().client();
        let answer = client.call(Method::POST, &url, &headers, bytes).await?;
        ensure!(
            answer.status == 201,
            "POST {path} answered {}: {}",
            answer.status,
            answer.text()
        );
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let id = answer["id"].as_str().context("an answer without an id")?;
        Ok(id.to_owned())
    }
}

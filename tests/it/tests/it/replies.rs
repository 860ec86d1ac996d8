//! Replies of the team: one send on the right channel, in order, whatever provider and inbox do meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, telegram_fields};
use mantle_world::intercom::{Conversation, Part};
use mantle_world::telegram::{self, Sent};
use mantle_world::{Fault, Faults, File, Order, samples, twilio, whatsapp};
use serde_json::{Value, json};

/// The three kinds of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Telegram,
    WhatsApp,
    Sms,
}

/// One customer who wrote on a channel, and the conversation that came of it.
pub(crate) struct Talk {
    pub on: On,
    pub who: u32,
    pub conversation: String,
}

impl On {
    pub(crate) async fn bridge(self) -> Result<Bridge> {
        Ok(match self {
            Self::Telegram => Bridge::with_telegram().await?.0,
            Self::WhatsApp => Bridge::with_whatsapp().await?.0,
            Self::Sms => {
                let bridge = Bridge::start().await?;
                let workspace = bridge.connect_workspace().await?;
                bridge.connect(&workspace, "twilio-sms", bridge.sms_fields()).await?;
                bridge
            }
        })
    }

    pub(crate) fn faults(self, bridge: &Bridge) -> &Faults {
        match self {
            Self::Telegram => bridge.world.telegram.faults(),
            Self::WhatsApp => bridge.world.whatsapp.faults(),
            Self::Sms => bridge.world.twilio.faults(),
        }
    }

    /// The provider's operation that sends a text.
    pub(crate) fn sending(self) -> &'static str {
        match self {
            Self::Telegram => "sendMessage",
            Self::WhatsApp => "messages",
            Self::Sms => "send",
        }
    }

    fn phone(who: u32) -> String {
        format!("4915155{who:06}")
    }

    /// The customer writes.
    pub(crate) async fn write(self, bridge: &Bridge, who: u32, text: &str) -> Result<()> {
        let delivered = match self {
            Self::Telegram => bridge.telegram_customer(who.into()).writes(text).await.delivered,
            Self::WhatsApp => bridge.whatsapp_customer(&Self::phone(who)).writes(text).await.delivered,
            Self::Sms => {
                let phone = format!("+{}", Self::phone(who));
                bridge.sms_customer(&phone).writes(text).await.delivered
            }
        };
        ensure!(delivered.is_good(), "{self:?}: {delivered:?}");
        Ok(())
    }

    /// The customer writes for the first time.
    pub(crate) async fn talk(self, bridge: &Bridge, who: u32) -> Result<Talk> {
        self.write(bridge, who, "Hello").await?;
        bridge.quiet().await?;
        let newest = bridge.workspace().conversations().pop().context("no conversation")?;
        Ok(Talk {
            on: self,
            who,
            conversation: newest.id,
        })
    }
}

impl Talk {
    /// The texts and captions on the customer's phone, oldest first.
    pub(crate) fn got(&self, bridge: &Bridge) -> Vec<String> {
        let phone = On::phone(self.who);
        match self.on {
            On::Telegram => {
                let sent = bridge.telegram_customer(self.who.into()).received();
                sent.into_iter().map(|sent| sent.text).collect()
            }
            On::WhatsApp => {
                let sent = bridge.whatsapp_customer(&phone).received();
                sent.into_iter().map(|sent| sent.text).collect()
            }
            On::Sms => {
                let sent = bridge.world.twilio.sent().into_iter();
                let mine = sent.filter(|sent| sent.to == format!("+{phone}"));
                mine.map(|sent| sent.body).collect()
            }
        }
    }

    pub(crate) async fn reply(&self, bridge: &Bridge, html: &str, files: &[File]) -> Result<()> {
        let replied = bridge.teammate().replies(&self.conversation, html, files).await;
        let told = replied.delivered.context("nobody was told")?;
        ensure!(told.is_good(), "{told:?}");
        Ok(())
    }

    pub(crate) fn seen(&self, bridge: &Bridge) -> Result<Conversation> {
        let found = bridge.workspace().conversation(&self.conversation);
        found.context("the conversation is gone")
    }

    pub(crate) fn notes(&self, bridge: &Bridge) -> Result<Vec<String>> {
        let notes: Vec<Part> = self.seen(bridge)?.notes();
        Ok(notes.into_iter().map(|note| note.body).collect())
    }

    pub(crate) fn only_note(&self, bridge: &Bridge) -> Result<String> {
        let mut notes = self.notes(bridge)?;
        ensure!(notes.len() == 1, "there are {} notes: {notes:?}", notes.len());
        notes.pop().context("no note")
    }
}

/// The replies as the API lists them, oldest first.
pub(crate) async fn listed(bridge: &Bridge) -> Result<Vec<Value>> {
    let body = bridge.get("/api/v1/messages?limit=200").await?;
    let all = body["messages"].as_array().cloned().unwrap_or_default();
    Ok(all
        .into_iter()
        .rev()
        .filter(|row| row["direction"] == "out" && row["kind"] == "reply")
        .collect())
}

pub(crate) async fn states(bridge: &Bridge) -> Result<Vec<String>> {
    let rows = listed(bridge).await?;
    Ok(rows
        .iter()
        .map(|row| row["state"].as_str().unwrap_or_default().to_owned())
        .collect())
}

pub(crate) async fn last_trace(bridge: &Bridge) -> Result<Value> {
    let rows = listed(bridge).await?;
    let id = rows.last().and_then(|row| row["id"].as_str()).context("no reply")?;
    bridge.get(&format!("/api/v1/messages/{id}")).await
}

async fn replay_last(bridge: &Bridge) -> Result<(u16, Value)> {
    let trace = last_trace(bridge).await?;
    let id = trace["id"].as_str().context("no id")?;
    let path = format!("/api/v1/messages/{id}/replay");
    bridge.api(Method::POST, &path, Some(&json!({}))).await
}

mod held;
mod line;
pub mod outcomes;
pub mod refusals;
pub mod sending;
mod words;

/// Lets so much time pass in steps, with everything done that is due at each.
pub(crate) async fn pass(bridge: &Bridge, steps: u32, step: Duration) -> Result<()> {
    for _ in 0..steps {
        bridge.advance(step);
        bridge.at_rest().await?;
    }
    Ok(())
}

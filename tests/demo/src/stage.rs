//! The cast: one workspace with a teammate, three channels, one customer on each, and what they said.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use mantle_world::intercom::{ADMIN, Teammate, WORKSPACE, Workspace};
use mantle_world::{Delivered, File, World, samples, telegram, twilio, whatsapp};
use serde_json::{Value, json};

use crate::host::{Host, PUBLIC_URL};
use crate::tell;

/// A channel of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Telegram,
    WhatsApp,
    Sms,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Telegram, Self::WhatsApp, Self::Sms];

    pub fn key(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::WhatsApp => "whatsapp",
            Self::Sms => "sms",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Telegram => "Telegram",
            Self::WhatsApp => "WhatsApp",
            Self::Sms => "SMS",
        }
    }

    pub fn named(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.key() == key)
    }
}

/// One bubble on the phone.
#[derive(Debug, Clone)]
pub struct Line {
    pub from_customer: bool,
    pub text: String,
    pub file: Option<File>,
    pub at_ms: i64,
    /// The host's answer to the webhook, for what the customer wrote.
    pub answer: Option<String>,
}

/// Cheap to copy.
#[derive(Clone)]
pub struct Stage(Arc<Inner>);

struct Inner {
    world: World,
    telegram: telegram::Customer,
    whatsapp: whatsapp::Customer,
    sms: twilio::Customer,
    workspace: Workspace,
    said: Mutex<Vec<(Channel, Line)>>,
}

const TELEGRAM_CUSTOMER: i64 = 5_550_001_234;
const WHATSAPP_CUSTOMER: &str = "4915155501234";
const SMS_CUSTOMER: &str = "+15005550006";
const VERIFY_TOKEN: &str = "demo-verify-token";

impl Stage {
    pub fn new(world: World) -> Self {
        let number = world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
        number.reports_statuses(true);
        let account = world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
        account.add_number(twilio::NUMBER).reports_statuses(true);
        let workspace = world.intercom.workspace(WORKSPACE);
        let bot = world.telegram.bot(telegram::TOKEN);
        Self(Arc::new(Inner {
            telegram: bot.customer(TELEGRAM_CUSTOMER),
            whatsapp: number.customer(WHATSAPP_CUSTOMER),
            sms: account.customer(SMS_CUSTOMER, twilio::NUMBER),
            workspace,
            said: Mutex::default(),
            world,
        }))
    }

    pub fn world(&self) -> &World {
        &self.0.world
    }

    pub fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    pub fn teammate(&self) -> Teammate {
        self.0.workspace.admin(ADMIN)
    }

    /// Connects the workspace and the channels through the host's API, as an operator would.
    pub async fn connect(&self, host: &Host) -> anyhow::Result<()> {
        tell::step("Connecting the workspace and the channels");
        let world = self.world();
        let webhook = format!("{PUBLIC_URL}/inbox/intercom");
        world
            .intercom
            .set_webhook(&webhook)
            .await
            .map_err(anyhow::Error::msg)
            .context("saving the webhook in Intercom")?;
        let body = json!({"platform": "intercom", "access_token": self.workspace().token()});
        let workspace = host
            .post("/api/v1/workspaces", &body)
            .await
            .context("connecting the workspace")?;
        let id = workspace["id"].as_str().context("the workspace has no id")?;
        tell::note(&format!(
            "workspace {} is {}",
            workspace["name"].as_str().unwrap_or("?"),
            status(&workspace)
        ));
        for (plugin, name, fields) in self.channels() {
            let body = json!({"plugin": plugin, "name": name, "fields": fields});
            let channel = host.post(&format!("/api/v1/workspaces/{id}/channels"), &body).await;
            let channel = channel.with_context(|| format!("connecting {plugin}"))?;
            let account = channel["external_id"].as_str().unwrap_or("?");
            tell::note(&format!("{plugin} ({account}) is {}", status(&channel)));
        }
        Ok(())
    }

    fn channels(&self) -> [(&'static str, &'static str, Value); 3] {
        let number = self.world().whatsapp.number(whatsapp::PHONE_NUMBER_ID).setup();
        [
            ("telegram", "Support bot", json!({"bot_token": telegram::TOKEN})),
            (
                "whatsapp",
                "WhatsApp line",
                json!({"phone_number_id": number.phone_number_id, "business_account_id": number.business_account_id,
                    "access_token": number.access_token, "app_secret": number.app_secret, "verify_token": VERIFY_TOKEN}),
            ),
            (
                "twilio-sms",
                "SMS line",
                json!({"account_sid": twilio::ACCOUNT_SID, "auth_token": twilio::AUTH_TOKEN, "from": twilio::NUMBER}),
            ),
        ]
    }

    fn said(&self) -> MutexGuard<'_, Vec<(Channel, Line)>> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The customer writes: a text, a file, or a file with a caption.
    pub async fn customer_says(&self, channel: Channel, text: &str, file: Option<&File>) -> Delivered {
        let at = {
            let mut said = self.said();
            said.push((
                channel,
                Line {
                    from_customer: true,
                    text: text.to_owned(),
                    file: file.cloned(),
                    at_ms: self.world().scene().now_ms(),
                    answer: None,
                },
            ));
            said.len() - 1
        };
        let delivered = match channel {
            Channel::Telegram => self.on_telegram(text, file).await,
            Channel::WhatsApp => self.on_whatsapp(text, file).await,
            Channel::Sms => {
                self.0
                    .sms
                    .sends(text, file.map_or(&[], std::slice::from_ref))
                    .await
                    .delivered
            }
        };
        let answer = delivered.status.map_or_else(
            || delivered.problem.clone().unwrap_or_default(),
            |status| status.to_string(),
        );
        if let Some((_, line)) = self.said().get_mut(at) {
            line.answer = Some(answer);
        }
        delivered
    }

    async fn on_telegram(&self, text: &str, file: Option<&File>) -> Delivered {
        let caption = Some(text).filter(|text| !text.is_empty());
        let customer = &self.0.telegram;
        match file {
            None => customer.writes(text).await.delivered,
            Some(file) if file.content_type == "image/jpeg" => customer.sends_photo(file, caption).await.delivered,
            Some(file) if file.content_type.starts_with("audio/ogg") => customer.sends_voice(file, 1).await.delivered,
            Some(file) if file.content_type.starts_with("video/") => {
                customer.sends_video(file, caption).await.delivered
            }
            Some(file) => customer.sends_document(file, caption).await.delivered,
        }
    }

    async fn on_whatsapp(&self, text: &str, file: Option<&File>) -> Delivered {
        let caption = Some(text).filter(|text| !text.is_empty());
        let customer = &self.0.whatsapp;
        match file {
            None => customer.writes(text).await.delivered,
            Some(file) if file.content_type.starts_with("image/") => {
                customer.sends_image(file, caption).await.delivered
            }
            Some(file) if file.content_type.starts_with("audio/ogg") => customer.sends_voice(file).await.delivered,
            Some(file) if file.content_type.starts_with("video/") => {
                customer.sends_video(file, caption).await.delivered
            }
            Some(file) => customer.sends_document(file, caption).await.delivered,
        }
    }

    /// What reached the customer's phone.
    pub fn received(&self, channel: Channel) -> Vec<Line> {
        let line = |text: &str, file: Option<File>, at_ms: i64| Line {
            from_customer: false,
            text: text.to_owned(),
            file,
            at_ms,
            answer: None,
        };
        match channel {
            Channel::Telegram => {
                let all = self.0.telegram.received();
                all.into_iter()
                    .map(|sent| line(&sent.text, sent.file.map(|(_, file)| file), sent.at_ms))
                    .collect()
            }
            Channel::WhatsApp => self
                .0
                .whatsapp
                .received()
                .into_iter()
                .map(|sent| line(&sent.text, sent.file, sent.at_ms))
                .collect(),
            Channel::Sms => {
                let mut lines = Vec::new();
                for sent in self.0.sms.received() {
                    if !sent.body.is_empty() || sent.files.is_empty() {
                        lines.push(line(&sent.body, None, sent.at_ms));
                    }
                    lines.extend(sent.files.into_iter().map(|file| line("", Some(file), sent.at_ms)));
                }
                lines
            }
        }
    }

    /// Everything on the customer's phone, oldest first.
    pub fn phone(&self, channel: Channel) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .said()
            .iter()
            .filter(|(known, _)| *known == channel)
            .map(|(_, line)| line.clone())
            .collect();
        lines.extend(self.received(channel));
        lines.sort_by_key(|line| line.at_ms);
        lines
    }

    /// A few files to send at the tap of a button.
    pub fn samples() -> [File; 4] {
        [
            samples::photo(),
            samples::picture(),
            samples::document(),
            samples::voice(),
        ]
    }
}

fn status(value: &Value) -> &str {
    value["status"]
        .as_str()
        .or(value["status"]["state"].as_str())
        .unwrap_or("connected")
}

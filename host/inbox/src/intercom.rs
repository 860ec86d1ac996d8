//! Intercom, REST version 2.16.
//!
//! Invariants: what is sent as the customer is plain text; a write that might double says so; a wrong field in an
//! answer hides that field and nothing else; no token, message text or phone number is logged.
//! Knows nothing of OAuth and of the panel.

mod api;
mod connect;
mod contacts;
mod conversations;
mod files;
mod gaps;
mod html;
mod pace;
mod phone;
mod quiet;
mod region;
mod reply;
mod trail;
mod trouble;
mod voice;
mod webhook;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use mantle_egress::{ByteStream, Egress};
use mantle_model::clock::{Clock, Time};
use mantle_model::inbound::Person;
use mantle_model::secret::{Secret, Secrets};
use serde_json::json;

use api::Api;
use conversations::{Draft, Mark};
use region::Region;
use voice::OperatorCache;

use crate::{
    Access, Changed, ChannelLabel, Contact, ContactMatch, Fetched, Inbox, InboxError, InboxEvent, Opened, Operator,
    Part, Profile, Quiet, ReplyFile, Trail, Upload, Voice, Written,
};

/// A client secret that was replaced proves the webhooks that were on their way, for as long as one of a channel does.
const GRACE: Duration = Duration::from_hours(24);
/// The name under which the client secrets are kept.
const CLIENT_SECRET: &str = "client_secret";
/// Client secrets that are accepted at once: one in use, and those of a rotation that was done over.
const ACCEPTED_MAX: usize = 4;

/// What the operator gives. It may change while calls are under way.
pub struct IntercomConfig {
    /// Of the operator's Intercom app; several while one is being rotated. Without one no webhook is believed.
    pub client_secret: Vec<Secret>,
    pub egress: Arc<Egress>,
}

/// All workspaces at Intercom.
pub struct Intercom {
    client_secrets: ArcSwap<Secrets>,
    clock: Arc<dyn Clock>,
    api: Api,
    team: OperatorCache,
}

impl Intercom {
    #[must_use]
    pub fn new(config: IntercomConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            client_secrets: ArcSwap::from_pointee(named(config.client_secret)),
            api: Api::new(config.egress, Arc::clone(&clock)),
            clock,
            team: OperatorCache::default(),
        }
    }

    /// Takes another configuration on. Calls under way end with the one before; what is known of the workspaces'
    /// limits stays, and so does for a day what proved webhooks until now.
    pub fn reconfigure(&self, config: IntercomConfig) {
        let mut secrets = named(config.client_secret);
        let now = self.clock.now();
        for (before, until) in self.client_secrets.load().at(now).with_ends(CLIENT_SECRET) {
            let present = secrets.all(CLIENT_SECRET);
            let known = present.iter().any(|present| present.expose() == before.expose());
            if !known && present.len() < ACCEPTED_MAX {
                let until = until.unwrap_or_else(|| now.after(GRACE));
                secrets.add_until(CLIENT_SECRET, before.clone(), Some(until));
            }
        }
        self.client_secrets.store(Arc::new(secrets));
        self.api.reconnect(config.egress);
    }
}

fn named(client_secrets: Vec<Secret>) -> Secrets {
    let mut secrets = Secrets::default();
    for secret in client_secrets {
        secrets.add(CLIENT_SECRET, secret);
    }
    secrets
}

#[async_trait]
impl Inbox for Intercom {
    async fn connect(&self, token: &Secret) -> Result<Profile, InboxError> {
        self.api.connect(token).await
    }

    async fn prepare_channel(&self, access: &Access, label: &ChannelLabel) -> Result<(), InboxError> {
        Ok(self.api.prepare_channel(access, label).await?)
    }

    async fn operators(&self, access: &Access) -> Result<Vec<Operator>, InboxError> {
        self.team.forget(access);
        Ok(self.team.list(&self.api, access).await?)
    }

    async fn find_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
        prefer_users: bool,
    ) -> Result<ContactMatch, InboxError> {
        self.api.find_contact(access, label, person, prefer_users).await
    }

    async fn create_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
    ) -> Result<Contact, InboxError> {
        self.api.create_contact(access, label, person).await
    }

    async fn refresh_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        contact: &str,
        person: &Person,
        written_name: Option<&str>,
    ) -> Result<Contact, InboxError> {
        self.api
            .refresh_contact(access, label, contact, person, written_name)
            .await
    }

    async fn mark_origin(&self, access: &Access, contact: &str, origin: &str) -> Result<(), InboxError> {
        self.api.mark_origin(access, contact, origin).await
    }

    async fn open_conversation(&self, access: &Access, part: Part<'_>) -> Result<Opened, InboxError> {
        self.api.open_conversation(access, part).await
    }

    async fn label_conversation(
        &self,
        access: &Access,
        conversation: &str,
        label: &ChannelLabel,
        person: &Person,
        tag: bool,
    ) -> Result<(), InboxError> {
        let mark = Mark { label, person, tag };
        self.api
            .label_conversation(access, &self.team, conversation, mark)
            .await
    }

    async fn append(&self, access: &Access, conversation: &str, part: Part<'_>) -> Result<Option<String>, InboxError> {
        self.api.append(access, conversation, part).await
    }

    async fn quiet_since(&self, access: &Access, conversation: &str) -> Result<Quiet, InboxError> {
        Ok(quiet::of(&self.api.read_conversation(access, conversation).await?))
    }

    async fn note(
        &self,
        access: &Access,
        conversation: &str,
        voice: &Voice,
        html: &str,
    ) -> Result<Written, InboxError> {
        let reply = json!({"message_type": "note", "type": "admin", "body": html});
        let draft = Draft {
            conversation,
            reply,
            files: Vec::new(),
        };
        self.api.write_as_admin(access, &self.team, voice, draft).await
    }

    async fn comment(
        &self,
        access: &Access,
        conversation: &str,
        voice: &Voice,
        text: &str,
        files: Vec<Upload>,
    ) -> Result<Written, InboxError> {
        let names: Vec<String> = files.iter().map(|file| files::safe_name(&file.name)).collect();
        // The customer has it already: Intercom must not tell them again by e-mail or in its messenger.
        let reply = json!({
            "message_type": "comment",
            "type": "admin",
            "body": files::body_text(text, &names),
            "skip_notifications": true,
        });
        let draft = Draft {
            conversation,
            reply,
            files,
        };
        self.api.write_as_admin(access, &self.team, voice, draft).await
    }

    async fn locate(&self, access: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError> {
        self.api.locate(access, trail).await
    }

    async fn fetch_reply(&self, access: &Access, conversation: &str, part: &str) -> Result<Fetched, InboxError> {
        self.api.fetch_reply(access, conversation, part).await
    }

    async fn changed_conversations(
        &self,
        access: &Access,
        since: Time,
        page: Option<&str>,
    ) -> Result<Changed, InboxError> {
        Ok(self.api.changed_conversations(access, since, page).await?)
    }

    async fn told_in(
        &self,
        access: &Access,
        platform_id: &str,
        conversation: &str,
    ) -> Result<Vec<InboxEvent>, InboxError> {
        self.api.told_in(access, platform_id, conversation).await
    }

    async fn download(&self, file: &ReplyFile) -> Result<ByteStream, InboxError> {
        self.api.download(file).await
    }

    fn verify_webhook(&self, headers: &[(String, String)], body: &[u8]) -> bool {
        let accepted = self.client_secrets.load().at(self.clock.now());
        let secrets = accepted.all(CLIENT_SECRET);
        if secrets.is_empty() {
            tracing::warn!(
                "A webhook of Intercom is refused because no client secret is known. Set `client_secret` under \
                 [inbox.intercom] in plugins.toml"
            );
        }
        webhook::verify(secrets, headers, body)
    }

    fn parse_webhook(&self, body: &[u8]) -> Result<Vec<InboxEvent>, String> {
        webhook::parse(body)
    }

    fn conversation_url(&self, platform_id: &str, facts: &BTreeMap<String, String>, conversation: &str) -> String {
        let region = facts.get("region").map_or(Region::Us, |name| Region::named(name));
        format!(
            "https://{}/a/inbox/{platform_id}/inbox/conversation/{}",
            region.app_host(),
            api::segment(conversation)
        )
    }
}

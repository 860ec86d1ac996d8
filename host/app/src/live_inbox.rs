//! Intercom behind one handle, exchanged when its secrets or the redirects change. A call uses one from end to end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use mantle_egress::{ByteStream, Egress, EgressConfig, EgressError};
use mantle_inbox::intercom::{Intercom, IntercomConfig};
use mantle_inbox::{
    Access, ChannelLabel, Contact, ContactMatch, Fetched, Inbox, InboxError, InboxEvent, Opened, Operator, Part,
    Profile, ReplyFile, Trail, Upload, Voice, Written,
};
use mantle_model::clock::Clock;
use mantle_model::inbound::Person;
use mantle_model::secret::Secret;

use crate::config::Live;

/// Intercom as the configuration in use has it.
pub struct LiveIntercom {
    clock: Arc<dyn Clock>,
    now: ArcSwap<Intercom>,
}

impl LiveIntercom {
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(live: &Live, clock: Arc<dyn Clock>) -> Result<Self, EgressError> {
        let intercom = build(live, Arc::clone(&clock))?;
        Ok(Self {
            clock,
            now: ArcSwap::from_pointee(intercom),
        })
    }

    /// Takes the configuration on.
    ///
    /// # Errors
    /// The HTTP client cannot be set up; the one before stays.
    pub fn apply(&self, live: &Live) -> Result<(), EgressError> {
        self.now.store(Arc::new(build(live, Arc::clone(&self.clock))?));
        Ok(())
    }

    fn now(&self) -> Arc<Intercom> {
        self.now.load_full()
    }
}

fn build(live: &Live, clock: Arc<dyn Clock>) -> Result<Intercom, EgressError> {
    let egress = Egress::new(&EgressConfig {
        redirects: live.redirects.clone(),
    })?;
    Ok(Intercom::new(IntercomConfig {
        client_secret: live.intercom.iter().map(|app| app.client_secret.clone()).collect(),
        egress: Arc::new(egress),
        clock,
    }))
}

#[async_trait]
impl Inbox for LiveIntercom {
    async fn connect(&self, token: &Secret) -> Result<Profile, InboxError> {
        self.now().connect(token).await
    }
    async fn prepare_channel(&self, access: &Access, label: &ChannelLabel) -> Result<(), InboxError> {
        self.now().prepare_channel(access, label).await
    }
    async fn operators(&self, access: &Access) -> Result<Vec<Operator>, InboxError> {
        self.now().operators(access).await
    }
    async fn find_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
        prefer_users: bool,
    ) -> Result<ContactMatch, InboxError> {
        self.now().find_contact(access, label, person, prefer_users).await
    }
    async fn create_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
    ) -> Result<Contact, InboxError> {
        self.now().create_contact(access, label, person).await
    }
    async fn refresh_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        contact: &str,
        person: &Person,
        written_name: Option<&str>,
    ) -> Result<Contact, InboxError> {
        self.now()
            .refresh_contact(access, label, contact, person, written_name)
            .await
    }
    async fn open_conversation(&self, access: &Access, part: Part<'_>) -> Result<Opened, InboxError> {
        self.now().open_conversation(access, part).await
    }
    async fn label_conversation(
        &self,
        access: &Access,
        conversation: &str,
        label: &ChannelLabel,
        person: &Person,
        tag: bool,
    ) -> Result<(), InboxError> {
        self.now()
            .label_conversation(access, conversation, label, person, tag)
            .await
    }
    async fn append(&self, access: &Access, conversation: &str, part: Part<'_>) -> Result<Option<String>, InboxError> {
        self.now().append(access, conversation, part).await
    }
    async fn note(
        &self,
        access: &Access,
        conversation: &str,
        voice: &Voice,
        html: &str,
    ) -> Result<Written, InboxError> {
        self.now().note(access, conversation, voice, html).await
    }
    async fn comment(
        &self,
        access: &Access,
        conversation: &str,
        voice: &Voice,
        text: &str,
        files: Vec<Upload>,
    ) -> Result<Written, InboxError> {
        self.now().comment(access, conversation, voice, text, files).await
    }
    async fn locate(&self, access: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError> {
        self.now().locate(access, trail).await
    }
    async fn fetch_reply(&self, access: &Access, conversation: &str, part: &str) -> Result<Fetched, InboxError> {
        self.now().fetch_reply(access, conversation, part).await
    }
    async fn download(&self, file: &ReplyFile) -> Result<ByteStream, InboxError> {
        self.now().download(file).await
    }
    fn verify_webhook(&self, headers: &[(String, String)], body: &[u8]) -> bool {
        self.now().verify_webhook(headers, body)
    }
    fn parse_webhook(&self, body: &[u8]) -> Result<Vec<InboxEvent>, String> {
        self.now().parse_webhook(body)
    }
    fn conversation_url(&self, platform_id: &str, facts: &BTreeMap<String, String>, conversation: &str) -> String {
        self.now().conversation_url(platform_id, facts, conversation)
    }
}

//! What a journey asks of a connector: the sandbox's plugins in a running host, a script in tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mantle_model::capabilities::Capabilities;
use mantle_model::clock::Time;
use mantle_model::hook::{Answer, Hook, Overload};
use mantle_model::outbound::{Finding, Outgoing, Sent};
use mantle_model::secret::Secrets;
use mantle_sandbox::{
    Abilities, CallError, ChannelContext, Chosen, Field, HealthReport, Inbound, Plugin, Plugins, ProviderAccount,
    ShelfFile, Verdict, Whom,
};

/// The enabled connectors by name. Asked once per journey, so that one journey uses one version throughout.
pub trait Catalog: Send + Sync {
    /// What is in force. None: not enabled, or not loaded now.
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>>;
    /// What this journey uses, where several versions run side by side.
    fn choose(&self, name: &str, whom: &Whom<'_>) -> Option<Arc<dyn Connector>> {
        let _ = whom;
        self.get(name)
    }
}

/// One loaded version of one connector. The meaning of each method is that of [`Plugin`]'s method of the same name.
#[async_trait]
pub trait Connector: Send + Sync {
    fn title(&self) -> &str;
    fn attribute(&self) -> &str;
    fn inboxes(&self) -> &[String];
    fn fields(&self) -> &[Field];
    fn generated(&self) -> &[(String, usize)];
    fn renewed(&self) -> Vec<(&str, Option<&str>)>;
    fn capabilities(&self) -> &Capabilities;
    fn abilities(&self) -> Abilities;
    fn secrets(&self) -> &Secrets;
    fn default_answer(&self) -> Answer;
    fn overload(&self) -> &Overload;
    /// The field that is wrong, and a sentence with the fix.
    fn check_fields(&self, values: &BTreeMap<String, String>) -> Result<(), (String, String)>;
    fn verify(&self, secrets: &Secrets, hook: &Hook, url: &str) -> Verdict;
    async fn receive(&self, context: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError>;
    async fn send(&self, context: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError>;
    async fn find_sent(
        &self,
        context: &ChannelContext,
        message: &Outgoing,
        announced_at: Time,
    ) -> Result<Finding, CallError>;
    async fn identify(&self, context: &ChannelContext) -> Result<ProviderAccount, CallError>;
    async fn connect(&self, context: &ChannelContext) -> Result<HealthReport, CallError>;
    async fn disconnect(&self, context: &ChannelContext) -> Result<(), CallError>;
    async fn check(&self, context: &ChannelContext) -> Result<HealthReport, CallError>;
    async fn fetch_media(&self, context: &ChannelContext, source: &str) -> Result<ShelfFile, CallError>;
}

impl Catalog for Plugins {
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        Catalog::choose(self, name, &Whom::ANYBODY)
    }

    fn choose(&self, name: &str, whom: &Whom<'_>) -> Option<Arc<dyn Connector>> {
        let chosen = Self::choose(self, name, whom)?;
        Some(chosen)
    }
}

#[async_trait]
impl Connector for Chosen {
    fn title(&self) -> &str {
        Plugin::title(self)
    }
    fn attribute(&self) -> &str {
        Plugin::attribute(self)
    }
    fn inboxes(&self) -> &[String] {
        Plugin::inboxes(self)
    }
    fn fields(&self) -> &[Field] {
        Plugin::fields(self)
    }
    fn generated(&self) -> &[(String, usize)] {
        Plugin::generated(self)
    }
    fn renewed(&self) -> Vec<(&str, Option<&str>)> {
        Plugin::renewed(self).collect()
    }
    fn capabilities(&self) -> &Capabilities {
        Plugin::capabilities(self)
    }
    fn abilities(&self) -> Abilities {
        Plugin::abilities(self)
    }
    fn secrets(&self) -> &Secrets {
        Plugin::secrets(self)
    }
    fn default_answer(&self) -> Answer {
        Plugin::default_answer(self)
    }
    fn overload(&self) -> &Overload {
        Plugin::overload(self)
    }
    fn check_fields(&self, values: &BTreeMap<String, String>) -> Result<(), (String, String)> {
        Plugin::check_fields(self, values)
    }
    fn verify(&self, secrets: &Secrets, hook: &Hook, url: &str) -> Verdict {
        Chosen::verify(self, secrets, hook, url)
    }
    async fn receive(&self, context: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError> {
        Chosen::receive(self, context, hook).await
    }
    async fn send(&self, context: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError> {
        Chosen::send(self, context, message).await
    }
    async fn find_sent(
        &self,
        context: &ChannelContext,
        message: &Outgoing,
        announced_at: Time,
    ) -> Result<Finding, CallError> {
        Plugin::find_sent(self, context, message, announced_at).await
    }
    async fn identify(&self, context: &ChannelContext) -> Result<ProviderAccount, CallError> {
        Plugin::identify(self, context).await
    }
    async fn connect(&self, context: &ChannelContext) -> Result<HealthReport, CallError> {
        Plugin::connect(self, context).await
    }
    async fn disconnect(&self, context: &ChannelContext) -> Result<(), CallError> {
        Plugin::disconnect(self, context).await
    }
    async fn check(&self, context: &ChannelContext) -> Result<HealthReport, CallError> {
        Plugin::check(self, context).await
    }
    async fn fetch_media(&self, context: &ChannelContext, source: &str) -> Result<ShelfFile, CallError> {
        Chosen::fetch_media(self, context, source).await
    }
}

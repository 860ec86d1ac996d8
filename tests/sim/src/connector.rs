//! A provider in memory behind a connector: what customers received, and how answers get lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mantle_egress::ByteStream;
use mantle_flow::connector::{Catalog, Connector};
use mantle_model::capabilities::{Capabilities, Delivery, Formatting, RetrySafety, TextRule};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::hook::{Answer, Hook, Overload};
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::outbound::{Finding, Outgoing, OutgoingContent, Sent};
use mantle_model::secret::{Secret, Secrets};
use mantle_model::text::Unit;
use mantle_sandbox::{
    Abilities, CallError, ChannelContext, Field, HealthReport, Inbound, ProviderAccount, Shelf, ShelfError, ShelfFile,
    Verdict,
};

use crate::life::{Life, held};
use crate::rng::Rng;

/// What a customer's phone shows: (channel, the person's id, text).
pub type Received = (ChannelId, String, String);

/// One host's way to the provider.
pub struct SimConnector {
    pub phones: Arc<Mutex<Vec<Received>>>,
    pub life: Arc<Life>,
    pub rng: Arc<Mutex<Rng>>,
    pub faults: Arc<Mutex<u64>>,
    capabilities: Capabilities,
    overload: Overload,
    secrets: Secrets,
    inboxes: Vec<String>,
}

impl SimConnector {
    #[must_use]
    pub fn new(
        phones: Arc<Mutex<Vec<Received>>>,
        life: Arc<Life>,
        rng: Arc<Mutex<Rng>>,
        faults: Arc<Mutex<u64>>,
    ) -> Self {
        Self {
            phones,
            life,
            rng,
            faults,
            capabilities: capabilities(),
            overload: Overload::default(),
            secrets: Secrets::default(),
            inboxes: vec!["intercom".into()],
        }
    }
}

/// A provider that gives no evidence of a send whose answer was lost: the hardest kind.
fn capabilities() -> Capabilities {
    Capabilities {
        text: TextRule {
            limit: 4_000,
            unit: Unit::Characters,
            formatting: Formatting::Plain,
            markers: None,
        },
        caption: None,
        attachments: Vec::new(),
        refused: Vec::new(),
        window: None,
        delivery: Delivery {
            receipts: Vec::new(),
            proactive: true,
            templates: false,
            retry: RetrySafety::None,
            per_recipient_per_second: None,
            per_second: None,
            recipient_limits: Vec::new(),
            unclear_limits: Vec::new(),
        },
    }
}

#[async_trait]
impl Connector for SimConnector {
    fn title(&self) -> &str {
        "Simulation"
    }
    fn attribute(&self) -> &str {
        "sim"
    }
    fn inboxes(&self) -> &[String] {
        &self.inboxes
    }
    fn fields(&self) -> &[Field] {
        &[]
    }
    fn renewed(&self) -> Vec<(&str, Option<&str>)> {
        Vec::new()
    }
    fn generated(&self) -> &[(String, usize)] {
        &[]
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }
    fn secrets(&self) -> &Secrets {
        &self.secrets
    }
    fn default_answer(&self) -> Answer {
        Answer::empty(200)
    }
    fn overload(&self) -> &Overload {
        &self.overload
    }
    fn check_fields(&self, _values: &BTreeMap<String, String>) -> Result<(), (String, String)> {
        Ok(())
    }
    fn verify(&self, _secrets: &Secrets, _hook: &Hook, _url: &str) -> Verdict {
        Verdict::Genuine
    }

    /// The body is the events as JSON.
    async fn receive(&self, _context: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError> {
        self.life.gate().await;
        let events = serde_json::from_slice(&hook.body).map_err(|error| CallError::Malformed(error.to_string()))?;
        Ok(Inbound {
            events,
            malformed: Vec::new(),
            answer: None,
        })
    }

    async fn send(&self, context: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError> {
        self.life.gate().await;
        let cause = Cause::new("sim", "The simulation wants it so.");
        let fate = {
            let rng = &mut *held(&self.rng);
            rng.chance(*held(&self.faults)).then(|| rng.below(4))
        };
        let text = match &message.content {
            OutgoingContent::Text(text) => text.text.clone(),
            other => format!("{other:?}"),
        };
        let to = message
            .recipient
            .first()
            .map_or_else(String::new, |alias| alias.value.clone());
        let number = {
            let mut phones = held(&self.phones);
            if matches!(fate, None | Some(0)) {
                phones.push((context.channel, to, text));
            }
            phones.len()
        };
        self.life.gate().await;
        match fate {
            None => Ok(Sent {
                id: format!("sent{number}"),
                aliases: Vec::new(),
            }),
            Some(0 | 1) => Err(Failure::Unknown(cause).into()),
            Some(2) => Err(Failure::RateLimited {
                after: Some(Duration::from_secs(2)),
                cause,
            }
            .into()),
            Some(_) => Err(Failure::Transient(cause).into()),
        }
    }

    async fn find_sent(&self, _: &ChannelContext, _: &Outgoing, _: Time) -> Result<Finding, CallError> {
        Err(CallError::Unsupported("reconcile"))
    }
    async fn identify(&self, _context: &ChannelContext) -> Result<ProviderAccount, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn connect(&self, _context: &ChannelContext) -> Result<HealthReport, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn disconnect(&self, _context: &ChannelContext) -> Result<(), CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn check(&self, _context: &ChannelContext) -> Result<HealthReport, CallError> {
        Err(CallError::Unsupported("lifecycle"))
    }
    async fn fetch_media(&self, _context: &ChannelContext, _source: &str) -> Result<ShelfFile, CallError> {
        Err(CallError::Unsupported("inbound-media"))
    }
}

/// The one connector there is.
pub struct OneConnector(pub Arc<SimConnector>);

impl Catalog for OneConnector {
    fn get(&self, name: &str) -> Option<Arc<dyn Connector>> {
        let connector: Arc<dyn Connector> = self.0.clone();
        (name == "sim").then_some(connector)
    }
}

/// There are no files in a simulation.
pub struct NoFiles;

#[async_trait]
impl Shelf for NoFiles {
    async fn put(
        &self,
        _name: Option<String>,
        _claimed_type: Option<String>,
        _bytes_max: u64,
        _body: ByteStream,
    ) -> Result<ShelfFile, ShelfError> {
        Err(ShelfError::Full)
    }
    async fn stat(&self, _id: MediaId) -> Result<ShelfFile, ShelfError> {
        Err(ShelfError::Unknown)
    }
    async fn open(&self, _id: MediaId) -> Result<ByteStream, ShelfError> {
        Err(ShelfError::Unknown)
    }
    async fn read(&self, _id: MediaId, _offset: u64, _length: u32) -> Result<Vec<u8>, ShelfError> {
        Err(ShelfError::Unknown)
    }
    fn link(&self, id: MediaId) -> String {
        id.to_string()
    }
    async fn kv_get(&self, _channel: ChannelId, _key: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(None)
    }
    async fn kv_set(
        &self,
        _channel: ChannelId,
        _key: &str,
        _expected: Option<Option<Vec<u8>>>,
        _value: Option<Vec<u8>>,
        _ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError> {
        Err(ShelfError::Full)
    }
    async fn renew_secrets(&self, _channel: ChannelId, _renewed: Vec<(String, Secret)>) -> Result<(), ShelfError> {
        Err(ShelfError::Full)
    }
}

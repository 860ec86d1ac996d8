//! Connectors: read, judged, loaded, called, within limits.
//!
//! Invariants: the manifest is read and every right decided before guest code runs; one call is one fresh
//! instance, dropped afterwards; a guest sees no secret, no clock of its own making, no file, no socket;
//! whatever a guest does ends as a value of [`CallError`], never as a panic of the host.
//! Knows nothing of the database, of inboxes or of HTTP servers. Alone names wasmtime.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use mantle_egress::{ByteStream, EgressConfig};
use mantle_model::capabilities::Capabilities;
use mantle_model::clock::Clock;
use mantle_model::failure::Failure;
use mantle_model::hook::{Answer, Hook};
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::inbound::{Alias, Event, Malformed, Notice};
use mantle_model::outbound::{Outgoing, Sent};
use mantle_model::secret::Secrets;

/// What the room needs from the store, without knowing it.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Keeps a streamed file of at most `bytes_max`; the type is found from the bytes, the claim is a hint.
    async fn put(
        &self,
        name: Option<String>,
        claimed_type: Option<String>,
        bytes_max: u64,
        body: ByteStream,
    ) -> Result<ShelfFile, ShelfError>;
    async fn stat(&self, id: MediaId) -> Result<ShelfFile, ShelfError>;
    async fn open(&self, id: MediaId) -> Result<ByteStream, ShelfError>;
    async fn read(&self, id: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, ShelfError>;
    /// A public, signed, expiring address.
    fn link(&self, id: MediaId) -> String;
    async fn kv_get(&self, channel: ChannelId, key: &str) -> Result<Option<Vec<u8>>, ShelfError>;
    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<Vec<u8>>>,
        value: Option<Vec<u8>>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelfFile {
    pub id: MediaId,
    pub name: Option<String>,
    pub content_type: String,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("no such file")]
    Unknown,
    #[error("larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("the channel's store is full")]
    Full,
    /// The source broke off; what came was thrown away.
    #[error("the file broke off: {0}")]
    Broken(String),
    #[error("not available now: {0}")]
    Unavailable(String),
}

/// One enabled connector as `plugins.toml` names it.
#[derive(Debug, Clone)]
pub struct PluginEntry {
    pub name: String,
    pub component: PathBuf,
    /// Hex; a mismatch refuses the plugin.
    pub sha256: Option<String>,
    pub memory_mib: Option<u32>,
    pub grants: Option<Grants>,
    /// Secrets of a provider app shared by all its channels.
    pub secrets: Secrets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// All that the manifest asks for.
    Asked,
    /// Only these hosts.
    Egress(Vec<String>),
}

/// Everything a call needs to know of its channel.
#[derive(Debug, Clone)]
pub struct ChannelContext {
    pub channel: ChannelId,
    /// Fields of the set-up form that are not secret.
    pub fields: BTreeMap<String, String>,
    /// The channel's own secrets, then those of its plugin for names it left out.
    pub secrets: Secrets,
    /// Public address of the channel's hook, without a fragment.
    pub hook_url: String,
}

/// What `receive` made of a hook.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    pub events: Vec<Event>,
    pub malformed: Vec<Malformed>,
    /// None: the manifest's answer.
    pub answer: Option<Answer>,
}

/// What the host's recipe says of a hook, before any guest code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Genuine,
    /// A handshake; this is the answer and nothing else happens.
    Challenge(Answer),
    /// Answer 401 or 403; the word is for the counter.
    Forged {
        why: &'static str,
    },
    /// Answer 405.
    WrongMethod,
}

/// How a call into a connector ended badly.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The connector answered with an error of its own: the provider's or its own reading.
    #[error(transparent)]
    Provider(#[from] Failure),
    /// `receive` cannot read the hook.
    #[error("the connector cannot read the hook: {0}")]
    Malformed(String),
    /// The field of the set-up form that is wrong.
    #[error("{field}: {message} ({code})")]
    Field {
        field: String,
        code: String,
        message: String,
    },
    /// Trap, panic, stack overflow, out of memory.
    #[error("the connector crashed: {0}")]
    Trapped(String),
    #[error("the connector used more than {0} ms of CPU")]
    CpuExceeded(u64),
    #[error("the connector took longer than {0} ms")]
    TimedOut(u64),
    /// What came back breaks the rules of the interface.
    #[error("the connector answered nonsense: {0}")]
    Garbage(String),
    /// Too many calls of this plugin are under way.
    #[error("too many calls of this connector are under way")]
    Busy,
    /// The connector does not export the interface.
    #[error("the connector has no {0}")]
    Unsupported(&'static str),
}

/// Who the credentials belong to; see `lifecycle.identify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAccount {
    pub external_id: String,
    pub name: String,
    pub foreign_webhook: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Connected,
    Pending,
    Offline,
    Disconnected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    pub health: Health,
    pub notices: Vec<Notice>,
}

/// A field of the set-up form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub label: String,
    pub help: String,
    pub kind: FieldKind,
    pub secret: bool,
    pub required: bool,
    /// Anchored regular expression that a value must match.
    pub pattern: Option<String>,
    pub example: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Choice(Vec<String>),
}

/// What a connector can do beyond `receive` and `send`, by the interfaces it exports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    pub lifecycle: bool,
    pub inbound_media: bool,
    pub profile: bool,
    pub templates: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Template {
    pub id: String,
    pub name: String,
    pub language: String,
    pub category: String,
    /// `approved`, `pending`, `rejected`, `paused`, `disabled`
    pub state: String,
    pub reason: Option<String>,
    /// `none`, `text`, `image`, `video`, `document`, `location`
    pub header: String,
    pub header_text: Option<String>,
    pub header_variables: Vec<String>,
    pub body: String,
    pub body_variables: Vec<String>,
    pub footer: Option<String>,
    pub buttons: Vec<TemplateButton>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TemplateButton {
    pub kind: String,
    pub text: String,
    pub variables: Vec<String>,
}

/// The engine: compiles, caches, ticks the epochs. One per process.
pub struct Sandbox {}

#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Compiled components are kept here, 0700.
    pub cache_dir: PathBuf,
    pub egress: EgressConfig,
}

/// Why a component is not loaded: names the place and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

impl Sandbox {
    /// # Errors
    /// The engine cannot be built on this machine.
    pub fn new(_config: SandboxConfig, _shelf: Arc<dyn Shelf>, _clock: Arc<dyn Clock>) -> Result<Self, LoadError> {
        todo!()
    }

    /// Reads the manifest, decides the grants, compiles off the request path (or takes the cache) and type-checks.
    ///
    /// # Errors
    /// See [`LoadError`]. Nothing else stops.
    pub async fn load(&self, _entry: PluginEntry) -> Result<Arc<Plugin>, LoadError> {
        todo!()
    }
}

/// One loaded version of one connector: immutable; a call uses one version from end to end.
pub struct Plugin {}

impl Plugin {
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn title(&self) -> &str {
        todo!()
    }
    pub fn version(&self) -> &str {
        todo!()
    }
    /// SHA-256 of the component, hex.
    pub fn digest(&self) -> &str {
        todo!()
    }
    /// The word in contact attributes: `telegram`.
    pub fn attribute(&self) -> &str {
        todo!()
    }
    pub fn description(&self) -> &str {
        todo!()
    }
    pub fn inboxes(&self) -> &[String] {
        todo!()
    }
    pub fn fields(&self) -> &[Field] {
        todo!()
    }
    /// Names and lengths of the secrets that the host makes for each channel.
    pub fn generated(&self) -> &[(String, usize)] {
        todo!()
    }
    pub fn capabilities(&self) -> &Capabilities {
        todo!()
    }
    pub fn abilities(&self) -> Abilities {
        todo!()
    }
    /// Secrets of the plugin's own table in `plugins.toml`.
    pub fn secrets(&self) -> &Secrets {
        todo!()
    }
    /// Whether the connector wires the webhook itself, or a person does.
    pub fn registers_webhook(&self) -> bool {
        todo!()
    }
    /// What the provider is answered when the connector gives no answer of its own.
    pub fn default_answer(&self) -> Answer {
        todo!()
    }

    /// The manifest's recipe over the raw hook. Constant time in the secrets; runs no guest code. `url` is the
    /// public address as the provider knows it, query included.
    pub fn verify(&self, _secrets: &Secrets, _hook: &Hook, _url: &str) -> Verdict {
        todo!()
    }

    /// # Errors
    /// See [`CallError`]. 3 s of wall clock, 200 ms of CPU.
    pub async fn receive(&self, _context: &ChannelContext, _hook: &Hook) -> Result<Inbound, CallError> {
        todo!()
    }
    pub async fn send(&self, _context: &ChannelContext, _message: &Outgoing) -> Result<Sent, CallError> {
        todo!()
    }
    pub async fn identify(&self, _context: &ChannelContext) -> Result<ProviderAccount, CallError> {
        todo!()
    }
    pub async fn connect(&self, _context: &ChannelContext) -> Result<HealthReport, CallError> {
        todo!()
    }
    pub async fn disconnect(&self, _context: &ChannelContext) -> Result<(), CallError> {
        todo!()
    }
    pub async fn check(&self, _context: &ChannelContext) -> Result<HealthReport, CallError> {
        todo!()
    }
    /// Fetches the file of an inbound attachment into the shelf.
    pub async fn fetch_media(&self, _context: &ChannelContext, _source: &str) -> Result<ShelfFile, CallError> {
        todo!()
    }
    pub async fn look_up(&self, _context: &ChannelContext, _aliases: &[Alias]) -> Result<Option<Profile>, CallError> {
        todo!()
    }
    /// All templates of the account.
    pub async fn templates(&self, _context: &ChannelContext) -> Result<Vec<Template>, CallError> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: Option<String>,
    pub avatar: Option<ShelfFile>,
}

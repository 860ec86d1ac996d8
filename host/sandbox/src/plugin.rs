//! One loaded version of one connector, and the calls into it.
//!
//! Invariants: immutable; a call uses one version from end to end; what a guest returns is checked and converted
//! before anybody else sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mantle_egress::{Egress, Policy};
use mantle_model::capabilities::Capabilities;
use mantle_model::clock::{Clock, Time};
use mantle_model::hook::{Answer, Hook, Overload};
use mantle_model::inbound::Alias;
use mantle_model::outbound::{Finding, Outgoing, Sent};
use mantle_model::secret::Secrets;
use tokio::sync::Semaphore;
use wasmtime::component::ComponentExportIndex;
use wasmtime::{Engine, Store};

use crate::admission::Admission;
use crate::bindings::exports::mantle::connector::connector as guest;
use crate::bindings::lifecycle::WithLifecyclePre;
use crate::bindings::{self, MinimalPre};
use crate::call::{Call, CallState, Kind};
use crate::convert::{self, garbage};
use crate::form::{Field, FieldProblem};
use crate::imports::Allowance;
use crate::limits;
use crate::manifest::Manifest;
use crate::rights::Rights;
use crate::shelf::{Shelf, ShelfFile};
use crate::values::{
    Abilities, CallError, ChannelContext, HealthReport, Inbound, Profile, ProviderAccount, Template, Verdict,
};
use crate::verify;

/// One loaded version of one connector: immutable; a call uses one version from end to end.
pub struct Plugin {
    pub(crate) parts: Arc<Parts>,
    pub(crate) exports: Exports,
    pub(crate) admission: Admission,
}

/// What host functions need of their plugin.
pub(crate) struct Parts {
    pub name: String,
    pub digest: String,
    pub manifest: Manifest,
    pub policy: Policy,
    pub rights: Rights,
    pub egress: Egress,
    pub secrets: Secrets,
    pub memory_bytes_max: usize,
    pub engine: Engine,
    pub shelf: Arc<dyn Shelf>,
    pub clock: Arc<dyn Clock>,
    pub http_calls: Arc<Semaphore>,
    pub log_allowance: Allowance,
}

/// The type-checked exports, ready to be instantiated.
pub(crate) struct Exports {
    /// Of mantle:connector, as the component was built for it: `1.0.0`.
    pub interface: String,
    /// Where `receive` stands among the exports.
    pub receive: ComponentExportIndex,
    pub minimal: MinimalPre<CallState>,
    pub lifecycle: Option<WithLifecyclePre<CallState>>,
    pub inbound_media: Option<bindings::inbound_media::WithInboundMediaPre<CallState>>,
    pub reconcile: Option<bindings::reconcile::WithReconcilePre<CallState>>,
    pub profile: Option<bindings::profile::WithProfilePre<CallState>>,
    pub templates: Option<bindings::templates::WithTemplatesPre<CallState>>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.parts.name)
            .field("version", &self.parts.manifest.version)
            .field("digest", &self.parts.digest)
            .finish_non_exhaustive()
    }
}

/// What the connector says of itself.
impl Plugin {
    /// Its key in `plugins.toml`, which stands in routes.
    pub fn name(&self) -> &str {
        &self.parts.name
    }
    /// Its own name, from the manifest.
    pub fn connector(&self) -> &str {
        &self.parts.manifest.name
    }
    pub fn title(&self) -> &str {
        &self.parts.manifest.title
    }
    pub fn version(&self) -> &str {
        &self.parts.manifest.version
    }
    /// SHA-256 of the component, hex.
    pub fn digest(&self) -> &str {
        &self.parts.digest
    }
    /// The word in contact attributes: `telegram`.
    pub fn attribute(&self) -> &str {
        &self.parts.manifest.attribute
    }
    pub fn description(&self) -> &str {
        &self.parts.manifest.description
    }
    pub fn inboxes(&self) -> &[String] {
        &self.parts.manifest.inboxes
    }
    pub fn fields(&self) -> &[Field] {
        self.parts.manifest.form.fields()
    }
    /// Names and lengths of the secrets that the host makes for each channel.
    pub fn generated(&self) -> &[(String, usize)] {
        &self.parts.manifest.generated
    }
    /// Secrets that the provider renews, each with the field that is its first value.
    pub fn renewed(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let renewed = self.parts.manifest.renewed.iter();
        renewed.map(|renewed| (renewed.name.as_str(), renewed.from.as_deref()))
    }
    pub fn capabilities(&self) -> &Capabilities {
        &self.parts.manifest.capabilities
    }
    pub fn abilities(&self) -> Abilities {
        Abilities {
            lifecycle: self.exports.lifecycle.is_some(),
            inbound_media: self.exports.inbound_media.is_some(),
            reconcile: self.exports.reconcile.is_some(),
            profile: self.exports.profile.is_some(),
            templates: self.exports.templates.is_some(),
        }
    }
    /// What it may reach: what the manifest asks for and the operator has granted.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }
    /// The same as lines that people read and that versions are compared by.
    pub fn rights(&self) -> &Rights {
        &self.parts.rights
    }
    /// The version of mantle:connector that it was built for.
    pub fn interface(&self) -> &str {
        &self.exports.interface
    }
    /// Memory of one call, in bytes.
    pub fn memory_bytes_max(&self) -> usize {
        self.parts.memory_bytes_max
    }
    /// Secrets of the plugin's own table in `plugins.toml`.
    pub fn secrets(&self) -> &Secrets {
        &self.parts.secrets
    }
    /// Whether the connector wires the webhook itself, or a person does.
    pub fn registers_webhook(&self) -> bool {
        self.parts.manifest.registers_webhook
    }
    /// What the provider is answered when the connector gives no answer of its own.
    pub fn default_answer(&self) -> Answer {
        self.parts.manifest.answer.clone()
    }

    /// How the provider treats a hook that is not taken.
    pub fn overload(&self) -> &Overload {
        &self.parts.manifest.overload
    }

    /// Whether the values fit the set-up form. A secret that the plugin itself has may be left out.
    ///
    /// # Errors
    /// The name of the first field that is wrong, and one sentence with the fix. It never quotes the value.
    pub fn check_fields(&self, values: &BTreeMap<String, String>) -> Result<(), FieldProblem> {
        self.parts.manifest.form.check(values, &self.parts.secrets)
    }

    /// The manifest's recipe over the raw hook. Constant time in the secrets; runs no guest code. `url` is the
    /// public address as the provider knows it, query included.
    pub fn verify(&self, secrets: &Secrets, hook: &Hook, url: &str) -> Verdict {
        verify::verify(&self.parts.manifest, secrets, hook, url)
    }
}

/// The calls. Each is one fresh instance.
impl Plugin {
    async fn open(&self, kind: Kind, context: &ChannelContext) -> Result<Call, CallError> {
        let place = self.admission.admit().await?;
        Ok(Call::new(kind, Arc::clone(&self.parts), context.clone(), place))
    }

    fn lifecycle(&self) -> Result<&WithLifecyclePre<CallState>, CallError> {
        let exports = self.exports.lifecycle.as_ref();
        exports.ok_or(CallError::Unsupported("lifecycle"))
    }

    /// # Errors
    /// See [`CallError`]. 3 s of wall clock, 200 ms of CPU.
    pub async fn receive(&self, context: &ChannelContext, hook: &Hook) -> Result<Inbound, CallError> {
        type Read = Result<guest::Inbound, guest::ReceiveError>;
        let exports = &self.exports;
        let hook = convert::hook(&context.secrets, hook);
        let mut call = self.open(Kind::Receive, context).await?;
        let read = async |store: &mut Store<CallState>| {
            // The generated code would look `send` up and compare its types as well, on every hook.
            let pre = exports.minimal.instance_pre();
            let guest = pre.instantiate_async(&mut *store).await?;
            let receive = guest.get_typed_func::<(&guest::Hook,), (Read,)>(&mut *store, exports.receive)?;
            Ok(receive.call_async(store, (&hook,)).await?.0)
        };
        let inbound = call.run(read).await?;
        let inbound = inbound.map_err(|error| convert::receive_error(&context.secrets, error))?;
        convert::inbound(inbound).map_err(|problem| self.garbage(context, problem))
    }

    /// # Errors
    /// See [`CallError`]. 30 s of wall clock, 2 s of CPU. When the connector is stopped after a request may have
    /// reached the provider, the error is [`mantle_model::failure::Failure::Unknown`].
    pub async fn send(&self, context: &ChannelContext, message: &Outgoing) -> Result<Sent, CallError> {
        let exports = &self.exports.minimal;
        let mut call = self.open(Kind::Send, context).await?;
        let outgoing = convert::outgoing(&mut call, message)?;
        let send = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_connector().call_send(store, &outgoing).await
        };
        let sent = call.run(send).await?;
        let sent = sent.map_err(|error| convert::call_error(&context.secrets, error))?;
        convert::sent(sent).map_err(|problem| call.cut_short(self.garbage(context, problem)))
    }

    /// Proves the credentials and changes nothing.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn identify(&self, context: &ChannelContext) -> Result<ProviderAccount, CallError> {
        let exports = self.lifecycle()?;
        let identify = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_lifecycle().call_identify(store).await
        };
        let account = self.open(Kind::Prove, context).await?.run(identify).await?;
        let account = account.map_err(|error| convert::connect_error(&context.secrets, error))?;
        convert::account(account).map_err(|problem| self.garbage(context, problem))
    }

    /// Wires the provider's webhook to the channel's hook.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn connect(&self, context: &ChannelContext) -> Result<HealthReport, CallError> {
        let exports = self.lifecycle()?;
        let connect = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_lifecycle().call_connect(store).await
        };
        let connection = self.open(Kind::Act, context).await?.run(connect).await?;
        let connection = connection.map_err(|error| convert::connect_error(&context.secrets, error))?;
        convert::connection(&context.secrets, &connection).map_err(|problem| self.garbage(context, problem))
    }

    /// Takes the webhook away, if it is still ours.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn disconnect(&self, context: &ChannelContext) -> Result<(), CallError> {
        let exports = self.lifecycle()?;
        let disconnect = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_lifecycle().call_disconnect(store).await
        };
        let gone = self.open(Kind::Act, context).await?.run(disconnect).await?;
        gone.map_err(|error| convert::call_error(&context.secrets, error))
    }

    /// How the channel is.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn check(&self, context: &ChannelContext) -> Result<HealthReport, CallError> {
        let exports = self.lifecycle()?;
        let check = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_lifecycle().call_check(store).await
        };
        let report = self.open(Kind::Act, context).await?.run(check).await?;
        let report = report.map_err(|error| convert::call_error(&context.secrets, error))?;
        convert::report(&context.secrets, &report).map_err(|problem| self.garbage(context, problem))
    }

    /// Fetches the file of an inbound attachment into the shelf.
    ///
    /// # Errors
    /// See [`CallError`]. 5 min of wall clock.
    pub async fn fetch_media(&self, context: &ChannelContext, source: &str) -> Result<ShelfFile, CallError> {
        let exports = self.exports.inbound_media.as_ref();
        let exports = exports.ok_or(CallError::Unsupported("inbound-media"))?;
        let fetch = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_inbound_media().call_fetch(store, source).await
        };
        let mut call = self.open(Kind::FetchMedia, context).await?;
        let fetched = call.run(fetch).await?;
        let fetched = fetched.map_err(|error| convert::call_error(&context.secrets, error))?;
        convert::fetched(call.store.data(), fetched).map_err(|problem| self.garbage(context, problem))
    }

    /// What the provider shows of a message whose answer was lost.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn find_sent(
        &self,
        context: &ChannelContext,
        message: &Outgoing,
        announced_at: Time,
    ) -> Result<Finding, CallError> {
        let exports = self.exports.reconcile.as_ref();
        let exports = exports.ok_or(CallError::Unsupported("reconcile"))?;
        let mut call = self.open(Kind::Act, context).await?;
        let query = convert::query(&mut call, message, announced_at)?;
        let find_sent = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_reconcile().call_find_sent(store, &query).await
        };
        let finding = call.run(find_sent).await?;
        let finding = finding.map_err(|error| convert::call_error(&context.secrets, error))?;
        convert::finding(finding).map_err(|problem| self.garbage(context, problem))
    }

    /// What the provider tells about a person.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn look_up(&self, context: &ChannelContext, aliases: &[Alias]) -> Result<Option<Profile>, CallError> {
        let exports = self.exports.profile.as_ref().ok_or(CallError::Unsupported("profile"))?;
        let aliases = aliases.iter().map(convert::alias_to_guest).collect::<Vec<_>>();
        let look_up = async |store: &mut Store<CallState>| {
            let guest = exports.instantiate_async(&mut *store).await?;
            guest.mantle_connector_profile().call_look_up(store, &aliases).await
        };
        let mut call = self.open(Kind::Act, context).await?;
        let details = call.run(look_up).await?;
        let details = details.map_err(|error| convert::call_error(&context.secrets, error))?;
        let profile = details.map(|details| convert::profile(call.store.data(), details));
        profile.transpose().map_err(|problem| self.garbage(context, problem))
    }

    /// All templates of the account.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn templates(&self, context: &ChannelContext) -> Result<Vec<Template>, CallError> {
        let exports = self.exports.templates.as_ref();
        let exports = exports.ok_or(CallError::Unsupported("templates"))?;
        let mut templates = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..limits::TEMPLATE_PAGES_MAX {
            let list_page = async |store: &mut Store<CallState>| {
                let guest = exports.instantiate_async(&mut *store).await?;
                let guest = guest.mantle_connector_templates();
                guest.call_list_page(store, cursor.as_deref()).await
            };
            let page = self.open(Kind::Act, context).await?.run(list_page).await?;
            let page = page.map_err(|error| convert::call_error(&context.secrets, error))?;
            templates.extend(page.templates.into_iter().map(convert::template));
            if templates.len() > limits::TEMPLATES_MAX {
                return Err(self.garbage(context, format!("more than {} templates", limits::TEMPLATES_MAX)));
            }
            match page.next {
                None => return Ok(templates),
                next if next == cursor => return Err(self.garbage(context, "the same page of templates twice")),
                next => cursor = next,
            }
        }
        Err(self.garbage(
            context,
            format!("more than {} pages of templates", limits::TEMPLATE_PAGES_MAX),
        ))
    }

    /// What came back breaks the rules of the interface: said once, here.
    fn garbage(&self, context: &ChannelContext, problem: impl Into<String>) -> CallError {
        garbage(&self.parts.name, context, problem.into())
    }
}

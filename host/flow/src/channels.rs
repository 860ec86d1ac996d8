//! Connecting, checking, changing and archiving channels.

mod account;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mantle_inbox::InboxError;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_model::inbound::Notice;
use mantle_model::secret::{Secret, Secrets};
use mantle_sandbox::{CallError, Health, HealthReport};
use mantle_store::StoreError;
use mantle_store::directory::{Channel, ChannelChange, ChannelSettings, ChannelStatus, Platform, Workspace};

use crate::connector::Connector;
use crate::gates::Key;
use crate::{Flow, access};

/// How long a secret that was replaced still proves hooks: what the provider signed before the change, and tries
/// again since, is at most so old.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Secrets of one name that are accepted at once: whoever changes them more often in a day loses the oldest.
const ACCEPTED_MAX: usize = 8;
/// Letters and digits of generated secrets: every provider takes them. 32 of them, so that a byte maps evenly.
const SECRET_ALPHABET: &[u8; 32] = b"ABCDEFGHJKMNPQRSTVWXYZabcdefghjk";

/// What somebody filled in.
#[derive(Debug, Clone)]
pub struct NewChannel {
    pub workspace: WorkspaceId,
    pub plugin: String,
    /// Empty: the provider's name of the account.
    pub name: String,
    /// All fields of the set-up form.
    pub fields: BTreeMap<String, String>,
    /// Take over from another system's webhook.
    pub take_over: bool,
    pub settings: ChannelSettings,
}

/// Why a channel was not connected or changed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("There is no such {0}.")]
    NotFound(&'static str),
    #[error("The connector `{0}` is not enabled, or not loaded now. Look at its entry in plugins.toml.")]
    NoPlugin(String),
    #[error("{plugin} does not serve workspaces of this kind.")]
    WrongInbox { plugin: String },
    /// A field of the form is wrong.
    #[error("{message}")]
    Field {
        field: String,
        code: String,
        message: String,
    },
    /// The provider refuses the credentials and the connector did not say which: `field` is the form's first secret.
    #[error("The provider does not accept the credentials: {}", cause.message)]
    Credentials { field: Option<String>, cause: Cause },
    /// The account is a channel already.
    #[error("{account} is already connected as channel “{channel}” in workspace “{workspace}”.")]
    Taken {
        account: String,
        channel: String,
        workspace: String,
    },
    /// Another system has the webhook.
    #[error(
        "Another system receives this account's messages at {url}. To take over, connect again with `take_over`: true \
        (`--take-over` on the command line); the other system gets none then."
    )]
    ForeignWebhook { url: String },
    /// The provider said no, or the connector broke off.
    #[error("{}", .0.message)]
    Provider(Cause),
    #[error("{}", .0.message)]
    Inbox(Cause),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Connects a channel. When it fails no trace of it is left.
///
/// # Errors
/// See [`ChannelError`].
pub async fn connect(flow: &Flow, new: NewChannel) -> Result<Arc<Channel>, ChannelError> {
    let workspace = flow
        .directory()
        .workspace(new.workspace)
        .ok_or(ChannelError::NotFound("workspace"))?;
    let plugin = flow
        .plugin(&new.plugin)
        .ok_or_else(|| ChannelError::NoPlugin(new.plugin.clone()))?;
    if !plugin
        .inboxes()
        .iter()
        .any(|inbox| inbox == platform_word(workspace.platform))
    {
        let plugin = plugin.title().to_owned();
        return Err(ChannelError::WrongInbox { plugin });
    }
    let mut channel = draft(flow, &*plugin, &workspace, &new)?;
    let account = account::identify(flow, &*plugin, &channel).await?;
    if let Some(url) = account.foreign_webhook.as_ref().filter(|url| !is_ours(flow, url))
        && !new.take_over
    {
        return Err(ChannelError::ForeignWebhook { url: url.clone() });
    }
    channel.external_id = account.external_id;
    channel.external_name = account.name;
    if channel.name.is_empty() {
        channel.name.clone_from(&channel.external_name);
    }
    account::reserve(flow, &*plugin, &channel).await?;
    match wire(flow, &*plugin, &workspace, &channel).await {
        Ok((told, notices)) => {
            let change = ChannelChange {
                status: Some(told),
                notices: Some(notices),
                ..ChannelChange::default()
            };
            change_channel(flow, channel.id, change).await
        }
        Err(error) => {
            flow.store().forget_channel(channel.id).await?;
            flow.refresh().await?;
            Err(error)
        }
    }
}

/// Whether the address is one of this host's. An address that only begins like it is another's.
fn is_ours(flow: &Flow, url: &str) -> bool {
    let rest = url.strip_prefix(flow.public_url().trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn draft(
    flow: &Flow,
    plugin: &dyn Connector,
    workspace: &Workspace,
    new: &NewChannel,
) -> Result<Channel, ChannelError> {
    let (fields, mut secrets) = sorted(plugin, &new.fields)?;
    for (name, length) in plugin.generated() {
        secrets.add(name.clone(), generated(*length)?);
    }
    let now = flow.now();
    Ok(Channel {
        id: ChannelId(flow.next_id()),
        workspace: workspace.id,
        plugin: new.plugin.clone(),
        name: new.name.trim().to_owned(),
        external_id: String::new(),
        external_name: String::new(),
        fields,
        secrets,
        status: ChannelStatus::Connecting,
        status_cause: None,
        status_since: now,
        notices: Vec::new(),
        settings: new.settings.clone(),
        refused_groups: 0,
        created_at: now,
        updated_at: now,
    })
}

/// The filled-in values by whether they are secret. Surrounding white space comes from copying and is dropped.
fn sorted(
    plugin: &dyn Connector,
    given: &BTreeMap<String, String>,
) -> Result<(BTreeMap<String, String>, Secrets), ChannelError> {
    let trimmed = given
        .iter()
        .map(|(name, value)| (name.clone(), value.trim().to_owned()));
    let values: BTreeMap<String, String> = trimmed.filter(|(_, value)| !value.is_empty()).collect();
    plugin
        .check_fields(&values)
        .map_err(|(field, message)| ChannelError::Field {
            field,
            code: "invalid".into(),
            message,
        })?;
    let mut fields = BTreeMap::new();
    let mut secrets = Secrets::default();
    for (name, value) in values {
        if plugin.fields().iter().any(|field| field.secret && field.name == name) {
            secrets.add(name, Secret::new(value));
        } else {
            fields.insert(name, value);
        }
    }
    Ok((fields, secrets))
}

fn generated(length: usize) -> Result<Secret, ChannelError> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)
        .map_err(|error| ChannelError::Provider(Cause::new("random", format!("No random numbers: {error}."))))?;
    let letters = bytes.iter().map(|byte| SECRET_ALPHABET[usize::from(byte % 32)] as char);
    Ok(Secret::new(letters.collect()))
}

/// The inbox's attributes, then the provider's webhook.
async fn wire(
    flow: &Flow,
    plugin: &dyn Connector,
    workspace: &Workspace,
    channel: &Channel,
) -> Result<((ChannelStatus, Option<String>), Vec<Notice>), ChannelError> {
    let inbox = flow.inbox(workspace.platform).ok_or(ChannelError::NotFound("inbox"))?;
    inbox
        .prepare_channel(&access(workspace), &flow.label(channel))
        .await
        .map_err(inbox_refused)?;
    if !plugin.abilities().lifecycle {
        return Ok((account::unproven(), Vec::new()));
    }
    let connected = plugin.connect(&flow.context(channel, plugin)).await;
    let report = connected.map_err(|error| refused(plugin, error))?;
    Ok(((status(report.health), cause(&report)), report.notices))
}

/// A genuine hook came: what proves an account that the connector cannot ask for.
pub(crate) async fn heard_from(flow: &Flow, plugin: &dyn Connector, channel: &Channel) {
    if channel.status == ChannelStatus::PendingVerification && !plugin.abilities().lifecycle {
        set_status(flow, channel, (ChannelStatus::Connected, None)).await;
    }
}

/// Changes what an operator may change, and shows it everywhere.
///
/// # Errors
/// The channel does not exist, or the store does not take it.
pub async fn change_channel(flow: &Flow, id: ChannelId, change: ChannelChange) -> Result<Arc<Channel>, ChannelError> {
    let changed = flow.store().change_channel(id, change, flow.now()).await?;
    flow.refresh().await?;
    Ok(Arc::new(changed))
}

/// New values for some fields: proven at the provider before they take the place of the old ones. Secrets that we
/// generate are renewed with them, and the provider is told. Hooks with the old ones are accepted for [`GRACE`].
///
/// # Errors
/// See [`ChannelError`]; the channel stays as it was.
pub async fn change_fields(
    flow: &Flow,
    id: ChannelId,
    given: BTreeMap<String, String>,
) -> Result<Arc<Channel>, ChannelError> {
    let channel = flow.directory().channel(id).ok_or(ChannelError::NotFound("channel"))?;
    let plugin = flow
        .plugin_of(&channel)
        .ok_or_else(|| ChannelError::NoPlugin(channel.plugin.clone()))?;
    let mut all = channel.fields.clone();
    for name in channel
        .secrets
        .names()
        .filter(|name| plugin.fields().iter().any(|field| field.name == *name))
    {
        if let Some(secret) = channel.secrets.get(name) {
            all.insert(name.to_owned(), secret.expose().to_owned());
        }
    }
    all.extend(given);
    let (fields, mut secrets) = sorted(&*plugin, &all)?;
    if plugin.abilities().lifecycle {
        for (name, length) in plugin.generated() {
            secrets.add(name.clone(), generated(*length)?);
        }
    }
    let now = flow.now();
    let good = still_good(&*plugin, &channel.secrets, &mut secrets);
    accept_as_well(&mut secrets, &good, now);
    let proposed = Channel {
        fields: fields.clone(),
        secrets: secrets.clone(),
        ..(*channel).clone()
    };
    let account = account::identify(flow, &*plugin, &proposed).await?;
    let _turn = account::enter(flow, &*plugin, &proposed).await?;
    if plugin.abilities().lifecycle && account.external_id != channel.external_id {
        let message = format!("These belong to {}. Connect it as a channel of its own.", account.name);
        return Err(ChannelError::Provider(Cause::new("other-account", message)));
    }
    let change = ChannelChange {
        fields: Some(fields),
        secrets: Some(secrets),
        external_name: plugin.abilities().lifecycle.then_some(account.name),
        // Nobody can be asked about new credentials: the next genuine hook tells.
        status: (!plugin.abilities().lifecycle && channel.status == ChannelStatus::Disconnected)
            .then(account::unproven),
        ..ChannelChange::default()
    };
    // Before the provider is told: a hook that it signs with the new ones is proven from the first on.
    let changed = change_channel(flow, id, change).await?;
    if plugin.abilities().lifecycle {
        match plugin.connect(&flow.context(&changed, &*plugin)).await {
            Ok(report) => take_report(flow, &changed, report).await?,
            Err(error) => {
                undo(flow, &channel, &changed).await?;
                return Err(refused(&*plugin, error));
            }
        }
    }
    flow.directory().channel(id).ok_or(ChannelError::NotFound("channel"))
}

/// The provider was not told, or perhaps was: the old values are in use again, and the new ones are accepted.
async fn undo(flow: &Flow, before: &Channel, changed: &Channel) -> Result<(), ChannelError> {
    let mut secrets = before.secrets.clone();
    accept_as_well(&mut secrets, &changed.secrets, flow.now());
    let change = ChannelChange {
        fields: Some(before.fields.clone()),
        secrets: Some(secrets),
        external_name: Some(before.external_name.clone()),
        ..ChannelChange::default()
    };
    change_channel(flow, before.id, change).await.map(drop)
}

/// The old secrets that are good beside the new ones, or at least still to be searched for.
fn still_good(plugin: &dyn Connector, old: &Secrets, new: &mut Secrets) -> Secrets {
    let renewed = plugin.renewed();
    let mut good = Secrets::default();
    for name in old.names() {
        let made = renewed.iter().find(|(made, _)| *made == name);
        if made.is_some_and(|(_, from)| !goes_on(name, *from, old, new)) {
            continue;
        }
        for (secret, until) in old.with_ends(name) {
            good.add_until(name, secret.clone(), until);
        }
    }
    good
}

/// Whether what the provider renewed is still of use. Where the value that it began with is another one now, it begins
/// with that one again; where there is no such value, it is gone.
fn goes_on(name: &str, from: Option<&str>, old: &Secrets, new: &mut Secrets) -> bool {
    let Some(field) = from else { return false };
    let first = new.get(field).cloned();
    if old.get(field).map(Secret::expose) == first.as_ref().map(Secret::expose) {
        return true;
    }
    let Some(first) = first else { return false };
    new.add(name, first);
    true
}

/// Adds what others are there, for as long as they last and no longer than [`GRACE`]. A secret of a name that has
/// none yet is in use itself.
fn accept_as_well(secrets: &mut Secrets, others: &Secrets, now: Time) {
    let end = now.after(GRACE);
    for name in others.names() {
        let in_use = secrets.contains(name);
        for (other, until) in others.with_ends(name) {
            let present = secrets.all(name);
            let known = present.iter().any(|known| known.expose() == other.expose());
            if !known && present.len() < ACCEPTED_MAX {
                let until = if in_use {
                    Some(until.map_or(end, |until| until.min(end)))
                } else {
                    until
                };
                secrets.add_until(name, other.clone(), until);
            }
        }
    }
}

/// Takes the channel out of use. That the provider's webhook could not be taken away is said, not fatal.
///
/// # Errors
/// The channel does not exist, or the store does not take it.
pub async fn archive(flow: &Flow, id: ChannelId) -> Result<Option<Cause>, ChannelError> {
    let channel = flow.directory().channel(id).ok_or(ChannelError::NotFound("channel"))?;
    let left_behind = match flow.plugin_of(&channel) {
        Some(plugin) if plugin.abilities().lifecycle => {
            let gone = plugin.disconnect(&flow.context(&channel, &*plugin)).await;
            gone.err().map(|error| cause_of(&error))
        }
        Some(_) => None,
        None => Some(Cause::new(
            "connector-away",
            "The connector is not loaded, so the webhook was not taken away.",
        )),
    };
    if let Some(cause) = &left_behind {
        tracing::warn!(channel.id = %id, code = cause.code, "The provider's webhook was not taken away");
    }
    let change = ChannelChange {
        status: Some((ChannelStatus::Archived, None)),
        ..ChannelChange::default()
    };
    flow.store().change_channel(id, change, flow.now()).await?;
    flow.refresh().await?;
    Ok(left_behind)
}

/// Asks the provider how the channel fares and keeps what it says. Only refused credentials disconnect it.
///
/// # Errors
/// The channel does not exist, or the store does not take the report.
pub async fn check(flow: &Flow, id: ChannelId) -> Result<Arc<Channel>, ChannelError> {
    let channel = flow.directory().channel(id).ok_or(ChannelError::NotFound("channel"))?;
    let Some(plugin) = flow.plugin_of(&channel).filter(|plugin| plugin.abilities().lifecycle) else {
        return Ok(channel);
    };
    if channel.status == ChannelStatus::Connecting {
        return Ok(channel);
    }
    match plugin.check(&flow.context(&channel, &*plugin)).await {
        Ok(report) => take_report(flow, &channel, report).await?,
        Err(CallError::Provider(Failure::Unauthorized(cause))) => {
            set_status(flow, &channel, (ChannelStatus::Disconnected, Some(cause.message))).await;
        }
        // Told to slow down: it is there.
        Err(CallError::Provider(Failure::RateLimited { .. }) | CallError::Busy(_)) => {}
        Err(error) => {
            set_status(flow, &channel, (ChannelStatus::Offline, Some(cause_of(&error).message))).await;
        }
    }
    flow.directory().channel(id).ok_or(ChannelError::NotFound("channel"))
}

async fn take_report(flow: &Flow, channel: &Channel, report: HealthReport) -> Result<(), ChannelError> {
    let told = (status(report.health), cause(&report));
    if channel.notices != report.notices {
        let change = ChannelChange {
            notices: Some(report.notices),
            ..ChannelChange::default()
        };
        change_channel(flow, channel.id, change).await?;
    }
    set_status(flow, channel, told).await;
    Ok(())
}

/// Writes a status that differs from the present one. What waits for the channel is woken: it may go, or is held now.
pub(crate) async fn set_status(flow: &Flow, channel: &Channel, told: (ChannelStatus, Option<String>)) {
    let present = flow.directory().channel(channel.id);
    let Some(present) = present.filter(|present| present.status != told.0) else {
        return;
    };
    let back = told.0 == ChannelStatus::Connected;
    if let (true, Some(plugin)) = (back, flow.plugin_of(channel)) {
        flow.gates.forgive(Key::provider(&present, &*plugin));
        // Before the lanes are woken: another host may take them.
        flow.tell_others().await;
    }
    tracing::warn!(channel.id = %channel.id, was = ?present.status, now = ?told.0, "A channel's status changed");
    let change = ChannelChange {
        status: Some(told),
        ..ChannelChange::default()
    };
    let changed = change_channel(flow, channel.id, change).await;
    let woken = flow.store().wake_channel(channel.id, flow.now()).await;
    if let Err(error) = changed.map(drop).and(woken.map_err(ChannelError::from)) {
        tracing::error!(channel.id = %channel.id, %error, "A channel's status could not be stored");
    }
}

fn status(health: Health) -> ChannelStatus {
    match health {
        Health::Connected => ChannelStatus::Connected,
        Health::Pending => ChannelStatus::PendingVerification,
        Health::Offline => ChannelStatus::Offline,
        Health::Disconnected => ChannelStatus::Disconnected,
    }
}

/// The gravest notice explains a status other than connected.
fn cause(report: &HealthReport) -> Option<String> {
    let gravest = report.notices.iter().max_by_key(|notice| notice.level)?;
    (report.health != Health::Connected).then(|| gravest.cause.message.clone())
}

fn refused(plugin: &dyn Connector, error: CallError) -> ChannelError {
    match error {
        CallError::Field { field, code, message } => ChannelError::Field { field, code, message },
        CallError::Provider(Failure::Unauthorized(cause)) => {
            let secret = plugin.fields().iter().find(|field| field.secret);
            ChannelError::Credentials {
                field: secret.map(|field| field.name.clone()),
                cause,
            }
        }
        other => ChannelError::Provider(cause_of(&other)),
    }
}

fn cause_of(error: &CallError) -> Cause {
    match error {
        CallError::Provider(failure) => failure.cause().clone(),
        CallError::Field { code, message, .. } => Cause::new(code.clone(), message.clone()),
        other => Cause::new("connector", format!("{other}.")),
    }
}

pub(crate) fn inbox_refused(error: InboxError) -> ChannelError {
    ChannelError::Inbox(match error {
        InboxError::Failure(failure) => failure.cause().clone(),
        other => Cause::new("inbox", other.to_string()),
    })
}

fn platform_word(platform: Platform) -> &'static str {
    match platform {
        Platform::Intercom => "intercom",
        Platform::Hubspot => "hubspot",
    }
}

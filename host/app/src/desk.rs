//! The front's questions, answered by the journeys, the catalogue and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use mantle_flow::channels::{self, ChannelError, NewChannel};
use mantle_flow::outbound::resend::{self, Offer};
use mantle_flow::shelf::StoreShelf;
use mantle_flow::workspaces::{self, WorkspaceError};
use mantle_flow::{Flow, HookAnswer, inbound, outbound};
use mantle_model::hook::{Hook, Overload};
use mantle_model::ids::{ChannelId, MediaId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::Notice;
use mantle_model::secret::Secret;
use mantle_sandbox::{Shelf, ShelfError, Template, Unchanged};
use mantle_store::StoreError;
use mantle_store::directory::{
    Channel, ChannelChange, ChannelSettings, ChannelStatus, Platform, Workspace, WorkspaceChange,
};
use mantle_web::api::channels::Condition;
use mantle_web::api::plugins::PluginBody;
use mantle_web::api::templates::{TemplateBody, TemplateButtonBody};
use mantle_web::desk::{ChannelDraft, ChannelEdit, Configuration, Desk, DeskError, OpenFile, WorkspaceEdit};

use crate::catalog::LiveCatalog;

/// A channel id that names none: for addresses whose last part is no id.
const NO_CHANNEL: ChannelId = ChannelId(0);

pub(crate) struct HostDesk {
    pub(crate) flow: Arc<Flow>,
    pub(crate) catalog: Arc<LiveCatalog>,
    pub(crate) shelf: Arc<StoreShelf>,
    pub(crate) configuration: Arc<ArcSwap<Configuration>>,
}

#[async_trait]
impl Desk for HostDesk {
    fn overload(&self, plugin: &str) -> Option<Overload> {
        self.flow.overload(plugin)
    }

    fn shed(&self, channel: Option<&str>, reason: &'static str) {
        self.flow.shed(channel.and_then(|text| text.parse().ok()), reason);
    }

    fn shed_intercom(&self, reason: &'static str) {
        self.flow.shed_inbox(Platform::Intercom, reason);
    }

    async fn hook(&self, plugin: &str, channel: Option<&str>, hook: Hook) -> HookAnswer {
        // What is no id is treated as a channel that is gone, so that nobody learns which ids there are.
        let channel = channel.map(|text| text.parse().unwrap_or(NO_CHANNEL));
        inbound::receive(&self.flow, hook, plugin, channel).await
    }

    async fn intercom(&self, hook: Hook) -> HookAnswer {
        outbound::receive(&self.flow, Platform::Intercom, hook.headers, Bytes::from(hook.body)).await
    }

    async fn connect_workspace(&self, access_token: Secret) -> Result<Workspace, DeskError> {
        let connected = workspaces::connect(&self.flow, Platform::Intercom, access_token).await;
        connected.map(unshared).map_err(workspace_error)
    }

    async fn edit_workspace(&self, id: WorkspaceId, edit: WorkspaceEdit) -> Result<Workspace, DeskError> {
        if let Some(token) = edit.access_token {
            workspaces::reconnect(&self.flow, id, token)
                .await
                .map_err(workspace_error)?;
        }
        let change = WorkspaceChange {
            settings: edit.settings,
            ..WorkspaceChange::default()
        };
        let changed = workspaces::change_workspace(&self.flow, id, change).await;
        changed.map(unshared).map_err(workspace_error)
    }

    async fn check_workspace(&self, id: WorkspaceId) -> Result<Workspace, DeskError> {
        let checked = workspaces::check(&self.flow, id).await;
        checked.map(unshared).map_err(workspace_error)
    }

    async fn archive_workspace(&self, id: WorkspaceId) -> Result<(), DeskError> {
        workspaces::archive(&self.flow, id).await.map_err(workspace_error)
    }

    async fn plugins(&self) -> Vec<PluginBody> {
        self.catalog.describe()
    }

    async fn approve_plugin(&self, name: &str, digest: Option<&str>) -> Result<PluginBody, DeskError> {
        self.catalog.approve(name, digest).await.map_err(unchanged)?;
        self.plugin_body(name)
    }

    async fn roll_back_plugin(&self, name: &str) -> Result<PluginBody, DeskError> {
        self.catalog.roll_back(name).await.map_err(unchanged)?;
        self.plugin_body(name)
    }

    fn configuration(&self) -> Configuration {
        Configuration::clone(&self.configuration.load())
    }

    fn hook_url(&self, channel: &Channel) -> String {
        self.flow.hook_url(channel)
    }

    fn notices(&self, channel: &Channel) -> Vec<Notice> {
        self.flow.notices(channel)
    }

    fn condition(&self, channel: &Channel, heard: bool) -> Condition {
        if let Some(absence) = self.catalog.absence(&channel.plugin) {
            return Condition {
                status: ChannelStatus::Offline,
                cause: Some(format!(
                    "The connector `{}` is not loaded: {}",
                    channel.plugin, absence.reason
                )),
                since: absence.since,
                next_step: Some(format!(
                    "{} The channel comes back by itself; what customers write meanwhile is kept.",
                    absence.fix
                )),
            };
        }
        let plugin = self.catalog.plugin(&channel.plugin);
        let to_enter = plugin.is_some_and(|plugin| match channel.status {
            ChannelStatus::PendingVerification => !plugin.registers_webhook() || !plugin.abilities().lifecycle,
            ChannelStatus::Connected => !plugin.registers_webhook() && plugin.abilities().lifecycle && !heard,
            _ => false,
        });
        Condition {
            status: channel.status,
            cause: channel.status_cause.clone(),
            since: channel.status_since,
            next_step: to_enter.then(|| {
                format!(
                    "Enter this hook address at the provider: {}. The first message or event that comes there proves \
                     the channel.",
                    self.flow.hook_url(channel)
                )
            }),
        }
    }

    async fn connect_channel(&self, draft: ChannelDraft) -> Result<Channel, DeskError> {
        let new = NewChannel {
            workspace: draft.workspace,
            plugin: draft.plugin,
            name: draft.name,
            fields: exposed(draft.fields),
            take_over: draft.take_over,
            settings: draft.settings,
        };
        channels::connect(&self.flow, new)
            .await
            .map(unshared)
            .map_err(channel_error)
    }

    async fn edit_channel(&self, id: ChannelId, edit: ChannelEdit) -> Result<Channel, DeskError> {
        if !edit.fields.is_empty() {
            channels::change_fields(&self.flow, id, exposed(edit.fields))
                .await
                .map_err(channel_error)?;
        }
        let mut settings = edit.settings;
        if let Some(settings) = &mut settings {
            self.find_pin(id, settings).await?;
        }
        let change = ChannelChange {
            name: edit.name,
            settings,
            ..ChannelChange::default()
        };
        channels::change_channel(&self.flow, id, change)
            .await
            .map(unshared)
            .map_err(channel_error)
    }

    async fn archive_channel(&self, id: ChannelId) -> Result<(), DeskError> {
        channels::archive(&self.flow, id).await.map(drop).map_err(channel_error)
    }

    async fn check_channel(&self, id: ChannelId) -> Result<Channel, DeskError> {
        channels::check(&self.flow, id)
            .await
            .map(unshared)
            .map_err(channel_error)
    }

    async fn templates(&self, id: ChannelId) -> Result<Vec<TemplateBody>, DeskError> {
        let channel = self
            .flow
            .directory()
            .channel(id)
            .ok_or(ChannelError::NotFound("channel"))
            .map_err(channel_error)?;
        let plugin = self.catalog.plugin_of(&channel);
        let plugin = plugin.ok_or_else(|| channel_error(ChannelError::NoPlugin(channel.plugin.clone())))?;
        if !plugin.abilities().templates {
            return Err(DeskError::Invalid {
                field: None,
                code: "no_templates".to_owned(),
                message: format!("{} has no templates.", plugin.title()),
            });
        }
        let templates = plugin.templates(&self.flow.context(&channel, &*plugin)).await;
        let templates = templates.map_err(|error| DeskError::Outside {
            code: "provider".to_owned(),
            message: format!("The provider did not list the templates: {error}."),
        })?;
        Ok(templates.into_iter().map(template).collect())
    }

    async fn replay(&self, message: MessageId) -> Result<MessageId, DeskError> {
        self.flow
            .store()
            .replay(message, self.flow.now())
            .await
            .map_err(store_error)
    }

    async fn resend_offer(&self, attempt: MessageId) -> Result<Option<Offer>, DeskError> {
        resend::offer(&self.flow, attempt).await.map_err(store_error)
    }

    async fn resend(&self, attempt: MessageId) -> Result<Option<MessageId>, DeskError> {
        resend::follow(&self.flow, attempt).await.map_err(store_error)
    }

    async fn read_hook_again(&self, hook: ReceiptId) -> Result<(), DeskError> {
        let again = self.flow.store().read_hook_again(hook, self.flow.now()).await;
        again.map_err(store_error)
    }

    async fn file(&self, id: MediaId) -> Result<Option<OpenFile>, DeskError> {
        let file = match self.shelf.stat(id).await {
            Ok(file) => file,
            Err(ShelfError::Unknown) => return Ok(None),
            Err(error) => return Err(DeskError::Unavailable(error.to_string())),
        };
        match self.shelf.open(id).await {
            Ok(body) => Ok(Some(OpenFile {
                name: file.name,
                content_type: file.content_type,
                bytes: file.bytes,
                body,
            })),
            Err(ShelfError::Unknown) => Ok(None),
            Err(error) => Err(DeskError::Unavailable(error.to_string())),
        }
    }
}

impl HostDesk {
    fn plugin_body(&self, name: &str) -> Result<PluginBody, DeskError> {
        let found = self.catalog.describe().into_iter().find(|plugin| plugin.name == name);
        found.ok_or_else(|| unchanged(Unchanged::Unknown))
    }

    /// The whole digest of the version that the channel is pinned to, which is held for it from now on.
    async fn find_pin(&self, id: ChannelId, settings: &mut ChannelSettings) -> Result<(), DeskError> {
        let channel = self.flow.directory().channel(id);
        let channel = channel.ok_or_else(|| channel_error(ChannelError::NotFound("channel")))?;
        let Some(begin) = settings
            .pin
            .clone()
            .filter(|pin| channel.settings.pin.as_ref() != Some(pin))
        else {
            return Ok(());
        };
        let wrong = |message: String| invalid("settings.version", "no_version", message);
        let sha256 = self.catalog.version_of(&channel.plugin, &begin).ok_or_else(|| {
            wrong(format!(
                "No version of {} with the digest {begin} is kept here. `mantle plugin list --json` shows those that are.",
                channel.plugin
            ))
        })?;
        let mut pins = pins(&self.flow);
        pins.insert((channel.plugin.clone(), sha256.clone()));
        let held = self.catalog.pin(pins).await;
        held.map_err(|error| wrong(format!("{error}.")))?;
        settings.pin = Some(sha256);
        Ok(())
    }
}

/// What channels are pinned to: plugin and digest.
pub(crate) fn pins(flow: &Flow) -> BTreeSet<(String, String)> {
    let channels = flow.directory().channels();
    let channels = channels.iter();
    channels
        .filter_map(|channel| Some((channel.plugin.clone(), channel.settings.pin.clone()?)))
        .collect()
}

fn unchanged(error: Unchanged) -> DeskError {
    match error {
        Unchanged::Unknown => DeskError::NotFound("There is no such plugin.".to_owned()),
        Unchanged::Nothing(why) => DeskError::Conflict {
            code: "nothing_to_do".to_owned(),
            message: format!("Nothing was changed: {why}."),
        },
    }
}

fn unshared<T: Clone>(shared: Arc<T>) -> T {
    Arc::unwrap_or_clone(shared)
}

fn exposed(fields: BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    let fields = fields.into_iter();
    fields.map(|(name, value)| (name, value.expose().to_owned())).collect()
}

fn invalid(field: &str, code: &str, message: String) -> DeskError {
    DeskError::Invalid {
        field: Some(field.to_owned()),
        code: code.to_owned(),
        message,
    }
}

fn workspace_error(error: WorkspaceError) -> DeskError {
    let message = error.to_string();
    match error {
        WorkspaceError::NotFound => DeskError::NotFound(message),
        WorkspaceError::NoInbox => invalid("platform", "no_inbox", message),
        WorkspaceError::OtherAccount => DeskError::Conflict {
            code: "other_account".to_owned(),
            message,
        },
        WorkspaceError::Token(cause) => invalid("access_token", &cause.code, message),
        WorkspaceError::NoOperator { .. } => invalid("settings.default_operator", "no_operator", message),
        WorkspaceError::OtherWorkspace(_) => invalid("access_token", "other_workspace", message),
        WorkspaceError::Inbox(cause) => DeskError::Outside {
            code: cause.code,
            message,
        },
        WorkspaceError::Store(error) => store_error(error),
    }
}

fn channel_error(error: ChannelError) -> DeskError {
    let message = error.to_string();
    let conflict = |code: &str| DeskError::Conflict {
        code: code.to_owned(),
        message: message.clone(),
    };
    match error {
        ChannelError::NotFound(_) => DeskError::NotFound(message),
        ChannelError::NoPlugin(_) => invalid("plugin", "no_plugin", message),
        ChannelError::WrongInbox { .. } => invalid("plugin", "wrong_inbox", message),
        ChannelError::Field { field, code, message } => invalid(&field, &code, message),
        ChannelError::Credentials { field, cause } => DeskError::Invalid {
            field,
            code: cause.code,
            message,
        },
        ChannelError::Taken { .. } => conflict("taken"),
        ChannelError::ForeignWebhook { .. } => conflict("foreign_webhook"),
        ChannelError::Provider(cause) if cause.code == "other-account" => conflict("other_account"),
        ChannelError::Provider(cause) | ChannelError::Inbox(cause) => DeskError::Outside {
            code: cause.code,
            message,
        },
        ChannelError::Store(error) => store_error(error),
    }
}

fn store_error(error: StoreError) -> DeskError {
    match error {
        StoreError::NotFound(what) => DeskError::NotFound(format!("There is no such {what}.")),
        StoreError::NotReplayable(_) => DeskError::Conflict {
            code: "not_replayable".to_owned(),
            message: "The message did not fail; only dead, failed and unknown messages are sent again.".to_owned(),
        },
        StoreError::Conflict(_) => DeskError::Conflict {
            code: "taken".to_owned(),
            message: "It is connected already.".to_owned(),
        },
        other => {
            tracing::error!(error = %other, "The store failed");
            DeskError::Unavailable("The database did not do it. Try again; the host's log has the reason.".to_owned())
        }
    }
}

fn template(template: Template) -> TemplateBody {
    let buttons = template.buttons.into_iter();
    TemplateBody {
        id: template.id,
        name: template.name,
        language: template.language,
        category: template.category,
        state: template.state,
        reason: template.reason,
        header: template.header,
        header_text: template.header_text,
        header_variables: template.header_variables,
        body: template.body,
        body_variables: template.body_variables,
        footer: template.footer,
        buttons: buttons
            .map(|button| TemplateButtonBody {
                kind: button.kind,
                text: button.text,
                variables: button.variables,
            })
            .collect(),
    }
}

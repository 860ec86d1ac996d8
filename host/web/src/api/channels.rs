//! Channels: connect, look, edit, check, archive.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mantle_model::clock::Time;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::NoticeLevel;
use mantle_model::secret::Secret;
use mantle_store::directory::{Channel, ChannelSettings, ChannelStatus, GroupPolicy, Signature};
use mantle_store::upkeep::HookFilter;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::input::{Input, id};
use super::{ApiError, workspaces};
use crate::Front;
use crate::backlog::BacklogBody;
use crate::desk::{ChannelDraft, ChannelEdit};

/// A name is shown in lists, in characters.
const NAME_CHARS_MAX: usize = 200;
/// A minute to a day, in seconds: less is no time to reconnect in, and an answer of the day before confuses.
const HOLD: std::ops::RangeInclusive<u32> = 60..=86_400;
/// The word for no particular version.
const CURRENT: &str = "current";
/// Characters of a digest that mean one version.
const PIN_CHARS_MIN: usize = 12;
/// SHA-256 in hex.
const DIGEST_CHARS: usize = 64;
/// Parked hooks are counted up to here: a channel's page must not read without end.
const PARKED_COUNTED_MAX: u32 = 200;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectChannel {
    /// The key of the plugin in `plugins.toml`.
    #[schema(example = "telegram")]
    plugin: String,
    /// How people call the channel. Without one it goes by the provider's name of the account.
    #[serde(default)]
    name: String,
    /// The fields of the plugin's set-up form, secret or not; `GET /api/v1/plugins` lists them.
    #[schema(example = json!({"bot_token": "123456789:AA…"}))]
    fields: BTreeMap<String, String>,
    /// Take the webhook over although another system has it.
    #[serde(default)]
    take_over: bool,
    #[serde(default)]
    settings: ChannelSettingsEdit,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditChannel {
    name: Option<String>,
    /// Only the fields that change.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    settings: ChannelSettingsEdit,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelSettingsBody {
    /// `refuse`: group messages make no conversation. `group`: one conversation for each group.
    #[schema(example = "refuse")]
    groups: GroupsWord,
    /// What the customer reads below a teammate's words. `none`: nothing. `name`: the teammate's name in the inbox as
    /// a last line, `— Ann`. It counts into the channel's text limit; bots and files without words are not signed.
    #[schema(example = "none")]
    signature: SignatureWord,
    /// So long after it was written a reply still goes out when the channel was offline or disconnected; then it has
    /// failed, and a note says so.
    #[schema(example = 1800)]
    hold_replies_seconds: u32,
    /// The digest of the connector's version that the channel is pinned to. Null: it uses the current one.
    version: Option<String>,
}

/// Settings to change; what is left out stays, or has its default on a new channel.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelSettingsEdit {
    /// `refuse` (default) or `group`
    #[schema(example = "refuse")]
    groups: Option<GroupsWord>,
    /// `none` (default) or `name`
    #[schema(example = "name")]
    signature: Option<SignatureWord>,
    /// 60 (1 minute) to 86400 (1 day); 1800 (30 minutes) by default.
    #[schema(example = 1800)]
    hold_replies_seconds: Option<u32>,
    /// The digest of a version that is kept, or its first 12 characters; `current` ends it.
    #[schema(example = "current")]
    version: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupsWord {
    Refuse,
    Group,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureWord {
    None,
    Name,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelBody {
    #[schema(example = "chn_01kprpy0000ab")]
    id: String,
    workspace_id: String,
    plugin: String,
    name: String,
    /// The provider's id of the bot, number or page.
    external_id: String,
    /// How people know the account: `@shop_bot`.
    external_name: String,
    /// `connecting`, `connected`, `pending verification`, `offline`, `disconnected`, `archived`
    status: String,
    status_cause: Option<String>,
    /// RFC 3339.
    status_since: String,
    /// What a person can do: when the channel is not connected, or when `hook_url` is still to be entered at the
    /// provider.
    next_step: Option<String>,
    /// What the provider calls.
    hook_url: String,
    /// The fields that are not secret.
    fields: BTreeMap<String, String>,
    /// Names of the secrets the channel has.
    secrets: Vec<String>,
    settings: ChannelSettingsBody,
    backlog: BacklogBody,
    notices: Vec<NoticeBody>,
    /// Group messages refused so far.
    refused_groups: u64,
    last_inbound_at: Option<String>,
    last_outbound_at: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NoticeBody {
    /// `info`, `warning`, `broken`
    level: String,
    code: String,
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelList {
    channels: Vec<ChannelBody>,
}

/// How a channel fares, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub status: ChannelStatus,
    pub cause: Option<String>,
    pub since: Time,
    /// None: what people do at this status anyway.
    pub next_step: Option<String>,
}

/// The words of the product for a status.
fn status_word(status: ChannelStatus) -> &'static str {
    match status {
        ChannelStatus::Connecting => "connecting",
        ChannelStatus::Connected => "connected",
        ChannelStatus::PendingVerification => "pending verification",
        ChannelStatus::Offline => "offline",
        ChannelStatus::Disconnected => "disconnected",
        ChannelStatus::Archived => "archived",
    }
}

fn next_step(status: ChannelStatus) -> Option<&'static str> {
    match status {
        ChannelStatus::Connected | ChannelStatus::Archived => None,
        ChannelStatus::Connecting => Some("Wait until it is connected; if that takes minutes, connect it again."),
        ChannelStatus::PendingVerification => {
            Some("Finish the set-up at the provider as the notices say, then check the channel.")
        }
        ChannelStatus::Offline => {
            Some("The provider cannot be reached. The host tries again by itself; check the provider's status page.")
        }
        ChannelStatus::Disconnected => Some("Give the channel new credentials: edit its fields, then check it."),
    }
}

async fn body(front: &Front, channel: Channel) -> Result<ChannelBody, ApiError> {
    let backlog = front.backlog.look(front).await?;
    shown(front, channel, &backlog).await
}

async fn shown(
    front: &Front,
    channel: Channel,
    backlog: &BTreeMap<ChannelId, BacklogBody>,
) -> Result<ChannelBody, ApiError> {
    let (inbound, outbound) = front.store.last_traffic(channel.id).await?;
    let hook_url = front.desk.hook_url(&channel);
    let hints = groups_hint(&channel)
        .into_iter()
        .chain(parked_hint(front, &channel).await?);
    let seen_here = front.desk.notices(&channel);
    let condition = front.desk.condition(&channel, inbound.is_some());
    let name = [&channel.name, &channel.external_name, &channel.external_id]
        .into_iter()
        .find(|name| !name.is_empty())
        .cloned()
        .unwrap_or_default();
    Ok(ChannelBody {
        id: channel.id.to_string(),
        workspace_id: channel.workspace.to_string(),
        plugin: channel.plugin,
        name,
        external_id: channel.external_id,
        external_name: channel.external_name,
        status: status_word(condition.status).to_owned(),
        status_cause: condition.cause,
        status_since: condition.since.to_string(),
        next_step: condition
            .next_step
            .or_else(|| next_step(condition.status).map(str::to_owned)),
        hook_url,
        fields: channel.fields,
        secrets: channel.secrets.names().map(str::to_owned).collect(),
        settings: settings_body(&channel.settings),
        backlog: backlog.get(&channel.id).copied().unwrap_or_default(),
        notices: channel
            .notices
            .into_iter()
            .chain(seen_here)
            .map(|notice| NoticeBody {
                level: match notice.level {
                    NoticeLevel::Info => "info".to_owned(),
                    NoticeLevel::Warning => "warning".to_owned(),
                    NoticeLevel::Broken => "broken".to_owned(),
                },
                code: notice.cause.code,
                message: notice.cause.message,
            })
            .chain(hints)
            .collect(),
        refused_groups: channel.refused_groups,
        last_inbound_at: inbound.map(|at| at.to_string()),
        last_outbound_at: outbound.map(|at| at.to_string()),
        created_at: channel.created_at.to_string(),
        updated_at: channel.updated_at.to_string(),
    })
}

/// Says what became of messages from groups, and where that is changed.
fn groups_hint(channel: &Channel) -> Option<NoticeBody> {
    let refused = channel.refused_groups;
    let hint = channel.settings.groups == GroupPolicy::Refuse && refused > 0;
    hint.then(|| NoticeBody {
        level: "info".to_owned(),
        code: "groups-refused".to_owned(),
        message: format!(
            "Messages from groups are refused, {refused} so far. To have one conversation for each group, \
             set `settings.groups` to `group`."
        ),
    })
}

/// Says how many hooks of the channel wait for a person, and how they are looked at.
async fn parked_hint(front: &Front, channel: &Channel) -> Result<Option<NoticeBody>, ApiError> {
    let parked = front
        .store
        .hooks(&HookFilter {
            parked: true,
            channel: Some(channel.id),
            limit: PARKED_COUNTED_MAX,
            ..HookFilter::default()
        })
        .await?
        .len();
    if parked == 0 {
        return Ok(None);
    }
    let more = if parked == PARKED_COUNTED_MAX as usize {
        " or more"
    } else {
        ""
    };
    Ok(Some(NoticeBody {
        level: "warning".to_owned(),
        code: "hooks-parked".to_owned(),
        message: format!(
            "{parked}{more} of the provider's calls could not be read, or not as a whole, and are kept. \
             `mantle dead list --channel {}` shows them; after the connector was mended, `mantle dead replay <id>` \
             reads one again.",
            channel.id
        ),
    }))
}

fn settings_body(settings: &ChannelSettings) -> ChannelSettingsBody {
    ChannelSettingsBody {
        groups: match settings.groups {
            GroupPolicy::Refuse => GroupsWord::Refuse,
            GroupPolicy::Group => GroupsWord::Group,
        },
        signature: match settings.signature {
            Signature::None => SignatureWord::None,
            Signature::Name => SignatureWord::Name,
        },
        hold_replies_seconds: settings.held_for,
        version: settings.pin.clone(),
    }
}

/// The present settings with these changes.
fn settings(present: &ChannelSettings, edit: &ChannelSettingsEdit) -> Result<ChannelSettings, ApiError> {
    if let Some(wrong) = edit.hold_replies_seconds.filter(|seconds| !HOLD.contains(seconds)) {
        let (least, most) = (HOLD.start(), HOLD.end());
        let message = format!(
            "`hold_replies_seconds` is {least} (1 minute) to {most} (1 day), not {wrong}; 1800 is half an hour."
        );
        return Err(ApiError::invalid("settings.hold_replies_seconds", message));
    }
    Ok(ChannelSettings {
        groups: match edit.groups {
            None => present.groups.clone(),
            Some(GroupsWord::Refuse) => GroupPolicy::Refuse,
            Some(GroupsWord::Group) => GroupPolicy::Group,
        },
        signature: match edit.signature {
            None => present.signature,
            Some(SignatureWord::None) => Signature::None,
            Some(SignatureWord::Name) => Signature::Name,
        },
        held_for: edit.hold_replies_seconds.unwrap_or(present.held_for),
        pin: match edit.version.as_deref() {
            None => present.pin.clone(),
            Some(CURRENT) => None,
            Some(digest) => Some(pin(digest)?),
        },
    })
}

/// Enough of a digest to mean one version.
fn pin(digest: &str) -> Result<String, ApiError> {
    let fine = (PIN_CHARS_MIN..=DIGEST_CHARS).contains(&digest.len()) && digest.bytes().all(|c| c.is_ascii_hexdigit());
    if !fine {
        let message = format!(
            "`version` is `{CURRENT}` or the digest of a version, {PIN_CHARS_MIN} to {DIGEST_CHARS} hexadecimal characters."
        );
        return Err(ApiError::invalid("settings.version", message));
    }
    Ok(digest.to_ascii_lowercase())
}

fn name(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        let message = format!("A name has at most {NAME_CHARS_MAX} characters and no line breaks.");
        return Err(ApiError::invalid("name", message));
    }
    Ok(text.to_owned())
}

fn fields(given: BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    given
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value.trim().to_owned())))
        .collect()
}

/// Connect a bot, number or page: the credentials are tried, and the webhook is wired where the provider has it.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/channels", operation_id = "connect_channel", tag = "channels",
    params(("id" = String, Path, description = "`wsp_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same answer.")),
    request_body = ConnectChannel,
    responses(
        (status = 201, description = "Connected, or waiting for a step that `status` and `notices` name", body = ChannelBody),
        (status = 404, description = "No such workspace", body = ErrorBody),
        (status = 409, description = "The account is a channel already, or another system has its webhook", body = ErrorBody),
        (status = 422, description = "`field` is wrong, with the provider's reason", body = ErrorBody),
        (status = 502, description = "The provider did not answer", body = ErrorBody)))]
pub(super) async fn connect(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
    Input(draft): Input<ConnectChannel>,
) -> Result<(StatusCode, Json<ChannelBody>), ApiError> {
    let workspace = workspaces::find(&front, &text).await?;
    let draft = ChannelDraft {
        workspace: workspace.id,
        plugin: draft.plugin,
        name: name(&draft.name)?,
        fields: fields(draft.fields),
        take_over: draft.take_over,
        settings: settings(&ChannelSettings::default(), &draft.settings)?,
    };
    let channel = front.desk.connect_channel(draft).await?;
    Ok((StatusCode::CREATED, Json(body(&front, channel).await?)))
}

/// The channels of a workspace that are not archived, oldest first.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/channels", operation_id = "list_channels", tag = "channels",
    params(("id" = String, Path, description = "`wsp_…`")),
    responses(
        (status = 200, description = "All of them", body = ChannelList),
        (status = 404, description = "No such workspace", body = ErrorBody)))]
pub(super) async fn of_workspace(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<ChannelList>, ApiError> {
    let workspace = workspaces::find(&front, &text).await?;
    let backlog = front.backlog.look(&front).await?;
    let mut channels = Vec::new();
    for channel in front.store.channels(Some(workspace.id)).await? {
        channels.push(shown(&front, channel, &backlog).await?);
    }
    Ok(Json(ChannelList { channels }))
}

/// One channel.
#[utoipa::path(get, path = "/api/v1/channels/{id}", operation_id = "get_channel", tag = "channels",
    params(("id" = String, Path, description = "`chn_…`")),
    responses(
        (status = 200, description = "The channel", body = ChannelBody),
        (status = 404, description = "No such channel", body = ErrorBody)))]
pub(super) async fn one(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<ChannelBody>, ApiError> {
    let channel = find(&front, &text).await?;
    Ok(Json(body(&front, channel).await?))
}

/// Change name, credentials or settings. New credentials are tried before they replace the old ones.
#[utoipa::path(patch, path = "/api/v1/channels/{id}", operation_id = "edit_channel", tag = "channels",
    params(("id" = String, Path, description = "`chn_…`")),
    request_body = EditChannel,
    responses(
        (status = 200, description = "As it is now", body = ChannelBody),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 409, description = "The new credentials are another account's", body = ErrorBody),
        (status = 422, description = "`field` is wrong, with the provider's reason", body = ErrorBody),
        (status = 502, description = "The provider did not answer", body = ErrorBody)))]
pub(super) async fn edit(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
    Input(edit): Input<EditChannel>,
) -> Result<Json<ChannelBody>, ApiError> {
    let channel = find(&front, &text).await?;
    let edit = ChannelEdit {
        name: edit.name.as_deref().map(name).transpose()?,
        fields: fields(edit.fields),
        settings: Some(settings(&channel.settings, &edit.settings)?),
    };
    let channel = front.desk.edit_channel(channel.id, edit).await?;
    Ok(Json(body(&front, channel).await?))
}

/// Archive a channel: its webhook is taken down, queued sends end, its credentials are destroyed.
#[utoipa::path(delete, path = "/api/v1/channels/{id}", operation_id = "archive_channel", tag = "channels",
    params(("id" = String, Path, description = "`chn_…`")),
    responses(
        (status = 204, description = "Archived"),
        (status = 404, description = "No such channel", body = ErrorBody)))]
pub(super) async fn archive(State(front): State<Arc<Front>>, Path(text): Path<String>) -> Result<StatusCode, ApiError> {
    let channel = find(&front, &text).await?;
    front.desk.archive_channel(channel.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask the provider how the channel is, and show the answer.
#[utoipa::path(post, path = "/api/v1/channels/{id}/check", operation_id = "check_channel", tag = "channels",
    params(("id" = String, Path, description = "`chn_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer.")),
    responses(
        (status = 200, description = "As it is now", body = ChannelBody),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 502, description = "The provider did not answer", body = ErrorBody)))]
pub(super) async fn check(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<ChannelBody>, ApiError> {
    let channel = find(&front, &text).await?;
    let channel = front.desk.check_channel(channel.id).await?;
    Ok(Json(body(&front, channel).await?))
}

/// The channel of this id, unless it is archived.
pub(super) async fn find(front: &Front, text: &str) -> Result<Channel, ApiError> {
    front
        .store
        .channel(id("channel", text)?)
        .await?
        .filter(|channel| channel.status != ChannelStatus::Archived)
        .ok_or_else(|| ApiError::not_found("channel", text))
}

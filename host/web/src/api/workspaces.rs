//! Workspaces: connect by access token, look, set, archive.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mantle_model::secret::Secret;
use mantle_store::directory::{Platform, Rest, Workspace, WorkspaceSettings, WorkspaceStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiError;
use super::error::ErrorBody;
use super::input::{Input, id};
use crate::Front;
use crate::desk::WorkspaceEdit;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectWorkspace {
    /// `intercom`
    platform: String,
    /// Configure → Authentication of your app in Intercom's Developer Hub.
    access_token: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditWorkspace {
    /// A new token of the same workspace.
    access_token: Option<String>,
    settings: Option<SettingsEdit>,
}

/// What is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsEdit {
    /// The inbox's id of the teammate in whose name the host writes when nobody else is named.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    default_operator: Option<Option<String>>,
    prefer_users: Option<bool>,
    send_bot_replies: Option<bool>,
    tag_conversations: Option<bool>,
    /// 2 to 490.
    parts_max: Option<u32>,
    /// A customer who writes so long after their conversation came to rest begins a new one: 3600 (1 hour) to 1209600
    /// (2 weeks). `null`: never, every message continues the conversation there is.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, example = 86_400)]
    new_conversation_after_seconds: Option<Option<u32>>,
    /// `since_closed` (default): an open conversation is always continued. `since_last_message`: one in which nobody
    /// wrote for so long is not.
    #[schema(example = "since_closed")]
    new_conversation_measure: Option<MeasureWord>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasureWord {
    SinceClosed,
    SinceLastMessage,
}

/// Tells `null` (take it away) from an absent field (leave it).
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WorkspaceBody {
    #[schema(example = "wsp_01kprpy0000ab")]
    id: String,
    platform: String,
    name: String,
    /// The inbox's own id of the workspace.
    platform_id: String,
    /// `active`; `waiting`: the inbox does not answer or asks to wait; `disconnected`: the token is refused; `archived`
    status: String,
    status_cause: Option<String>,
    /// RFC 3339.
    status_since: String,
    /// The teammate whose token it is.
    added_by: String,
    settings: SettingsBody,
    /// Something to look at, such as a default operator who left.
    warning: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SettingsBody {
    default_operator: Option<String>,
    prefer_users: bool,
    send_bot_replies: bool,
    tag_conversations: bool,
    parts_max: u32,
    /// `null`: a conversation is continued however long ago it was closed.
    #[schema(example = 86_400)]
    new_conversation_after_seconds: Option<u32>,
    /// `since_closed` or `since_last_message`
    #[schema(example = "since_closed")]
    new_conversation_measure: MeasureWord,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WorkspaceList {
    workspaces: Vec<WorkspaceBody>,
}

/// Intercom takes no more than 500 parts in a conversation; ours and the team's share them.
const PARTS: std::ops::RangeInclusive<u32> = 2..=490;
/// 1 hour to 2 weeks, in seconds: shorter would break up a talk with pauses in it, and what is older than two weeks is
/// seldom the same matter.
const BUFFER: std::ops::RangeInclusive<u32> = 3_600..=1_209_600;

impl From<Workspace> for WorkspaceBody {
    fn from(workspace: Workspace) -> Self {
        let settings = workspace.settings;
        Self {
            id: workspace.id.to_string(),
            platform: match workspace.platform {
                Platform::Intercom => "intercom".to_owned(),
                Platform::Hubspot => "hubspot".to_owned(),
            },
            name: workspace.name,
            platform_id: workspace.platform_id,
            status: match workspace.status {
                WorkspaceStatus::Active => "active".to_owned(),
                WorkspaceStatus::Disconnected => "disconnected".to_owned(),
                WorkspaceStatus::Waiting => "waiting".to_owned(),
                WorkspaceStatus::Archived => "archived".to_owned(),
            },
            status_cause: workspace.status_cause,
            status_since: workspace.status_since.to_string(),
            added_by: workspace.added_by,
            settings: SettingsBody {
                default_operator: settings.default_operator,
                prefer_users: settings.prefer_users,
                send_bot_replies: settings.send_bot_replies,
                tag_conversations: settings.tag_conversations,
                parts_max: settings.parts_max,
                new_conversation_after_seconds: settings.new_conversation_after,
                new_conversation_measure: match settings.new_conversation_measure {
                    Rest::SinceClosed => MeasureWord::SinceClosed,
                    Rest::SinceLastMessage => MeasureWord::SinceLastMessage,
                },
            },
            warning: workspace.warning,
            created_at: workspace.created_at.to_string(),
            updated_at: workspace.updated_at.to_string(),
        }
    }
}

impl SettingsEdit {
    fn apply(self, settings: &mut WorkspaceSettings) -> Result<(), ApiError> {
        if let Some(parts_max) = self.parts_max {
            if !PARTS.contains(&parts_max) {
                let (least, most) = (PARTS.start(), PARTS.end());
                let message = format!("`parts_max` is {least} to {most}: Intercom takes 500 parts in a conversation.");
                return Err(ApiError::invalid("settings.parts_max", message));
            }
            settings.parts_max = parts_max;
        }
        if let Some(after) = self.new_conversation_after_seconds {
            if let Some(wrong) = after.filter(|after| !BUFFER.contains(after)) {
                let (least, most) = (BUFFER.start(), BUFFER.end());
                let message = format!(
                    "`new_conversation_after_seconds` is {least} (1 hour) to {most} (2 weeks), not {wrong}; `null` \
                     switches it off."
                );
                return Err(ApiError::invalid("settings.new_conversation_after_seconds", message));
            }
            settings.new_conversation_after = after;
        }
        if let Some(measure) = self.new_conversation_measure {
            settings.new_conversation_measure = match measure {
                MeasureWord::SinceClosed => Rest::SinceClosed,
                MeasureWord::SinceLastMessage => Rest::SinceLastMessage,
            };
        }
        if let Some(operator) = self.default_operator {
            settings.default_operator = operator;
        }
        settings.prefer_users = self.prefer_users.unwrap_or(settings.prefer_users);
        settings.send_bot_replies = self.send_bot_replies.unwrap_or(settings.send_bot_replies);
        settings.tag_conversations = self.tag_conversations.unwrap_or(settings.tag_conversations);
        Ok(())
    }
}

/// Connect a workspace by an access token. The same workspace again takes the new token and keeps its channels.
#[utoipa::path(post, path = "/api/v1/workspaces", operation_id = "connect_workspace", tag = "workspaces",
    request_body = ConnectWorkspace,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again give the same answer.")),
    responses(
        (status = 201, description = "Connected", body = WorkspaceBody),
        (status = 409, description = "Connected elsewhere", body = ErrorBody),
        (status = 422, description = "The token is refused, or a field is wrong", body = ErrorBody),
        (status = 502, description = "Intercom did not answer", body = ErrorBody)))]
pub(super) async fn connect(
    State(front): State<Arc<Front>>,
    Input(body): Input<ConnectWorkspace>,
) -> Result<(StatusCode, Json<WorkspaceBody>), ApiError> {
    match body.platform.as_str() {
        "intercom" => {}
        "hubspot" => {
            let message = "This build connects Intercom workspaces; HubSpot comes later.";
            return Err(ApiError::invalid("platform", message));
        }
        _ => return Err(ApiError::invalid("platform", "`platform` is `intercom`.")),
    }
    let token = body.access_token.trim();
    if token.is_empty() {
        let message = "`access_token` is empty. Copy it from Authentication of your app in Intercom's Developer Hub.";
        return Err(ApiError::invalid("access_token", message));
    }
    let workspace = front.desk.connect_workspace(Secret::new(token.to_owned())).await?;
    Ok((StatusCode::CREATED, Json(workspace.into())))
}

/// All workspaces that are not archived, oldest first.
#[utoipa::path(get, path = "/api/v1/workspaces", operation_id = "list_workspaces", tag = "workspaces",
    responses((status = 200, description = "All of them", body = WorkspaceList)))]
pub(super) async fn list(State(front): State<Arc<Front>>) -> Result<Json<WorkspaceList>, ApiError> {
    let workspaces = front.store.workspaces().await?;
    Ok(Json(WorkspaceList {
        workspaces: workspaces.into_iter().map(Into::into).collect(),
    }))
}

/// One workspace.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}", operation_id = "get_workspace", tag = "workspaces",
    params(("id" = String, Path, description = "`wsp_…`")),
    responses(
        (status = 200, description = "The workspace", body = WorkspaceBody),
        (status = 404, description = "No such workspace", body = ErrorBody)))]
pub(super) async fn one(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<WorkspaceBody>, ApiError> {
    Ok(Json(find(&front, &text).await?.into()))
}

/// Change settings, or replace the token.
#[utoipa::path(patch, path = "/api/v1/workspaces/{id}", operation_id = "edit_workspace", tag = "workspaces",
    params(("id" = String, Path, description = "`wsp_…`")),
    request_body = EditWorkspace,
    responses(
        (status = 200, description = "As it is now", body = WorkspaceBody),
        (status = 404, description = "No such workspace", body = ErrorBody),
        (status = 409, description = "Connected elsewhere", body = ErrorBody),
        (status = 422, description = "A field is wrong, or there is no such operator", body = ErrorBody),
        (status = 502, description = "The inbox did not answer", body = ErrorBody)))]
pub(super) async fn edit(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
    Input(body): Input<EditWorkspace>,
) -> Result<Json<WorkspaceBody>, ApiError> {
    let workspace = find(&front, &text).await?;
    let settings = match body.settings {
        Some(edit) => {
            let mut settings = workspace.settings.clone();
            edit.apply(&mut settings)?;
            Some(settings)
        }
        None => None,
    };
    let edit = WorkspaceEdit {
        access_token: body.access_token.map(Secret::new),
        settings,
    };
    Ok(Json(front.desk.edit_workspace(workspace.id, edit).await?.into()))
}

/// Archive a workspace with its channels: webhooks are taken down, queued sends end, the token is destroyed.
#[utoipa::path(delete, path = "/api/v1/workspaces/{id}", operation_id = "archive_workspace", tag = "workspaces",
    params(("id" = String, Path, description = "`wsp_…`")),
    responses(
        (status = 204, description = "Archived"),
        (status = 404, description = "No such workspace", body = ErrorBody)))]
pub(super) async fn archive(State(front): State<Arc<Front>>, Path(text): Path<String>) -> Result<StatusCode, ApiError> {
    let workspace = find(&front, &text).await?;
    front.desk.archive_workspace(workspace.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask the inbox whether the token is still good, and show the answer.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/check", operation_id = "check_workspace", tag = "workspaces",
    params(("id" = String, Path, description = "`wsp_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer.")),
    responses(
        (status = 200, description = "As it is now", body = WorkspaceBody),
        (status = 404, description = "No such workspace", body = ErrorBody),
        (status = 502, description = "The inbox did not answer", body = ErrorBody)))]
pub(super) async fn check(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<WorkspaceBody>, ApiError> {
    let workspace = find(&front, &text).await?;
    Ok(Json(front.desk.check_workspace(workspace.id).await?.into()))
}

/// The workspace of this id, unless it is archived.
pub(super) async fn find(front: &Front, text: &str) -> Result<Workspace, ApiError> {
    front
        .store
        .workspace(id("workspace", text)?)
        .await?
        .filter(|workspace| workspace.status != WorkspaceStatus::Archived)
        .ok_or_else(|| ApiError::not_found("workspace", text))
}

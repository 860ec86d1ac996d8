//! Plugins: what `plugins.toml` names and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiError;
use super::error::ErrorBody;
use super::input::Input;
use crate::Front;

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PluginBody {
    /// The key in `plugins.toml`, also in hook addresses.
    pub name: String,
    pub title: String,
    pub description: String,
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// `ready`, `refused`, `pending` (it asks for more rights than were consented to), `loading`, `disabled`. Of a plugin
    /// that is refused or pending the version before goes on, if there is one.
    pub state: String,
    /// Why it is not ready, and the fix.
    pub reason: Option<String>,
    pub inboxes: Vec<String>,
    /// The set-up form of a channel.
    pub fields: Vec<FieldBody>,
    /// Optional abilities that the connector has: `lifecycle`, `inbound_media`, `reconcile`, `profile`, `templates`.
    pub abilities: Vec<String>,
    /// What a channel can carry, as the manifest says; null when the plugin is not loaded.
    #[schema(value_type = Option<Object>)]
    pub capabilities: Option<serde_json::Value>,
    /// Where the component comes from, as `plugins.toml` writes it.
    pub source: String,
    /// The key of `[trust]` that proved it.
    pub signer: Option<String>,
    /// The version that waits for consent.
    pub pending: Option<PendingBody>,
    /// The newer version that has a share of the work and has to prove itself.
    pub trial: Option<TrialBody>,
    /// The version before, to which `rollback` returns.
    pub previous: Option<VersionBody>,
    /// Versions that channels are pinned to.
    pub pinned: Vec<VersionBody>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VersionBody {
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PendingBody {
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// What it asks for beyond what was consented to, one line each.
    pub difference: Vec<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TrialBody {
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// Of hooks and conversations.
    pub percent: u64,
    pub calls: u64,
    pub failures: u64,
    /// RFC 3339.
    pub since: String,
}

/// Which version is meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovePlugin {
    /// The digest of the version that was looked at; another one is not approved. Without it: whichever waits.
    digest: Option<String>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FieldBody {
    pub name: String,
    pub label: String,
    pub help: String,
    /// `text` or `choice`
    pub kind: String,
    /// Set for `choice`.
    pub choices: Vec<String>,
    pub secret: bool,
    /// False as well when the plugin's own secrets in `plugins.toml` have it.
    pub required: bool,
    /// Anchored regular expression.
    pub pattern: Option<String>,
    pub example: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PluginList {
    plugins: Vec<PluginBody>,
    configuration: ConfigurationBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConfigurationBody {
    /// `applied`, or `refused`: the file has problems, and the host runs on with what it had.
    state: String,
    /// File, line, key and fix of each.
    problems: Vec<String>,
}

/// Every plugin of `plugins.toml`, by name, and whether the file is in use.
#[utoipa::path(get, path = "/api/v1/plugins", operation_id = "list_plugins", tag = "plugins",
    responses((status = 200, description = "All of them", body = PluginList)))]
pub(super) async fn list(State(front): State<Arc<Front>>) -> Json<PluginList> {
    let problems = front.desk.configuration().problems;
    let state = if problems.is_empty() { "applied" } else { "refused" };
    Json(PluginList {
        plugins: front.desk.plugins().await,
        configuration: ConfigurationBody {
            state: state.to_owned(),
            problems,
        },
    })
}

/// Consents to the rights that a version waits for; or has the version tried again that was taken back.
#[utoipa::path(post, path = "/api/v1/plugins/{name}/approve", operation_id = "approve_plugin", tag = "plugins",
    request_body = ApprovePlugin, params(("name" = String, Path, description = "The key in `plugins.toml`")),
    responses((status = 200, description = "As it fares now", body = PluginBody),
        (status = 404, description = "No such plugin", body = ErrorBody),
        (status = 409, description = "Nothing waits for consent, or another version", body = ErrorBody)))]
pub(super) async fn approve(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    Input(wanted): Input<ApprovePlugin>,
) -> Result<Json<PluginBody>, ApiError> {
    let plugin = front.desk.approve_plugin(&name, wanted.digest.as_deref()).await?;
    Ok(Json(plugin))
}

/// Leaves the present version for the one before it. It is not tried again until its file changes or it is approved.
#[utoipa::path(post, path = "/api/v1/plugins/{name}/rollback", operation_id = "roll_back_plugin", tag = "plugins",
    params(("name" = String, Path, description = "The key in `plugins.toml`")),
    responses((status = 200, description = "As it fares now", body = PluginBody),
        (status = 404, description = "No such plugin", body = ErrorBody),
        (status = 409, description = "No version before is kept", body = ErrorBody)))]
pub(super) async fn roll_back(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
) -> Result<Json<PluginBody>, ApiError> {
    Ok(Json(front.desk.roll_back_plugin(&name).await?))
}

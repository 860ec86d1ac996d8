//! Plugins: what `plugins.toml` names and what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

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
    /// `ready`, `refused`, `disabled`
    pub state: String,
    /// Why it is refused, and the fix.
    pub reason: Option<String>,
    pub inboxes: Vec<String>,
    /// The set-up form of a channel.
    pub fields: Vec<FieldBody>,
    /// Optional abilities that the connector has: `lifecycle`, `inbound_media`, `reconcile`, `profile`, `templates`.
    pub abilities: Vec<String>,
    /// What a channel can carry, as the manifest says; null when the plugin is not loaded.
    #[schema(value_type = Option<Object>)]
    pub capabilities: Option<serde_json::Value>,
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

//! Templates of a channel's account, as the provider lists them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::{ApiError, channels};
use crate::Front;

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateBody {
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
    pub buttons: Vec<TemplateButtonBody>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TemplateButtonBody {
    pub kind: String,
    pub text: String,
    pub variables: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateList {
    templates: Vec<TemplateBody>,
}

/// All templates of the channel's account.
#[utoipa::path(get, path = "/api/v1/channels/{id}/templates", operation_id = "list_templates", tag = "channels",
    params(("id" = String, Path, description = "`chn_…`")),
    responses(
        (status = 200, description = "All of them", body = TemplateList),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 422, description = "The channel has no templates", body = ErrorBody),
        (status = 502, description = "The provider did not answer", body = ErrorBody)))]
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<TemplateList>, ApiError> {
    let channel = channels::find(&front, &text).await?;
    let templates = front.desk.templates(channel.id).await?;
    Ok(Json(TemplateList { templates }))
}

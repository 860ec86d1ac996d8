//! The one shape of every error, and what each error of the rooms behind becomes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mantle_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::DeskError;

/// An error as it leaves the API.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// A word that programs may compare.
    pub code: String,
    /// One or two sentences for people: what is wrong and what to do.
    pub message: String,
    /// The field of the request that is wrong, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Stands in the host's log beside this error.
    pub reference: String,
}

/// What a call could not do.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    field: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            field: None,
        }
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no {what} `{id}`."),
        )
    }

    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message).field(field)
    }
}

impl From<DeskError> for ApiError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::NotFound(message) => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            DeskError::Invalid { field, code, message } => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                code,
                message,
                field,
            },
            DeskError::Conflict { code, message } => Self::new(StatusCode::CONFLICT, code, message),
            DeskError::Outside { code, message } => Self::new(StatusCode::BAD_GATEWAY, code, message),
            DeskError::Unavailable(message) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
            }
            StoreError::Conflict(_) => Self::new(StatusCode::CONFLICT, "taken", "It is connected already."),
            StoreError::Busy(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                format!("The host takes no more work now ({why}). Try again in a few seconds."),
            ),
            other => {
                tracing::error!(error = %other, "The store failed under a call of the API");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store",
                    "The database did not do it. The host's log has the reason beside this reference.",
                )
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let reference = reference();
        if self.status.is_server_error() {
            tracing::error!(
                reference,
                code = self.code,
                status = self.status.as_u16(),
                "{}",
                self.message
            );
        } else {
            tracing::info!(
                reference,
                code = self.code,
                status = self.status.as_u16(),
                field = self.field,
                "A call of the API was refused"
            );
        }
        let body = ErrorBody {
            error: ErrorDetail {
                code: self.code,
                message: self.message,
                field: self.field,
                reference,
            },
        };
        (self.status, Json(body)).into_response()
    }
}

/// Short enough to be read out, random enough to find one line in a log.
fn reference() -> String {
    let mut bytes = [0; 6];
    if getrandom::fill(&mut bytes).is_err() {
        return "ref_none".to_owned();
    }
    format!("ref_{}", hex::encode(bytes))
}

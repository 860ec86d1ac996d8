//! What callers send: JSON bodies, ids in addresses, moments in queries.

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use mantle_model::clock::Time;
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::body;
use crate::limits::API_BYTES_MAX;

/// A JSON body; a mistake in it is answered with the field's name.
pub(super) struct Input<T>(pub(super) T);

impl<S, T> FromRequest<S> for Input<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if kind.is_some_and(|kind| kind != "application/json" && !kind.ends_with("+json")) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "The body must be JSON. Send `Content-Type: application/json`.",
            ));
        }
        let bytes = body::read(request.into_body(), API_BYTES_MAX)
            .await
            .map_err(|error| ApiError::new(error.status(), error.code(), error.to_string()))?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_syntax() || inner.is_eof() {
            return ApiError::new(
                StatusCode::BAD_REQUEST,
                "not_json",
                format!(
                    "The body is not JSON: line {}, column {}.",
                    inner.line(),
                    inner.column()
                ),
            );
        }
        // Serde names the place in the text; the field is what a caller looks for.
        let text = inner.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let field = missing_field(text).map_or(path, str::to_owned);
        ApiError::invalid(&field, format!("The body does not fit: {text}."))
    })?;
    json.end().map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "not_json",
            "Something follows the JSON value of the body.",
        )
    })?;
    Ok(value)
}

/// The field that serde names between back quotes, when it is not on the path: an absent or unknown one.
fn missing_field(text: &str) -> Option<&str> {
    ["missing field `", "unknown field `", "duplicate field `"]
        .into_iter()
        .find_map(|start| text.strip_prefix(start)?.split('`').next())
}

/// An id in an address; what is no id of the kind names nothing.
pub(super) fn id<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(what, text))
}

/// RFC 3339 or unix milliseconds.
pub(super) fn time(field: &str, text: &str) -> Result<Time, ApiError> {
    if let Ok(ms) = text.parse() {
        return Ok(Time::from_unix_ms(ms));
    }
    // A plus sign of an offset comes as a space when the caller forgot to encode it.
    let stamp = text.replace(' ', "+").parse::<jiff::Timestamp>();
    stamp
        .map(|stamp| Time::from_unix_ms(stamp.as_millisecond()))
        .map_err(|_| ApiError::invalid(field, format!("`{field}` is a moment such as 2026-11-20T12:00:00Z.")))
}

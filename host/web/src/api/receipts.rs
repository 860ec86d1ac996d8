//! Raw requests as they came: evidence of what a provider or the inbox sent.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mantle_store::intake::{NewReceipt, Origin, ReceiptState};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiError;
use super::error::ErrorBody;
use super::input::id;
use crate::Front;

/// Stands in place of what could prove another hook, or play this one again elsewhere.
const MASKED: &str = "(masked)";
/// Headers that prove nothing. Which of the others do is a matter of each provider, so all of them are masked.
const SHOWN: [&str; 8] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "user-agent",
];

#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptBody {
    #[schema(example = "rcp_01kprpy0000ab")]
    id: String,
    /// Set for a provider's hook.
    channel_id: Option<String>,
    /// Set for a webhook of the inbox.
    workspace_id: Option<String>,
    /// `parsed`: read as a whole. `received`: no connector could read it yet; it is tried again. `parked`: an item of
    /// it, or all of it, waits for a person.
    state: String,
    /// Which items could not be read, and why.
    problem: Option<String>,
    /// RFC 3339.
    received_at: String,
    /// When it is read again.
    next_attempt_at: Option<String>,
    method: String,
    /// With the names of the query's parameters; their values are masked.
    path: String,
    /// In the order they came. Signatures, tokens and all that are not known to be harmless are masked.
    headers: Vec<HeaderBody>,
    /// Byte for byte, with what the customer wrote. None: it is no UTF-8, see `body_base64`.
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HeaderBody {
    name: String,
    value: String,
}

/// The raw request behind a message, or one that could not be read.
///
/// `POST /api/v1/messages/{id}/replay` with this id reads it again with the present connector.
#[utoipa::path(get, path = "/api/v1/receipts/{id}", operation_id = "get_receipt", tag = "messages",
    params(("id" = String, Path, description = "`rcp_…`: the `receipt_id` of a message's trace, or the id of a parked hook")),
    responses(
        (status = 200, description = "As it came", body = ReceiptBody),
        (status = 404, description = "No such receipt, or it was too old to be kept", body = ErrorBody)))]
pub(super) async fn one(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<ReceiptBody>, ApiError> {
    let receipt = front.store.receipt(id("receipt", &text)?).await?;
    let receipt = receipt.ok_or_else(|| ApiError::not_found("receipt", &text))?;
    Ok(Json(receipt.into()))
}

impl From<NewReceipt> for ReceiptBody {
    fn from(receipt: NewReceipt) -> Self {
        let (state, problem, next_at) = match receipt.state {
            ReceiptState::Parsed => ("parsed", None, None),
            ReceiptState::Unparsed { problem, next_at } => ("received", Some(problem), Some(next_at)),
            ReceiptState::Parked { problem } => ("parked", Some(problem), None),
        };
        let (channel, workspace) = match receipt.origin {
            Origin::Channel(channel) => (Some(channel.to_string()), None),
            Origin::Workspace(workspace) => (None, Some(workspace.to_string())),
        };
        let (body, body_base64) = match String::from_utf8(receipt.hook.body) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        Self {
            id: receipt.id.to_string(),
            channel_id: channel,
            workspace_id: workspace,
            state: state.to_owned(),
            problem,
            received_at: receipt.hook.received_at.to_string(),
            next_attempt_at: next_at.map(|at| at.to_string()),
            method: receipt.hook.method,
            path: path(&receipt.hook.path_and_query),
            headers: receipt.hook.headers.into_iter().map(header).collect(),
            body,
            body_base64,
        }
    }
}

/// Some providers prove themselves by a word in the query.
fn path(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let masked: Vec<String> = names.map(|name| format!("{name}={MASKED}")).collect();
    format!("{path}?{}", masked.join("&"))
}

fn header((name, value): (String, String)) -> HeaderBody {
    let shown = SHOWN.iter().any(|known| name.eq_ignore_ascii_case(known));
    HeaderBody {
        name,
        value: if shown { value } else { MASKED.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_7_pv_4_what_proves_a_hook_is_masked() {
        let check = |name: &str, expected: &str| {
            assert_eq!(header((name.to_owned(), "value".to_owned())).value, expected, "{name}");
        };
        check("Content-Type", "value");
        for secret in [
            "X-Hub-Signature-256",
            "authorization",
            "x-telegram-bot-api-secret-token",
            "cookie",
        ] {
            check(secret, MASKED);
        }
        assert_eq!(path("/hooks/sms/chn_1"), "/hooks/sms/chn_1");
        assert_eq!(
            path("/hooks/x?sign=abc&a=b&c"),
            "/hooks/x?sign=(masked)&a=(masked)&c=(masked)"
        );
    }
}

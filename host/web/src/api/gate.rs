//! Before every call: who calls, and whether the call was made already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mantle_store::keyed::KeptAnswer;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ApiError;
use crate::Front;
use crate::body;
use crate::limits::{API_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set on an answer that was kept from an earlier call.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Only who has the key goes on.
pub(super) async fn authenticate(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(token) = &front.admin_token else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_key_configured",
            "The API is closed, because no key is set. Set MANTLE_ADMIN_TOKEN in the host's environment and restart it.",
        ));
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map_or("", |(_, given)| given.trim());
    // Digests are of one length, so neither the length nor the first wrong letter shows in the time taken.
    let same = Sha256::digest(given).ct_eq(&Sha256::digest(token.expose()));
    if !bool::from(same) {
        let error = ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The key is missing or wrong. Send `Authorization: Bearer` and the value of MANTLE_ADMIN_TOKEN.",
        );
        let mut response = error.into_response();
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Ok(response);
    }
    Ok(next.run(request).await)
}

/// A caller that hangs up does not stop what it began.
pub(super) async fn detach(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    front.tasks.spawn(next.run(request)).await.map_err(|error| {
        tracing::error!(%error, "A call of the API crashed");
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "crashed",
            "The call crashed. The host's log has the reason beside this reference.",
        )
    })
}

/// A POST with an `Idempotency-Key` is done once: the same call again gets the same answer, another call under the
/// same key is refused. Only what succeeded is kept, so that a failed call may be corrected and made again.
pub(super) async fn once(State(front): State<Arc<Front>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = body::read(body, API_BYTES_MAX)
        .await
        .map_err(|error| ApiError::new(error.status(), error.code(), error.to_string()))?;
    let key = if parts.method == Method::POST {
        key(&parts.headers)?
    } else {
        None
    };
    let path = parts.extensions.get::<axum::extract::OriginalUri>().map_or_else(
        || parts.uri.to_string(),
        |uri| uri.0.path_and_query().map(ToString::to_string).unwrap_or_default(),
    );
    let digest = Sha256::new()
        .chain_update(parts.method.as_str())
        .chain_update([0])
        .chain_update(path)
        .chain_update([0])
        .chain_update(&body)
        .finalize()
        .into();
    let request = Request::from_parts(parts, Body::from(body));
    let Some(key) = key else {
        return Ok(next.run(request).await);
    };
    let _turn = Turn::take(&front.under_way, &key)?;
    if let Some(kept) = front.store.kept_answer(&key).await? {
        return repeat(kept, digest);
    }
    let response = next.run(request).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    keep(&front, &key, digest, response).await
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let fine = value
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()));
    match fine {
        // Other rooms may keep answers under keys of their own.
        Some(key) => Ok(Some(format!("api:{key}"))),
        None => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "idempotency_key_invalid",
            format!("Idempotency-Key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters."),
        )),
    }
}

fn repeat(kept: KeptAnswer, digest: [u8; 32]) -> Result<Response, ApiError> {
    if kept.request != digest {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key was used for another call. Take a new key for a new call.",
        ));
    }
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (REPLAYED, HeaderValue::from_static("true")),
    ];
    Ok((status, headers, kept.body).into_response())
}

async fn keep(front: &Front, key: &str, request: [u8; 32], response: Response) -> Result<Response, ApiError> {
    let (parts, body) = response.into_parts();
    // Our own answer, made in memory a moment ago.
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| {
        tracing::error!(%error, "An answer could not be read back");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "crashed", "The call crashed.")
    })?;
    let answer = KeptAnswer {
        request,
        status: parts.status.as_u16(),
        body: body.to_vec(),
    };
    front.store.keep_answer(key, &answer, front.clock.now()).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The right to make the call of one key; a second one meanwhile is refused.
struct Turn<'a> {
    under_way: &'a Mutex<HashSet<String>>,
    key: String,
}

impl<'a> Turn<'a> {
    fn take(under_way: &'a Mutex<HashSet<String>>, key: &str) -> Result<Self, ApiError> {
        let fresh = under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned());
        if fresh {
            Ok(Self {
                under_way,
                key: key.to_owned(),
            })
        } else {
            Err(ApiError::new(
                StatusCode::CONFLICT,
                "idempotency_key_in_use",
                "A call with this Idempotency-Key is under way. Ask again when it has ended.",
            ))
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

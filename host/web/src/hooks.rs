//! Calls of providers and inboxes: turned into a [`Hook`], handed over, answered as told.
//!
//! The work goes on when the caller hangs up: what has been received is received to its commit.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mantle_failpoint::{Point, reach};
use mantle_flow::HookAnswer;
use mantle_model::hook::Hook;

use crate::Front;
use crate::admission::Rank;
use crate::body;
use crate::limits::{HOOK_BYTES_MAX, HOOK_TIME_MAX, INBOX_BYTES_MAX, SHED_RETRY_AFTER};

pub(crate) async fn channel(
    State(front): State<Arc<Front>>,
    Path((plugin, channel)): Path<(String, String)>,
    uri: OriginalUri,
    request: Request<Body>,
) -> Response {
    take(front, plugin, Some(channel), uri, request).await
}

pub(crate) async fn plugin(
    State(front): State<Arc<Front>>,
    Path(plugin): Path<String>,
    uri: OriginalUri,
    request: Request<Body>,
) -> Response {
    take(front, plugin, None, uri, request).await
}

pub(crate) async fn intercom(State(front): State<Arc<Front>>, uri: OriginalUri, request: Request<Body>) -> Response {
    match *request.method() {
        // Intercom tries the address with HEAD when somebody enters it.
        Method::HEAD => return StatusCode::OK.into_response(),
        Method::POST => {}
        _ => {
            let allow = [(header::ALLOW, "POST, HEAD")];
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                allow,
                "Intercom's webhooks come by POST.\n",
            )
                .into_response();
        }
    }
    // Its notifications come twice at most, and a sweep finds what was missed: they go before what would be lost.
    let Some(mut place) = front
        .admission
        .enter(Rank::Middle, announced(&request, INBOX_BYTES_MAX))
    else {
        front.desk.shed_intercom("overload");
        // Never 429: Intercom takes it for a wish to be left alone for up to two hours.
        return shed(StatusCode::SERVICE_UNAVAILABLE);
    };
    let hook = match read(&front, uri, request, INBOX_BYTES_MAX).await {
        Ok(hook) => hook,
        Err(refusal) => return refusal,
    };
    place.settle(hook.body.len());
    let desk = Arc::clone(&front.desk);
    detached(&front, async move {
        let answer = desk.intercom(hook).await;
        drop(place);
        answer
    })
    .await
}

pub(crate) async fn unknown_inbox(Path(inbox): Path<String>) -> Response {
    let text = match inbox.as_str() {
        "hubspot" => "HubSpot is not part of this build yet. Intercom's webhooks go to /inbox/intercom.\n",
        _ => "There is no such inbox. Intercom's webhooks go to /inbox/intercom.\n",
    };
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn take(
    front: Arc<Front>,
    plugin: String,
    channel: Option<String>,
    uri: OriginalUri,
    request: Request<Body>,
) -> Response {
    let habit = front.desk.overload(&plugin);
    let rank = Rank::of(habit.as_ref(), uri.query().unwrap_or_default());
    let Some(mut place) = front.admission.enter(rank, announced(&request, HOOK_BYTES_MAX)) else {
        front.desk.shed(channel.as_deref(), "overload");
        let bearable = habit.is_some_and(|habit| habit.too_many_requests);
        return shed(if bearable {
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        });
    };
    let hook = match read(&front, uri, request, HOOK_BYTES_MAX).await {
        Ok(hook) => hook,
        Err(refusal) => return refusal,
    };
    place.settle(hook.body.len());
    let desk = Arc::clone(&front.desk);
    detached(&front, async move {
        let answer = desk.hook(&plugin, channel.as_deref(), hook).await;
        // The place is held until the work is done, whether or not the caller still waits.
        drop(place);
        answer
    })
    .await
}

/// The length that the caller announces, else the most that is read.
fn announced(request: &Request<Body>, bytes_max: usize) -> usize {
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    told.unwrap_or(bytes_max).min(bytes_max)
}

/// Too much at once: nothing of the body was read.
fn shed(status: StatusCode) -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("close")),
        (header::RETRY_AFTER, HeaderValue::from(SHED_RETRY_AFTER.as_secs())),
    ];
    (status, headers, "Too many hooks at once. Come again.\n").into_response()
}

/// The request as the provider made it, byte for byte where signatures reach.
async fn read(
    front: &Front,
    OriginalUri(uri): OriginalUri,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<Hook, Response> {
    let received_at = front.clock.now();
    let (parts, body) = request.into_parts();
    let body = body::read(body, bytes_max).await.map_err(|error| {
        // The rest of the body may still be on its way: the connection is of no more use.
        let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
        (error.status(), close, format!("{error}\n")).into_response()
    })?;
    Ok(Hook {
        method: parts.method.as_str().to_ascii_uppercase(),
        path_and_query: uri.path_and_query().map_or("/", |all| all.as_str()).to_owned(),
        headers: header_lines(&parts.headers),
        body: body.into(),
        received_at,
    })
}

/// Names are in lower case already; values that are not UTF-8 are left out.
fn header_lines(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        })
        .collect()
}

async fn detached(front: &Front, work: impl Future<Output = HookAnswer> + Send + 'static) -> Response {
    let whole = async move {
        reach(Point::HookRead).await;
        let answer = work.await;
        reach(Point::HookKept).await;
        answer
    };
    // Dropping the handle leaves the task at work.
    match tokio::time::timeout(HOOK_TIME_MAX, front.tasks.spawn(whole)).await {
        Ok(Ok(answer)) => respond(answer),
        Err(_) => {
            tracing::warn!("A hook is not stored after {HOOK_TIME_MAX:?}; its sender is asked to come again");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The hook is not stored yet. Come again.\n",
            )
                .into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "Receiving a hook crashed; the sender will come again");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn respond(told: HookAnswer) -> Response {
    let answer = told.answer;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    match answer.content_type.and_then(|kind| HeaderValue::try_from(kind).ok()) {
        Some(kind) => headers.insert(header::CONTENT_TYPE, kind),
        None => headers.remove(header::CONTENT_TYPE),
    };
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(after) = told.retry_after {
        // Rounded up: coming a moment too early costs another refusal.
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(after.as_millis().div_ceil(1000) as u64),
        );
    }
    response
}

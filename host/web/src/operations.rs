//! Health, metrics, and the page that says what this is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Front;
use crate::limits::PULSE_AGE_MAX;

/// Whether the host can keep what it is given: the outcome of the latest write to the disk.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<(Instant, Result<(), String>)>>);

impl Pulse {
    /// Called every few seconds with the outcome of a committed write.
    pub fn beat(&self, outcome: Result<(), String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), outcome));
    }

    fn problem(&self) -> Option<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Some("Nothing has been written yet.".to_owned()),
            Some((_, Err(problem))) => Some(problem.clone()),
            Some((at, Ok(()))) if at.elapsed() > PULSE_AGE_MAX => {
                Some(format!("The last write was {} s ago.", at.elapsed().as_secs()))
            }
            Some((_, Ok(()))) => None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// `ok`, or what is wrong.
    store: String,
    /// Events taken in and not yet passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
    /// `applied`, or `refused`: the file on disk has problems and the host runs on with an earlier one.
    configuration: &'static str,
    /// Names of enabled plugins that are not loaded.
    plugins_refused: Vec<String>,
    version: &'static str,
}

/// The process answers; nothing more is promised.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Ready is who can keep a message: a refused plugin or a bad file does not turn traffic away.
pub(crate) async fn readyz(State(front): State<Arc<Front>>) -> Response {
    let backlog = front.store.backlog().await;
    let problem = front.pulse.problem().or_else(|| {
        backlog
            .as_ref()
            .err()
            .map(|_| "The database cannot be read.".to_owned())
    });
    let readiness = Readiness {
        ready: problem.is_none(),
        store: problem.unwrap_or_else(|| "ok".to_owned()),
        backlog: backlog.ok(),
        configuration: if front.desk.configuration().problems.is_empty() {
            "applied"
        } else {
            "refused"
        },
        plugins_refused: front
            .desk
            .plugins()
            .await
            .into_iter()
            .filter(|plugin| plugin.state == "refused")
            .map(|plugin| plugin.name)
            .collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    (status, uncached, Json(readiness)).into_response()
}

pub(crate) async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &front.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

const STYLE: &str = "body{font:16px/1.6 system-ui,sans-serif;max-width:38rem;margin:12vh auto;padding:0 1.5rem;\
color:#1c2430;background:#fbfbf9}h1{font-size:1.6rem;margin-bottom:.2rem}p{margin:.6rem 0}a{color:#0b62a3}\
code{background:#eef0ee;padding:.1rem .3rem;border-radius:.25rem}small{color:#5b6472}\
@media(prefers-color-scheme:dark){body{color:#e6e8ea;background:#14181d}a{color:#7cc0f5}code{background:#232a31}}";

pub(crate) async fn page() -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Mantle</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head><body><main>\
         <h1>Mantle</h1><p><small>version {}</small></p>\
         <p>This host carries messages between messaging channels and an inbox, both ways. It is running.</p>\
         <p>Programs talk to it through <code>/api/v1</code>, described in <a href=\"/api/v1/openapi.json\">\
         openapi.json</a>. The same is on the command line: <code>mantle --help</code>.</p>\
         <p><a href=\"/readyz\">Readiness</a> · <a href=\"/metrics\">Metrics</a></p></main></body></html>",
        env!("CARGO_PKG_VERSION"),
    );
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(crate) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "There is nothing at this address.\n").into_response()
}

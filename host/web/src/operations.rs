//! Health, metrics, and the page that says what this is.

use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::limits::{ALIVE_AGE_MAX, BACKLOG_TIME_MAX, DISK_RESERVE_BYTES, PULSE_AGE_MAX};

/// Whether the host is at work and can keep what it is given. Written by the host every other second.
#[derive(Debug, Default)]
pub struct Pulse {
    state: Mutex<Vital>,
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Vital {
    /// When the latest small write came back, well or not: the writer's thread lives.
    answered: Option<Instant>,
    /// When it was last on disk.
    committed: Option<Instant>,
    /// What the latest one was refused for.
    problem: Option<String>,
    /// When the worker last looked for work.
    worked: Option<Instant>,
    /// Left on the disk of the data folder.
    disk_free: Option<u64>,
}

/// What one beat found.
#[derive(Debug)]
pub struct Beat {
    /// The outcome of a small committed write.
    pub written: Result<(), String>,
    /// When the worker last looked for work.
    pub worked: Instant,
    /// Bytes left on the disk of the data folder; None: the system does not tell.
    pub disk_free: Option<u64>,
}

impl Pulse {
    /// Called every few seconds.
    pub fn beat(&self, beat: Beat) {
        let now = Instant::now();
        let mut state = self.state();
        state.answered = Some(now);
        state.worked = Some(beat.worked);
        state.disk_free = beat.disk_free;
        match beat.written {
            Ok(()) => {
                state.committed = Some(now);
                state.problem = None;
            }
            Err(problem) => state.problem = Some(problem),
        }
    }

    /// The host has been told to stop: whoever balances load should look elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Vital> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the process should be started again; None: it lives. A host that has just begun lives too.
    fn dead(&self) -> Option<String> {
        let state = self.state();
        let late = |at: Option<Instant>| at.map(|at| at.elapsed()).filter(|age| *age > ALIVE_AGE_MAX);
        if let Some(age) = late(state.answered) {
            return Some(format!(
                "The writer of the database has not answered for {} s.",
                age.as_secs()
            ));
        }
        late(state.worked).map(|age| format!("The worker has not looked for work for {} s.", age.as_secs()))
    }

    /// Why no message should be sent here now.
    fn problem(&self) -> Option<String> {
        if self.draining() {
            return Some("The host is stopping.".to_owned());
        }
        let state = self.state();
        if let Some(problem) = &state.problem {
            return Some(problem.clone());
        }
        match state.committed {
            None => return Some("Nothing has been written yet.".to_owned()),
            Some(at) if at.elapsed() > PULSE_AGE_MAX => {
                return Some(format!("The last write was {} s ago.", at.elapsed().as_secs()));
            }
            Some(_) => {}
        }
        let free = state.disk_free.filter(|free| *free < DISK_RESERVE_BYTES)?;
        Some(format!(
            "The disk of the data folder has {free} bytes left, less than the reserve of {DISK_RESERVE_BYTES}."
        ))
    }
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// `ok`, or what is wrong.
    store: String,
    /// Told to stop: what is under way ends, nothing new is taken.
    draining: bool,
    /// Events taken in and not yet passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<u64>,
    /// Bytes left on the disk of the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
    /// `applied`, or `refused`: the file on disk has problems and the host runs on with an earlier one.
    configuration: &'static str,
    /// Names of enabled plugins that are not loaded.
    plugins_refused: Vec<String>,
    version: &'static str,
}

/// The process answers, its writer and its worker move: otherwise only a new start helps. A full disk or a database
/// that is away is no reason to be started again; that is what readiness is for.
pub(crate) async fn livez(State(front): State<Arc<Front>>) -> Response {
    match front.pulse.dead() {
        None => "ok\n".into_response(),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

/// Ready is who can keep a message: a refused plugin or a bad file does not turn traffic away.
pub(crate) async fn readyz(State(front): State<Arc<Front>>) -> Response {
    // Whoever asks must not wait for a database that is held up.
    let counted = tokio::time::timeout(BACKLOG_TIME_MAX, front.store.backlog()).await;
    let backlog = counted.ok().and_then(Result::ok);
    let unread = backlog.is_none().then(|| "The database cannot be read.".to_owned());
    let problem = front.pulse.problem().or(unread);
    let disk_free_bytes = front.pulse.state().disk_free;
    let readiness = Readiness {
        ready: problem.is_none(),
        store: problem.unwrap_or_else(|| "ok".to_owned()),
        draining: front.pulse.draining(),
        backlog,
        disk_free_bytes,
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
    front.figures.refresh(&front).await;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn beat(written: Result<(), String>) -> Beat {
        Beat {
            written,
            worked: Instant::now(),
            disk_free: Some(u64::MAX),
        }
    }

    #[test]
    fn p_8_a_host_is_ready_from_its_first_write_until_it_is_told_to_stop() {
        let pulse = Pulse::default();
        assert!(pulse.problem().is_some(), "nothing has been written");
        assert!(pulse.dead().is_none(), "a host that begins lives");
        pulse.beat(beat(Ok(())));
        assert_eq!(pulse.problem(), None);
        pulse.drain();
        assert_eq!(pulse.problem().as_deref(), Some("The host is stopping."));
        assert!(pulse.dead().is_none(), "a host that drains lives");
    }

    #[test]
    fn a_10_a_disk_without_room_makes_unready_and_not_dead() {
        let pulse = Pulse::default();
        pulse.beat(beat(Ok(())));
        pulse.beat(Beat {
            disk_free: Some(DISK_RESERVE_BYTES - 1),
            ..beat(Ok(()))
        });
        assert!(pulse.problem().is_some_and(|problem| problem.contains("reserve")));
        pulse.beat(beat(Err("A write failed.".to_owned())));
        assert_eq!(pulse.problem().as_deref(), Some("A write failed."));
        assert!(pulse.dead().is_none());
        pulse.beat(beat(Ok(())));
        assert_eq!(pulse.problem(), None);
    }

    #[test]
    fn a_writer_or_worker_that_stands_still_is_dead() {
        let Some(long_ago) = Instant::now().checked_sub(ALIVE_AGE_MAX + Duration::from_secs(1)) else {
            return;
        };
        let pulse = Pulse::default();
        pulse.beat(Beat {
            worked: long_ago,
            ..beat(Ok(()))
        });
        assert!(pulse.dead().is_some_and(|problem| problem.contains("worker")));
        pulse.beat(beat(Ok(())));
        pulse.state().answered = Some(long_ago);
        assert!(pulse.dead().is_some_and(|problem| problem.contains("writer")));
    }
}

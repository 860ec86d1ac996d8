//! The page: phone left, inbox right, switches for faults, a ledger at the foot.
//!
//! One embedded file of HTML, CSS and JavaScript. The script puts every foreign word in as text, never as markup;
//! the policy in the header forbids everything else. Listens on loopback only.

mod state;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, stream};
use mantle_world::{Fault, Faults, File, Webhooks};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stage::{Channel, Stage};
use crate::tell;
use state::Shelf;

/// Files on their way to the stand-ins, as base64, in bytes.
const BODY_MAX: usize = 80 << 20;
/// How late a webhook is when that switch is on.
const LATE: Duration = Duration::from_secs(4);

const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob:; \
                      media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
pub(crate) struct Desk {
    stage: Stage,
    shelf: Arc<Shelf>,
}

/// Serves until Ctrl-C.
pub async fn serve(stage: Stage, port: u16, open: bool) -> anyhow::Result<()> {
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("opening a port for the page")?,
    };
    let address = listener.local_addr()?;
    let desk = Desk {
        stage,
        shelf: Arc::default(),
    };
    let routes = Router::new()
        .route("/", get(index))
        .route("/state", get(show))
        .route("/events", get(events))
        .route("/file/{id}", get(file))
        .route("/phone/{channel}", post(customer))
        .route("/inbox/{conversation}", post(teammate))
        .route("/faults", post(switch))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(desk);
    let url = format!("http://{address}/");
    tell::title(&format!("Ready: {url}"));
    tell::note("Write on the phone, answer in the inbox. Ctrl-C ends everything.");
    if open {
        open_browser(&url);
    }
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        served = axum::serve(listener, routes) => served.context("serving the page"),
        () = interrupted => Ok(()),
    }
}

fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if std::process::Command::new(program).arg(url).spawn().is_err() {
        tell::note(&format!("`{program}` is not there: open the address yourself"));
    }
}

async fn index() -> Response {
    let headers = [(HeaderName::from_static("content-security-policy"), POLICY)];
    (headers, Html(include_str!("page/page.html"))).into_response()
}

async fn show(State(desk): State<Desk>) -> Json<Value> {
    Json(state::describe(&desk.stage, &desk.shelf))
}

/// One event for each change; the page then asks for the state.
async fn events(State(desk): State<Desk>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = desk.stage.world().scene().changes();
    let stream = stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        let count = *changes.borrow_and_update();
        Some((Ok(Event::default().data(count.to_string())), changes))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

async fn file(State(desk): State<Desk>, Path(id): Path<String>) -> Response {
    let Some(file) = desk.shelf.get(&id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    const SHOWN: [&str; 8] = [
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "audio/ogg",
        "audio/mpeg",
        "audio/mp4",
        "video/mp4",
    ];
    let base = file.content_type.split(';').next().unwrap_or("").trim().to_owned();
    let kind = SHOWN
        .iter()
        .find(|known| **known == base)
        .copied()
        .unwrap_or("application/octet-stream");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ];
    (headers, file.bytes).into_response()
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    text: String,
    #[serde(default)]
    files: Vec<Picked>,
    /// Inbox only: `reply`, `note`, `close`, `reopen`.
    #[serde(default)]
    act: String,
}

/// A file from the picker, or the name of a sample.
#[derive(Deserialize)]
struct Picked {
    #[serde(default)]
    sample: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    data: String,
}

impl Picked {
    fn read(&self) -> Option<File> {
        if !self.sample.is_empty() {
            return Stage::samples().into_iter().find(|known| known.name == self.sample);
        }
        let bytes = STANDARD.decode(&self.data).ok()?;
        let kind = if self.content_type.is_empty() {
            "application/octet-stream"
        } else {
            &self.content_type
        };
        Some(File::new(&self.name, kind, bytes))
    }
}

async fn customer(State(desk): State<Desk>, Path(channel): Path<String>, Json(written): Json<Written>) -> Response {
    let Some(channel) = Channel::named(&channel) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(files) = written.files.iter().map(Picked::read).collect::<Option<Vec<_>>>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (first, rest) = files
        .split_first()
        .map_or((None, &files[..]), |(first, rest)| (Some(first), rest));
    if written.text.is_empty() && first.is_none() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let delivered = desk.stage.customer_says(channel, &written.text, first).await;
    for file in rest {
        desk.stage.customer_says(channel, "", Some(file)).await;
    }
    Json(json!({"status": delivered.status, "problem": delivered.problem})).into_response()
}

async fn teammate(
    State(desk): State<Desk>,
    Path(conversation): Path<String>,
    Json(written): Json<Written>,
) -> Response {
    let Some(files) = written.files.iter().map(Picked::read).collect::<Option<Vec<_>>>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let html = state::paragraphs(&written.text);
    let teammate = desk.stage.teammate();
    let replied = match written.act.as_str() {
        "note" => teammate.notes(&conversation, &html).await,
        "close" => {
            if !files.is_empty() {
                teammate.replies(&conversation, "", &files).await;
            }
            teammate.closes(&conversation, &html).await
        }
        "reopen" => teammate.reopens(&conversation).await,
        _ => teammate.replies(&conversation, &html, &files).await,
    };
    let status = replied.delivered.and_then(|delivered| delivered.status);
    Json(json!({"part": replied.part, "status": status})).into_response()
}

#[derive(Deserialize)]
struct Switched {
    provider: String,
    fault: String,
    on: bool,
}

/// Puts a fault on or off. Faults of calls hold until switched off, and only one of them at a time.
async fn switch(State(desk): State<Desk>, Json(switched): Json<Switched>) -> Response {
    let Some((faults, webhooks)) = provider(&desk.stage, &switched.provider) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match switched.fault.as_str() {
        "twice" => webhooks.twice(switched.on),
        "late" => webhooks.late(if switched.on { LATE } else { Duration::ZERO }),
        "reversed" if switched.on => webhooks.hold(),
        "reversed" => {
            webhooks.release(mantle_world::Order::Reversed).await;
        }
        "media" => {
            faults.clear();
            if switched.on {
                for operation in ["file", "download", "cdn"] {
                    faults.always_on(operation, Fault::Refuse(503));
                }
            }
        }
        name => {
            let Some(fault) = Fault::named(name) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            faults.clear();
            if switched.on {
                faults.always(fault);
            }
        }
    }
    desk.shelf.set_switch(&switched.provider, &switched.fault, switched.on);
    desk.stage.world().scene().set_clock(None);
    StatusCode::NO_CONTENT.into_response()
}

fn provider<'a>(stage: &'a Stage, name: &str) -> Option<(&'a Faults, &'a Webhooks)> {
    let world = stage.world();
    Some(match name {
        "telegram" => (world.telegram.faults(), world.telegram.webhooks()),
        "whatsapp" => (world.whatsapp.faults(), world.whatsapp.webhooks()),
        "sms" => (world.twilio.faults(), world.twilio.webhooks()),
        "intercom" => (world.intercom.faults(), world.intercom.webhooks()),
        _ => return None,
    })
}

//! The least of Intercom that the host is content with: it answers at once and notes when a message came.
//!
//! The stand-in of `mantle-world` checks every call against the documents and keeps a ledger, which costs more than
//! the host's own work. What is right is tested there; here only time counts. One thread, one workspace, no search
//! results, nothing kept but the moments.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::hooks::number_in;

/// How long the host is told to wait while the inbox takes nothing, in seconds: longer than any measurement.
const HOLD_SECONDS: &str = "3600";

/// A running stand-in; it ends when dropped.
pub struct Inbox {
    pub addr: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Takes nothing: every call is answered 429.
    holding: AtomicBool,
    calls: AtomicU64,
    ids: AtomicU64,
    applied: Mutex<HashMap<u64, Applied>>,
    more: Notify,
}

/// When a message came first, and how often it came.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    pub at: Instant,
    pub times: u32,
}

impl Inbox {
    pub fn start() -> Result<Self> {
        let state = Arc::new(State::default());
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("opening a loopback port")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("bench-inbox".to_owned());
        thread
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(listener, serving) => {}
                    }
                });
            })
            .context("starting the inbox's thread")?;
        Ok(Self {
            addr,
            state,
            _stop: stop,
        })
    }

    /// From now on the inbox takes nothing and says so.
    pub fn hold(&self) {
        self.state.holding.store(true, Ordering::Release);
    }

    /// Calls that came in so far.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// Waits until so many messages have come, and answers with all of them by number.
    pub async fn all_applied(&self, count: usize, within: Duration) -> Result<HashMap<u64, Applied>> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let more = self.state.more.notified();
            {
                let applied = self.applied();
                if applied.len() >= count {
                    return Ok(applied.clone());
                }
            }
            if tokio::time::timeout_at(deadline, more).await.is_err() {
                let come = self.applied().len();
                bail!("{come} of {count} messages came to the inbox within {within:?}");
            }
        }
    }

    fn applied(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Applied>> {
        self.state.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request).await) }
            });
            // How the host ends a connection is its own affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let came = Instant::now();
        let held = self.holding.load(Ordering::Acquire);
        let told = if held {
            json!({"type": "error.list", "errors": [{"code": "rate_limit_exceeded", "message": "Exceeded rate limit"}]})
        } else {
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            self.act(&head.method, head.uri.path(), &asked, came)
        };
        let mut answer = Response::new(Full::new(Bytes::from(told.to_string())));
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        if held {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static(HOLD_SECONDS));
            *answer.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        }
        answer
    }

    fn act(&self, method: &Method, path: &str, asked: &Value, came: Instant) -> Value {
        let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
        match (method.as_str(), pieces.as_slice()) {
            ("GET", ["me"]) => json!({"type": "admin", "id": "1", "name": "Bench", "email": "bench@shop.example",
                "has_inbox_seat": true, "app": {"type": "app", "id_code": "bench123", "name": "Bench", "region": "US"}}),
            ("GET", ["admins"]) => {
                json!({"type": "admin.list", "admins": [{"type": "admin", "id": "1", "name": "Bench",
                "email": "bench@shop.example", "has_inbox_seat": true}]})
            }
            ("POST", ["contacts", "search"]) => json!({"type": "list", "data": []}),
            ("POST", ["contacts"]) => {
                json!({"type": "contact", "id": self.id("c"), "role": "lead", "name": asked["name"], "custom_attributes": {}})
            }
            ("POST", ["conversations"]) => {
                self.came(asked, came);
                json!({"type": "user_message", "id": self.id(""), "conversation_id": self.id(""), "body": asked["body"]})
            }
            ("POST", ["conversations", id, "reply"]) => {
                self.came(asked, came);
                let author = json!({"type": "lead", "id": asked["intercom_user_id"]});
                let part = json!({"type": "conversation_part", "id": self.id(""), "part_type": "comment",
                    "body": asked["body"], "created_at": asked["created_at"], "author": author});
                json!({"type": "conversation", "id": id, "created_at": asked["created_at"],
                    "conversation_parts": {"conversation_parts": [part]}})
            }
            ("POST", _) => json!({"id": self.id("")}),
            // Lists of attributes.
            ("GET", _) => json!({"type": "list", "data": []}),
            _ => json!({}),
        }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}{}", 1000 + self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn came(&self, asked: &Value, at: Instant) {
        let Some(number) = asked["body"].as_str().and_then(number_in) else {
            return;
        };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.entry(number).or_insert(Applied { at, times: 0 }).times += 1;
        drop(applied);
        self.more.notify_waiters();
    }
}

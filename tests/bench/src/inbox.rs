//! The least of Intercom that the host is content with: it answers at once and notes when a message came.
//!
//! The stand-in of `mantle-world` checks every call against the documents and keeps a ledger, which costs more than
//! the host's own work. What is right is tested there; here only time counts. One thread, one workspace, one door for
//! each host. It remembers what a host may look for after a crash: conversations and their parts.

mod desk;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::desk::Desk;
use crate::cpu;
use crate::hooks::number_in;

/// How long the host is told to wait while the inbox takes nothing, in seconds: longer than any measurement.
const HOLD_SECONDS: &str = "3600";
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running stand-in; it ends when dropped.
pub struct Inbox {
    addrs: Vec<SocketAddr>,
    state: Arc<State>,
    /// Where the CPU time of its thread is told.
    thread: PathBuf,
    _stop: oneshot::Sender<()>,
}

/// How calls are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Open,
    /// 429, and not before an hour.
    Holding,
    /// 503: an outage.
    Away,
}

struct State {
    mood: AtomicU8,
    calls: AtomicU64,
    doors: Vec<Door>,
    desk: Mutex<Desk>,
    book: Mutex<Book>,
}

/// Where one host calls.
#[derive(Default)]
struct Door {
    /// Messages are read and neither kept nor answered.
    stalled: AtomicBool,
    /// Numbers of the messages that stand there.
    waiting: Mutex<HashSet<u64>>,
}

/// What came.
#[derive(Default)]
struct Book {
    applied: HashMap<u64, Applied>,
    /// Numbers in the order in which they came first.
    order: Vec<u64>,
}

/// When a message came first, and how often it came.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    pub at: Instant,
    pub times: u32,
    /// How many other messages had come before it.
    pub place: u64,
    /// By which host's door.
    pub door: usize,
    /// When the connection that brought it was opened.
    pub connected: Instant,
}

impl Inbox {
    /// With so many doors, one for each host.
    pub fn start(doors: usize) -> Result<Self> {
        let state = Arc::new(State {
            mood: AtomicU8::new(Mood::Open as u8),
            calls: AtomicU64::new(0),
            doors: (0..doors).map(|_| Door::default()).collect(),
            desk: Mutex::default(),
            book: Mutex::default(),
        });
        let mut listeners = Vec::with_capacity(doors);
        for _ in 0..doors {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("opening a loopback port")?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        let addrs = listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<std::io::Result<_>>()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (begun, thread_is) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = Arc::clone(&state);
        let work = move || {
            // Whoever asked for it waits for this.
            let _ = begun.send(cpu::own_thread());
            runtime.block_on(async move {
                for (door, listener) in listeners.into_iter().enumerate() {
                    tokio::spawn(serve(listener, door, Arc::clone(&serving)));
                }
                let _ = stopped.await;
            });
        };
        let thread = std::thread::Builder::new().name("bench-inbox".to_owned());
        thread.spawn(work).context("starting the inbox's thread")?;
        Ok(Self {
            addrs,
            state,
            thread: thread_is.recv().context("the inbox's thread broke off")??,
            _stop: stop,
        })
    }

    /// Where the host of this number calls.
    pub fn addr(&self, host: usize) -> Option<SocketAddr> {
        self.addrs.get(host).copied()
    }

    /// From now on the inbox takes nothing and says that it is too much.
    pub fn hold(&self) {
        self.state.mood.store(Mood::Holding as u8, Ordering::Release);
    }

    /// From now on it fails.
    pub fn go_away(&self) {
        self.state.mood.store(Mood::Away as u8, Ordering::Release);
    }

    /// From now on it works again.
    pub fn come_back(&self) {
        self.state.mood.store(Mood::Open as u8, Ordering::Release);
    }

    /// From now on this host's messages stand at the door: they are not applied, and nobody tells.
    pub fn stall(&self, host: usize) {
        if let Some(door) = self.state.doors.get(host) {
            door.stalled.store(true, Ordering::Release);
        }
    }

    /// Numbers of the messages that stand there.
    pub fn stalled(&self, host: usize) -> HashSet<u64> {
        let door = self.state.doors.get(host);
        door.map(|door| locked(&door.waiting).clone()).unwrap_or_default()
    }

    /// Calls that came in so far.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// CPU time of its thread.
    pub fn cpu(&self) -> Duration {
        cpu::of_thread(&self.thread).unwrap_or_default()
    }

    /// What has come so far, by number.
    pub fn applied(&self) -> HashMap<u64, Applied> {
        locked(&self.state.book).applied.clone()
    }

    /// Waits until so many messages have come, and answers with all of them by number.
    pub async fn all_applied(&self, count: usize, within: Duration) -> Result<HashMap<u64, Applied>> {
        let mut come = 0;
        let counted = |_, _: &Applied| {
            come += 1;
            come >= count
        };
        ensure!(
            count == 0 || self.watch(within, counted).await.is_some(),
            "{} of {count} messages came to the inbox within {within:?}",
            self.applied().len()
        );
        Ok(self.applied())
    }

    /// Waits until all of these have come.
    pub async fn all_of(&self, mut numbers: HashSet<u64>, within: Duration) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let seen = |number, _: &Applied| {
            numbers.remove(&number);
            numbers.is_empty()
        };
        let come = self.watch(within, seen).await.is_some();
        ensure!(come, "not all messages came to the inbox within {within:?}");
        Ok(())
    }

    /// Shows all messages in the order in which they came first, those to come too, until one is the one that is
    /// waited for. How soon it looks does not matter: when a message came was noted as it came.
    pub async fn watch(&self, within: Duration, mut is_it: impl FnMut(u64, &Applied) -> bool) -> Option<Applied> {
        let deadline = Instant::now() + within;
        let mut seen = 0;
        loop {
            {
                let book = locked(&self.state.book);
                while let Some(number) = book.order.get(seen) {
                    seen += 1;
                    if let Some(applied) = book.applied.get(number).filter(|applied| is_it(*number, applied)) {
                        return Some(*applied);
                    }
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Nothing that holds one of these locks can panic half-way through a change.
fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a call came in.
#[derive(Debug, Clone, Copy)]
struct Way {
    door: usize,
    connected: Instant,
}

async fn serve(listener: std::net::TcpListener, door: usize, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let way = Way {
            door,
            connected: Instant::now(),
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.answer(request, way).await) }
            });
            // How the host ends a connection is its own affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>, way: Way) -> Response<Full<Bytes>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let came = Instant::now();
        let mood = self.mood.load(Ordering::Acquire);
        if mood == Mood::Holding as u8 {
            let told = error("rate_limit_exceeded", "Exceeded rate limit");
            let mut answer = respond(StatusCode::TOO_MANY_REQUESTS, &told);
            let wait = header::HeaderValue::from_static(HOLD_SECONDS);
            answer.headers_mut().insert(header::RETRY_AFTER, wait);
            return answer;
        }
        if mood == Mood::Away as u8 {
            let told = error(
                "service_unavailable",
                "Sorry, the API service is temporarily unavailable",
            );
            return respond(StatusCode::SERVICE_UNAVAILABLE, &told);
        }
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = asked["body"].as_str().and_then(number_in);
        if let Some(number) = message {
            self.let_in(number, way.door).await;
        }
        let told = locked(&self.desk).act(&head.method, head.uri.path(), &asked);
        if let Some(number) = message {
            self.note(number, came, way);
        }
        respond(StatusCode::OK, &told)
    }

    /// Never returns while the door is stalled: what waits there ends with its connection.
    async fn let_in(&self, number: u64, door: usize) {
        let Some(door) = self.doors.get(door).filter(|door| door.stalled.load(Ordering::Acquire)) else {
            return;
        };
        locked(&door.waiting).insert(number);
        std::future::pending::<()>().await;
    }

    fn note(&self, number: u64, at: Instant, way: Way) {
        let mut book = locked(&self.book);
        if let Some(known) = book.applied.get_mut(&number) {
            known.times += 1;
            return;
        }
        let fresh = Applied {
            at,
            times: 1,
            place: book.order.len() as u64,
            door: way.door,
            connected: way.connected,
        };
        book.applied.insert(number, fresh);
        book.order.push(number);
    }
}

fn error(code: &str, message: &str) -> Value {
    json!({"type": "error.list", "errors": [{"code": code, "message": message}]})
}

fn respond(status: StatusCode, told: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(told.to_string())));
    *answer.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

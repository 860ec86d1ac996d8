//! Calls of providers, as fast as they are answered or at a fixed rate.
//!
//! Connections are kept, one request at a time on each, as a provider's fleet does. At a fixed rate a request counts
//! from the moment at which it was due, not from when a connection was free for it: a host that stalls is charged for
//! all that would have come meanwhile ("coordinated omission" is what leaving that out is called).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::hooks::{SignedHook, Writer};

/// Where and what to send.
#[derive(Debug, Clone)]
pub struct Target {
    pub addr: SocketAddr,
    /// `/hooks/whatsapp/chn_…`
    pub path: String,
    pub writer: Writer,
}

/// How it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// Messages are spread evenly over so many customers.
    pub customers: u64,
    /// The number of the first message.
    pub first: u64,
    pub until: Until,
    /// Requests a second, due evenly; None: each connection sends again when it is answered.
    pub rate: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Until {
    Time(Duration),
    /// So many messages.
    Count(u64),
}

/// One request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub number: u64,
    /// When it was due, or was begun where nothing is due.
    pub begun: Instant,
    pub answered: Instant,
    pub status: u16,
}

/// Runs on a thread of its own; answers when every request has been answered.
///
/// # Errors
/// A connection breaks: the host must not do that to anybody.
pub async fn run(target: Target, plan: Plan) -> Result<Vec<Sample>> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("bench-load".to_owned())
        .spawn(move || {
            // Nobody waits any more: nothing to tell.
            let _ = done.send(on_this_thread(target, plan));
        })
        .context("starting the load's thread")?;
    outcome.await.context("the load's thread broke off")?
}

fn on_this_thread(target: Target, plan: Plan) -> Result<Vec<Sample>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut connections = Vec::with_capacity(plan.connections);
        for _ in 0..plan.connections {
            connections.push(Connection::open(&target).await?);
        }
        let turns = Arc::new(Turns::begin(plan)?);
        let mut senders = JoinSet::new();
        for connection in connections {
            senders.spawn(send(connection, target.writer.clone(), Arc::clone(&turns), plan));
        }
        let mut samples = Vec::new();
        while let Some(sent) = senders.join_next().await {
            samples.extend(sent.context("a sender broke off")??);
        }
        turns.over.store(true, Ordering::Release);
        Ok(samples)
    })
}

/// Who sends what when.
struct Turns {
    begun: Instant,
    next: AtomicU64,
    /// Requests that are due; None: always.
    due: Option<(f64, Arc<Semaphore>)>,
    until: Until,
    over: Arc<AtomicBool>,
}

impl Turns {
    fn begin(plan: Plan) -> Result<Self> {
        let turns = Self {
            begun: Instant::now(),
            next: AtomicU64::new(0),
            due: plan.rate.map(|rate| (rate, Arc::new(Semaphore::new(0)))),
            until: plan.until,
            over: Arc::default(),
        };
        if let Some((rate, due)) = &turns.due {
            ring(turns.begun, *rate, Arc::clone(due), Arc::clone(&turns.over))?;
        }
        Ok(turns)
    }

    /// The next message and when it is due. None: it is over.
    async fn next(&self) -> Option<(u64, Instant)> {
        let Some((rate, due)) = &self.due else {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            return self.goes_on(turn, now).then_some((turn, now));
        };
        due.acquire().await.ok()?.forget();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let at = due_at(self.begun, *rate, turn);
        if self.goes_on(turn, at) {
            return Some((turn, at));
        }
        // Those who wait for a turn that is not to come are let go.
        due.close();
        None
    }

    fn goes_on(&self, turn: u64, at: Instant) -> bool {
        match self.until {
            Until::Time(time) => at.duration_since(self.begun) < time,
            Until::Count(count) => turn < count,
        }
    }
}

fn due_at(begun: Instant, rate: f64, turn: u64) -> Instant {
    #[expect(clippy::cast_precision_loss, reason = "far fewer turns than a float counts")]
    let after = turn as f64 / rate;
    begun + Duration::from_secs_f64(after)
}

/// A thread that sleeps: the timers of the runtime have a grain of a millisecond, which is much beside the figures.
fn ring(begun: Instant, rate: f64, due: Arc<Semaphore>, over: Arc<AtomicBool>) -> Result<()> {
    let ring = move || {
        for turn in 0.. {
            std::thread::sleep(due_at(begun, rate, turn).saturating_duration_since(Instant::now()));
            if over.load(Ordering::Acquire) || due.is_closed() {
                return;
            }
            due.add_permits(1);
        }
    };
    let thread = std::thread::Builder::new().name("bench-due".to_owned());
    thread
        .spawn(ring)
        .map(drop)
        .context("starting the thread that tells what is due")
}

async fn send(mut connection: Connection, writer: Writer, turns: Arc<Turns>, plan: Plan) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while let Some((turn, due)) = turns.next().await {
        let number = plan.first + turn;
        let hook = writer.text(turn % plan.customers, number);
        // Writing the hook is the provider's work; at a fixed rate it counts, as all waiting does.
        let begun = if plan.rate.is_some() { due } else { Instant::now() };
        let status = connection.post(hook).await?;
        samples.push(Sample {
            number,
            begun,
            answered: Instant::now(),
            status,
        });
    }
    Ok(samples)
}

struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.addr).await.context("calling the host")?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told to the request that it ends.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            requests,
            host: target.addr.to_string(),
            path: target.path.clone(),
        })
    }

    async fn post(&mut self, hook: SignedHook) -> Result<u16> {
        let request = Request::post(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "facebookexternalua")
            .header("x-hub-signature-256", hook.signature)
            .body(Full::new(hook.body))?;
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        body.map_err(|error| anyhow!("the answer broke off: {error}"))?;
        Ok(status)
    }
}

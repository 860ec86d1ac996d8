//! Calls of providers, as fast as they are answered or at a fixed rate.
//!
//! Connections are kept, one request at a time on each, as a provider's fleet does. At a fixed rate a request counts
//! from the moment at which it was due, not from when a connection was free for it: a host that stalls is charged for
//! all that would have come meanwhile ("coordinated omission" is what leaving that out is called).

mod connection;
mod turns;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::connection::Connection;
use self::turns::{Turn, Turns};
use crate::cpu;
use crate::hooks::Writer;

/// Between two tries at a host that is not there: short, to see when it is back.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
/// A message that nobody takes for so long has found no host.
const STUBBORN_FOR: Duration = Duration::from_secs(120);

/// Where a host listens now: another address after each start.
#[derive(Debug, Clone)]
pub struct Door(Arc<Mutex<SocketAddr>>);

impl Door {
    pub fn at(addr: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(addr)))
    }

    pub fn addr(&self) -> SocketAddr {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn moved(&self, addr: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addr;
    }
}

/// Where and what to send.
#[derive(Debug, Clone)]
pub struct Target {
    /// Connections are spread evenly over them.
    pub doors: Vec<Door>,
    /// `/hooks/whatsapp/chn_…`
    pub path: String,
    pub writer: Writer,
}

/// How it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// Messages are spread evenly over so many customers …
    pub customers: u64,
    /// … from this one on.
    pub customers_from: u64,
    /// The number of the first message.
    pub first: u64,
    pub until: Until,
    /// Requests a second, due evenly; None: each connection sends again when it is answered.
    pub rate: Option<f64>,
    pub manner: Manner,
}

impl Plan {
    /// A closed loop of an even-tempered provider, customers and messages from 0 on.
    pub fn closed(connections: usize, customers: u64, until: Until) -> Self {
        Self {
            connections,
            customers,
            customers_from: 0,
            first: 0,
            until,
            rate: None,
            manner: Manner::Once,
        }
    }

    /// The customers that this many are rounded up to where each belongs to one connection.
    pub fn whole(customers: u64, connections: usize) -> u64 {
        let connections = connections.max(1) as u64;
        customers.max(1).div_ceil(connections) * connections
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Until {
    Time(Duration),
    /// So many messages.
    Count(u64),
    /// Until [`Load::stop`].
    Told,
}

/// What a provider does about order and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Whichever connection is free sends what is due, once.
    Once,
    /// As `Once`; a connection that breaks is a refusal, of status 0.
    Rough,
    /// As `Once`, but all that one customer writes goes over one connection, so one after the other.
    InOrder,
    /// As `InOrder`, and what is not answered 200 is sent again until it is, whatever becomes of connection and host.
    Stubborn,
}

/// One request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub number: u64,
    pub customer: u64,
    /// When it was due, or was begun where nothing is due.
    pub begun: Instant,
    /// When it left for the last time.
    pub left: Instant,
    pub answered: Instant,
    pub status: u16,
}

impl Sample {
    pub fn is_good(&self) -> bool {
        self.status == 200
    }

    pub fn took(&self) -> Duration {
        self.answered.saturating_duration_since(self.begun)
    }
}

/// All that was sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub samples: Vec<Sample>,
    /// CPU time of the load's thread.
    pub cpu: Duration,
}

impl Sent {
    pub fn good(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.is_good())
    }

    /// How long each good one took.
    pub fn took(&self) -> Vec<Duration> {
        self.good().map(Sample::took).collect()
    }

    /// From the first request to the last answer, in seconds.
    pub fn seconds(&self) -> f64 {
        let first = self.samples.iter().map(|sample| sample.begun).min();
        let last = self.samples.iter().map(|sample| sample.answered).max();
        first
            .zip(last)
            .map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64())
    }
}

/// A load under way.
pub struct Load {
    over: Arc<AtomicBool>,
    outcome: oneshot::Receiver<Result<Sent>>,
}

/// Begins on a thread of its own; answers when all connections are open.
///
/// # Errors
/// There is no thread for it, or nobody listens.
pub async fn start(target: Target, plan: Plan) -> Result<Load> {
    if matches!(plan.manner, Manner::InOrder | Manner::Stubborn) {
        ensure!(
            plan.customers.is_multiple_of(plan.connections as u64),
            "{} customers cannot be spread over {} connections",
            plan.customers,
            plan.connections
        );
    }
    let (done, outcome) = oneshot::channel();
    let (begins, begun) = oneshot::channel();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    std::thread::Builder::new()
        .name("bench-load".to_owned())
        .spawn(move || {
            // Nobody waits any more: nothing to tell.
            let _ = done.send(on_this_thread(&target, plan, told, begins));
        })
        .context("starting the load's thread")?;
    let load = Load { over, outcome };
    match begun.await {
        Ok(()) => Ok(load),
        Err(_) => Err(load
            .done()
            .await
            .err()
            .unwrap_or_else(|| anyhow!("the load did not begin"))),
    }
}

impl Load {
    /// Waits until every request has been answered.
    ///
    /// # Errors
    /// A connection breaks where the provider is not a stubborn one: the host must not do that to anybody.
    pub async fn done(self) -> Result<Sent> {
        self.outcome.await.context("the load's thread broke off")?
    }

    /// No more requests; waits for the answers of those under way.
    ///
    /// # Errors
    /// As [`Load::done`].
    pub async fn stop(self) -> Result<Sent> {
        self.over.store(true, Ordering::Release);
        self.done().await
    }
}

/// From beginning to end.
///
/// # Errors
/// As [`Load::done`].
pub async fn run(target: Target, plan: Plan) -> Result<Sent> {
    start(target, plan).await?.done().await
}

fn on_this_thread(target: &Target, plan: Plan, over: Arc<AtomicBool>, begins: oneshot::Sender<()>) -> Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let samples = runtime.block_on(async move {
        let mut connections = Vec::with_capacity(plan.connections);
        for place in 0..plan.connections {
            let door = target.doors.get(place % target.doors.len().max(1));
            let door = door.context("a load without a host")?.clone();
            connections.push(Connection::open(door, target.path.clone()).await?);
        }
        let turns = Arc::new(Turns::begin(plan, Arc::clone(&over))?);
        // Who does not wait for it does not want to know.
        let _ = begins.send(());
        let mut senders = JoinSet::new();
        for (place, connection) in connections.into_iter().enumerate() {
            let sender = Sender {
                connection,
                place,
                writer: target.writer.clone(),
                turns: Arc::clone(&turns),
                plan,
            };
            senders.spawn(sender.send());
        }
        let mut samples = Vec::new();
        while let Some(sent) = senders.join_next().await {
            samples.extend(sent.context("a sender broke off")??);
        }
        over.store(true, Ordering::Release);
        anyhow::Ok(samples)
    })?;
    Ok(Sent {
        samples,
        cpu: cpu::of_own_thread(),
    })
}

/// One connection with what it sends.
struct Sender {
    connection: Connection,
    place: usize,
    writer: Writer,
    turns: Arc<Turns>,
    plan: Plan,
}

impl Sender {
    async fn send(mut self) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        while let Some(turn) = self.turns.next(self.place).await {
            let sample = self.one(turn).await?;
            samples.push(sample);
        }
        Ok(samples)
    }

    async fn one(&mut self, turn: Turn) -> Result<Sample> {
        let plan = self.plan;
        let (number, customer) = (
            plan.first + turn.number,
            plan.customers_from + turn.number % plan.customers,
        );
        let hook = self.writer.write(customer, number);
        // Writing the hook is the provider's work; at a fixed rate it counts, as all waiting does.
        let begun = if plan.rate.is_some() { turn.due } else { Instant::now() };
        let gives_up = Instant::now() + STUBBORN_FOR;
        let (status, left) = loop {
            let left = Instant::now();
            let status = self.connection.post(&hook).await;
            match status {
                Ok(200) => break (200, left),
                told if plan.manner == Manner::Rough => break (told.unwrap_or_default(), left),
                told if plan.manner != Manner::Stubborn => break (told?, left),
                told => ensure!(
                    Instant::now() < gives_up,
                    "message {number} was not taken within {STUBBORN_FOR:?}: {told:?}"
                ),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        };
        Ok(Sample {
            number,
            customer,
            begun,
            left,
            answered: Instant::now(),
            status,
        })
    }
}

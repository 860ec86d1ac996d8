//! The one writer: a thread that owns the only write connection and commits in groups.
//!
//! It takes everything that is queued, runs it in one transaction, commits, and only then answers. Under load the groups
//! grow by themselves, and before a server a little more ([`COMPANY_WAIT_MAX`]); at rest a job costs one sync of the disk.
//! Hooks and what workers learnt, which is nearly all there is, go in as few statements for a group as for one job
//! ([`work`]). A job that fails takes nobody with it: the group is rolled back and run again with a savepoint per job.
//! No transaction lives in a future that a caller could drop: callers hold the end of a channel, no more.
//!
//! On PostgreSQL other hosts write at the same time. Each job names what it touches, and a group locks all of that
//! in one order before its first row, so that two groups wait for one another but never in a circle.

mod group;
#[cfg(test)]
mod tests;
mod work;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use self::group::Line;
pub(super) use self::group::{Database, Server};
use self::work::{Answer, Grouped, Task, Waiting, Work};
use super::Context;
use super::accept::Taken;
use super::claims::Claims;
use super::commit::Learnt;
use super::known::Waits;
use super::touch::Touch;
use crate::intake::Accepted;
use crate::sql::Connection;
use crate::{Commit, StoreError};

/// Jobs of one commit.
const BATCH_JOBS_MAX: usize = 512;
/// Bytes of one commit; a group may exceed it by its last job.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Jobs waiting for the writer: several groups, so that it never runs dry.
const QUEUE_JOBS_MAX: usize = 4096;
/// Bytes waiting for the writer: bounds the memory when the disk stalls.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A server is asked a dozen questions for a group, however many jobs are in it, and hosts, server and whoever calls them
/// share its processors: under load a group waits for others to join it, as long as the one before took and no longer than
/// this. A group of a few jobs is no load, and whoever writes alone waits for nobody.
const COMPANY_WAIT_MAX: Duration = Duration::from_millis(8);
/// Jobs of a group from which the next one waits.
const COMPANY_FROM: usize = 4;
/// Jobs that are company enough: more would make it hardly cheaper.
const COMPANY: usize = 64;
/// How often a waiting group looks whether there are enough.
const COMPANY_LOOK: Duration = Duration::from_millis(1);

/// How old a job may grow in the queue before it is answered [`StoreError::Busy`] instead of being written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// Somebody outside waits for an answer and comes again: 2 s.
    Sender,
    /// What a worker learnt from the outside, which is worth more than being quick: 30 s, as long as a claim
    /// lives without a heartbeat.
    Worker,
    #[cfg(test)]
    Exactly(Duration),
}

impl Patience {
    fn span(self) -> Duration {
        match self {
            Self::Sender => Duration::from_secs(2),
            Self::Worker => Duration::from_secs(30),
            #[cfg(test)]
            Self::Exactly(span) => span,
        }
    }
}

/// On what terms a job is written.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    patience: Patience,
    bytes: usize,
    touches: Vec<Touch>,
    wakes: bool,
}

impl Terms {
    pub(super) fn sender() -> Self {
        Self::of(Patience::Sender)
    }

    pub(super) fn worker() -> Self {
        Self::of(Patience::Worker)
    }

    pub(super) fn of(patience: Patience) -> Self {
        Self {
            patience,
            bytes: 0,
            touches: Vec::new(),
            wakes: false,
        }
    }

    /// What the job weighs in memory.
    pub(super) fn weighing(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// What no other host may change meanwhile.
    pub(super) fn touching(self, touches: Vec<Touch>) -> Self {
        Self { touches, ..self }
    }

    /// Whether lanes may be ready after it: told to the other hosts.
    pub(super) fn waking(self, wakes: bool) -> Self {
        Self { wakes, ..self }
    }
}

/// After so many groups the log is moved into the database as soon as nobody waits, so that SQLite need not do it
/// in the middle of a commit: its own limit of 1,000 pages is some hundred groups away.
const CHECKPOINT_AFTER: u32 = 64;
/// Nobody waits: no job has come for so long.
const IDLE: Duration = Duration::from_millis(200);

/// Is told of every group.
pub(super) type Watcher = Box<dyn Fn(Commit) + Send + Sync>;

pub(super) struct Writer {
    queue: Option<mpsc::Sender<Queued>>,
    bytes: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
    watcher: Arc<OnceLock<Watcher>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Returns when the writer has its connection.
    pub(super) async fn start(on: Database, context: Context, claims: Arc<Claims>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let full = Arc::new(AtomicBool::new(false));
        let watcher = Arc::new(OnceLock::new());
        let watched = Watched {
            watcher: Arc::clone(&watcher),
            bytes: Arc::clone(&bytes),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, connected) = oneshot::channel();
        // A connection to a server lives by the runtime that made it: it is made on the writer's own, which nobody
        // who waits for the writer can hold up.
        let told = Arc::clone(&full);
        let work = async move || match Line::open(on, (context, claims), told, watched).await {
            Ok(line) => {
                // Whoever opens may have gone; then the queue is closed too.
                let _ = ready.send(Ok(()));
                run(line, jobs).await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new()
            .name("mantle-writer".to_owned())
            .spawn(move || runtime.block_on(work()))?;
        connected.await.map_err(|_| closed())??;
        Ok(Self {
            queue: Some(queue),
            bytes,
            full,
            watcher,
            thread: Some(thread),
        })
    }

    /// Whether the disk has no room: nothing new is taken in, and nothing new should be begun.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Has every group told, from now on. The first to ask is told.
    pub(super) fn watch(&self, watcher: Watcher) {
        let _ = self.watcher.set(watcher);
    }

    /// Whether nothing waits.
    pub(super) fn idle(&self) -> bool {
        self.queue
            .as_ref()
            .is_some_and(|queue| queue.capacity() == queue.max_capacity())
    }

    /// Runs `apply` in the next group and `committed` when it is on disk, whether or not the caller still waits.
    /// `apply` may run twice and must depend on nothing but the connection and what it holds.
    pub(super) async fn submit<T, F, C>(&self, terms: Terms, apply: F, committed: C) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
        C: FnOnce(&T) + Send + 'static,
    {
        let (waiting, answered) = Waiting::new(committed);
        let work = Work::Other(Box::new(Task {
            apply,
            output: None,
            waiting,
        }));
        self.queue(terms, work)?;
        given_back(answered.await)
    }

    /// Stores a hook in the next group, together with the others of it.
    pub(super) async fn take(&self, terms: Terms, taken: Taken) -> Result<Accepted, StoreError> {
        // Who is to work its events is told with the group.
        let (waiting, answered) = Waiting::new(|_| ());
        self.queue(terms, Work::Take(Grouped::new(taken, waiting)))?;
        given_back(answered.await)
    }

    /// Writes down what a worker learnt in the next group, together with the others of it.
    /// Tells what waits in its lane, if it was given back with more to do.
    pub(super) async fn learn<C>(&self, terms: Terms, learnt: Learnt, committed: C) -> Result<Option<Waits>, StoreError>
    where
        C: FnOnce(&Option<Waits>) + Send + 'static,
    {
        let (waiting, answered) = Waiting::new(committed);
        self.queue(terms, Work::Learn(Grouped::new(learnt, waiting)))?;
        given_back(answered.await)
    }

    fn queue(&self, terms: Terms, work: Work) -> Result<(), StoreError> {
        let hold = QueuedBytes::take(&self.bytes, terms.bytes)?;
        let queued = Queued {
            since: Instant::now(),
            patience: terms.patience.span(),
            is_outcome: matches!(terms.patience, Patience::Worker),
            hold,
            touches: terms.touches,
            wakes: terms.wakes,
            work,
        };
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy("too many jobs wait for the disk"),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })
    }
}

impl Drop for Writer {
    /// What is queued is still written; after that the file is free for the next host.
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The writer of the database panicked");
        }
    }
}

fn busy(why: &str) -> StoreError {
    StoreError::Busy(why.to_owned())
}

/// Lets go of what the job was made of, here and not on the writer's thread.
fn given_back<T, I>(answer: Result<Answer<T, I>, oneshot::error::RecvError>) -> Result<T, StoreError> {
    answer.map_err(|_| closed())?.map(|(output, _)| output)
}

fn closed() -> StoreError {
    busy("the store is closing")
}

/// A share of the bytes that may wait.
struct QueuedBytes {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl QueuedBytes {
    fn take(all: &Arc<AtomicUsize>, own: usize) -> Result<Self, StoreError> {
        if all.fetch_add(own, Ordering::Relaxed).saturating_add(own) > QUEUE_BYTES_MAX {
            all.fetch_sub(own, Ordering::Relaxed);
            return Err(busy("too many bytes wait for the disk"));
        }
        Ok(Self {
            all: Arc::clone(all),
            own,
        })
    }
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

struct Queued {
    since: Instant,
    patience: Duration,
    /// Tells what has happened already: written even when the disk is full, from what was kept back for it.
    is_outcome: bool,
    hold: QueuedBytes,
    touches: Vec<Touch>,
    wakes: bool,
    work: Work,
}

/// Whom to tell of a group, and what waits behind it.
struct Watched {
    watcher: Arc<OnceLock<Watcher>>,
    bytes: Arc<AtomicUsize>,
}

impl Watched {
    fn tell(&self, jobs: usize, whole: Duration, sync: Duration) {
        if let Some(watcher) = self.watcher.get() {
            watcher(Commit {
                jobs: u32::try_from(jobs).unwrap_or(u32::MAX),
                whole,
                sync,
                queued_bytes: self.bytes.load(Ordering::Relaxed),
            });
        }
    }
}

async fn run(mut line: Line, mut jobs: mpsc::Receiver<Queued>) {
    let mut groups = 0;
    let mut wait = Duration::ZERO;
    loop {
        let next = if groups < CHECKPOINT_AFTER {
            jobs.recv().await
        } else {
            match tokio::time::timeout(IDLE, jobs.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    groups = 0;
                    line.checkpoint().await;
                    continue;
                }
            }
        };
        let Some(first) = next else { break };
        company(&jobs, wait).await;
        line.look();
        let batch = line.admit(gather(first, &mut jobs));
        if !batch.is_empty() {
            groups += 1;
            let (begun, jobs) = (Instant::now(), batch.len());
            group::commit(&mut line, batch).await;
            if line.is_server() {
                wait = company_wait(begun.elapsed(), jobs);
            }
        }
    }
    line.close().await;
}

/// How long a group waits for company, after the one before took so long.
fn company_wait(took: Duration, jobs: usize) -> Duration {
    if jobs < COMPANY_FROM {
        return Duration::ZERO;
    }
    took.min(COMPANY_WAIT_MAX)
}

/// Until the time has come, or enough jobs wait.
async fn company(jobs: &mpsc::Receiver<Queued>, wait: Duration) {
    let until = Instant::now() + wait;
    while jobs.len() < COMPANY && Instant::now() < until {
        tokio::time::sleep(COMPANY_LOOK).await;
    }
}

/// Everything queued, up to the bounds; what waited too long is answered here.
fn gather(first: Queued, jobs: &mut mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut batch = Vec::with_capacity(BATCH_JOBS_MAX.min(jobs.len() + 1));
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(mut queued) = next {
        if queued.since.elapsed() > queued.patience {
            queued.work.refuse(busy("the job waited too long for the disk"));
        } else {
            bytes += queued.hold.own;
            batch.push(queued);
        }
        if batch.len() >= BATCH_JOBS_MAX || bytes >= BATCH_BYTES_MAX {
            break;
        }
        next = jobs.try_recv().ok();
    }
    batch
}

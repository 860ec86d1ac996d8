//! The one writer: a thread that owns the only write connection and commits in groups.
//!
//! It takes everything that is queued (no artificial wait), runs it in one transaction, commits, and
//! only then answers. Under load the groups grow by themselves; at rest a job costs one sync of the disk.
//! A job that fails takes nobody with it: the group is rolled back and run again with a savepoint per job.
//! No transaction lives in a future that a caller could drop: callers hold the end of a channel, no more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mantle_failpoint::{Point, reach};
use tokio::sync::{mpsc, oneshot};

use super::disk::{LogWatch, Reserve};
use crate::sql::{Connection, sql};
use crate::{Commit, StoreError};

/// Jobs of one commit.
const BATCH_JOBS_MAX: usize = 512;
/// Bytes of one commit; a group may exceed it by its last job.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Jobs waiting for the writer: several groups, so that it never runs dry.
const QUEUE_JOBS_MAX: usize = 4096;
/// Bytes waiting for the writer: bounds the memory when the disk stalls.
const QUEUE_BYTES_MAX: usize = 64 << 20;

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
    pub(super) fn start(connection: Connection, reserve: Reserve, log: LogWatch) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let full = Arc::new(AtomicBool::new(reserve.is_given_up()));
        let watcher = Arc::new(OnceLock::new());
        let mut disk = Disk {
            reserve,
            log,
            full: Arc::clone(&full),
            watched: Watched {
                watcher: Arc::clone(&watcher),
                bytes: Arc::clone(&bytes),
            },
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("mantle-writer".to_owned())
            .spawn(move || runtime.block_on(run(connection, jobs, &mut disk)))?;
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
    pub(super) async fn submit<T, F, C>(
        &self,
        patience: Patience,
        bytes: usize,
        apply: F,
        committed: C,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
        C: FnOnce(&T) + Send + 'static,
    {
        let hold = QueuedBytes::take(&self.bytes, bytes)?;
        let (answer, answered) = oneshot::channel();
        let queued = Queued {
            since: Instant::now(),
            patience: patience.span(),
            is_outcome: matches!(patience, Patience::Worker),
            hold,
            job: Box::new(Task {
                apply,
                committed: Some(committed),
                answer: Some(answer),
                output: None,
            }),
        };
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy("too many jobs wait for the disk"),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answered.await.map_err(|_| closed())?
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
    job: Box<dyn Job>,
}

/// A task with its types forgotten. Not `Send` while running: all run on the writer's thread.
#[async_trait(?Send)]
trait Job: Send {
    async fn attempt(&mut self, connection: &mut Connection) -> Result<(), StoreError>;
    /// On disk: the result of the last attempt goes out.
    fn committed(&mut self);
    fn refused(&mut self, error: StoreError);
}

struct Task<T, F, C> {
    apply: F,
    committed: Option<C>,
    answer: Option<oneshot::Sender<Result<T, StoreError>>>,
    output: Option<T>,
}

#[async_trait(?Send)]
impl<T, F, C> Job for Task<T, F, C>
where
    T: Send + 'static,
    F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    C: FnOnce(&T) + Send + 'static,
{
    async fn attempt(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.output = None;
        self.output = Some((self.apply)(connection).await?);
        Ok(())
    }

    fn committed(&mut self) {
        let Some(output) = self.output.take() else { return };
        if let Some(committed) = self.committed.take() {
            committed(&output);
        }
        if let Some(answer) = self.answer.take() {
            // The caller has gone; what it wanted is done.
            let _ = answer.send(Ok(output));
        }
    }

    fn refused(&mut self, error: StoreError) {
        // What it holds is let go before the caller hears of it.
        self.committed.take();
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Err(error));
        }
    }
}

/// What the writer knows of the disk.
struct Disk {
    reserve: Reserve,
    log: LogWatch,
    full: Arc<AtomicBool>,
    watched: Watched,
}

impl Disk {
    /// What may be written now; the rest is refused: its senders come again.
    fn admit(&mut self, batch: Vec<Queued>) -> Vec<Queued> {
        self.full.store(self.reserve.is_given_up(), Ordering::Relaxed);
        if !self.reserve.is_given_up() {
            return batch;
        }
        let (outcomes, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|queued| queued.is_outcome);
        for mut queued in others {
            queued.job.refused(busy("the disk is full"));
        }
        outcomes
    }
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

async fn run(mut connection: Connection, mut jobs: mpsc::Receiver<Queued>, disk: &mut Disk) {
    let mut groups = 0;
    loop {
        let next = if groups < CHECKPOINT_AFTER {
            jobs.recv().await
        } else {
            match tokio::time::timeout(IDLE, jobs.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    groups = 0;
                    checkpoint(&mut connection).await;
                    continue;
                }
            }
        };
        let Some(first) = next else { break };
        disk.reserve.look();
        let batch = disk.admit(gather(first, &mut jobs));
        if !batch.is_empty() {
            groups += 1;
            commit(&mut connection, disk, batch).await;
            disk.log.look().await;
        }
    }
    // The next host starts with an empty log, and finds the file closed.
    let _ = execute(&mut connection, "pragma wal_checkpoint(truncate)").await;
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "The database did not close cleanly: {error}");
    }
}

/// Waits for nobody: what a reader still needs stays in the log until the next time.
async fn checkpoint(connection: &mut Connection) {
    if let Err(error) = execute(connection, "pragma wal_checkpoint(passive)").await {
        stop_if_the_disk_lies(&error);
        tracing::warn!(%error, "The write-ahead log could not be moved into the database");
    }
}

/// Everything queued, up to the bounds; what waited too long is answered here.
fn gather(first: Queued, jobs: &mut mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(mut queued) = next {
        if queued.since.elapsed() > queued.patience {
            queued.job.refused(busy("the job waited too long for the disk"));
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

async fn commit(connection: &mut Connection, disk: &mut Disk, mut batch: Vec<Queued>) {
    let begun = Instant::now();
    let error = match together(connection, &mut batch).await {
        Ok(sync) => {
            disk.watched.tell(batch.len(), begun.elapsed(), sync);
            return batch.iter_mut().for_each(|queued| queued.job.committed());
        }
        Err(error) => error,
    };
    match primary_code(&error) {
        // Waiting for the lock once more would keep the senders waiting twice as long.
        Some(SQLITE_BUSY) => refuse_all(connection, batch, &error).await,
        code => {
            roll_back(connection, &error).await;
            if code == Some(SQLITE_FULL) {
                disk.reserve.give_up();
            }
            let batch = disk.admit(batch);
            one_by_one(connection, batch).await;
        }
    }
}

/// The fast path: no savepoints, the first error ends it. Tells how long the disk took.
async fn together(connection: &mut Connection, batch: &mut [Queued]) -> Result<Duration, StoreError> {
    execute(connection, "begin immediate").await?;
    for queued in batch {
        queued.job.attempt(connection).await?;
        reach(Point::JobRun).await;
    }
    let written = Instant::now();
    execute(connection, "commit").await?;
    Ok(written.elapsed())
}

/// The slow path: whoever fails is undone alone and told; the others are committed. Nobody is told before the commit,
/// a refusal neither: it may name what another job of the same group wrote, and must be found by who looks for it.
async fn one_by_one(connection: &mut Connection, batch: Vec<Queued>) {
    let mut good = Vec::with_capacity(batch.len());
    let mut refused: Vec<(Queued, StoreError)> = Vec::new();
    if let Err(error) = execute(connection, "begin immediate").await {
        return refuse_all(connection, batch, &error).await;
    }
    for mut queued in batch {
        match isolated(connection, queued.job.as_mut()).await {
            Isolated::Good => good.push(queued),
            Isolated::Undone(error) => refused.push((queued, error)),
            Isolated::AllUndone(error) => {
                // What was refused may have been refused for the sake of what is undone now.
                good.extend(refused.drain(..).map(|(queued, _)| queued));
                refuse_all(connection, std::mem::take(&mut good), &error).await;
                queued.job.refused(understood(error));
                // If this fails, so does each job that follows, and is told so.
                let _ = execute(connection, "begin immediate").await;
            }
        }
    }
    match execute(connection, "commit").await {
        Ok(()) => {
            good.iter_mut().for_each(|queued| queued.job.committed());
            for (mut queued, error) in refused {
                queued.job.refused(understood(error));
            }
        }
        Err(error) => {
            good.extend(refused.into_iter().map(|(queued, _)| queued));
            refuse_all(connection, good, &error).await;
        }
    }
}

/// What became of one job among others.
enum Isolated {
    Good,
    Undone(StoreError),
    /// SQLite gave up the whole transaction, as it does when the disk is full: those before are undone too.
    AllUndone(StoreError),
}

async fn isolated(connection: &mut Connection, job: &mut dyn Job) -> Isolated {
    if let Err(error) = execute(connection, "savepoint job").await {
        stop_if_the_disk_lies(&error);
        return Isolated::AllUndone(error);
    }
    let outcome = job.attempt(connection).await;
    if let Err(error) = outcome {
        stop_if_the_disk_lies(&error);
        let undone = async {
            execute(connection, "rollback to job").await?;
            execute(connection, "release job").await
        };
        return match undone.await {
            Ok(()) => Isolated::Undone(error),
            Err(_) => Isolated::AllUndone(error),
        };
    }
    match execute(connection, "release job").await {
        Ok(()) => Isolated::Good,
        Err(error) => {
            stop_if_the_disk_lies(&error);
            Isolated::AllUndone(error)
        }
    }
}

/// The commit did not happen, or its outcome is unknown: both are mended by doing it again.
async fn refuse_all(connection: &mut Connection, batch: Vec<Queued>, error: &StoreError) {
    roll_back(connection, error).await;
    if batch.is_empty() {
        return;
    }
    tracing::error!(jobs = batch.len(), %error, "A commit failed: {error}");
    let why = match primary_code(error) {
        Some(SQLITE_BUSY) => LOCKED,
        _ => "the disk did not take the commit",
    };
    for mut queued in batch {
        queued.job.refused(busy(why));
    }
}

async fn roll_back(connection: &mut Connection, error: &StoreError) {
    stop_if_the_disk_lies(error);
    // Fails when SQLite has rolled back already, as it does when the disk is full.
    let _ = execute(connection, "rollback").await;
}

async fn execute(connection: &mut Connection, text: &'static str) -> Result<(), StoreError> {
    sql(text).execute(connection).await?;
    Ok(())
}

/// SQLite's primary result codes that mean more than "this statement failed".
const SQLITE_BUSY: i32 = 5;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;

const LOCKED: &str = "another process has locked the database";

fn primary_code(error: &StoreError) -> Option<i32> {
    let StoreError::Database(sqlx::Error::Database(error)) = error else {
        return None;
    };
    // The low byte of the extended code.
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// The file is not what SQLite wrote.
pub(super) fn is_damage(error: &StoreError) -> bool {
    matches!(primary_code(error), Some(SQLITE_CORRUPT | SQLITE_NOTADB))
}

fn understood(error: StoreError) -> StoreError {
    match primary_code(&error) {
        Some(SQLITE_FULL) => busy("the disk is full"),
        Some(SQLITE_BUSY) => busy(LOCKED),
        _ => error,
    }
}

/// After a failed sync the kernel may have dropped the dirty pages and report success next time ("fsyncgate"), so
/// neither the file nor the cache can be trusted any more. Only a new process that reads the log again can.
fn stop_if_the_disk_lies(error: &StoreError) {
    if primary_code(error) == Some(SQLITE_IOERR) {
        tracing::error!(%error, "The disk failed while writing the database; stopping at once so that nothing unwritten is taken for written: {error}");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use super::*;
    use crate::testing::TestStore;

    /// Keeps the writer busy until told, so that a group builds up behind it.
    async fn held(store: &TestStore) -> (blocking::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
        let (release, wait) = blocking::channel::<()>();
        let (started, running) = oneshot::channel();
        let wait = std::sync::Mutex::new(wait);
        let started = std::sync::Mutex::new(Some(started));
        let holder = Arc::clone(&store.store);
        let task = tokio::spawn(async move {
            holder
                .write(async move |_: &mut Connection| {
                    if let Some(started) = started.lock().unwrap().take() {
                        let _ = started.send(());
                    }
                    let _ = wait.lock().unwrap().recv();
                    Ok(())
                })
                .await
        });
        running.await.unwrap();
        (release, task)
    }

    async fn put(connection: &mut Connection, key: &'static str) -> Result<(), StoreError> {
        sql("insert into kv (channel_id, key, value) values (1, $1, x'00')")
            .bind(key.as_bytes())
            .execute(connection)
            .await?;
        Ok(())
    }

    #[tokio::test]
    async fn one_bad_job_does_not_fail_the_others_of_its_group() {
        let test = TestStore::open().await.unwrap();
        let (release, holder) = held(&test).await;
        let mut jobs = Vec::new();
        for key in ["a", "b", "b", "c"] {
            let store = Arc::clone(&test.store);
            jobs.push(tokio::spawn(async move {
                store.write(async move |tx: &mut Connection| put(tx, key).await).await
            }));
            // Each must be queued before the next, so that the second "b" is the bad one.
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        let mut good = 0;
        for job in jobs {
            match job.await.unwrap() {
                Ok(()) => good += 1,
                Err(error) => assert!(matches!(error, StoreError::Database(_)), "{error}"),
            }
        }
        assert_eq!(good, 3);
        let kept: i64 = sql("select count(*) from kv")
            .scalar(&test.store.readers)
            .await
            .unwrap();
        assert_eq!(kept, 3);
    }

    #[tokio::test]
    async fn ws_4_who_is_refused_finds_what_it_was_refused_for() {
        let test = TestStore::open().await.unwrap();
        let (release, holder) = held(&test).await;
        let insert = |store: Arc<crate::database::SqlStore>| async move {
            let refused = store
                .write(async |tx: &mut Connection| {
                    let text = "insert into kv (channel_id, key, value) values (1, x'07', x'00')";
                    sql(text).execute(tx).await?;
                    Ok(())
                })
                .await
                .is_err();
            let there: i64 = sql("select count(*) from kv").scalar(&store.readers).await.unwrap();
            (refused, there)
        };
        let one = tokio::spawn(insert(Arc::clone(&test.store)));
        let two = tokio::spawn(insert(Arc::clone(&test.store)));
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        assert_ne!(one.0, two.0, "one of two is refused");
        assert_eq!((one.1, two.1), (1, 1), "both find the row");
    }

    #[tokio::test]
    async fn a_job_that_waited_too_long_is_refused_and_not_written() {
        let test = TestStore::open().await.unwrap();
        let (release, holder) = held(&test).await;
        let store = Arc::clone(&test.store);
        let late = tokio::spawn(async move {
            let patience = Patience::Exactly(Duration::ZERO);
            store
                .writer
                .submit(patience, 0, async |tx: &mut Connection| put(tx, "late").await, |()| ())
                .await
        });
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        assert!(matches!(late.await.unwrap(), Err(StoreError::Busy(_))));
        let kept: i64 = sql("select count(*) from kv")
            .scalar(&test.store.readers)
            .await
            .unwrap();
        assert_eq!(kept, 0);
    }

    #[tokio::test]
    async fn a10_a_full_disk_refuses_what_does_not_fit_and_recovers() {
        let test = TestStore::open().await.unwrap();
        let pages = async |text: &'static str| {
            test.store
                .write(async move |tx: &mut Connection| {
                    sql(text).execute(tx).await?;
                    Ok(())
                })
                .await
        };
        // Fewer pages than there are mean: no page more.
        pages("pragma max_page_count = 1").await.unwrap();
        let big = "insert into kv (channel_id, key, value) values (1, x'01', zeroblob(1000000))";
        let refused = pages(big).await;
        assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
        test.store
            .write(async |tx: &mut Connection| put(tx, "small").await)
            .await
            .unwrap();
        pages("pragma max_page_count = 1000000").await.unwrap();
        pages(big).await.unwrap();
    }

    #[tokio::test]
    async fn more_bytes_than_may_wait_are_refused_at_once() {
        let test = TestStore::open().await.unwrap();
        let outcome = test
            .store
            .writer
            .submit(
                Patience::Sender,
                QUEUE_BYTES_MAX + 1,
                async |tx: &mut Connection| put(tx, "big").await,
                |()| (),
            )
            .await;
        assert!(matches!(outcome, Err(StoreError::Busy(_))));
        // The share was given back.
        test.store
            .write(async |tx: &mut Connection| put(tx, "small").await)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_follows_a_commit_happens_even_if_the_caller_has_gone() {
        let test = TestStore::open().await.unwrap();
        let (release, holder) = held(&test).await;
        let followed = Arc::new(AtomicBool::new(false));
        let (store, told) = (Arc::clone(&test.store), Arc::clone(&followed));
        let caller = tokio::spawn(async move {
            let apply = async |tx: &mut Connection| put(tx, "a").await;
            let committed = move |&(): &()| told.store(true, Ordering::SeqCst);
            store.writer.submit(Patience::Sender, 0, apply, committed).await
        });
        tokio::task::yield_now().await;
        caller.abort();
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        // A further job comes after the abandoned one.
        test.store
            .write(async |tx: &mut Connection| put(tx, "b").await)
            .await
            .unwrap();
        assert!(followed.load(Ordering::SeqCst));
    }
}

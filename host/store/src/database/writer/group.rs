//! One group of jobs: all together, or one by one when that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::Context;
use super::super::claims::Claims;
use super::super::disk::{LogWatch, Reserve};
use super::super::handing::{Handing, Offer};
use super::super::postgres::Address;
use super::super::touch;
use super::{Queued, Watched, busy, work};
use crate::StoreError;
use crate::sql::{Connection, Fault, sql};
use tokio::sync::Notify;

/// How often a group, or a job by itself, is run again because it crossed another host's.
const RACES_MAX: u32 = 4;

/// The wait before a lost connection is tried again; doubled each time, up to the second.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

const LOCKED: &str = "another process has locked the database";

/// Where a lost connection is made again.
#[derive(Debug)]
pub(in super::super) struct Server {
    pub address: Address,
    /// Our row among the hosts: given up at the end, so that others need not wait for its lease.
    pub host: i64,
    /// Has the other hosts told.
    pub tells: Arc<Notify>,
}

/// What the writer writes to.
pub(in super::super) enum Database {
    /// Open already.
    Sqlite {
        connection: Connection,
        reserve: Reserve,
        log: LogWatch,
    },
    Postgres(Server),
}

/// What the writer knows of the disk under a file.
struct Disk {
    reserve: Reserve,
    log: LogWatch,
}

/// The connection that writes.
pub(super) struct Line {
    connection: Connection,
    context: Context,
    handing: Handing,
    server: Option<Server>,
    disk: Option<Disk>,
    full: Arc<AtomicBool>,
    watched: Watched,
    lost: bool,
    again_after: Duration,
    again_at: Instant,
}

impl Line {
    pub(super) async fn open(
        on: Database,
        (context, claims): (Context, Arc<Claims>),
        full: Arc<AtomicBool>,
        watched: Watched,
    ) -> Result<Self, StoreError> {
        let (connection, server, disk) = match on {
            Database::Sqlite {
                connection,
                reserve,
                log,
            } => (connection, None, Some(Disk { reserve, log })),
            Database::Postgres(server) => (server.address.connect().await?, Some(server), None),
        };
        full.store(
            disk.as_ref().is_some_and(|disk| disk.reserve.is_given_up()),
            Ordering::Relaxed,
        );
        Ok(Self {
            connection,
            context,
            handing: Handing {
                claims,
                owner: server.as_ref().map(|server| server.host),
            },
            server,
            disk,
            full,
            watched,
            lost: false,
            again_after: AGAIN_AFTER,
            again_at: Instant::now(),
        })
    }

    pub(super) fn is_server(&self) -> bool {
        self.server.is_some()
    }

    /// Looks whether a full disk has room again.
    pub(super) fn look(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.reserve.look();
        }
    }

    /// What may be written now; the rest is refused: its senders come again.
    pub(super) fn admit(&mut self, batch: Vec<Queued>) -> Vec<Queued> {
        let full = self.disk.as_ref().is_some_and(|disk| disk.reserve.is_given_up());
        self.full.store(full, Ordering::Relaxed);
        if !full {
            return batch;
        }
        let (outcomes, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|queued| queued.is_outcome);
        for mut queued in others {
            queued.work.refuse(busy("the disk is full"));
        }
        outcomes
    }

    /// Makes a lost connection again, or says that there is none yet.
    async fn mend(&mut self) -> Result<(), StoreError> {
        let (true, Some(server)) = (self.lost, &self.server) else {
            return Ok(());
        };
        tokio::time::sleep_until(self.again_at.into()).await;
        match server.address.connect().await {
            Ok(connection) => {
                self.connection = connection;
                self.lost = false;
                self.again_after = AGAIN_AFTER;
                tracing::info!("Connected to {} again", server.address);
                Ok(())
            }
            Err(error) => {
                self.again_at = Instant::now() + self.again_after;
                self.again_after = (self.again_after * 2).min(AGAIN_AFTER_MAX);
                Err(busy(&error.to_string()))
            }
        }
    }

    /// What an error means for the connection.
    fn note(&mut self, error: &StoreError) -> Fault {
        let fault = Fault::of(error);
        match fault {
            Fault::DiskFailed => stop_because_the_disk_lies(error),
            Fault::Lost if self.server.is_some() => {
                if !self.lost {
                    tracing::warn!(%error, "The connection to the database is lost: {error}");
                }
                self.lost = true;
            }
            _ => {}
        }
        fault
    }

    /// Waits for nobody: what a reader still needs stays in the log until the next time. A server does it by itself.
    pub(super) async fn checkpoint(&mut self) {
        if self.server.is_none()
            && let Err(error) = self.execute("pragma wal_checkpoint(passive)").await
        {
            self.note(&error);
            tracing::warn!(%error, "The write-ahead log could not be moved into the database");
        }
    }

    async fn execute(&mut self, text: &'static str) -> Result<(), StoreError> {
        self.connection.script(text).await
    }

    /// Opens the transaction and locks what the jobs touch, in one order for all hosts.
    async fn begin(&mut self, batch: &[Queued]) -> Result<(), StoreError> {
        if !self.connection.is_postgres() {
            return self.execute("begin immediate").await;
        }
        self.execute("begin").await?;
        touch::lock(&mut self.connection, batch.iter().flat_map(|queued| &queued.touches)).await
    }

    /// The group is on disk. The other hosts are told that lanes may be ready: not in the transaction, since notifications
    /// take all commits of the database one after the other, and one that is lost costs the time until the next look.
    fn committed(&self, batch: Vec<Queued>, offer: Offer) {
        let mut left = self.handing.committed(offer);
        let wakes = batch.iter().any(|queued| queued.wakes);
        for queued in batch {
            left |= queued.work.leaves_work();
            queued.work.committed();
        }
        if let Some(server) = &self.server
            && (wakes || (left && self.handing.claims.is_behind()))
        {
            server.tells.notify_one();
        }
    }

    async fn roll_back(&mut self, error: &StoreError) -> Fault {
        let fault = self.note(error);
        if !self.lost {
            // Fails when SQLite has rolled back already, as it does when the disk is full.
            if let Err(error) = self.execute("rollback").await {
                self.note(&error);
            }
        }
        fault
    }

    pub(super) async fn close(mut self) {
        if let Some(server) = &self.server {
            let gone = sql("update host set leased_until = 0 where id = $1")
                .bind(server.host)
                .execute(&mut self.connection)
                .await;
            if let Err(error) = gone {
                tracing::warn!(%error, "The lease of this host runs on until its end: {error}");
                return;
            }
        } else {
            // The next host starts with an empty log, and finds the file closed.
            let _ = self.execute("pragma wal_checkpoint(truncate)").await;
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "The database did not close cleanly: {error}");
        }
    }
}

/// How far a group came.
enum Together {
    /// And how long the end of it took: the disk's sync.
    Committed(Offer, Duration),
    /// Nothing of it happened.
    Undone(StoreError),
    /// The connection was lost at the commit: it happened or it did not.
    Unknown(Offer, StoreError),
}

pub(super) async fn commit(line: &mut Line, batch: Vec<Queued>) {
    run(line, batch).await;
    if let Some(disk) = &mut line.disk {
        disk.log.look().await;
    }
}

async fn run(line: &mut Line, mut batch: Vec<Queued>) {
    let begun = Instant::now();
    for _ in 0..RACES_MAX {
        if let Err(error) = line.mend().await {
            return refuse_all(batch, &error);
        }
        match together(line, &mut batch).await {
            Together::Committed(offer, sync) => {
                line.watched.tell(batch.len(), begun.elapsed(), sync);
                return line.committed(batch, offer);
            }
            // Doing it again could do it twice where a job is not keyed; who asked knows whether it may be repeated.
            Together::Unknown(offer, error) => {
                line.handing.unknown(offer);
                line.roll_back(&error).await;
                return refuse_all(batch, &error);
            }
            Together::Undone(error) => match line.roll_back(&error).await {
                Fault::Raced | Fault::Lost if line.server.is_some() => {}
                // Waiting for the lock once more would keep the senders waiting twice as long.
                Fault::Locked => return refuse_all(batch, &error),
                Fault::DiskFull => {
                    if let Some(disk) = &mut line.disk {
                        disk.reserve.give_up();
                    }
                    batch = line.admit(batch);
                    break;
                }
                _ => break,
            },
        }
    }
    if let Err(error) = line.mend().await {
        return refuse_all(batch, &error);
    }
    one_by_one(line, batch).await;
}

/// The fast path: no savepoints, the first error ends it.
async fn together(line: &mut Line, batch: &mut [Queued]) -> Together {
    let run = async {
        let mut offer = line.handing.offer()?;
        line.begin(batch).await?;
        work::run(&mut line.connection, &line.context, batch, &mut offer).await?;
        Ok(offer)
    };
    let offer = match run.await {
        Ok(offer) => offer,
        Err(error) => return Together::Undone(error),
    };
    let written = Instant::now();
    match line.execute("commit").await {
        Ok(()) => Together::Committed(offer, written.elapsed()),
        Err(error) if Fault::of(&error) == Fault::Lost => Together::Unknown(offer, error),
        Err(error) => Together::Undone(error),
    }
}

/// The slow path: whoever fails is undone alone and told; the others are committed. Nobody is told before the commit,
/// a refusal neither: it may name what another job of the same group wrote, and must be found by who looks for it.
async fn one_by_one(line: &mut Line, batch: Vec<Queued>) {
    let mut good = Vec::with_capacity(batch.len());
    let mut refused: Vec<(Queued, StoreError)> = Vec::new();
    let begun = async {
        line.begin(&batch).await?;
        line.handing.offer()
    };
    let mut all = match begun.await {
        Ok(offer) => offer,
        Err(error) => {
            line.roll_back(&error).await;
            return refuse_all(batch, &error);
        }
    };
    for mut queued in batch {
        match isolated(line, &mut queued).await {
            Isolated::Good(offer) => {
                all.join(offer);
                good.push(queued);
            }
            Isolated::Undone(error) => refused.push((queued, error)),
            Isolated::AllUndone(error) => {
                // What was refused may have been refused for the sake of what is undone now.
                good.extend(refused.drain(..).map(|(queued, _)| queued));
                all.forget();
                line.roll_back(&error).await;
                refuse_all(std::mem::take(&mut good), &error);
                queued.work.refuse(understood(error));
                // If this fails, so does each job that follows, and is told so.
                if line.mend().await.is_ok() {
                    let _ = line.begin(&[]).await;
                }
            }
        }
    }
    match line.execute("commit").await {
        Ok(()) => {
            line.committed(good, all);
            for (mut queued, error) in refused {
                queued.work.refuse(understood(error));
            }
        }
        Err(error) => {
            line.handing.unknown(all);
            line.roll_back(&error).await;
            good.extend(refused.into_iter().map(|(queued, _)| queued));
            refuse_all(good, &error);
        }
    }
}

/// What became of one job among others.
enum Isolated {
    Good(Offer),
    Undone(StoreError),
    /// The whole transaction was given up, as it is when the disk is full: those before are undone too.
    AllUndone(StoreError),
}

async fn isolated(line: &mut Line, queued: &mut Queued) -> Isolated {
    let mut races = 0;
    let offer = loop {
        if let Err(error) = line.execute("savepoint job").await {
            line.note(&error);
            return Isolated::AllUndone(error);
        }
        let alone = std::slice::from_mut(&mut *queued);
        let run = async {
            let mut offer = line.handing.offer()?;
            work::run(&mut line.connection, &line.context, alone, &mut offer).await?;
            Ok(offer)
        };
        let error = match run.await {
            Ok(done) => break done,
            Err(error) => error,
        };
        let fault = line.note(&error);
        if line.lost || line.execute("rollback to job").await.is_err() || line.execute("release job").await.is_err() {
            return Isolated::AllUndone(error);
        }
        // Another host wrote the same: now it is there to be read.
        races += 1;
        if fault != Fault::Raced || races == RACES_MAX {
            return Isolated::Undone(error);
        }
    };
    match line.execute("release job").await {
        Ok(()) => Isolated::Good(offer),
        Err(error) => {
            line.note(&error);
            Isolated::AllUndone(error)
        }
    }
}

/// The commit did not happen, or its outcome is unknown: both are mended by doing it again.
fn refuse_all(batch: Vec<Queued>, error: &StoreError) {
    if batch.is_empty() {
        return;
    }
    tracing::error!(jobs = batch.len(), %error, "A commit failed: {error}");
    let why = match Fault::of(error) {
        Fault::Locked => LOCKED,
        _ => "the disk did not take the commit; the log says why",
    };
    for mut queued in batch {
        queued.work.refuse(busy(why));
    }
}

fn understood(error: StoreError) -> StoreError {
    match Fault::of(&error) {
        Fault::DiskFull => busy("the disk is full"),
        Fault::Locked => busy(LOCKED),
        Fault::Lost => busy("the connection to the database was lost"),
        Fault::Statement | Fault::Raced | Fault::DiskFailed | Fault::Damaged => error,
    }
}

/// After a failed sync the kernel may have dropped the dirty pages and report success next time ("fsyncgate"), so
/// neither the file nor the cache can be trusted any more. Only a new process that reads the log again can.
fn stop_because_the_disk_lies(error: &StoreError) -> ! {
    tracing::error!(%error, "The disk failed while writing the database; stopping at once so that nothing unwritten is taken for written: {error}");
    std::process::abort();
}

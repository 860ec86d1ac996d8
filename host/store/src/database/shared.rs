//! One PostgreSQL database among several hosts: what a claim writes, and how hosts tell each other.
//!
//! Invariants: a lane is another's as long as its owner's lease runs by the server's clock; a commit under a claim
//! looks at the row first and holds it, so a worker that was taken its lane commits nothing. Claims wait for no row,
//! since they skip what is locked. A notification that is lost costs the time until the next poll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mantle_model::clock::Time;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::claims::Claims;
use super::commit;
use super::hosts::Membership;
use super::known::Waits;
use super::orphans;
use super::rows::{Of, id_list};
use crate::StoreError;
use crate::lanes::Claim;
use crate::sql::{Connection, Given, Pool, over, sql};

/// How long a change of a workspace or channel by another host can stay unknown when its notification is lost.
const DIRECTORY_POLL: Duration = Duration::from_secs(2);

/// The wait before listening is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The others are told of new work this often at most: whoever took it in looks at it first.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// This host's side of a shared database.
pub(super) struct Shared {
    pub membership: Arc<Membership>,
    pub claimers: Pool,
    directory_changed: Arc<Notify>,
    /// Another host told something of a credential; keeps one word for whoever comes to listen.
    pub budgets_told: Arc<Notify>,
    /// What listens, tells and takes over; ends with the store.
    _listener: JoinSet<()>,
}

impl Shared {
    /// With what it hears others by, if it can, and what it is asked to tell them by.
    pub(super) fn new(
        membership: Membership,
        claimers: Pool,
        (listeners, tells): (Option<Pool>, Arc<Notify>),
        claims: &Arc<Claims>,
    ) -> Self {
        let (directory_changed, budgets_told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut listener = JoinSet::new();
        listener.spawn(tell(claimers.clone(), tells));
        listener.spawn(orphans::take_over(claimers.clone(), Arc::clone(claims)));
        if let Some(Pool::Postgres(pool, _)) = listeners {
            let claims = Arc::clone(claims);
            let told = (Arc::clone(&directory_changed), Arc::clone(&budgets_told));
            listener.spawn(async move {
                loop {
                    if let Err(error) = listen(&pool, &claims, (&told.0, &told.1)).await {
                        tracing::warn!(%error, "Other hosts cannot be heard, only polled: {error}");
                    }
                    tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
                }
            });
        }
        Self {
            membership: Arc::new(membership),
            claimers,
            directory_changed,
            budgets_told,
            _listener: listener,
        }
    }

    /// Writes the claims into the rows; tells those that were to be had. The others are let go.
    pub(super) async fn mark(
        &self,
        claims: &Claims,
        taken: &[Claim],
        token: u128,
        now: Time,
    ) -> Result<Vec<Claim>, StoreError> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let marked: Vec<i64> = sql(r"with free as (
                  select lane.id from lane
                  where lane.id in (select value from json_each($1)) and lane.ready_at <= $2
                    and (lane.claim is null
                         or not exists (select 1 from host where host.id = lane.owner and host.leased_until > server_ms()))
                  for update of lane skip locked
              )
              update lane set claim = $3, owner = $4 from free where lane.id = free.id
              returning lane.id")
        .bind(id_list(taken.iter().map(|claim| claim.lane.0)))
        .bind(now.unix_ms())
        .bind(token.to_be_bytes().to_vec())
        .bind(self.membership.id)
        .scalars(&self.claimers)
        .await?;
        let (ours, others): (Vec<Claim>, Vec<Claim>) = taken.iter().partition(|claim| marked.contains(&claim.lane.0));
        others.iter().for_each(|claim| claims.give_back(*claim));
        Ok(ours)
    }

    /// Renews the lease of all our lanes, and lets go of those that nobody here has.
    pub(super) async fn heartbeat(&self, claims: &Claims) -> Result<(), StoreError> {
        self.membership.renew(&self.claimers, claims).await?;
        let doubted = claims.doubted();
        let tokens = tokens(&doubted);
        let given = Given::rows(doubted.len())
            .ints(doubted.iter().map(|claim| claim.lane.0))
            .bytes(tokens.iter().map(<[u8; 16]>::as_slice));
        // Not waited for: the next heartbeat comes by.
        let strays = over(
            r"with given (id, token) as ({rows}),
                   stray as (select lane.id from lane join given on lane.id = given.id and lane.claim = given.token
                             for update of lane skip locked)
              update lane
              set claim = null, owner = null, ready_at = case when tail > head then coalesce(ready_at, last_at) end
              from stray where lane.id = stray.id",
            given,
        )
        .execute(&self.claimers)
        .await?;
        claims.taken_back(&doubted, Instant::now());
        if strays > 0 {
            claims.wake();
        }
        Ok(())
    }

    /// The number of the directory's state, once it is another than this.
    pub(super) async fn directory_after(&self, known: i64, readers: &Pool) -> Result<i64, StoreError> {
        loop {
            // Before the look: what changes after it wakes this.
            let changed = self.directory_changed.notified();
            let no: i64 = sql("select no from directory").scalar(readers).await?;
            if no != known {
                return Ok(no);
            }
            let _ = tokio::time::timeout(DIRECTORY_POLL, changed).await;
        }
    }
}

/// Tells the other hosts that lanes may be ready: once for all that became so in the meantime.
async fn tell(pool: Pool, tells: Arc<Notify>) {
    loop {
        tells.notified().await;
        if let Err(error) = sql("select pg_notify('mantle_ready', '')").fetch_all(&pool).await {
            tracing::debug!(%error, "Other hosts are not told of new work and find it themselves: {error}");
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Until the connection fails for good. After a loss everything is looked at again.
async fn listen(
    pool: &sqlx::PgPool,
    claims: &Claims,
    (directory_changed, budgets_told): (&Notify, &Notify),
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener
        .listen_all(["mantle_ready", "mantle_directory", "mantle_budgets"])
        .await?;
    loop {
        let heard = listener.try_recv().await?;
        let channel = heard.as_ref().map(sqlx::postgres::PgNotification::channel);
        let is = |name: &str| channel.is_none_or(|channel| channel == name);
        if is("mantle_ready") {
            claims.wake();
        }
        if is("mantle_directory") {
            directory_changed.notify_waiters();
        }
        if is("mantle_budgets") {
            budgets_told.notify_one();
        }
    }
}

fn tokens(claims: &[Claim]) -> Vec<[u8; 16]> {
    claims.iter().map(|claim| claim.token.to_be_bytes()).collect()
}

/// Under all of these claims, or not at all: holds the rows until the commit.
pub(super) async fn fence(tx: &mut Connection, claims: &[Claim]) -> Result<(), StoreError> {
    let tokens = tokens(claims);
    let given = Given::rows(claims.len())
        .ints(claims.iter().map(|claim| claim.lane.0))
        .bytes(tokens.iter().map(<[u8; 16]>::as_slice));
    let held: Vec<i64> = over(
        r"with given (id, token) as ({rows})
          select lane.id from lane join given on lane.id = given.id and lane.claim = given.token
          order by lane.id for update of lane",
        given,
    )
    .scalars(tx)
    .await?;
    if claims.iter().all(|claim| held.binary_search(&claim.lane.0).is_ok()) {
        return Ok(());
    }
    Err(StoreError::Fenced)
}

/// Gives the lanes back, but for those that are another's by now. Tells which of them are ready.
pub(super) async fn free(tx: &mut Connection, claims: &[Claim], now: Time) -> Result<Vec<Waits>, StoreError> {
    let tokens = tokens(claims);
    let given = Given::rows(claims.len())
        .ints(claims.iter().map(|claim| claim.lane.0))
        .bytes(tokens.iter().map(<[u8; 16]>::as_slice));
    let rows = over(
        r"with given (id, token) as ({rows})
          update lane
          set claim = null, owner = null, ready_at = case when tail > head then coalesce(ready_at, last_at) end
          from given
          where lane.id = given.id and lane.claim = given.token
          returning lane.id, lane.channel_id, lane.ready_at, lane.tries, lane.tail - lane.head as waiting",
        given,
    )
    .fetch_all(tx)
    .await?;
    let mut ready = Vec::new();
    for row in &rows {
        let waits = commit::waits(Of { table: "lane", row })?;
        ready.extend(waits.filter(|waits| waits.since <= now));
    }
    Ok(ready)
}

/// Tells the other hosts that a workspace or channel has changed.
pub(super) async fn directory_changes(tx: &mut Connection) -> Result<(), StoreError> {
    if tx.is_postgres() {
        sql("update directory set no = no + 1; select pg_notify('mantle_directory', '')")
            .fetch_all(tx)
            .await?;
    }
    Ok(())
}

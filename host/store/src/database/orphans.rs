//! Lanes of hosts that died. A lane in hand on a server has no time by which others would find it (see
//! [`super::accept`]), so whoever notices that a host is gone reads all lanes once and gives its lanes their times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claims::Claims;
use super::rows::Of;
use crate::StoreError;
use crate::sql::{Pool, sql};

/// How often it is looked which hosts live: a part of what a dead host's lanes wait for, beside its lease.
const EVERY: Duration = Duration::from_secs(1);

/// After so long the lanes are read once more: what the dead host had sent may come to its end on the server after it was
/// found dead, no statement later than this.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When lanes are to be read.
#[derive(Debug)]
struct Due {
    at: Option<Instant>,
    again_at: Option<Instant>,
}

impl Due {
    fn now(now: Instant) -> Self {
        Self {
            at: Some(now),
            again_at: Some(now + AGAIN_AFTER),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    fn done(&mut self) {
        self.at = self.again_at.take();
    }
}

/// For ever.
pub(super) async fn take_over(pool: Pool, claims: Arc<Claims>) {
    let mut alive = BTreeSet::new();
    // Hosts may have died while nobody was there to see it.
    let mut due = Due::now(Instant::now());
    loop {
        match hosts_alive(&pool).await {
            Ok(hosts) => {
                if !alive.is_subset(&hosts) {
                    due = Due::now(Instant::now());
                }
                alive = hosts;
            }
            Err(error) => tracing::debug!(%error, "It is not known which hosts live: {error}"),
        }
        if due.is_due(Instant::now()) {
            match free(&pool).await {
                Ok(Freed { lanes, left }) => {
                    if left == 0 {
                        due.done();
                    }
                    if lanes > 0 {
                        tracing::info!(lanes, left, "{lanes} lanes of a host that is gone are free");
                        claims.wake();
                    }
                }
                Err(error) => tracing::warn!(%error, "Lanes of a host that is gone are looked for again: {error}"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn hosts_alive(pool: &Pool) -> Result<BTreeSet<i64>, StoreError> {
    let hosts: Vec<i64> = sql("select id from host where leased_until > server_ms()")
        .scalars(pool)
        .await?;
    Ok(hosts.into_iter().collect())
}

struct Freed {
    lanes: i64,
    /// Somebody holds their rows just now, since their customers go on writing.
    left: i64,
}

async fn free(pool: &Pool) -> Result<Freed, StoreError> {
    let mut connection = pool.acquire().await?;
    connection.script("begin").await?;
    let freed = async {
        // The one statement that reads a whole table, in its order on the disk.
        connection
            .script("set local enable_seqscan = on; set local statement_timeout = '5min'")
            .await?;
        // Waits for no row: whoever looks comes again at once.
        let rows = sql(r"with orphan as (
                  select id from lane
                  where owner is not null and ready_at is null
                    and owner not in (select host.id from host where host.leased_until > server_ms())
              ), held as (
                  select lane.id from lane join orphan on orphan.id = lane.id
                  where lane.owner not in (select host.id from host where host.leased_until > server_ms())
                  for update of lane skip locked
              ), freed as (
                  update lane
                  set claim = null, owner = null, ready_at = case when tail > head then last_at end
                  from held where lane.id = held.id
                  returning lane.id
              )
              select (select count(*) from freed) as lanes,
                     (select count(*) from orphan) - (select count(*) from freed) as waits")
        .fetch_one(&mut connection)
        .await?;
        let row = Of {
            table: "lane",
            row: &rows,
        };
        Ok(Freed {
            lanes: row.int("lanes")?,
            left: row.int("waits")?,
        })
    }
    .await;
    let end = if freed.is_ok() { "commit" } else { "rollback" };
    connection.script(end).await?;
    freed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_lanes_of_a_dead_host_are_looked_for_at_once_and_once_more() {
        let begun = Instant::now();
        let mut due = Due::now(begun);
        assert!(due.is_due(begun));
        due.done();
        assert!(!due.is_due(begun + AGAIN_AFTER / 2));
        assert!(due.is_due(begun + AGAIN_AFTER));
        due.done();
        assert!(!due.is_due(begun + 100 * AGAIN_AFTER));
    }
}

//! Lanes of hosts that died. A lane in hand on a server has no time by which others would find it (see
//! [`super::accept`]), so whoever notices that a host is gone reads all lanes once and gives its lanes their times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::claims::Claims;
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
                Ok(lanes) => {
                    due.done();
                    if lanes > 0 {
                        tracing::info!(lanes, "{lanes} lanes of a host that is gone are free");
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

/// Tells how many lanes were freed.
async fn free(pool: &Pool) -> Result<u64, StoreError> {
    let mut connection = pool.acquire().await?;
    connection.script("begin").await?;
    let freed = async {
        // The one statement that reads a whole table, in its order on the disk.
        connection
            .script("set local enable_seqscan = on; set local statement_timeout = '5min'")
            .await?;
        // What a statement of the dead host still holds is found the next time.
        sql(r"with orphan as (
                  select id from lane
                  where owner is not null and ready_at is null
                    and owner not in (select host.id from host where host.leased_until > server_ms())
                  for update skip locked
              )
              update lane
              set claim = null, owner = null, ready_at = case when tail > head then last_at end
              from orphan where lane.id = orphan.id")
        .execute(&mut connection)
        .await
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

//! This host among others on one PostgreSQL database: its number, and the lease that its claims live by.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claims::Claims;
use super::schema;
use crate::StoreError;
use crate::sql::{Connection, Pool, sql};

/// How long a host that says nothing keeps its lanes: three heartbeats.
const LEASE: Duration = Duration::from_secs(15);

/// Nothing is announced any more this long before the lease ends by our own clock: the time of a call that is on its way.
const MARGIN: Duration = Duration::from_secs(3);

/// A claim renews the lease when less than this is left.
const RENEWED_BELOW: Duration = Duration::from_secs(10);

/// Names the lock that hosts take to choose their numbers, one after the other.
const NUMBERING: i64 = 0x6d61_6e74_6c65_0002;

/// What we are to the other hosts.
#[derive(Debug)]
pub(super) struct Membership {
    pub id: i64,
    pub number: u8,
    /// By our own clock, counted from before the server was asked.
    until: Mutex<Instant>,
}

impl Membership {
    /// Takes the lowest number that was never used, else the one that has been free the longest.
    pub(super) async fn begin(connection: &mut Connection) -> Result<Self, StoreError> {
        let id = (getrandom::u64().map_err(std::io::Error::from)? >> 1).cast_signed();
        let asked = Instant::now();
        connection.script("begin").await?;
        let number = async {
            sql("select pg_advisory_xact_lock($1)")
                .bind(NUMBERING)
                .fetch_all(&mut *connection)
                .await?;
            sql(r"insert into host (number, id, leased_until, knows)
                  select number, $1, server_ms() + $2, $3
                  from (select number, 0 as leased_until from generate_series(0, 255) as number
                        where number not in (select number from host)
                        union all
                        select number, leased_until from host where leased_until < server_ms()) as free
                  order by leased_until, number
                  limit 1
                  on conflict (number) do update
                  set id = excluded.id, leased_until = excluded.leased_until, knows = excluded.knows
                  returning number")
            .bind(id)
            .bind(lease_ms())
            .bind(schema::known_to_postgres())
            .scalar_optional::<i64>(&mut *connection)
            .await
        }
        .await;
        connection
            .script(if number.is_ok() { "commit" } else { "rollback" })
            .await?;
        let number = number?.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
            StoreError::Unusable(
                "256 hosts use the database already, and no more can: stop one, or wait 15 s after one has crashed"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            id,
            number,
            until: Mutex::new(asked + LEASE),
        })
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something may still be announced under our claims.
    pub(super) fn holds(&self) -> bool {
        Instant::now() + MARGIN < self.until()
    }

    /// Before a claim: a lane is not taken on a lease that is about to end.
    pub(super) async fn make_sure(&self, pool: &Pool, claims: &Claims) -> Result<(), StoreError> {
        if Instant::now() + RENEWED_BELOW < self.until() {
            return Ok(());
        }
        self.renew(pool, claims).await
    }

    /// What was claimed under a lease that ended before this one began may be another's by now: it is let go of.
    pub(super) async fn renew(&self, pool: &Pool, claims: &Claims) -> Result<(), StoreError> {
        let asked = Instant::now();
        let renewed = sql("update host set leased_until = server_ms() + $2 where id = $1")
            .bind(self.id)
            .bind(lease_ms())
            .execute(pool)
            .await?;
        if renewed == 0 {
            return Err(StoreError::Unusable(
                "this host was silent for so long that another took its number; start it again".to_owned(),
            ));
        }
        if self.until() <= Instant::now() {
            tracing::warn!("The lease of this host had ended; what it had in hand is left to whoever took it");
            // Before the lease counts again, so that nothing leaves under the old claims.
            claims.lose_all();
        }
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + LEASE;
        Ok(())
    }
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

//! [`Budgets`] in SQL: a row is read, changed by [`Budget`] and written if nobody else has written it meanwhile.
//!
//! On PostgreSQL each statement is a transaction of its own on the connections of claims: nothing waits for the
//! writer, no row stays locked, and nothing is synced. What a crash of the server takes back is a chunk of calls, or a
//! limit that is met once more.

use std::time::Duration;

use async_trait::async_trait;
use mantle_model::clock::Time;

use super::SqlStore;
use super::rows::Of;
use crate::StoreError;
use crate::budgets::{Ask, Budget, BudgetKey, Budgets, Lease, Standing, Told};
use crate::sql::{Connection, Row, sql};

/// Hosts that want the same row at the same moment; each try but the last of them lets another through.
const TRIES_MAX: u32 = 16;

/// How long a word of another host can stay unheard when its notification is lost.
const TOLD_POLL: Duration = Duration::from_secs(1);

/// What was told so long ago has been heard by everybody.
const TOLD_SHOWN: Duration = Duration::from_secs(60);

/// A credential that nobody used for so long has gone: tokens are replaced.
const KEPT_UNUSED: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl Budgets for SqlStore {
    fn shares_budgets(&self) -> bool {
        self.shared.is_some()
    }

    async fn lease(&self, key: BudgetKey, ask: Ask, now: Time) -> Result<Lease, StoreError> {
        let lease = self
            .change_budget((key, now), move |budget| budget.lease(&ask, now))
            .await?;
        if lease.probe {
            self.tell_of_budgets().await?;
        }
        Ok(lease)
    }

    async fn tell(&self, key: BudgetKey, by: i64, told: Told, now: Time) -> Result<Standing, StoreError> {
        let heard = move |budget: &mut Budget| {
            budget.hear(by, told, now);
            budget.standing()
        };
        let standing = self.change_budget((key, now), heard).await?;
        self.tell_of_budgets().await?;
        Ok(standing)
    }

    async fn standings(&self, now: Time) -> Result<Vec<(BudgetKey, Standing)>, StoreError> {
        let rows = sql(
            r"select key, no, next_at_us, held_until, open_until, open_wait, probe_by, probe_until, told_at
              from bucket where held_until > $1 or open_until > 0 or told_at > $2",
        )
        .bind(now.unix_ms())
        .bind(now.before(TOLD_SHOWN).unix_ms())
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let row = Of { table: "bucket", row };
                let key: Vec<u8> = row.get("key")?;
                let key = key.try_into().map_err(|_| row.wrong("key"))?;
                Ok((BudgetKey(key), budget(row)?.standing()))
            })
            .collect()
    }

    async fn budgets_told(&self) {
        match &self.shared {
            Some(shared) => {
                let _ = tokio::time::timeout(TOLD_POLL, shared.budgets_told.notified()).await;
            }
            None => tokio::time::sleep(TOLD_POLL).await,
        }
    }
}

impl SqlStore {
    /// The row as changed, with the number that it has then.
    async fn change_budget<T, F>(&self, of: (BudgetKey, Time), change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Budget) -> T + Send + Sync + 'static,
    {
        let Some(shared) = &self.shared else {
            return self
                .write(async move |tx: &mut Connection| attempt(tx, of, &change).await?.ok_or_else(contended))
                .await;
        };
        let mut connection = shared.claimers.acquire().await?;
        for _ in 0..TRIES_MAX {
            if let Some(done) = attempt(&mut connection, of, &change).await? {
                return Ok(done);
            }
        }
        Err(contended())
    }

    async fn tell_of_budgets(&self) -> Result<(), StoreError> {
        if let Some(shared) = &self.shared {
            sql("select pg_notify('mantle_budgets', '')")
                .fetch_all(&shared.claimers)
                .await?;
        }
        Ok(())
    }
}

/// None: another host was quicker.
async fn attempt<T>(
    on: &mut Connection,
    (key, now): (BudgetKey, Time),
    change: &(impl Fn(&mut Budget) -> T + Send + Sync),
) -> Result<Option<T>, StoreError> {
    let found = sql(
        r"select no, next_at_us, held_until, open_until, open_wait, probe_by, probe_until, told_at
          from bucket where key = $1",
    )
    .bind(key.0.as_slice())
    .fetch_optional(&mut *on)
    .await?;
    let read = |row: &Row| budget(Of { table: "bucket", row });
    let before = found.as_ref().map(read).transpose()?;
    if before.is_none() {
        // A new credential is seldom, and often comes in the place of an old one.
        forget_unused(on, now).await?;
    }
    let mut after = before.unwrap_or_default();
    // Of a row that comes back the number is higher than it ever was: it rises by less than one in a millisecond.
    after.no = before.map_or(now.unix_ms(), |before| before.no + 1);
    let done = change(&mut after);
    let written = match before {
        None => sql(
            r"insert into bucket (key, no, next_at_us, held_until, open_until, open_wait, probe_by, probe_until, told_at)
              values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
              on conflict (key) do nothing",
        ),
        Some(_) => sql(
            r"update bucket set no = $2, next_at_us = $3, held_until = $4, open_until = $5, open_wait = $6,
                                probe_by = $7, probe_until = $8, told_at = $9
              where key = $1 and no = $2 - 1",
        ),
    }
    .bind(key.0.as_slice())
    .bind(after.no)
    .bind(after.next_at_us)
    .bind(after.held_until.unix_ms())
    .bind(after.open_until.unix_ms())
    .bind(i64::try_from(after.open_wait.as_millis()).unwrap_or(i64::MAX))
    .bind(after.probe_by)
    .bind(after.probe_until.unix_ms())
    .bind(after.told_at.unix_ms())
    .execute(on)
    .await?;
    Ok((written > 0).then_some(done))
}

/// Credentials that nobody used for a day.
async fn forget_unused(on: &mut Connection, now: Time) -> Result<(), StoreError> {
    let before = now.before(KEPT_UNUSED);
    sql(r"delete from bucket where next_at_us < $1 and held_until < $2 and open_until < $2 and told_at < $2")
        .bind(before.unix_ms().saturating_mul(1000))
        .bind(before.unix_ms())
        .execute(on)
        .await?;
    Ok(())
}

fn contended() -> StoreError {
    StoreError::Busy("too many hosts want the calls of one credential".to_owned())
}

fn budget(row: Of<'_>) -> Result<Budget, StoreError> {
    Ok(Budget {
        no: row.int("no")?,
        next_at_us: row.int("next_at_us")?,
        held_until: row.time("held_until")?,
        open_until: row.time("open_until")?,
        open_wait: Duration::from_millis(row.int("open_wait")?.unsigned_abs()),
        probe_by: row.int("probe_by")?,
        probe_until: row.time("probe_until")?,
        told_at: row.time("told_at")?,
    })
}

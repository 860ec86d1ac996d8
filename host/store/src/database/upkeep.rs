//! [`Upkeep`] in SQL.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, ReceiptId, WorkspaceId};

use super::accept::message_id;
use super::rows::{self, Of, id_list};
use super::{SqlStore, commit, examine, prune};
use crate::StoreError;
use crate::intake::Origin;
use crate::lanes::Effect;
use crate::sql::{Connection, Row, either, sql};
use crate::upkeep::{
    Figures, HookFilter, Kept, KeptHook, NO_CHANNEL, Pruned, RESTORED_KEY, Restored, Unfinished, Upkeep, Waiting,
};

/// Hooks of one list.
const HOOKS_MAX: u32 = 200;

/// The columns of a kept hook. What follows narrows them.
macro_rules! kept_hooks {
    ($rest:literal) => {
        concat!(
            r"select id, channel_id, workspace_id, received_at, state, problem, tries, next_at, deliveries
              from receipt ",
            $rest
        )
    };
}

#[async_trait]
impl Upkeep for SqlStore {
    async fn prune(&self, what: Kept, before: Time, from: i64, rows_max: u32) -> Result<Pruned, StoreError> {
        self.write(async move |tx: &mut Connection| prune::step(tx, what, before, from, rows_max).await)
            .await
    }

    fn idle(&self) -> bool {
        self.writer.idle()
    }

    async fn figures(&self, now: Time) -> Result<Figures, StoreError> {
        let held = self.claims.held();
        let rows = either(
            r"select channel_id, count(*) as lanes, min(ready_at) as since from lane
              where ready_at is not null and ready_at <= $1 and id not in (select value from json_each($2))
              group by channel_id
              order by channel_id",
            r"select channel_id, count(*) as lanes, min(ready_at) as since from lane
              where ready_at is not null and ready_at <= $1 and id not in (select value from json_each($2))
                and (claim is null
                     or not exists (select 1 from host where host.id = lane.owner and host.leased_until > server_ms()))
              group by channel_id
              order by channel_id",
        )
        .bind(now.unix_ms())
        .bind(id_list(held.into_iter().map(|lane| lane.0)))
        .fetch_all(&self.readers)
        .await?;
        let mut ready = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = Of { table: "lane", row };
            let since = now.since(row.time("since")?);
            ready.push((
                ChannelId(row.int("channel_id")?),
                row.int("lanes")?.unsigned_abs(),
                since,
            ));
        }
        Ok(Figures {
            ready,
            effects_ambiguous: self
                .counted(
                    r"select count(*) from effect join lane on lane.id = effect.lane_id
                      where effect.state in (0, 2) and effect.seq > lane.head",
                )
                .await?,
            dead: self.dead().await?,
            hooks_unread: self.counted(r"select count(*) from receipt where state = 1").await?,
            hooks_parked: self
                .counted(r"select count(*) from receipt where state <> 0 and state = 2")
                .await?,
            log_bytes: self.log_bytes(),
            oldest_transaction: match self.shared {
                Some(_) => examine::oldest_transaction_age(&self.readers).await.ok(),
                None => None,
            },
        })
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let waiting = match self.shared {
            None => sql(
                r"select channel_id, direction, cast(sum(tail - head) as bigint) as events from lane
                  where ready_at is not null
                  group by channel_id, direction
                  order by channel_id, direction",
            ),
            // A lane in hand may have no time there.
            Some(_) => sql(
                r"select channel_id, direction, cast(sum(events) as bigint) as events from (
                      select channel_id, direction, tail - head as events from lane where ready_at is not null
                      union all
                      select channel_id, direction, tail - head from lane
                      where id in (select value from json_each($1)) and ready_at is null and tail > head
                  ) as waiting
                  group by channel_id, direction
                  order by channel_id, direction",
            )
            .bind(id_list(self.claims.held().into_iter().map(|lane| lane.0))),
        };
        let rows = waiting.fetch_all(&self.readers).await?;
        let waiting = |row: &Row| {
            let row = Of { table: "lane", row };
            Ok(Waiting {
                channel: ChannelId(row.int("channel_id")?),
                direction: row.case("direction", rows::direction)?,
                events: row.int("events")?.unsigned_abs(),
            })
        };
        rows.iter().map(waiting).collect()
    }

    async fn hooks(&self, filter: &HookFilter) -> Result<Vec<KeptHook>, StoreError> {
        let rows = sql(kept_hooks!(
            r"where state <> 0 and state = $1 and ($2 is null or channel_id = $2)
                and received_at between $3 and $4 and id < $5
              order by id desc
              limit $6"
        ))
        .bind(if filter.parked { 2_i64 } else { 1 })
        .bind(filter.channel.map(|channel| channel.0))
        .bind(filter.from.map_or(i64::MIN, Time::unix_ms))
        .bind(filter.to.map_or(i64::MAX, Time::unix_ms))
        .bind(filter.after.map_or(i64::MAX, |after| after.0))
        .bind(filter.limit.clamp(1, HOOKS_MAX))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(kept_hook).collect()
    }

    async fn hook(&self, id: ReceiptId) -> Result<Option<KeptHook>, StoreError> {
        let row = sql(kept_hooks!(r"where id = $1 and state <> 0"))
            .bind(id.0)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(kept_hook).transpose()
    }

    async fn read_hook_again(&self, id: ReceiptId, now: Time) -> Result<(), StoreError> {
        self.write(async move |tx: &mut Connection| {
            let changed = sql(r"update receipt set state = 1, tries = 0, next_at = $2 where id = $1 and state <> 0")
                .bind(id.0)
                .bind(now.unix_ms())
                .execute(tx)
                .await?;
            if changed == 0 {
                return Err(StoreError::NotFound("receipt that waits to be read"));
            }
            Ok(())
        })
        .await
    }

    async fn unfinished(&self, after: Option<MessageId>, limit: u32) -> Result<Vec<Unfinished>, StoreError> {
        let rows = sql(
            r"select event.lane_id, event.seq, event.channel_id, event.kind, channel.workspace_id, lane.direction,
                     case when lane.identity_id is not null and identity.thread_conversation is null then 1 else 0 end
                         as opens
              from lane
              join event on event.lane_id = lane.id and event.seq > lane.head
              join channel on channel.id = event.channel_id
              left join identity on identity.id = lane.identity_id
              where lane.tail > lane.head and (event.lane_id, event.seq) > ($1, $2)
              order by event.lane_id, event.seq
              limit $3",
        )
        .bind(after.map_or(i64::MIN, |after| after.lane.0))
        .bind(after.map_or(i64::MIN, |after| after.seq))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(unfinished).collect()
    }

    async fn doubt(&self, effects: &[(MessageId, Effect)]) -> Result<(), StoreError> {
        let effects = effects.to_vec();
        self.write(async move |tx: &mut Connection| {
            for (message, effect) in &effects {
                commit::doubt(tx, *message, effect).await?;
            }
            Ok(())
        })
        .await
    }

    async fn restored(&self) -> Result<Option<Restored>, StoreError> {
        let value: Option<Vec<u8>> = sql(r"select value from kv where channel_id = $1 and key = $2")
            .bind(NO_CHANNEL)
            .bind(RESTORED_KEY)
            .scalar_optional(&self.readers)
            .await?;
        let wrong = |_| StoreError::Inconsistent {
            table: "kv",
            column: "value",
            row: "key restored".to_owned(),
        };
        value
            .map(|value| serde_json::from_slice(&value).map_err(wrong))
            .transpose()
    }

    async fn set_restored(&self, restored: Restored) -> Result<(), StoreError> {
        let value = rows::json(&restored)?;
        self.write(async move |tx: &mut Connection| {
            sql(r"insert into kv (channel_id, key, value) values ($1, $2, $3)
                  on conflict (channel_id, key) do update set value = excluded.value")
            .bind(NO_CHANNEL)
            .bind(RESTORED_KEY)
            .bind(value.as_slice())
            .execute(tx)
            .await?;
            Ok(())
        })
        .await
    }
}

impl SqlStore {
    async fn counted(&self, text: &'static str) -> Result<u64, StoreError> {
        let count: i64 = sql(text).scalar(&self.readers).await?;
        Ok(count.unsigned_abs())
    }

    /// Newest attempts alone: what was put in line again is not dead any more, whatever becomes of it.
    async fn dead(&self) -> Result<u64, StoreError> {
        self.counted(
            r"select count(*) from ending
              join event on event.lane_id = ending.lane_id and event.seq = ending.seq
              where ending.state = 4 and not exists (
                  select 1 from event later
                  where later.lane_id = event.lane_id and later.origin_seq = coalesce(event.origin_seq, event.seq)
                    and later.seq > event.seq)",
        )
        .await
    }
}

fn kept_hook(row: &Row) -> Result<KeptHook, StoreError> {
    let row = Of { table: "receipt", row };
    let origin = match row.get::<Option<i64>>("channel_id")? {
        Some(channel) => Origin::Channel(ChannelId(channel)),
        None => Origin::Workspace(WorkspaceId(row.int("workspace_id")?)),
    };
    Ok(KeptHook {
        id: ReceiptId(row.int("id")?),
        origin,
        received_at: row.time("received_at")?,
        parked: row.int("state")? == 2,
        problem: row.text_opt("problem")?.unwrap_or_default(),
        tries: row.count("tries")?,
        next_at: row.time_opt("next_at")?,
        deliveries: row.count("deliveries")?,
    })
}

fn unfinished(row: &Row) -> Result<Unfinished, StoreError> {
    let row = Of { table: "event", row };
    Ok(Unfinished {
        id: message_id(row)?,
        channel: ChannelId(row.int("channel_id")?),
        workspace: WorkspaceId(row.int("workspace_id")?),
        direction: row.case("direction", rows::direction)?,
        kind: row.text("kind")?,
        opens: row.get("opens")?,
    })
}

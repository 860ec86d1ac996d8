//! [`Single`] in SQL.

use crate::sql::{Connection, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, WorkspaceId};

use super::accept::message_id;
use super::rows::{Of, direction_number};
use super::{SqlStore, touch};
use crate::StoreError;
use crate::intake::Direction;
use crate::single::{Making, Single, Standing, Sweep};

#[async_trait]
impl Single for SqlStore {
    async fn begin_making(
        &self,
        workspace: WorkspaceId,
        keys: &[String],
        by: MessageId,
        now: Time,
    ) -> Result<Making, StoreError> {
        let mut keys = keys.to_vec();
        // Two hosts that take the same names in the same order never wait for each other.
        keys.sort_unstable();
        keys.dedup();
        let touches = touch::makings(workspace, &keys).collect();
        self.write_touching(touches, async move |tx: &mut Connection| {
            begin(tx, workspace, &keys, by, now).await
        })
        .await
    }

    async fn begin_sweep(
        &self,
        workspace: WorkspaceId,
        now: Time,
        until: Time,
        at_once: bool,
    ) -> Result<Option<Sweep>, StoreError> {
        self.write(async move |tx: &mut Connection| {
            let noted = sql(
                r"insert into sweep (workspace_id, seen_until, next_at) values ($1, $2, $2)
                  on conflict (workspace_id) do nothing",
            )
            .bind(workspace.0)
            .bind(now.unix_ms())
            .execute(&mut *tx)
            .await?;
            if noted > 0 {
                return Ok(None);
            }
            let due = sql(r"update sweep set held_until = $3
                  where workspace_id = $1 and held_until <= $2 and (next_at <= $2 or $4 = 1)
                  returning workspace_id, seen_until")
            .bind(workspace.0)
            .bind(now.unix_ms())
            .bind(until.unix_ms())
            .bind(at_once)
            .fetch_optional(tx)
            .await?;
            let Some(row) = due else { return Ok(None) };
            let row = Of {
                table: "sweep",
                row: &row,
            };
            Ok(Some(Sweep {
                seen_until: row.time("seen_until")?,
            }))
        })
        .await
    }

    async fn end_sweep(
        &self,
        workspace: WorkspaceId,
        seen_until: Option<Time>,
        next_at: Time,
    ) -> Result<(), StoreError> {
        self.write(async move |tx: &mut Connection| {
            sql(
                r"update sweep set seen_until = coalesce($2, seen_until), next_at = $3, held_until = 0
                  where workspace_id = $1",
            )
            .bind(workspace.0)
            .bind(seen_until.map(Time::unix_ms))
            .bind(next_at.unix_ms())
            .execute(tx)
            .await?;
            Ok(())
        })
        .await
    }

    async fn told_before(
        &self,
        channel: ChannelId,
        direction: Direction,
        keys: &[String],
    ) -> Result<Vec<bool>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            let told: i64 = sql(r"select count(*) from dedupe where channel_id = $1 and direction = $2 and key = $3")
                .bind(channel.0)
                .bind(direction_number(direction))
                .bind(key.as_bytes())
                .scalar(&mut connection)
                .await?;
            known.push(told > 0);
        }
        Ok(known)
    }

    async fn standing(
        &self,
        channel: ChannelId,
        direction: Direction,
        key: &str,
    ) -> Result<Option<Standing>, StoreError> {
        let row = sql(
            r"select dedupe.lane_id, dedupe.seq, lane.head from dedupe join lane on lane.id = dedupe.lane_id
              where dedupe.channel_id = $1 and dedupe.direction = $2 and dedupe.key = $3",
        )
        .bind(channel.0)
        .bind(direction_number(direction))
        .bind(key.as_bytes())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Of {
            table: "dedupe",
            row: &row,
        };
        let message = message_id(row)?;
        Ok(Some(Standing {
            message,
            finished: message.seq <= row.int("head")?,
        }))
    }
}

/// A name that somebody has had, and whose event has come to its end.
struct Left {
    lane: i64,
    seq: i64,
}

async fn begin(
    tx: &mut Connection,
    workspace: WorkspaceId,
    keys: &[String],
    by: MessageId,
    now: Time,
) -> Result<Making, StoreError> {
    let mut announced_at = None;
    let mut left: Vec<Option<Left>> = Vec::with_capacity(keys.len());
    for key in keys {
        let row = sql(
            r"select making.lane_id, making.seq, making.announced_at, making.remote_id,
                     case when lane.head < making.seq then 1 else 0 end as under_way
              from making left join lane on lane.id = making.lane_id
              where making.workspace_id = $1 and making.key = $2",
        )
        .bind(workspace.0)
        .bind(key.as_bytes())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            left.push(None);
            continue;
        };
        let row = Of {
            table: "making",
            row: &row,
        };
        if let Some(made) = row.text_opt("remote_id")? {
            return Ok(Making::Made(made));
        }
        let had = Left {
            lane: row.int("lane_id")?,
            seq: row.int("seq")?,
        };
        if row.int("under_way")? != 0 && (had.lane, had.seq) != (by.lane.0, by.seq) {
            return Ok(Making::Others);
        }
        announced_at = announced_at.max(row.time_opt("announced_at")?);
        left.push(Some(had));
    }
    for (key, had) in keys.iter().zip(left) {
        if !take(tx, (workspace, key), had, (by, announced_at, now)).await? {
            return Ok(Making::Others);
        }
    }
    Ok(Making::Yours { announced_at })
}

/// False: another host took it between our look and now.
async fn take(
    tx: &mut Connection,
    (workspace, key): (WorkspaceId, &str),
    had: Option<Left>,
    (by, announced_at, now): (MessageId, Option<Time>, Time),
) -> Result<bool, StoreError> {
    let statement = match had {
        None => sql(
            r"insert into making (workspace_id, key, lane_id, seq, announced_at, since)
                  values ($1, $2, $3, $4, $5, $6)
                  on conflict (workspace_id, key) do nothing",
        )
        .bind(workspace.0)
        .bind(key.as_bytes())
        .bind(by.lane.0)
        .bind(by.seq)
        .bind(announced_at.map(Time::unix_ms))
        .bind(now.unix_ms()),
        Some(had) => sql(r"update making set lane_id = $3, seq = $4, announced_at = $5
                  where workspace_id = $1 and key = $2 and lane_id = $6 and seq = $7 and remote_id is null")
        .bind(workspace.0)
        .bind(key.as_bytes())
        .bind(by.lane.0)
        .bind(by.seq)
        .bind(announced_at.map(Time::unix_ms))
        .bind(had.lane)
        .bind(had.seq),
    };
    Ok(statement.execute(tx).await? > 0)
}

/// The outcome of a call for it: under way or unknown since then, or surely not done.
pub(super) async fn announce(
    tx: &mut Connection,
    workspace: WorkspaceId,
    keys: &[String],
    at: Option<Time>,
) -> Result<(), StoreError> {
    for key in keys {
        sql(r"update making set announced_at = $3 where workspace_id = $1 and key = $2")
            .bind(workspace.0)
            .bind(key.as_bytes())
            .bind(at.map(Time::unix_ms))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// It is there. None: nobody needs to know its id, and the next one is another.
pub(super) async fn made(
    tx: &mut Connection,
    workspace: WorkspaceId,
    keys: &[String],
    (remote_id, now): (Option<&str>, Time),
) -> Result<(), StoreError> {
    for key in keys {
        sql(r"delete from making where workspace_id = $1 and key = $2")
            .bind(workspace.0)
            .bind(key.as_bytes())
            .execute(&mut *tx)
            .await?;
        let Some(remote_id) = remote_id else { continue };
        sql(r"insert into making (workspace_id, key, lane_id, seq, remote_id, since) values ($1, $2, 0, 0, $3, $4)")
            .bind(workspace.0)
            .bind(key.as_bytes())
            .bind(remote_id.as_bytes())
            .bind(now.unix_ms())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// What was made goes by another id, or is gone and may be made anew.
pub(super) async fn moved(
    tx: &mut Connection,
    workspace: WorkspaceId,
    from: &[u8],
    into: Option<&[u8]>,
) -> Result<(), StoreError> {
    let statement = match into {
        Some(into) => sql(r"update making set remote_id = $3 where workspace_id = $1 and remote_id = $2")
            .bind(workspace.0)
            .bind(from)
            .bind(into),
        None => sql(r"delete from making where workspace_id = $1 and remote_id = $2")
            .bind(workspace.0)
            .bind(from),
    };
    statement.execute(tx).await?;
    Ok(())
}

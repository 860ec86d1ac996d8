//! A message that failed, once more.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::ids::MessageId;

use super::rows::Of;
use super::states;
use crate::StoreError;

/// As [`again`], unless another attempt has come after the one that was asked for.
pub(super) async fn newest_again(tx: &mut Connection, attempt: MessageId, now: Time) -> Result<MessageId, StoreError> {
    let family = states::family(tx, attempt)
        .await?
        .ok_or(StoreError::NotFound("message"))?;
    if family.newest != attempt.seq {
        return Err(StoreError::NotReplayable(attempt));
    }
    again(tx, attempt, now).await
}

/// Queues a copy behind the lane's tail that names its original. The attempts before stay as they are.
pub(super) async fn again(tx: &mut Connection, message: MessageId, now: Time) -> Result<MessageId, StoreError> {
    let family = states::family(tx, message)
        .await?
        .ok_or(StoreError::NotFound("message"))?;
    if !states::can_be_replayed(tx, &family).await? {
        return Err(StoreError::NotReplayable(message));
    }
    let row = sql(
        r"update lane set tail = tail + 1, ready_at = coalesce(ready_at, $2), last_at = $2
          where id = $1
          returning tail",
    )
    .bind(message.lane.0)
    .bind(now.unix_ms())
    .fetch_one(&mut *tx)
    .await?;
    let seq = Of {
        table: "lane",
        row: &row,
    }
    .int("tail")?;
    sql(
        r"insert into event (lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at,
                             origin_seq, attempt_no, payload)
          select lane_id, $3, channel_id, receipt_id, kind, key, remote_id, at, $4, seq, $5, payload
          from event where lane_id = $1 and seq = $2",
    )
    .bind(message.lane.0)
    .bind(family.origin)
    .bind(seq)
    .bind(now.unix_ms())
    .bind(family.attempt_no + 1)
    .execute(tx)
    .await?;
    Ok(MessageId {
        lane: message.lane,
        seq,
    })
}

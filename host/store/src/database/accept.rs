//! Receipts and events inside the writer's transaction: dedupe, identity, lane, event.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId, ReceiptId};
use sha2::{Digest, Sha256};

use super::Context;
use super::identities::{self, Sender};
use super::rows::{Of, bytes, day, direction_number};
use crate::StoreError;
use crate::intake::{Accepted, AcceptedEvent, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState};

/// The receipt, its headers sealed already, with what was made of its events. A receipt of which everything was told
/// before is not kept again.
pub(super) async fn receipt_with_events(
    tx: &mut Connection,
    context: &Context,
    (receipt, headers): (&NewReceipt, &[u8]),
    events: &[NewEvent],
) -> Result<Accepted, StoreError> {
    let accepted = accept_events(tx, context, Some(receipt.id), events).await?;
    if receipt.state == ReceiptState::Parsed {
        if let Some(first) = only_duplicates(&accepted)
            && let Some(known) = receipt_of(tx, first).await?
        {
            return Ok(Accepted {
                receipt: known,
                events: accepted,
            });
        }
        insert_receipt(tx, receipt, headers).await?;
        return Ok(Accepted {
            receipt: receipt.id,
            events: accepted,
        });
    }
    // A sender that comes again and again with what cannot be read does not fill the disk.
    let kept = match unread_twin(tx, receipt).await? {
        Some(twin) => twin,
        None => {
            insert_receipt(tx, receipt, headers).await?;
            receipt.id
        }
    };
    Ok(Accepted {
        receipt: kept,
        events: accepted,
    })
}

fn only_duplicates(accepted: &[AcceptedEvent]) -> Option<MessageId> {
    let mut first = None;
    for event in accepted {
        match event {
            AcceptedEvent::New { .. } => return None,
            AcceptedEvent::Duplicate { of } => first = first.or(Some(*of)),
        }
    }
    first
}

async fn receipt_of(tx: &mut Connection, message: MessageId) -> Result<Option<ReceiptId>, StoreError> {
    let receipt: Option<Option<i64>> = sql(r"select receipt_id from event where lane_id = $1 and seq = $2")
        .bind(message.lane.0)
        .bind(message.seq)
        .scalar_optional(tx)
        .await?;
    Ok(receipt.flatten().map(ReceiptId))
}

/// Counts the delivery with an unread receipt of the same body, if there is one.
async fn unread_twin(tx: &mut Connection, receipt: &NewReceipt) -> Result<Option<ReceiptId>, StoreError> {
    let (channel, workspace) = origin_columns(receipt.origin);
    let twin: Option<i64> = sql(r"update receipt set deliveries = deliveries + 1
          where id = (select id from receipt
                      where body_sha256 = $1 and state <> 0 and path = $2
                        and channel_id is not distinct from $3 and workspace_id is not distinct from $4
                      order by id limit 1)
          returning id")
    .bind(body_hash(receipt))
    .bind(receipt.hook.path_and_query.as_bytes())
    .bind(channel)
    .bind(workspace)
    .scalar_optional(tx)
    .await?;
    Ok(twin.map(ReceiptId))
}

fn body_hash(receipt: &NewReceipt) -> Vec<u8> {
    Sha256::digest(&receipt.hook.body).to_vec()
}

fn origin_columns(origin: Origin) -> (Option<i64>, Option<i64>) {
    match origin {
        Origin::Channel(channel) => (Some(channel.0), None),
        Origin::Workspace(workspace) => (None, Some(workspace.0)),
    }
}

/// (state, problem, next time) as columns.
pub(super) fn state_columns(state: &ReceiptState) -> (i64, Option<&[u8]>, Option<i64>) {
    match state {
        ReceiptState::Parsed => (0, None, None),
        ReceiptState::Unparsed { problem, next_at } => (1, Some(problem.as_bytes()), Some(next_at.unix_ms())),
        ReceiptState::Parked { problem } => (2, Some(problem.as_bytes()), None),
    }
}

async fn insert_receipt(tx: &mut Connection, receipt: &NewReceipt, headers: &[u8]) -> Result<(), StoreError> {
    let (channel, workspace) = origin_columns(receipt.origin);
    let (state, problem, next_at) = state_columns(&receipt.state);
    sql(
        r"insert into receipt (id, channel_id, workspace_id, method, path, headers, body, body_sha256,
                               received_at, state, problem, next_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
          on conflict (id) do nothing",
    )
    .bind(receipt.id.0)
    .bind(channel)
    .bind(workspace)
    .bind(receipt.hook.method.as_str())
    .bind(receipt.hook.path_and_query.as_bytes())
    .bind(headers)
    .bind(receipt.hook.body.as_slice())
    .bind(body_hash(receipt))
    .bind(receipt.hook.received_at.unix_ms())
    .bind(state)
    .bind(problem)
    .bind(next_at)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn accept_events(
    tx: &mut Connection,
    context: &Context,
    receipt: Option<ReceiptId>,
    events: &[NewEvent],
) -> Result<Vec<AcceptedEvent>, StoreError> {
    let mut accepted = Vec::with_capacity(events.len());
    for event in events {
        // One after the other, so that a key that occurs twice in one request meets its own row.
        accepted.push(accept_event(tx, context, receipt, event).await?);
    }
    Ok(accepted)
}

async fn accept_event(
    tx: &mut Connection,
    context: &Context,
    receipt: Option<ReceiptId>,
    event: &NewEvent,
) -> Result<AcceptedEvent, StoreError> {
    if let Some(of) = count_delivery(tx, event).await? {
        return Ok(AcceptedEvent::Duplicate { of });
    }
    let (lane_key, identity) = match &event.lane {
        LaneKey::Person {
            aliases,
            name,
            language,
        } => {
            let sender = Sender {
                channel: event.channel,
                aliases,
                name: name.as_deref(),
                language: language.as_deref(),
                wrote_at: event.opens_window.then_some(event.at),
            };
            let identity = identities::resolve(tx, context, sender).await?;
            (identity.to_string(), Some(identity))
        }
        LaneKey::Identity(identity) => {
            let identity = identities::present(tx, *identity).await?.unwrap_or(*identity);
            if event.opens_window {
                identities::open_window(tx, identity, event.at).await?;
            }
            (identity.to_string(), Some(identity))
        }
        LaneKey::Chore(chore) => (chore.clone(), None),
    };
    let message = join_lane(tx, context, (receipt, event), (&lane_key, identity)).await?;
    Ok(AcceptedEvent::New { message, identity })
}

async fn count_delivery(tx: &mut Connection, event: &NewEvent) -> Result<Option<MessageId>, StoreError> {
    let row = sql(r"update dedupe set deliveries = deliveries + 1
          where channel_id = $1 and direction = $2 and key = $3
          returning lane_id, seq")
    .bind(event.channel.0)
    .bind(direction_number(event.direction))
    .bind(event.key.as_bytes())
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        message_id(Of {
            table: "dedupe",
            row: &row,
        })
    })
    .transpose()
}

pub(super) fn message_id(row: Of<'_>) -> Result<MessageId, StoreError> {
    Ok(MessageId {
        lane: LaneId(row.int("lane_id")?),
        seq: row.int("seq")?,
    })
}

/// Takes the next place in the lane and puts the event there. A time that is set already stays: a lane being worked or
/// put off is not made ready by an arrival, so an arrival never brings a second worker.
async fn join_lane(
    tx: &mut Connection,
    context: &Context,
    (receipt, event): (Option<ReceiptId>, &NewEvent),
    (key, identity): (&str, Option<IdentityId>),
) -> Result<MessageId, StoreError> {
    let now = context.now();
    let ready_at = event.not_before.unwrap_or(now).max(now);
    // Three statements in one call: each call is a trip to SQLite's thread and back, which costs more than they do.
    let row = sql(
        r"insert into lane (id, channel_id, direction, key, identity_id, tail, ready_at, last_at)
          values ($1, $2, $3, $4, $5, 1, $6, $7)
          on conflict (channel_id, direction, key) do update
          set tail = lane.tail + 1, ready_at = coalesce(lane.ready_at, excluded.ready_at), last_at = excluded.last_at;
          insert into dedupe (channel_id, direction, key, lane_id, seq, day)
          select $2, $3, $8, id, tail, $9 from lane where channel_id = $2 and direction = $3 and key = $4;
          insert into event (lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at,
                             not_before, payload)
          select id, tail, $2, $10, $11, $8, $12, $13, $7, $14, $15
          from lane where channel_id = $2 and direction = $3 and key = $4
          returning lane_id, seq",
    )
    .bind(context.next_id())
    .bind(event.channel.0)
    .bind(direction_number(event.direction))
    .bind(key.as_bytes())
    .bind(identity.map(|identity| identity.0))
    .bind(ready_at.unix_ms())
    .bind(now.unix_ms())
    .bind(event.key.as_bytes())
    .bind(day(now))
    .bind(receipt.map(|receipt| receipt.0))
    .bind(event.kind)
    .bind(bytes(event.remote_id.as_deref()))
    .bind(event.at.unix_ms())
    .bind(event.not_before.map(Time::unix_ms))
    .bind(event.payload.as_slice())
    .fetch_one(tx)
    .await?;
    message_id(Of {
        table: "event",
        row: &row,
    })
}

/// The channel's workspace; a channel that is unknown has none.
pub(super) async fn workspace_of(tx: &mut Connection, channel: ChannelId) -> Result<Option<i64>, StoreError> {
    let row = sql(r"select workspace_id from channel where id = $1")
        .bind(channel.0)
        .fetch_optional(tx)
        .await?;
    row.map(|row| {
        Of {
            table: "channel",
            row: &row,
        }
        .int("workspace_id")
    })
    .transpose()
}

//! What a worker learnt, applied inside the writer's transaction.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId};
use mantle_model::inbound::{DeliveryReport, Reach};

use super::rows::{bytes, day, effect_number, reach_number, report_number};
use super::{Context, accept, identities, single};
use crate::lanes::{Attempt, Change, Effect, Ending, Hop};
use crate::people::{ContactLink, ThreadLink};
use crate::{Conflict, StoreError};

/// The lane that a commit belongs to.
#[derive(Clone, Copy)]
struct Place {
    lane: LaneId,
    channel: ChannelId,
    now: Time,
}

pub(super) async fn apply(
    tx: &mut Connection,
    context: &Context,
    (lane, channel): (LaneId, ChannelId),
    changes: &[Change],
) -> Result<(), StoreError> {
    let place = Place {
        lane,
        channel,
        now: context.now(),
    };
    for change in changes {
        apply_one(tx, context, place, change).await?;
    }
    Ok(())
}

async fn apply_one(tx: &mut Connection, context: &Context, place: Place, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Effect { seq, effect } => write_effect(tx, place, *seq, effect).await,
        Change::Hop { seq, hop } => write_hop(tx, place, *seq, hop).await,
        Change::Contact(link) => link_contact(tx, link).await,
        Change::Thread(link) => link_thread(tx, link).await,
        Change::Making {
            workspace,
            keys,
            announced_at,
        } => single::announce(tx, *workspace, keys, *announced_at).await,
        Change::Made {
            workspace,
            keys,
            remote_id,
        } => single::made(tx, *workspace, keys, (remote_id.as_deref(), place.now)).await,
        Change::OwnPart { part } => own_part(tx, place, part).await,
        Change::Aliases { identity, aliases } => {
            let Some(identity) = identities::present(tx, *identity).await? else {
                return Err(StoreError::NotFound("identity"));
            };
            let owners = identities::owners(tx, place.channel, aliases).await?;
            identities::add_aliases(tx, (place.channel, identity), aliases, &owners, place.now).await
        }
        Change::Reach { identity, reach, at } => set_reach(tx, *identity, *reach, *at).await,
        Change::WindowClosed { identity } => {
            sql(r"update identity set window_closed = 1 where id = $1")
                .bind(identity.0)
                .execute(tx)
                .await?;
            Ok(())
        }
        Change::Outgoing { seq, step, remote_id } => {
            let message = MessageId {
                lane: place.lane,
                seq: *seq,
            };
            outgoing(tx, place.channel, (message, step), remote_id).await
        }
        Change::Settle {
            message,
            step,
            remote_id,
        } => settle(tx, place, (*message, step), remote_id).await,
        Change::Report {
            remote_id,
            report,
            at,
            code,
        } => write_report(tx, place.channel, remote_id, (*report, *at, code.as_deref())).await,
        Change::Spawn(event) => {
            accept::accept_events(tx, context, None, std::slice::from_ref(event)).await?;
            Ok(())
        }
        Change::Finish { seq, ending } => finish(tx, place, *seq, ending).await,
        Change::Retry { until, cause, counts } => retry(tx, place, (*until, *counts), cause).await,
    }
}

async fn write_effect(tx: &mut Connection, place: Place, seq: i64, effect: &Effect) -> Result<(), StoreError> {
    sql(
        r"insert into effect (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
          on conflict (lane_id, seq, step) do update
          set state = excluded.state, target = excluded.target, fingerprint = excluded.fingerprint,
              remote_id = excluded.remote_id, announced_at = excluded.announced_at, ended_at = excluded.ended_at,
              code = excluded.code
          -- Done (1) never becomes ambiguous (2).
          where not (effect.state = 1 and excluded.state = 2)",
    )
    .bind(place.lane.0)
    .bind(seq)
    .bind(effect.step.as_str())
    .bind(effect_number(effect.state))
    .bind(effect.target.as_bytes())
    .bind(effect.fingerprint.as_bytes())
    .bind(bytes(effect.remote_id.as_deref()))
    .bind(effect.announced_at.unix_ms())
    .bind(effect.ended_at.map(Time::unix_ms))
    .bind(bytes(effect.code.as_deref()))
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes an effect that may have happened without being known here. What is known to be done stays.
pub(super) async fn doubt(tx: &mut Connection, message: MessageId, effect: &Effect) -> Result<(), StoreError> {
    sql(
        r"insert into effect (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
          on conflict (lane_id, seq, step) do update
          set state = excluded.state, announced_at = excluded.announced_at, ended_at = excluded.ended_at,
              code = excluded.code
          where effect.state <> 1",
    )
    .bind(message.lane.0)
    .bind(message.seq)
    .bind(effect.step.as_str())
    .bind(effect_number(effect.state))
    .bind(effect.target.as_bytes())
    .bind(effect.fingerprint.as_bytes())
    .bind(bytes(effect.remote_id.as_deref()))
    .bind(effect.announced_at.unix_ms())
    .bind(effect.ended_at.map(Time::unix_ms))
    .bind(bytes(effect.code.as_deref()))
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_hop(tx: &mut Connection, place: Place, seq: i64, hop: &Hop) -> Result<(), StoreError> {
    sql(r"insert into hop (lane_id, seq, at, what, code, detail) values ($1, $2, $3, $4, $5, $6)")
        .bind(place.lane.0)
        .bind(seq)
        .bind(hop.at.unix_ms())
        .bind(hop.what.as_bytes())
        .bind(bytes(hop.code.as_deref()))
        .bind(bytes(hop.detail.as_deref()))
        .execute(tx)
        .await?;
    Ok(())
}

async fn link_contact(tx: &mut Connection, link: &ContactLink) -> Result<(), StoreError> {
    let identity = present_or_missing(tx, link.identity).await?;
    sql(r"update identity set contact = $2, written_name = $3 where id = $1")
        .bind(identity.0)
        .bind(link.contact.as_bytes())
        .bind(bytes(link.written_name.as_deref()))
        .execute(tx)
        .await?;
    Ok(())
}

/// A conversation never moves from one person to another: two who said the same in the same second, one of them with a
/// lost answer, would else share one.
async fn link_thread(tx: &mut Connection, link: &ThreadLink) -> Result<(), StoreError> {
    let identity = present_or_missing(tx, link.identity).await?;
    let owner: Option<i64> = sql(
        r"insert into thread (workspace_id, conversation, identity_id, opened_at, last_part_at, parts)
          values ($2, $3, $1, $4, $5, $6)
          on conflict (workspace_id, conversation) do update
          set opened_at = excluded.opened_at, last_part_at = excluded.last_part_at, parts = excluded.parts
          returning identity_id",
    )
    .bind(identity.0)
    .bind(link.workspace.0)
    .bind(link.conversation.as_bytes())
    .bind(link.opened_at.unix_ms())
    .bind(link.last_part_at.unix_ms())
    .bind(link.parts)
    .scalar(&mut *tx)
    .await?;
    if let Some(owner) = owner.filter(|owner| *owner != identity.0) {
        let by = IdentityId(owner);
        return Err(StoreError::Conflict(Conflict::Conversation { by }));
    }
    sql(r"update identity set thread_workspace = $2, thread_conversation = $3 where id = $1")
        .bind(identity.0)
        .bind(link.workspace.0)
        .bind(link.conversation.as_bytes())
        .execute(tx)
        .await?;
    Ok(())
}

async fn present_or_missing(tx: &mut Connection, identity: IdentityId) -> Result<IdentityId, StoreError> {
    identities::present(tx, identity)
        .await?
        .ok_or(StoreError::NotFound("identity"))
}

async fn own_part(tx: &mut Connection, place: Place, part: &str) -> Result<(), StoreError> {
    let workspace = accept::workspace_of(tx, place.channel)
        .await?
        .ok_or(StoreError::NotFound("channel"))?;
    sql(r"insert into own_part (workspace_id, part, day) values ($1, $2, $3)
          on conflict (workspace_id, part) do nothing")
    .bind(workspace)
    .bind(part.as_bytes())
    .bind(day(place.now))
    .execute(tx)
    .await?;
    Ok(())
}

/// By the provider's time: an older word that comes late does not undo a newer one.
async fn set_reach(tx: &mut Connection, identity: IdentityId, reach: Reach, at: Time) -> Result<(), StoreError> {
    let identity = present_or_missing(tx, identity).await?;
    sql(r"update identity set reach = $2, reach_at = $3 where id = $1 and reach_at <= $3")
        .bind(identity.0)
        .bind(reach_number(reach))
        .bind(at.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}

async fn outgoing(
    tx: &mut Connection,
    channel: ChannelId,
    (message, step): (MessageId, &str),
    remote_id: &str,
) -> Result<(), StoreError> {
    sql(
        r"insert into outgoing (channel_id, remote_id, lane_id, seq, step) values ($1, $2, $3, $4, $5)
          on conflict (channel_id, remote_id) do update
          set lane_id = excluded.lane_id, seq = excluded.seq, step = excluded.step",
    )
    .bind(channel.0)
    .bind(remote_id.as_bytes())
    .bind(message.lane.0)
    .bind(message.seq)
    .bind(step)
    .execute(tx)
    .await?;
    Ok(())
}

/// The lane is looked at at once: it may be waiting for this very word. One that is in work keeps its claim.
async fn settle(
    tx: &mut Connection,
    place: Place,
    (message, step): (MessageId, &str),
    remote_id: &str,
) -> Result<(), StoreError> {
    outgoing(tx, place.channel, (message, step), remote_id).await?;
    sql(r"update effect set state = 1, remote_id = $4, ended_at = $5
          where lane_id = $1 and seq = $2 and step = $3 and state in (0, 2)")
    .bind(message.lane.0)
    .bind(message.seq)
    .bind(step)
    .bind(remote_id.as_bytes())
    .bind(place.now.unix_ms())
    .execute(&mut *tx)
    .await?;
    sql(r"update lane set ready_at = $2 where id = $1 and ready_at > $2")
        .bind(message.lane.0)
        .bind(place.now.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}

/// One row per kind of report; the first of a kind stays. The state is read from the set, so no order of arrival
/// and no doubling changes it, and it need not be known yet whose message it is.
async fn write_report(
    tx: &mut Connection,
    channel: ChannelId,
    remote_id: &str,
    (report, at, code): (DeliveryReport, Time, Option<&str>),
) -> Result<(), StoreError> {
    sql(
        r"insert into report (channel_id, remote_id, rank, at, code) values ($1, $2, $3, $4, $5)
          on conflict (channel_id, remote_id, rank) do nothing",
    )
    .bind(channel.0)
    .bind(remote_id.as_bytes())
    .bind(report_number(report))
    .bind(at.unix_ms())
    .bind(bytes(code))
    .execute(tx)
    .await?;
    Ok(())
}

async fn finish(tx: &mut Connection, place: Place, seq: i64, ending: &Ending) -> Result<(), StoreError> {
    // The next event may have a time of its own.
    let moved = sql(r"update lane
          set head = $2, tries = 0, failing_since = null, cause_code = null, cause_message = null,
              ready_at = case when tail > $2
                  then max($3, coalesce((select not_before from event where lane_id = $1 and seq = $2 + 1), $3))
              end
          where id = $1 and head = $2 - 1 and tail >= $2")
    .bind(place.lane.0)
    .bind(seq)
    .bind(place.now.unix_ms())
    .execute(&mut *tx)
    .await?;
    if moved == 0 {
        if finished_before(tx, place.lane, seq).await? {
            return Ok(());
        }
        return Err(StoreError::Inconsistent {
            table: "lane",
            column: "head",
            row: format!("lane {}, event {seq} is not the next to finish", place.lane),
        });
    }
    let (state, cause): (i64, _) = match ending {
        Ending::Done => return Ok(()),
        Ending::Ignored { why } => (1, (why.as_str(), None)),
        Ending::Failed { cause } => (2, cause_columns(cause)),
        Ending::Unknown { cause } => (3, cause_columns(cause)),
        Ending::Dead { cause } => (4, cause_columns(cause)),
    };
    sql(r"insert into ending (lane_id, seq, state, code, message, at) values ($1, $2, $3, $4, $5, $6)")
        .bind(place.lane.0)
        .bind(seq)
        .bind(state)
        .bind(cause.0.as_bytes())
        .bind(bytes(cause.1))
        .bind(place.now.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}

/// A commit of unknown outcome is repeated by its worker: what it finished then is finished already.
async fn finished_before(tx: &mut Connection, lane: LaneId, seq: i64) -> Result<bool, StoreError> {
    let head: Option<i64> = sql(r"select head from lane where id = $1")
        .bind(lane.0)
        .scalar_optional(tx)
        .await?;
    Ok(head.is_some_and(|head| seq <= head))
}

fn cause_columns(cause: &Cause) -> (&str, Option<&str>) {
    (&cause.code, Some(&cause.message))
}

async fn retry(
    tx: &mut Connection,
    place: Place,
    (until, counts): (Time, Attempt),
    cause: &Cause,
) -> Result<(), StoreError> {
    // Waiting is not failing: only what counts as an attempt starts the clock that ends the retries.
    let counted = i64::from(counts == Attempt::Counts);
    sql(r"update lane
          set ready_at = case when tail > head then $2 end,
              tries = tries + $3,
              failing_since = case when $3 = 1 then coalesce(failing_since, $4) else failing_since end,
              cause_code = $5, cause_message = $6
          where id = $1")
    .bind(place.lane.0)
    .bind(until.unix_ms())
    .bind(counted)
    .bind(place.now.unix_ms())
    .bind(cause.code.as_bytes())
    .bind(cause.message.as_bytes())
    .execute(tx)
    .await?;
    Ok(())
}

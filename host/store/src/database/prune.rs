//! One step of dropping what is old.

use mantle_model::clock::Time;
use mantle_model::ids::MessageId;

use super::accept::message_id;
use super::rows::{Of, day};
use super::states::{of_wanted, wanted};
use crate::StoreError;
use crate::sql::{Connection, Statement, either, sql};
use crate::upkeep::{Kept, Pruned};

pub(super) async fn step(
    tx: &mut Connection,
    what: Kept,
    before: Time,
    from: i64,
    rows_max: u32,
) -> Result<Pruned, StoreError> {
    match what {
        Kept::Receipts => receipts(tx, before, from, rows_max).await,
        Kept::Messages => messages(tx, before, from, rows_max).await,
        Kept::Keys => {
            // On SQLite numbers rise with the days, and no index keeps the days.
            let text = either(
                r"delete from dedupe where no in (select no from dedupe order by no limit $2) and day < $1",
                r"delete from dedupe where (channel_id, direction, key) in
                      (select channel_id, direction, key from dedupe where day < $1 order by day limit $2)",
            );
            all_of(tx, text, day(before), rows_max).await
        }
        Kept::OwnParts => {
            let text = sql(r"delete from own_part where (workspace_id, part) in
                          (select workspace_id, part from own_part where day < $1 order by day limit $2)");
            all_of(tx, text, day(before), rows_max).await
        }
        Kept::Reports => reports(tx, before, from, rows_max).await,
    }
}

/// Where every old row goes, so that what is left of them is always in front.
async fn all_of(tx: &mut Connection, text: Statement<'_>, before: i64, rows_max: u32) -> Result<Pruned, StoreError> {
    let done = text.bind(before).bind(rows_max).execute(tx).await?;
    let gone = u32::try_from(done).unwrap_or(u32::MAX);
    Ok(Pruned {
        gone,
        next: (gone >= rows_max).then_some(0),
    })
}

/// Ids of receipts rise with time, so that the oldest are in front.
async fn receipts(tx: &mut Connection, before: Time, from: i64, rows_max: u32) -> Result<Pruned, StoreError> {
    let rows = sql(r"select id, received_at from receipt where id > $1 order by id limit $2")
        .bind(from)
        .bind(rows_max)
        .fetch_all(&mut *tx)
        .await?;
    let mut last = None;
    for row in &rows {
        let row = Of { table: "receipt", row };
        if row.time("received_at")? >= before {
            break;
        }
        last = Some(row.int("id")?);
    }
    let Some(last) = last else {
        return Ok(Pruned { gone: 0, next: None });
    };
    // What is still to be read is somebody's message.
    let done = sql(r"delete from receipt where id > $1 and id <= $2 and state <> 1 and received_at < $3")
        .bind(from)
        .bind(last)
        .bind(before.unix_ms())
        .execute(tx)
        .await?;
    Ok(Pruned {
        gone: u32::try_from(done).unwrap_or(u32::MAX),
        next: (rows.len() as u64 >= u64::from(rows_max)).then_some(last),
    })
}

/// Numbers of events rise with the time of their acceptance.
async fn messages(tx: &mut Connection, before: Time, from: i64, rows_max: u32) -> Result<Pruned, StoreError> {
    let rows = sql(r"select event.no, event.lane_id, event.seq, event.accepted_at,
                 case when event.seq <= lane.head and not exists (
                     select 1 from event later where later.lane_id = event.lane_id and later.origin_seq = event.seq)
                     then 1 else 0 end as past
          from event join lane on lane.id = event.lane_id
          where event.no > $1
          order by event.no
          limit $2")
    .bind(from)
    .bind(rows_max)
    .fetch_all(&mut *tx)
    .await?;
    let mut old: Vec<MessageId> = Vec::new();
    let mut last = None;
    for row in &rows {
        let row = Of { table: "event", row };
        if row.time("accepted_at")? >= before {
            break;
        }
        last = Some(row.int("no")?);
        if row.get("past")? {
            old.push(message_id(row)?);
        }
    }
    drop_messages(tx, &old).await?;
    Ok(Pruned {
        gone: u32::try_from(old.len()).unwrap_or(u32::MAX),
        next: last.filter(|_| rows.len() as u64 >= u64::from(rows_max)),
    })
}

async fn drop_messages(tx: &mut Connection, messages: &[MessageId]) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let list = wanted(messages);
    // Reports first: they are found through the ids that go with the message.
    for statement in [
        of_wanted!(
            r"delete from report where (channel_id, remote_id) in (select outgoing.channel_id, outgoing.remote_id ",
            r"join outgoing on outgoing.lane_id = wanted.lane_id and outgoing.seq = wanted.seq)"
        ),
        of_wanted!(
            r"delete from outgoing where (channel_id, remote_id) in (select outgoing.channel_id, outgoing.remote_id ",
            r"join outgoing on outgoing.lane_id = wanted.lane_id and outgoing.seq = wanted.seq)"
        ),
        of_wanted!(
            r"delete from hop where no in (select hop.no ",
            r"join hop on hop.lane_id = wanted.lane_id and hop.seq = wanted.seq)"
        ),
        of_wanted!(
            r"delete from effect where (lane_id, seq) in (select wanted.lane_id, wanted.seq ",
            r")"
        ),
        of_wanted!(
            r"delete from ending where (lane_id, seq) in (select wanted.lane_id, wanted.seq ",
            r")"
        ),
        of_wanted!(
            r"delete from event where (lane_id, seq) in (select wanted.lane_id, wanted.seq ",
            r")"
        ),
    ] {
        statement.bind(&list).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Reports that no message is known for. Those of a known one tell its state and go with it.
async fn reports(tx: &mut Connection, before: Time, from: i64, rows_max: u32) -> Result<Pruned, StoreError> {
    // From the moment of the last one on, since many may be of the same.
    let moments: Vec<i64> = sql(r"select at from report where at >= $1 and at < $2 order by at limit $3")
        .bind(from)
        .bind(before.unix_ms())
        .bind(rows_max)
        .scalars(&mut *tx)
        .await?;
    let Some(last) = moments.last().copied() else {
        return Ok(Pruned { gone: 0, next: None });
    };
    let done = sql(r"delete from report where at >= $1 and at <= $2 and not exists (
              select 1 from outgoing
              where outgoing.channel_id = report.channel_id and outgoing.remote_id = report.remote_id)")
    .bind(from)
    .bind(last)
    .execute(tx)
    .await?;
    Ok(Pruned {
        gone: u32::try_from(done).unwrap_or(u32::MAX),
        next: (moments.len() as u64 >= u64::from(rows_max)).then_some(last.saturating_add(1)),
    })
}

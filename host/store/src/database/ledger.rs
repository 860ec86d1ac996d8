//! [`Ledger`] in SQL. Lists show a message once, with the state of its newest attempt.

use crate::sql::{Connection, Row, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, MessageId, ReceiptId};
use mantle_model::inbound::DeliveryReport;

use super::accept::message_id;
use super::rows::{self, Of, id_list};
use super::states::{self, Family};
use super::{SqlStore, lanes};
use crate::StoreError;
use crate::intake::Direction;
use crate::lanes::{Effect, Hop};
use crate::ledger::{Ledger, MessageFilter, MessageRow, Trace};
use crate::upkeep::Upkeep;

/// Rows of one list.
const LIST_MAX: u32 = 200;

/// Rows read at once while looking for those of one state: a read stays short, so that the log can shrink.
const SCAN_ROWS: i64 = 500;

/// The columns of a message in a list, with where its newest attempt stands. What follows names the rows.
macro_rules! message_rows {
    ($from:literal) => {
        concat!(
            r"select event.no, event.lane_id, event.seq, event.channel_id, event.kind, event.remote_id, event.at,
                     event.accepted_at, lane.direction, lane.identity_id, lane.head,
                     coalesce((select max(later.seq) from event later
                               where later.lane_id = event.lane_id
                                 and later.origin_seq = coalesce(event.origin_seq, event.seq)),
                              event.seq) as newest,
                     coalesce((select deliveries from dedupe
                               where dedupe.channel_id = event.channel_id and dedupe.direction = lane.direction
                                 and dedupe.key = event.key), 1) as deliveries ",
            $from
        )
    };
}

#[async_trait]
impl Ledger for SqlStore {
    async fn trace(&self, message: MessageId) -> Result<Option<Trace>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        trace(&mut connection, message).await
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>, StoreError> {
        let limit = filter.limit.clamp(1, LIST_MAX) as usize;
        let mut cursor = match filter.after {
            Some(after) => match self.cursor(after).await? {
                Some(cursor) => cursor,
                None => return Err(StoreError::NotFound("message")),
            },
            None => Cursor::START,
        };
        let mut found = Vec::new();
        loop {
            let (page, next) = self.page(filter, cursor).await?;
            found.extend(page.into_iter().filter(|row| {
                filter
                    .state
                    .as_deref()
                    .is_none_or(|state| states::word(row.state) == state)
            }));
            match next {
                Some(next) if found.len() < limit => cursor = next,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn message_by_remote_id(&self, channel: ChannelId, remote_id: &str) -> Result<Option<Trace>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        // Statuses and other chores carry the id of the message they speak of; only people's lanes hold messages.
        // What we sent comes first: an echo of it has the same id and is not the message itself.
        let row = sql(r"select event.no, event.lane_id, event.seq, 0 as ours from event
              join lane on lane.id = event.lane_id
              where event.channel_id = $1 and event.remote_id = $2 and lane.identity_id is not null
              union all
              select event.no, event.lane_id, event.seq, 1 as ours from outgoing
              join event on event.lane_id = outgoing.lane_id and event.seq = outgoing.seq
              where outgoing.channel_id = $1 and outgoing.remote_id = $2
              order by ours desc, no desc
              limit 1")
        .bind(channel.0)
        .bind(remote_id.as_bytes())
        .fetch_optional(&mut connection)
        .await?;
        match row {
            Some(row) => {
                trace(
                    &mut connection,
                    message_id(Of {
                        table: "event",
                        row: &row,
                    })?,
                )
                .await
            }
            None => Ok(None),
        }
    }

    async fn last_traffic(&self, channel: ChannelId) -> Result<(Option<Time>, Option<Time>), StoreError> {
        let rows = sql(r"select direction, max(last_at) as last_at from lane
              where channel_id = $1 and identity_id is not null
              group by direction")
        .bind(channel.0)
        .fetch_all(&self.readers)
        .await?;
        let mut traffic = (None, None);
        for row in &rows {
            let row = Of { table: "lane", row };
            let at = row.time_opt("last_at")?;
            match row.case("direction", rows::direction)? {
                Direction::In => traffic.0 = at,
                Direction::Out => traffic.1 = at,
            }
        }
        Ok(traffic)
    }

    async fn backlog(&self) -> Result<u64, StoreError> {
        let waiting = Upkeep::waiting(self).await?;
        Ok(waiting.iter().map(|waiting| waiting.events).sum())
    }
}

/// Where a list goes on: behind this place.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    accepted_at: i64,
    no: i64,
}

impl Cursor {
    const START: Self = Self {
        accepted_at: i64::MAX,
        no: i64::MAX,
    };
}

impl SqlStore {
    async fn cursor(&self, after: MessageId) -> Result<Option<Cursor>, StoreError> {
        let row = sql(r"select no, accepted_at from event where lane_id = $1 and seq = $2")
            .bind(after.lane.0)
            .bind(after.seq)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| cursor(&row)).transpose()
    }

    /// One read of the list, with where the next begins; None when this was the last.
    async fn page(
        &self,
        filter: &MessageFilter,
        behind: Cursor,
    ) -> Result<(Vec<MessageRow>, Option<Cursor>), StoreError> {
        let mut connection = self.readers.acquire().await?;
        let rows = candidates(&mut connection, filter, behind).await?;
        let next = match rows.last() {
            Some(last) if rows.len() as i64 == SCAN_ROWS => Some(cursor(last)?),
            _ => None,
        };
        Ok((with_states(&mut connection, &rows).await?, next))
    }
}

fn cursor(row: &Row) -> Result<Cursor, StoreError> {
    let row = Of { table: "event", row };
    Ok(Cursor {
        accepted_at: row.int("accepted_at")?,
        no: row.int("no")?,
    })
}

/// Statements of their own for what leads: a customer's lanes, a channel's time, or everything. Chores are not
/// messages; they show only when a state is asked for, since a dead one must be found.
async fn candidates(
    connection: &mut Connection,
    filter: &MessageFilter,
    behind: Cursor,
) -> Result<Vec<Row>, StoreError> {
    let statement = if filter.identities.is_some() {
        message_rows!(
            r"from lane join event on event.lane_id = lane.id
              where lane.identity_id in (select value from json_each($7))
                and ($6 is null or event.channel_id = $6) and $8 is not null
                and event.origin_seq is null and event.accepted_at between $1 and $2
                and (event.accepted_at, event.no) < ($3, $4)
              order by event.accepted_at desc, event.no desc
              limit $5"
        )
    } else if filter.channel.is_some() {
        message_rows!(
            r"from event join lane on lane.id = event.lane_id
              where event.channel_id = $6 and (lane.identity_id is not null or $8 <> 0)
                and $7 is not null
                and event.origin_seq is null and event.accepted_at between $1 and $2
                and (event.accepted_at, event.no) < ($3, $4)
              order by event.accepted_at desc, event.no desc
              limit $5"
        )
    } else {
        message_rows!(
            r"from event join lane on lane.id = event.lane_id
              where (lane.identity_id is not null or $8 <> 0)
                and $6 is null and $7 is not null and $3 is not null
                and event.origin_seq is null and event.accepted_at between $1 and $2
                and event.no < $4
              order by event.no desc
              limit $5"
        )
    };
    let rows = sql(statement)
        .bind(filter.from.map_or(i64::MIN, Time::unix_ms))
        .bind(filter.to.map_or(i64::MAX, Time::unix_ms))
        .bind(behind.accepted_at)
        .bind(behind.no)
        .bind(SCAN_ROWS)
        .bind(filter.channel.map(|channel| channel.0))
        .bind(id_list(filter.identities.iter().flatten().map(|identity| identity.0)))
        .bind(filter.state.is_some())
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

async fn with_states(connection: &mut Connection, rows: &[Row]) -> Result<Vec<MessageRow>, StoreError> {
    let newest = rows
        .iter()
        .map(|row| newest(Of { table: "event", row }))
        .collect::<Result<Vec<_>, _>>()?;
    let facts = states::facts(connection, &newest).await?;
    let nothing = states::Facts::default();
    rows.iter()
        .zip(newest)
        .map(|(row, newest)| {
            message_row(
                Of { table: "event", row },
                newest,
                facts.get(&newest).unwrap_or(&nothing),
            )
        })
        .collect()
}

fn newest(row: Of<'_>) -> Result<MessageId, StoreError> {
    Ok(MessageId {
        seq: row.int("newest")?,
        ..message_id(row)?
    })
}

fn message_row(row: Of<'_>, newest: MessageId, facts: &states::Facts) -> Result<MessageRow, StoreError> {
    let direction = row.case("direction", rows::direction)?;
    let finished = newest.seq <= row.int("head")?;
    let state = facts.state(direction, finished);
    Ok(MessageRow {
        id: message_id(row)?,
        channel: ChannelId(row.int("channel_id")?),
        direction,
        kind: row.text("kind")?,
        identity: row.get::<Option<i64>>("identity_id")?.map(IdentityId),
        remote_id: row.text_opt("remote_id")?,
        at: row.time("at")?,
        accepted_at: row.time("accepted_at")?,
        state,
        reason: facts.reason(state),
        deliveries: row.count("deliveries")?,
    })
}

/// The message that was asked for, with what all attempts of it did.
async fn trace(connection: &mut Connection, message: MessageId) -> Result<Option<Trace>, StoreError> {
    let Some(family) = states::family(connection, message).await? else {
        return Ok(None);
    };
    let rows = sql(message_rows!(
        r"from event join lane on lane.id = event.lane_id where event.lane_id = $1 and event.seq = $2"
    ))
    .bind(message.lane.0)
    .bind(message.seq)
    .fetch_all(&mut *connection)
    .await?;
    let Some(row) = with_states(connection, &rows).await?.pop() else {
        return Ok(None);
    };
    let own = sql(
        r"select event.receipt_id, event.payload, lane.head, lane.tries, lane.ready_at
          from event join lane on lane.id = event.lane_id
          where event.lane_id = $1 and event.seq = $2",
    )
    .bind(message.lane.0)
    .bind(message.seq)
    .fetch_one(&mut *connection)
    .await?;
    let own = Of {
        table: "event",
        row: &own,
    };
    // The lane's tries and time are those of the event in front.
    let in_front = own.int("head")? + 1 == family.newest;
    Ok(Some(Trace {
        message: row,
        newest: MessageId {
            lane: family.lane,
            seq: family.newest,
        },
        receipt: own.get::<Option<i64>>("receipt_id")?.map(ReceiptId),
        payload: own.get("payload")?,
        tries: if in_front { own.count("tries")? } else { 0 },
        next_at: if in_front { own.time_opt("ready_at")? } else { None },
        effects: effects(connection, &family).await?,
        hops: hops(connection, &family).await?,
        reports: reports(connection, &family).await?,
    }))
}

async fn effects(connection: &mut Connection, family: &Family) -> Result<Vec<(u32, Effect)>, StoreError> {
    let rows = sql(
        r"select event.attempt_no, effect.lane_id, effect.step, effect.state, effect.target, effect.fingerprint,
                 effect.remote_id, effect.announced_at, effect.ended_at, effect.code
          from event join effect on effect.lane_id = event.lane_id and effect.seq = event.seq
          where event.lane_id = $1 and (event.seq = $2 or event.origin_seq = $2)
          order by event.attempt_no, effect.announced_at, effect.step",
    )
    .bind(family.lane.0)
    .bind(family.origin)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let row = Of { table: "effect", row };
            Ok((row.count("attempt_no")?, lanes::effect(row, "remote_id")?))
        })
        .collect()
}

async fn hops(connection: &mut Connection, family: &Family) -> Result<Vec<Hop>, StoreError> {
    let rows = sql(r"select hop.lane_id, hop.at, hop.what, hop.code, hop.detail
          from event join hop on hop.lane_id = event.lane_id and hop.seq = event.seq
          where event.lane_id = $1 and (event.seq = $2 or event.origin_seq = $2)
          order by hop.no")
    .bind(family.lane.0)
    .bind(family.origin)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let row = Of { table: "hop", row };
            Ok(Hop {
                at: row.time("at")?,
                what: row.text("what")?,
                code: row.text_opt("code")?,
                detail: row.text_opt("detail")?,
            })
        })
        .collect()
}

/// (remote id, report, time, code)
type Report = (String, DeliveryReport, Time, Option<String>);

async fn reports(connection: &mut Connection, family: &Family) -> Result<Vec<Report>, StoreError> {
    let rows = sql(
        r"select report.channel_id, report.remote_id, report.rank, report.at, report.code
          from event
          join outgoing on outgoing.lane_id = event.lane_id and outgoing.seq = event.seq
          join report on report.channel_id = outgoing.channel_id and report.remote_id = outgoing.remote_id
          where event.lane_id = $1 and (event.seq = $2 or event.origin_seq = $2)
          order by report.at, report.rank, report.remote_id",
    )
    .bind(family.lane.0)
    .bind(family.origin)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let row = Of { table: "report", row };
            Ok((
                row.text("remote_id")?,
                row.case("rank", rows::report)?,
                row.time("at")?,
                row.text_opt("code")?,
            ))
        })
        .collect()
}

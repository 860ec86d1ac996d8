//! How events end or wait, in their lanes.

use std::collections::BTreeMap;

use crate::sql::{Connection, Given, over, over_either, sql};
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, LaneId};

use super::super::known::Waits;
use super::super::lanes::events_of_a_claim;
use super::super::rows::{Of, bytes};
use super::Place;
use crate::StoreError;
use crate::lanes::{Attempt, Ending};

/// Where rows say who has a lane: one in hand may have no time, since whoever has it gives it one.
macro_rules! on_server {
    () => {
        "case when given.frees = 0 then lane.ready_at else given.now end)
                  end,
                  claim = case when given.frees = 0 then lane.claim end,
                  owner = case when given.frees = 0 then lane.owner end"
    };
}

/// A lane in hand keeps its time.
macro_rules! in_file {
    () => {
        "case when given.frees = 0 then lane.ready_at end, given.now)
                  end"
    };
}

macro_rules! finishing {
    ($otherwise:expr) => {
        concat!(
            r"with given (lane_id, seq, now, frees) as ({rows})
              update lane
              set head = given.seq, tries = 0, failing_since = null, cause_code = null, cause_message = null,
                  ready_at = case when tail > given.seq
                      then coalesce((select case when event.not_before > given.now then event.not_before end
                                     from event
                                     where event.lane_id = given.lane_id and event.seq = given.seq + 1), ",
            $otherwise,
            r" from given
              where lane.id = given.lane_id and head = given.seq - 1 and tail >= given.seq
              returning lane.id, lane.channel_id, lane.ready_at, lane.tries, lane.tail - lane.head as waiting"
        )
    };
}

/// An event that has ended.
pub(super) struct Finished<'a> {
    pub place: Place,
    pub seq: i64,
    pub ending: &'a Ending,
    /// The turn is over with it: the lane is given back.
    pub frees: bool,
}

/// One event of each lane. Tells which of the lanes that were given back have more to do.
pub(super) async fn finish(tx: &mut Connection, finished: &[Finished<'_>]) -> Result<Vec<Waits>, StoreError> {
    // The next event may have a time of its own. A lane that stays in hand keeps its time, since each new one moves it in
    // the index; given back, it stands behind those that have waited.
    let given = Given::rows(finished.len())
        .ints(finished.iter().map(|one| one.place.lane.0))
        .ints(finished.iter().map(|one| one.seq))
        .ints(finished.iter().map(|one| one.place.now.unix_ms()))
        .ints(finished.iter().map(|one| i64::from(one.frees)));
    let rows = over_either(finishing!(in_file!()), finishing!(on_server!()), given)
        .fetch_all(&mut *tx)
        .await?;
    let mut moved: BTreeMap<LaneId, Option<Waits>> = BTreeMap::new();
    for row in &rows {
        let waits = waits(Of { table: "lane", row })?;
        moved.insert(LaneId(row.get("id")?), waits);
    }
    let (mut ended, mut ready) = (Vec::new(), Vec::new());
    for one in finished {
        if let Some(waits) = moved.get(&one.place.lane) {
            ready.extend(waits.filter(|waits| one.frees && waits.since <= one.place.now));
            ended.extend(ending_columns(one.ending).map(|columns| (one.place, one.seq, columns)));
        } else if !finished_before(tx, one.place.lane, one.seq).await? {
            return Err(StoreError::Inconsistent {
                table: "lane",
                column: "head",
                row: format!("lane {}, event {} is not the next to finish", one.place.lane, one.seq),
            });
        }
    }
    write_endings(tx, &ended).await?;
    Ok(ready)
}

/// What waits in a lane, by its row; None: nothing.
pub(in super::super) fn waits(row: Of<'_>) -> Result<Option<Waits>, StoreError> {
    let Some(since) = row.time_opt("ready_at")? else {
        return Ok(None);
    };
    Ok(Some(Waits {
        channel: ChannelId(row.int("channel_id")?),
        lane: LaneId(row.int("id")?),
        since,
        events: events_of_a_claim(row.int("waiting")?),
        failed: row.count("tries")? > 0,
    }))
}

/// The number of the state, the code and the message.
type EndingColumns<'a> = (i64, &'a str, Option<&'a str>);

/// None: the plain end, which needs no row.
fn ending_columns(ending: &Ending) -> Option<EndingColumns<'_>> {
    let (state, cause) = match ending {
        Ending::Done => return None,
        Ending::Ignored { why } => return Some((1, why, None)),
        Ending::Failed { cause } => (2, cause),
        Ending::Unknown { cause } => (3, cause),
        Ending::Dead { cause } => (4, cause),
    };
    Some((state, &cause.code, Some(&cause.message)))
}

async fn write_endings(tx: &mut Connection, ended: &[(Place, i64, EndingColumns<'_>)]) -> Result<(), StoreError> {
    let given = Given::rows(ended.len())
        .ints(ended.iter().map(|(place, _, _)| place.lane.0))
        .ints(ended.iter().map(|(_, seq, _)| *seq))
        .ints(ended.iter().map(|(_, _, columns)| columns.0))
        .bytes(ended.iter().map(|(_, _, columns)| columns.1.as_bytes()))
        .bytes(ended.iter().map(|(_, _, columns)| bytes(columns.2)))
        .ints(ended.iter().map(|(place, _, _)| place.now.unix_ms()));
    over(
        r"with given (lane_id, seq, state, code, message, at) as ({rows})
          insert into ending (lane_id, seq, state, code, message, at)
          select lane_id, seq, state, code, message, at from given",
        given,
    )
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

/// An event that is to be tried again.
pub(super) struct Retried<'a> {
    pub place: Place,
    pub until: Time,
    pub counts: Attempt,
    pub cause: &'a Cause,
    /// The turn is over with it: the lane is given back.
    pub frees: bool,
}

pub(super) async fn retry(tx: &mut Connection, retried: &[Retried<'_>]) -> Result<(), StoreError> {
    // Waiting is not failing: only what counts as an attempt starts the clock that ends the retries.
    let given = Given::rows(retried.len())
        .ints(retried.iter().map(|one| one.place.lane.0))
        .ints(retried.iter().map(|one| one.until.unix_ms()))
        .ints(retried.iter().map(|one| i64::from(one.counts == Attempt::Counts)))
        .ints(retried.iter().map(|one| one.place.now.unix_ms()))
        .bytes(retried.iter().map(|one| one.cause.code.as_bytes()))
        .bytes(retried.iter().map(|one| one.cause.message.as_bytes()))
        .ints(retried.iter().map(|one| i64::from(one.frees)));
    over_either(
        r"with given (lane_id, until, counted, now, code, message, frees) as ({rows})
          update lane
          set ready_at = case when tail > head then given.until end,
              tries = tries + given.counted,
              failing_since = case when given.counted = 1 then coalesce(failing_since, given.now)
                                   else failing_since end,
              cause_code = given.code, cause_message = given.message
          from given where lane.id = given.lane_id",
        r"with given (lane_id, until, counted, now, code, message, frees) as ({rows})
          update lane
          set ready_at = case when tail > head then given.until end,
              tries = tries + given.counted,
              failing_since = case when given.counted = 1 then coalesce(failing_since, given.now)
                                   else failing_since end,
              cause_code = given.code, cause_message = given.message,
              claim = case when given.frees = 0 then lane.claim end,
              owner = case when given.frees = 0 then lane.owner end
          from given where lane.id = given.lane_id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

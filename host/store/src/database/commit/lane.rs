//! How events end or wait, in their lanes.

use std::collections::BTreeSet;

use crate::sql::{Connection, Given, over, sql};
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::LaneId;

use super::super::rows::bytes;
use super::Place;
use crate::StoreError;
use crate::lanes::{Attempt, Ending};

/// One event of each lane.
pub(super) async fn finish(tx: &mut Connection, finished: &[(Place, i64, &Ending)]) -> Result<(), StoreError> {
    // The next event may have a time of its own.
    let given = Given::rows(finished.len())
        .ints(finished.iter().map(|(place, _, _)| place.lane.0))
        .ints(finished.iter().map(|(_, seq, _)| *seq))
        .ints(finished.iter().map(|(place, _, _)| place.now.unix_ms()));
    let moved: Vec<i64> = over(
        r"with given (lane_id, seq, now) as ({rows})
          update lane
          set head = given.seq, tries = 0, failing_since = null, cause_code = null, cause_message = null,
              ready_at = case when tail > given.seq
                  then max(given.now, coalesce((select event.not_before from event
                                                where event.lane_id = given.lane_id and event.seq = given.seq + 1),
                                               given.now))
              end
          from given
          where lane.id = given.lane_id and head = given.seq - 1 and tail >= given.seq
          returning lane.id",
        given,
    )
    .scalars(&mut *tx)
    .await?;
    let moved: BTreeSet<i64> = moved.into_iter().collect();
    let mut ended = Vec::new();
    for (place, seq, ending) in finished {
        if moved.contains(&place.lane.0) {
            ended.extend(ending_columns(ending).map(|columns| (*place, *seq, columns)));
        } else if !finished_before(tx, place.lane, *seq).await? {
            return Err(StoreError::Inconsistent {
                table: "lane",
                column: "head",
                row: format!("lane {}, event {seq} is not the next to finish", place.lane),
            });
        }
    }
    write_endings(tx, &ended).await
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

pub(super) async fn retry(tx: &mut Connection, retried: &[(Place, Time, Attempt, &Cause)]) -> Result<(), StoreError> {
    // Waiting is not failing: only what counts as an attempt starts the clock that ends the retries.
    let given = Given::rows(retried.len())
        .ints(retried.iter().map(|(place, _, _, _)| place.lane.0))
        .ints(retried.iter().map(|(_, until, _, _)| until.unix_ms()))
        .ints(
            retried
                .iter()
                .map(|(_, _, counts, _)| i64::from(*counts == Attempt::Counts)),
        )
        .ints(retried.iter().map(|(place, _, _, _)| place.now.unix_ms()))
        .bytes(retried.iter().map(|(_, _, _, cause)| cause.code.as_bytes()))
        .bytes(retried.iter().map(|(_, _, _, cause)| cause.message.as_bytes()));
    over(
        r"with given (lane_id, until, counted, now, code, message) as ({rows})
          update lane
          set ready_at = case when tail > head then given.until end,
              tries = tries + given.counted,
              failing_since = case when given.counted = 1 then coalesce(failing_since, given.now)
                                   else failing_since end,
              cause_code = given.code, cause_message = given.message
          from given where lane.id = given.lane_id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

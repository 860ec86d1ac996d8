//! New events on their way into their lanes.

use std::collections::BTreeMap;

use crate::sql::{Connection, Given, Row, over, over_either};
use mantle_model::clock::Time;
use mantle_model::ids::{IdentityId, LaneId, MessageId};

use super::super::Context;
use super::super::handing::{Offer, Standing};
use super::super::known::Waits;
use super::super::lanes::{EVENTS_PER_CLAIM, events_of_a_claim};
use super::super::rows::{Of, bytes, day, direction_number, to_int};
use super::Arriving;
use crate::StoreError;
use crate::lanes::{Claim, ClaimedLane, StoredEvent};

/// A new event on its way into its lane.
pub(super) struct Joining<'a> {
    pub arriving: Arriving<'a>,
    pub key: &'a str,
    pub identity: Option<IdentityId>,
    pub deliveries: i64,
}

/// Takes the next places in the lanes and puts the events there.
pub(super) async fn join_lanes(
    tx: &mut Connection,
    context: &Context,
    joining: &[Joining<'_>],
    offer: Option<&mut Offer>,
) -> Result<Vec<MessageId>, StoreError> {
    let now = context.now();
    let messages = take_places(tx, context, joining, (now, offer)).await?;
    write_events(tx, joining, &messages, now).await?;
    Ok(messages)
}

/// The events with their keys.
async fn write_events(
    tx: &mut Connection,
    joining: &[Joining<'_>],
    messages: &[MessageId],
    now: Time,
) -> Result<(), StoreError> {
    let (now, today) = (now.unix_ms(), day(now));
    let events = || joining.iter().map(|joining| joining.arriving.event);
    let lanes = || messages.iter().map(|message| message.lane.0);
    let places = || messages.iter().map(|message| message.seq);
    let channels = || events().map(|event| event.channel.0);
    let keys = || events().map(|event| event.key.as_bytes());
    let told = Given::rows(joining.len())
        .ints(channels())
        .ints(events().map(|event| direction_number(event.direction)))
        .bytes(keys())
        .ints(lanes())
        .ints(places())
        .ints(joining.iter().map(|_| today))
        .ints(joining.iter().map(|joining| joining.deliveries));
    if tx.is_postgres() {
        // In one trip to the server.
        over(
            r"with given (channel_id, direction, key, lane_id, seq, day, deliveries, receipt_id, kind, remote_id, at,
                          accepted_at, not_before, payload) as ({rows}),
                   told as (
                       insert into dedupe (channel_id, direction, key, lane_id, seq, day, deliveries)
                       select channel_id, direction, key, lane_id, seq, day, deliveries from given)
              insert into event (lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at, not_before,
                                 payload)
              select lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at, not_before, payload
              from given",
            with_events(told, joining, now),
        )
        .execute(tx)
        .await?;
        return Ok(());
    }
    over(
        r"with given (channel_id, direction, key, lane_id, seq, day, deliveries) as ({rows})
          insert into dedupe (channel_id, direction, key, lane_id, seq, day, deliveries)
          select channel_id, direction, key, lane_id, seq, day, deliveries from given",
        told,
    )
    .execute(&mut *tx)
    .await?;
    let given = Given::rows(joining.len())
        .ints(lanes())
        .ints(places())
        .ints(channels())
        .bytes(keys());
    over(
        r"with given (lane_id, seq, channel_id, key, receipt_id, kind, remote_id, at, accepted_at, not_before,
                      payload) as ({rows})
          insert into event (lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at, not_before,
                             payload)
          select lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at, not_before, payload
          from given",
        with_events(given, joining, now),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The columns of an event that its key has not.
fn with_events<'a>(given: Given<'a>, joining: &'a [Joining<'a>], now: i64) -> Given<'a> {
    let events = || joining.iter().map(|joining| joining.arriving.event);
    given
        .ints(joining.iter().map(|joining| joining.arriving.receipt.map(|id| id.0)))
        .texts(events().map(|event| event.kind))
        .bytes(events().map(|event| bytes(event.remote_id.as_deref())))
        .ints(events().map(|event| event.at.unix_ms()))
        .ints(joining.iter().map(|_| now))
        .ints(events().map(|event| event.not_before.map(Time::unix_ms)))
        .bytes(events().map(|event| event.payload.as_slice()))
}

/// A lane that events join, and where they stand among those of the group.
struct Lane<'a> {
    first: &'a Joining<'a>,
    joining: Vec<usize>,
    /// To be claimed, if it is at rest.
    wanted: bool,
}

/// By channel, direction and key.
type LanesByKey<'a> = BTreeMap<(i64, i64, &'a str), Lane<'a>>;

impl Lane<'_> {
    fn ready_at(&self, now: Time) -> Time {
        self.first.arriving.event.not_before.unwrap_or(now).max(now)
    }
}

async fn take_places(
    tx: &mut Connection,
    context: &Context,
    joining: &[Joining<'_>],
    (now, mut offer): (Time, Option<&mut Offer>),
) -> Result<Vec<MessageId>, StoreError> {
    let mut lanes = LanesByKey::new();
    for (place, joins) in joining.iter().enumerate() {
        let event = joins.arriving.event;
        let lane = lanes
            .entry((event.channel.0, direction_number(event.direction), joins.key))
            .or_insert_with(|| Lane {
                first: joins,
                joining: Vec::new(),
                wanted: false,
            });
        lane.joining.push(place);
    }
    if let Some(offer) = offer.as_deref_mut() {
        for lane in lanes.values_mut() {
            let channel = lane.first.arriving.event.channel;
            let fits = lane.joining.len() <= EVENTS_PER_CLAIM;
            lane.wanted = fits && offer.wants(channel, (lane.ready_at(now), now));
        }
    }
    let rows = write_lanes(tx, context, &lanes, (now, offer.as_deref())).await?;
    let in_row = tx.is_postgres();
    let mut idle = Vec::new();
    let mut messages = vec![None; joining.len()];
    for row in &rows {
        let row = Of { table: "lane", row };
        let key = row.text("key")?;
        let lane = lanes.get(&(row.int("channel_id")?, row.int("direction")?, key.as_str()));
        let (Some(lane), id, tail) = (lane, LaneId(row.int("id")?), row.int("tail")?) else {
            return Err(row.wrong("key"));
        };
        for (behind, place) in lane.joining.iter().rev().enumerate() {
            messages[*place] = Some(MessageId {
                lane: id,
                seq: tail - to_int(behind),
            });
        }
        if !in_row && row.time_opt("ready_at")?.is_none() {
            idle.push((id, lane.ready_at(now)));
        }
        if let Some(offer) = offer.as_deref_mut() {
            let waits = Waits {
                channel: lane.first.arriving.event.channel,
                lane: id,
                since: row.time_opt("ready_at")?.unwrap_or_else(|| lane.ready_at(now)),
                events: events_of_a_claim(tail - row.int("head")?),
                failed: row.count("tries")? > 0,
            };
            match standing(row, lane, (waits, now), offer)? {
                Standing::Ours => offer.hand(handed(offer.claim(id), lane, joining, (tail, now))),
                other => offer.leave(waits, other),
            }
        }
    }
    make_ready(tx, &idle).await?;
    messages
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(StoreError::NotFound("lane that was just joined"))
}

fn standing(row: Of<'_>, lane: &Lane<'_>, (waits, now): (Waits, Time), offer: &Offer) -> Result<Standing, StoreError> {
    let was_at_rest = row.int("tail")? - row.int("head")? == to_int(lane.joining.len());
    Ok(match row.int("standing")? {
        // In memory alone, where rows do not say it.
        0 if offer.owner.is_none() && was_at_rest && lane.wanted => Standing::Ours,
        0 if waits.since > now || waits.failed => Standing::Put,
        0 => Standing::Free,
        1 => Standing::Ours,
        _ => Standing::Held,
    })
}

/// A time that is set already stays: a lane being worked or put off is not made ready by an arrival, so an arrival
/// never brings a second worker.
async fn write_lanes(
    tx: &mut Connection,
    context: &Context,
    lanes: &LanesByKey<'_>,
    (now, offer): (Time, Option<&Offer>),
) -> Result<Vec<Row>, StoreError> {
    let given = Given::rows(lanes.len())
        .ints(lanes.values().map(|_| context.next_id()))
        .ints(lanes.keys().map(|key| key.0))
        .ints(lanes.keys().map(|key| key.1))
        .bytes(lanes.keys().map(|key| key.2.as_bytes()))
        .ints(
            lanes
                .values()
                .map(|lane| lane.first.identity.map(|identity| identity.0)),
        )
        .ints(lanes.values().map(|lane| to_int(lane.joining.len())))
        .ints(lanes.values().map(|lane| lane.ready_at(now).unix_ms()))
        .ints(lanes.values().map(|_| now.unix_ms()))
        .ints(lanes.values().map(|lane| i64::from(lane.wanted)));
    let (token, owner) = offer.map_or((0, None), |offer| (offer.token, offer.owner));
    // SQLite writes the index anew for a column that is set to what it was: see `make_ready`. A server does so for every
    // index of the row once an indexed column changes, and cleans up behind it: a lane in hand there has no time as long
    // as its events came while it was in hand, and neither bringing nor ending them touches an index. Whoever takes the
    // claim away gives it its time: a worker or a heartbeat in `shared`, or `orphans`.
    over_either(
        r"with given (id, channel_id, direction, key, identity_id, events, ready_at, last_at, wanted) as ({rows})
          insert into lane (id, channel_id, direction, key, identity_id, tail, ready_at, last_at)
          select id, channel_id, direction, key, identity_id, events, ready_at, last_at
          from given where true
          on conflict (channel_id, direction, key) do update
          set tail = lane.tail + excluded.tail, last_at = excluded.last_at
          returning id, channel_id, direction, key, tail, head, ready_at, tries, 0 as standing",
        r"with given (id, channel_id, direction, key, identity_id, events, ready_at, last_at, wanted) as ({rows})
          insert into lane (id, channel_id, direction, key, identity_id, tail, ready_at, last_at, claim, owner)
          select id, channel_id, direction, key, identity_id, events, case when wanted = 0 then ready_at end, last_at,
                 case when wanted = 1 then $1::bytea end, case when wanted = 1 then $2::bigint end
          from given
          on conflict (channel_id, direction, key) do update
          set tail = lane.tail + excluded.tail, last_at = excluded.last_at,
              ready_at = case when lane.claim is not null then lane.ready_at
                              when lane.head < lane.tail or excluded.claim is null
                              then coalesce(lane.ready_at, excluded.ready_at, excluded.last_at) end,
              claim = case when lane.claim is null and lane.head = lane.tail then excluded.claim else lane.claim end,
              owner = case when lane.claim is null and lane.head = lane.tail then excluded.owner else lane.owner end
          returning id, channel_id, direction, key, tail, head, ready_at, tries,
                    (case when claim is null then 0 when claim = $1 then 1 else 2 end)::bigint as standing",
        given,
    )
    .bind(token.to_be_bytes().to_vec())
    .bind(owner)
    .fetch_all(tx)
    .await
}

/// Lanes in which nothing waited, and when they are ready.
async fn make_ready(tx: &mut Connection, idle: &[(LaneId, Time)]) -> Result<(), StoreError> {
    let given = Given::rows(idle.len())
        .ints(idle.iter().map(|(lane, _)| lane.0))
        .ints(idle.iter().map(|(_, ready_at)| ready_at.unix_ms()));
    over(
        r"with given (id, ready_at) as ({rows})
          update lane set ready_at = given.ready_at from given where lane.id = given.id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The lane with all that stands in it.
fn handed(claim: Claim, lane: &Lane<'_>, joining: &[Joining<'_>], (tail, now): (i64, Time)) -> ClaimedLane {
    let first = lane.first.arriving.event;
    let event = |(place, seq): (&usize, i64)| {
        let arriving = joining[*place].arriving;
        StoredEvent {
            id: MessageId { lane: claim.lane, seq },
            receipt: arriving.receipt,
            kind: arriving.event.kind.to_owned(),
            key: arriving.event.key.clone(),
            remote_id: arriving.event.remote_id.clone(),
            at: arriving.event.at,
            accepted_at: now,
            payload: arriving.event.payload.clone(),
            attempt_no: 0,
            effects: Vec::new(),
        }
    };
    let first_seq = tail + 1 - to_int(lane.joining.len());
    ClaimedLane {
        claim,
        channel: first.channel,
        direction: first.direction,
        identity: lane.first.identity,
        key: lane.first.key.to_owned(),
        tries: 0,
        failing_since: None,
        person: None,
        events: lane.joining.iter().zip(first_seq..).map(event).collect(),
    }
}

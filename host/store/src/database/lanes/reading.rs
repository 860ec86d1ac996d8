//! What stands in the lanes: which are ready, and all that belongs to those that were taken.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::sql::{Connection, either, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId, ReceiptId};

use super::super::accept::message_id;
use super::super::rows::{self, Of, id_list, to_int};
use super::super::{SqlStore, people, touch};
use super::{EVENTS_PER_CLAIM, events_of_a_claim};
use crate::StoreError;
use crate::lanes::{Claim, ClaimedLane, Effect, ReadyLane, StoredEvent};

impl SqlStore {
    /// Channels with waiting lanes, beginning behind the one that was served last.
    pub(super) async fn channels_in_turn(&self) -> Result<Vec<ChannelId>, StoreError> {
        // Jumps from channel to channel in the index instead of reading every ready lane.
        let mut channels: Vec<i64> = sql(r"with recursive ready (id) as (
                  select min(channel_id) from lane where ready_at is not null
                  union all
                  select (select min(channel_id) from lane where ready_at is not null and channel_id > ready.id)
                  from ready where ready.id is not null
              )
              select id from ready where id is not null order by id")
        .scalars(&self.readers)
        .await?;
        if let Some(last) = self.claims.last_channel() {
            let first = channels.partition_point(|channel| *channel <= last.0);
            channels.rotate_left(first);
        }
        Ok(channels.into_iter().map(ChannelId).collect())
    }

    pub(super) async fn ready_lanes(
        &self,
        channel: ChannelId,
        now: Time,
        limit: usize,
    ) -> Result<Vec<ReadyLane>, StoreError> {
        // Held lanes keep their time and stand in front.
        let held = id_list(self.claims.held_of(channel).into_iter().map(|lane| lane.0));
        // Those that failed are asked for apart: however many there are, the others are seen.
        let rows = either(
            r"select id, ready_at, tail - head as waiting, tries from (
                  select id, ready_at, tail, head, tries from lane
                  where channel_id = $1 and ready_at is not null and ready_at <= $2 and tries = 0
                    and id not in (select value from json_each($4))
                  order by ready_at, id limit $3
              ) fresh
              union all
              select id, ready_at, tail - head as waiting, tries from (
                  select id, ready_at, tail, head, tries from lane
                  where channel_id = $1 and ready_at is not null and ready_at <= $2 and tries > 0
                    and id not in (select value from json_each($4))
                  order by ready_at, id limit $3
              ) failed
              order by ready_at, id",
            r"select id, ready_at, tail - head as waiting, tries from (
                  select id, ready_at, tail, head, tries from lane
                  where channel_id = $1 and ready_at is not null and ready_at <= $2 and tries = 0
                    and id not in (select value from json_each($4))
                    and (claim is null
                         or owner not in (select host.id from host where host.leased_until > server_ms()))
                  order by ready_at, id limit $3
              ) fresh
              union all
              select id, ready_at, tail - head as waiting, tries from (
                  select id, ready_at, tail, head, tries from lane
                  where channel_id = $1 and ready_at is not null and ready_at <= $2 and tries > 0
                    and id not in (select value from json_each($4))
                    and (claim is null
                         or owner not in (select host.id from host where host.leased_until > server_ms()))
                  order by ready_at, id limit $3
              ) failed
              order by ready_at, id",
        )
        .bind(channel.0)
        .bind(now.unix_ms())
        .bind(to_int(limit))
        .bind(held)
        .fetch_all(&self.readers)
        .await?;
        let mut lanes = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = Of { table: "lane", row };
            let lane = LaneId(row.int("id")?);
            if self.claims.is_held(lane) {
                continue;
            }
            lanes.push(ReadyLane {
                lane,
                events: events_of_a_claim(row.int("waiting")?),
                failed: row.count("tries")? > 0,
            });
        }
        Ok(lanes)
    }

    /// The lanes with their events and effects. Read after they were taken: whatever the holder before committed
    /// is seen, and nobody else changes it.
    pub(super) async fn claimed(&self, taken: &[Claim], now: Time) -> Result<Vec<ClaimedLane>, StoreError> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.readers.acquire().await?;
        let mut lanes = with_events(&mut connection, taken, now).await?;
        let people: Vec<IdentityId> = lanes.values().filter_map(|lane| lane.identity).collect();
        let people = people::all(&mut connection, &people).await?;
        let mut claimed = Vec::with_capacity(lanes.len());
        for claim in taken {
            match lanes.remove(&claim.lane) {
                Some(mut lane) => {
                    lane.person = lane.identity.and_then(|identity| people.get(&identity).cloned());
                    self.claims.touches(*claim, touch::lane(&lane));
                    if lane.events.len() == EVENTS_PER_CLAIM {
                        // More may stand behind these.
                        self.claims.wants(claim.lane);
                    }
                    claimed.push(lane);
                }
                None => self.let_go(*claim),
            }
        }
        Ok(claimed)
    }
}

/// The lanes that are ready still: the holder before may have finished or postponed them between the look and the
/// taking. A row for each event, or for each effect where earlier attempts have left some.
async fn with_events(
    connection: &mut Connection,
    taken: &[Claim],
    now: Time,
) -> Result<HashMap<LaneId, ClaimedLane>, StoreError> {
    let rows = sql(
        r"select lane.channel_id, lane.direction, lane.key as lane_key, lane.identity_id, lane.tries,
                 lane.failing_since, event.lane_id, event.seq, event.receipt_id, event.kind, event.key,
                 event.remote_id, event.at, event.accepted_at, event.not_before, event.attempt_no, event.payload,
                 effect.step, effect.state, effect.target, effect.fingerprint, effect.remote_id as effect_remote_id,
                 effect.announced_at, effect.ended_at, effect.code
          from json_each($1) wanted
          join lane on lane.id = wanted.value
          join event on event.lane_id = lane.id and event.seq > lane.head and event.seq <= lane.head + $2
          left join effect on effect.lane_id = event.lane_id and effect.seq = event.seq
          where lane.ready_at <= $3
          order by event.lane_id, event.seq, effect.announced_at, effect.step",
    )
    .bind(id_list(taken.iter().map(|claim| claim.lane.0)))
    .bind(to_int(EVENTS_PER_CLAIM))
    .bind(now.unix_ms())
    .fetch_all(connection)
    .await?;
    let claims: HashMap<LaneId, Claim> = taken.iter().map(|claim| (claim.lane, *claim)).collect();
    let mut lanes: HashMap<LaneId, ClaimedLane> = HashMap::with_capacity(taken.len());
    let mut put_off = None;
    for row in &rows {
        let row = Of { table: "event", row };
        let id = message_id(row)?;
        let Some(claim) = claims.get(&id.lane) else { continue };
        let lane = match lanes.entry(id.lane) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(claimed_lane(row, *claim)?),
        };
        // What is not due yet ends the turn: the order of a lane holds before its times. A first event that somebody
        // woke early is handed out.
        let is_next = lane.events.last().is_none_or(|last| last.id != id);
        let early = row.time_opt("not_before")?.is_some_and(|at| at > now);
        if put_off == Some(id.lane) || (early && is_next && !lane.events.is_empty()) {
            put_off = Some(id.lane);
            continue;
        }
        if is_next {
            lane.events.push(stored_event(row, id)?);
        }
        if let (Some(event), Some(_)) = (lane.events.last_mut(), row.text_opt("step")?) {
            event.effects.push(effect(row, "effect_remote_id")?);
        }
    }
    Ok(lanes)
}

/// Without its events.
fn claimed_lane(row: Of<'_>, claim: Claim) -> Result<ClaimedLane, StoreError> {
    Ok(ClaimedLane {
        claim,
        channel: ChannelId(row.int("channel_id")?),
        direction: row.case("direction", rows::direction)?,
        identity: row.get::<Option<i64>>("identity_id")?.map(IdentityId),
        key: row.text("lane_key")?,
        tries: row.count("tries")?,
        failing_since: row.time_opt("failing_since")?,
        person: None,
        events: Vec::new(),
    })
}

/// Without its effects.
fn stored_event(row: Of<'_>, id: MessageId) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        id,
        receipt: row.get::<Option<i64>>("receipt_id")?.map(ReceiptId),
        kind: row.text("kind")?,
        key: row.text("key")?,
        remote_id: row.text_opt("remote_id")?,
        at: row.time("at")?,
        accepted_at: row.time("accepted_at")?,
        payload: row.get("payload")?,
        attempt_no: row.count("attempt_no")?,
        effects: Vec::new(),
    })
}

/// The provider's or inbox's id stands in a column that is named apart where other ids stand in the row.
pub(in super::super) fn effect(row: Of<'_>, remote_id: &'static str) -> Result<Effect, StoreError> {
    Ok(Effect {
        step: row.text("step")?,
        state: row.case("state", rows::effect_state)?,
        target: row.text("target")?,
        fingerprint: row.text("fingerprint")?,
        remote_id: row.text_opt(remote_id)?,
        announced_at: row.time("announced_at")?,
        ended_at: row.time_opt("ended_at")?,
        code: row.text_opt("code")?,
    })
}

//! Claims, commits, replays.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId};
use mantle_model::inbound::DeliveryReport;
use mantle_store::lanes::{
    Attempt, Change, Claim, ClaimedLane, Effect, EffectState, Ending, Lanes, ReadyChannel, ReadyLane, Room, StoredEvent,
};
use mantle_store::people::ThreadLink;
use mantle_store::{Conflict, StoreError};

use super::{Memory, MemoryStore, Now, Someone};

/// Events handed out with a lane; small, so that lanes are given back and taken again in short runs too.
const EVENTS_PER_CLAIM: i64 = 4;

#[async_trait]
impl Lanes for MemoryStore {
    async fn ready(&self, now: Time, limit: usize, _room: Room<'_>) -> Result<Vec<ReadyChannel>, StoreError> {
        self.transact(move |memory, _| {
            let mut ready: BTreeMap<ChannelId, Vec<(Time, ReadyLane)>> = BTreeMap::new();
            for (id, lane) in memory.lanes.iter().filter(|(_, lane)| lane.claim.is_none()) {
                let Some(at) = lane.ready_at.filter(|at| *at <= now) else {
                    continue;
                };
                let waits = ReadyLane {
                    lane: *id,
                    events: u32::try_from((lane.tail - lane.head).clamp(1, EVENTS_PER_CLAIM)).unwrap_or(1),
                    failed: lane.tries > 0,
                };
                ready.entry(lane.channel).or_default().push((at, waits));
            }
            let oldest_first = |(channel, mut lanes): (ChannelId, Vec<(Time, ReadyLane)>)| {
                lanes.sort_by_key(|(at, waits)| (*at, waits.lane));
                let lanes = lanes.into_iter().map(|(_, waits)| waits).take(limit).collect();
                ReadyChannel { channel, lanes }
            };
            Ok(ready.into_iter().map(oldest_first).collect())
        })
        .await
    }

    async fn take(&self, now: Time, lanes: &[(ChannelId, LaneId)]) -> Result<Vec<ClaimedLane>, StoreError> {
        let (host, lanes) = (self.life.host, lanes.to_vec());
        self.transact(move |memory, _| {
            let mut taken = Vec::new();
            for (_, id) in lanes {
                let free = memory
                    .lanes
                    .get(&id)
                    .is_some_and(|lane| lane.claim.is_none() && lane.ready_at.is_some_and(|at| at <= now));
                if free {
                    taken.extend(memory.hand_out(id, host, now));
                }
            }
            Ok(taken)
        })
        .await
    }

    async fn commit(&self, claim: Claim, changes: Vec<Change>) -> Result<(), StoreError> {
        self.transact(move |memory, now| {
            let lane = memory.lanes.get(&claim.lane).ok_or(StoreError::NotFound("lane"))?;
            if lane.claim.is_none_or(|(token, _)| token != claim.token) {
                return Err(StoreError::Fenced);
            }
            let channel = lane.channel;
            // All of them happen or none does, so what may refuse is asked first.
            memory.refuse_strangers(&changes)?;
            for change in changes {
                memory.apply(now, (claim.lane, channel), change)?;
            }
            Ok(())
        })
        .await
    }

    fn may_act(&self, claim: Claim) -> bool {
        let memory = crate::life::held(&self.memory);
        let lane = memory.lanes.get(&claim.lane);
        lane.is_some_and(|lane| lane.claim.is_some_and(|(token, _)| token == claim.token))
    }

    async fn release(&self, claim: Claim) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            if let Some(lane) = memory.lanes.get_mut(&claim.lane)
                && lane.claim.is_some_and(|(token, _)| token == claim.token)
            {
                lane.claim = None;
            }
            Ok(())
        })
        .await
    }

    async fn heartbeat(&self, _claims: &[Claim], _now: Time) -> Result<(), StoreError> {
        Ok(())
    }

    async fn wait_ready(&self) {
        std::future::pending().await
    }

    async fn next_ready(&self) -> Result<Option<Time>, StoreError> {
        self.transact(|memory, _| {
            let free = memory.lanes.values().filter(|lane| lane.claim.is_none());
            Ok(free.filter_map(|lane| lane.ready_at).min())
        })
        .await
    }

    fn lanes_in_work(&self) -> usize {
        let memory = crate::life::held(&self.memory);
        memory.lanes.values().filter(|lane| lane.claim.is_some()).count()
    }

    async fn wake_channel(&self, channel: ChannelId, now: Time) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            for lane in memory.lanes.values_mut().filter(|lane| lane.channel == channel) {
                lane.ready_at = lane.ready_at.map(|at| at.min(now));
            }
            Ok(())
        })
        .await
    }

    async fn replay(&self, message: MessageId, now: Time) -> Result<MessageId, StoreError> {
        self.transact(move |memory, _| memory.again(message, now)).await
    }

    async fn resend(&self, attempt: MessageId, now: Time) -> Result<MessageId, StoreError> {
        self.transact(move |memory, _| {
            let (_, newest) = memory.family(attempt).ok_or(StoreError::NotFound("message"))?;
            if newest != attempt {
                return Err(StoreError::NotReplayable(attempt));
            }
            memory.again(attempt, now)
        })
        .await
    }

    async fn last_announced(&self, lane: LaneId, steps: &str) -> Result<Option<Time>, StoreError> {
        let steps = steps.to_owned();
        self.transact(move |memory, _| {
            let of_lane = memory
                .effects
                .iter()
                .filter(|((message, step), _)| message.lane == lane && step.starts_with(&steps));
            Ok(of_lane.map(|(_, effect)| effect.announced_at).max())
        })
        .await
    }

    async fn open_effects(&self, target: &str, except: Option<MessageId>) -> Result<Vec<Effect>, StoreError> {
        let target = target.to_owned();
        self.transact(move |memory, _| {
            let open = memory.effects.iter().filter(|((message, _), effect)| {
                effect.target == target
                    && matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)
                    && Some(*message) != except
            });
            let mut open: Vec<Effect> = open.map(|(_, effect)| effect.clone()).collect();
            open.sort_by_key(|effect| effect.announced_at);
            Ok(open)
        })
        .await
    }
}

impl Memory {
    fn hand_out(&mut self, id: LaneId, host: u64, now: Time) -> Option<ClaimedLane> {
        let lane = self.lanes.get(&id)?;
        let places = (lane.head + 1)..=lane.tail.min(lane.head + EVENTS_PER_CLAIM);
        let mut events = Vec::new();
        for seq in places {
            let message = MessageId { lane: id, seq };
            let row = self.events.get(&message)?;
            if !events.is_empty() && row.not_before.is_some_and(|at| at > now) {
                break;
            }
            let mut effects: Vec<Effect> = self.effects_of(message).cloned().collect();
            effects.sort_by(|one, other| (one.announced_at, &one.step).cmp(&(other.announced_at, &other.step)));
            events.push(StoredEvent {
                id: message,
                receipt: row.receipt,
                kind: row.kind.clone(),
                key: row.key.clone(),
                remote_id: row.remote_id.clone(),
                at: row.at,
                accepted_at: row.accepted_at,
                payload: row.payload.clone(),
                attempt_no: row.attempt_no,
                effects,
            });
        }
        if events.is_empty() {
            return None;
        }
        let person = lane
            .identity
            .and_then(|identity| self.present(identity))
            .and_then(|identity| self.identity(identity));
        self.tokens += 1;
        let token = self.tokens;
        let lane = self.lanes.get_mut(&id)?;
        lane.claim = Some((token, host));
        Some(ClaimedLane {
            claim: Claim { lane: id, token },
            channel: lane.channel,
            direction: lane.direction,
            identity: lane.identity,
            key: lane.key.clone(),
            tries: lane.tries,
            failing_since: lane.failing_since,
            person,
            events,
        })
    }

    pub(super) fn effects_of(&self, message: MessageId) -> impl Iterator<Item = &Effect> {
        let from = (message, String::new());
        let of_message = self
            .effects
            .range(from..)
            .take_while(move |((of, _), _)| *of == message);
        of_message.map(|(_, effect)| effect)
    }

    fn apply(&mut self, now: Now<'_>, (lane, channel): (LaneId, ChannelId), change: Change) -> Result<(), StoreError> {
        let at_seq = |seq| MessageId { lane, seq };
        match change {
            Change::Effect { seq, effect } => {
                let row = (at_seq(seq), effect.step.clone());
                let proven = self
                    .effects
                    .get(&row)
                    .is_some_and(|known| known.state == EffectState::Done);
                if !(proven && effect.state == EffectState::Ambiguous) {
                    self.effects.insert(row, effect);
                }
            }
            Change::Hop { seq, hop } => self.hops.push((at_seq(seq), hop)),
            Change::Contact(link) => {
                let person = self.person(link.identity)?;
                person.contact = Some(link);
            }
            Change::Thread(link) => self.link_thread(link)?,
            Change::Making {
                workspace,
                keys,
                announced_at,
            } => self.making(workspace, keys, announced_at),
            Change::Made {
                workspace,
                keys,
                remote_id,
            } => self.made(workspace, keys, at_seq(0), remote_id.as_deref()),
            Change::OwnPart { part } => {
                let workspace = self
                    .channels
                    .get(&channel)
                    .ok_or(StoreError::NotFound("channel"))?
                    .workspace;
                self.own_parts.insert((workspace, part));
            }
            Change::Aliases { identity, aliases } => {
                let identity = self.present(identity).ok_or(StoreError::NotFound("identity"))?;
                self.add_aliases(channel, identity, &aliases);
            }
            Change::Reach { identity, reach, at } => {
                let person = self.person(identity)?;
                if person.reach.is_none_or(|(_, since)| since <= at) {
                    person.reach = Some((reach, at));
                }
            }
            Change::WindowClosed { identity } => self.person(identity)?.window_closed = true,
            Change::Outgoing { seq, step, remote_id } => {
                self.outgoing.insert((channel, remote_id), (at_seq(seq), step));
            }
            Change::Settle {
                message,
                step,
                remote_id,
            } => self.settle(now.time, channel, (message, step), remote_id),
            Change::Report {
                remote_id,
                report,
                at,
                code,
            } => {
                let row = (channel, remote_id, rank(report));
                self.reports.entry(row).or_insert((report, at, code));
            }
            Change::Spawn(event) => {
                self.take_in(now, None, vec![event]);
            }
            Change::Finish { seq, ending } => self.finish(now.time, at_seq(seq), ending)?,
            Change::Retry { until, cause, counts } => self.put_off(now.time, lane, (until, counts), cause),
            Change::GiveBack => self.lanes.get_mut(&lane).into_iter().for_each(|lane| lane.claim = None),
        }
        Ok(())
    }

    fn person(&mut self, identity: IdentityId) -> Result<&mut Someone, StoreError> {
        let present = self
            .present(identity)
            .and_then(|identity| self.people.get_mut(&identity));
        present.ok_or(StoreError::NotFound("identity"))
    }

    fn put_off(&mut self, now: Time, lane: LaneId, (until, counts): (Time, Attempt), cause: Cause) {
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        lane.ready_at = (lane.tail > lane.head).then_some(until);
        lane.cause = Some(cause);
        lane.claim = None;
        if counts == Attempt::Counts {
            lane.tries += 1;
            lane.failing_since = lane.failing_since.or(Some(now));
        }
    }

    fn settle(&mut self, now: Time, channel: ChannelId, sent: (MessageId, String), remote_id: String) {
        if let Some(effect) = self.effects.get_mut(&sent)
            && matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)
        {
            effect.state = EffectState::Done;
            effect.remote_id = Some(remote_id.clone());
            effect.ended_at = Some(now);
        }
        if let Some(lane) = self.lanes.get_mut(&sent.0.lane) {
            lane.ready_at = lane.ready_at.map(|at| at.min(now));
        }
        self.outgoing.insert((channel, remote_id), sent);
    }

    fn refuse_strangers(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            let Change::Thread(link) = change else { continue };
            let owner = self.threads.get(&(link.workspace, link.conversation.clone()));
            if let Some(owner) = owner.filter(|owner| Some(owner.identity) != self.present(link.identity)) {
                let by = owner.identity;
                return Err(StoreError::Conflict(Conflict::Conversation { by }));
            }
        }
        Ok(())
    }

    fn link_thread(&mut self, link: ThreadLink) -> Result<(), StoreError> {
        let identity = self.present(link.identity).ok_or(StoreError::NotFound("identity"))?;
        let place = (link.workspace, link.conversation.clone());
        if let Some(person) = self.people.get_mut(&identity) {
            person.thread = Some(place.clone());
        }
        self.threads.insert(place, ThreadLink { identity, ..link });
        Ok(())
    }

    fn finish(&mut self, now: Time, message: MessageId, ending: Ending) -> Result<(), StoreError> {
        let next = MessageId {
            seq: message.seq + 1,
            ..message
        };
        let not_before = self.events.get(&next).and_then(|row| row.not_before);
        let lane = self.lanes.get_mut(&message.lane).ok_or(StoreError::NotFound("lane"))?;
        if message.seq <= lane.head {
            return Ok(());
        }
        if lane.head + 1 != message.seq || lane.tail < message.seq {
            return Err(StoreError::Inconsistent {
                table: "lane",
                column: "head",
                row: message.to_string(),
            });
        }
        lane.head = message.seq;
        lane.tries = 0;
        lane.failing_since = None;
        lane.cause = None;
        lane.ready_at = (lane.tail > lane.head).then(|| not_before.map_or(now, |at| at.max(now)));
        if ending != Ending::Done {
            self.endings.insert(message, ending);
        }
        Ok(())
    }

    fn again(&mut self, message: MessageId, now: Time) -> Result<MessageId, StoreError> {
        let (origin, newest) = self.family(message).ok_or(StoreError::NotFound("message"))?;
        if !self.came_to_a_bad_end(newest) {
            return Err(StoreError::NotReplayable(message));
        }
        let mut row = self
            .events
            .get(&origin)
            .cloned()
            .ok_or(StoreError::NotFound("message"))?;
        let attempts = self.events.get(&newest).map_or(0, |row| row.attempt_no);
        let lane = self.lanes.get_mut(&message.lane).ok_or(StoreError::NotFound("lane"))?;
        lane.tail += 1;
        lane.last_at = now;
        lane.ready_at = lane.ready_at.or(Some(now));
        let place = MessageId {
            lane: message.lane,
            seq: lane.tail,
        };
        row.origin_seq = Some(origin.seq);
        row.attempt_no = attempts + 1;
        row.accepted_at = now;
        row.not_before = None;
        self.events.insert(place, row);
        Ok(place)
    }
}

fn rank(report: DeliveryReport) -> u8 {
    match report {
        DeliveryReport::Sent => 0,
        DeliveryReport::Delivered => 1,
        DeliveryReport::Read => 2,
        DeliveryReport::Failed => 3,
    }
}

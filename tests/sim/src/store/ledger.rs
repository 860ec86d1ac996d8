//! Reading what happened.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::delivery::{InboundState, OutboundState};
use mantle_model::ids::{ChannelId, MessageId};
use mantle_store::StoreError;
use mantle_store::intake::Direction;
use mantle_store::lanes::Ending;
use mantle_store::ledger::{Ledger, MessageFilter, MessageRow, MessageState, Trace};

use super::{Memory, MemoryStore};

#[async_trait]
impl Ledger for MemoryStore {
    async fn trace(&self, message: MessageId) -> Result<Option<Trace>, StoreError> {
        self.transact(move |memory, _| Ok(memory.trace(message))).await
    }

    async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageRow>, StoreError> {
        let filter = filter.clone();
        self.transact(move |memory, _| {
            let mut rows: Vec<MessageRow> = memory
                .events
                .iter()
                .filter(|(_, row)| row.origin_seq.is_none())
                .filter(|(_, row)| filter.channel.is_none_or(|channel| row.channel == channel))
                .filter(|(_, row)| filter.from.is_none_or(|from| row.accepted_at >= from))
                .filter(|(_, row)| filter.to.is_none_or(|to| row.accepted_at <= to))
                .filter_map(|(id, _)| memory.row(*id))
                .filter(|row| row.identity.is_some())
                .filter(|row| {
                    let wanted = filter.identities.as_ref();
                    wanted.is_none_or(|wanted| row.identity.is_some_and(|identity| wanted.contains(&identity)))
                })
                .collect();
            rows.sort_by_key(|row| (row.accepted_at, row.id));
            rows.reverse();
            rows.truncate(filter.limit as usize);
            Ok(rows)
        })
        .await
    }

    async fn message_by_remote_id(&self, channel: ChannelId, remote_id: &str) -> Result<Option<Trace>, StoreError> {
        let remote_id = remote_id.to_owned();
        self.transact(move |memory, _| {
            let ours = memory
                .outgoing
                .get(&(channel, remote_id.clone()))
                .map(|(message, _)| *message);
            let told = || {
                let told = memory.events.iter().filter(|(id, row)| {
                    row.channel == channel
                        && row.remote_id.as_ref() == Some(&remote_id)
                        && memory.lanes.get(&id.lane).is_some_and(|lane| lane.identity.is_some())
                });
                told.max_by_key(|(_, row)| row.accepted_at).map(|(id, _)| *id)
            };
            Ok(ours.or_else(told).and_then(|message| memory.trace(message)))
        })
        .await
    }

    async fn last_traffic(&self, channel: ChannelId) -> Result<(Option<Time>, Option<Time>), StoreError> {
        self.transact(move |memory, _| {
            let last = |direction| {
                let lanes = memory
                    .lanes
                    .values()
                    .filter(|lane| lane.channel == channel && lane.identity.is_some());
                lanes
                    .filter(|lane| lane.direction == direction)
                    .map(|lane| lane.last_at)
                    .max()
            };
            Ok((last(Direction::In), last(Direction::Out)))
        })
        .await
    }

    async fn backlog(&self) -> Result<u64, StoreError> {
        self.transact(|memory, _| {
            let left = memory.lanes.values().map(|lane| lane.tail - lane.head);
            Ok(u64::try_from(left.sum::<i64>()).unwrap_or(0))
        })
        .await
    }
}

impl Memory {
    /// The first and the newest attempt.
    pub(super) fn family(&self, message: MessageId) -> Option<(MessageId, MessageId)> {
        let asked = self.events.get(&message)?;
        let origin = MessageId {
            seq: asked.origin_seq.unwrap_or(message.seq),
            ..message
        };
        let of_lane = self
            .events
            .range(origin..)
            .take_while(|(id, _)| id.lane == message.lane);
        let replays = of_lane
            .filter(|(_, row)| row.origin_seq == Some(origin.seq))
            .map(|(id, _)| *id);
        Some((origin, replays.max().unwrap_or(origin)))
    }

    pub(super) fn came_to_a_bad_end(&self, message: MessageId) -> bool {
        matches!(
            self.state(message),
            Some(
                MessageState::In(InboundState::Dead)
                    | MessageState::Out(OutboundState::Failed | OutboundState::Unknown)
            )
        )
    }

    /// As far as a simulation asks for it: the ending decides, reports beyond it are not told.
    #[must_use]
    pub fn state(&self, message: MessageId) -> Option<MessageState> {
        let lane = self.lanes.get(&message.lane)?;
        let finished = message.seq <= lane.head;
        let ending = self.endings.get(&message);
        Some(match lane.direction {
            Direction::In => MessageState::In(match ending {
                _ if !finished => InboundState::Stored,
                None | Some(Ending::Done) => InboundState::Posted,
                Some(Ending::Ignored { .. }) => InboundState::Ignored,
                Some(_) => InboundState::Dead,
            }),
            Direction::Out => MessageState::Out(match ending {
                _ if !finished => OutboundState::Sending,
                Some(Ending::Failed { .. } | Ending::Dead { .. }) => OutboundState::Failed,
                Some(Ending::Unknown { .. }) => OutboundState::Unknown,
                _ => OutboundState::Accepted,
            }),
        })
    }

    fn row(&self, message: MessageId) -> Option<MessageRow> {
        let row = self.events.get(&message)?;
        let lane = self.lanes.get(&message.lane)?;
        let (_, newest) = self.family(message)?;
        let dedupe = (row.channel, super::number(row.direction), row.key.clone());
        Some(MessageRow {
            id: message,
            channel: row.channel,
            direction: row.direction,
            kind: row.kind.clone(),
            identity: lane.identity,
            remote_id: row.remote_id.clone(),
            at: row.at,
            accepted_at: row.accepted_at,
            state: self.state(newest)?,
            reason: None,
            deliveries: self.dedupe.get(&dedupe).map_or(1, |(_, deliveries)| *deliveries),
        })
    }

    fn trace(&self, message: MessageId) -> Option<Trace> {
        let (origin, newest) = self.family(message)?;
        let row = self.events.get(&origin)?;
        let lane = self.lanes.get(&message.lane)?;
        let of_family = |id: &MessageId| {
            *id == origin
                || self
                    .events
                    .get(id)
                    .is_some_and(|row| row.origin_seq == Some(origin.seq) && id.lane == origin.lane)
        };
        let effects = self
            .effects
            .iter()
            .filter(|((id, _), _)| of_family(id))
            .map(|((id, _), effect)| {
                let attempt = self.events.get(id).map_or(0, |row| row.attempt_no);
                (attempt, effect.clone())
            });
        let mut effects: Vec<_> = effects.collect();
        effects.sort_by_key(|(attempt, effect)| (*attempt, effect.announced_at));
        let reports =
            self.outgoing
                .iter()
                .filter(|(_, (id, _))| of_family(id))
                .flat_map(|((channel, remote_id), _)| {
                    let from = (*channel, remote_id.clone(), 0);
                    let to = (*channel, remote_id.clone(), u8::MAX);
                    self.reports
                        .range(from..=to)
                        .map(|((_, remote_id, _), (report, at, code))| (remote_id.clone(), *report, *at, code.clone()))
                });
        Some(Trace {
            newest,
            message: self.row(origin)?,
            receipt: row.receipt,
            payload: row.payload.clone(),
            tries: lane.tries,
            next_at: (newest.seq > lane.head).then_some(lane.ready_at).flatten(),
            effects,
            hops: self
                .hops
                .iter()
                .filter(|(id, _)| of_family(id))
                .map(|(_, hop)| hop.clone())
                .collect(),
            reports: reports.collect(),
        })
    }
}

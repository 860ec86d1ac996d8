//! What waits for a person, what a restore leaves in doubt, and how things stand. The model forgets nothing: what
//! goes with time makes no difference to a run of hours.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, ReceiptId};
use mantle_store::StoreError;
use mantle_store::intake::{Direction, Origin, ReceiptState};
use mantle_store::lanes::{Effect, EffectState, Ending};
use mantle_store::upkeep::{Figures, HookFilter, Kept, KeptHook, Pruned, Restored, Unfinished, Upkeep, Waiting};

use super::{Memory, MemoryStore, number};

#[async_trait]
impl Upkeep for MemoryStore {
    async fn prune(&self, _what: Kept, _before: Time, _from: i64, _rows_max: u32) -> Result<Pruned, StoreError> {
        Ok(Pruned { gone: 0, next: None })
    }

    fn idle(&self) -> bool {
        true
    }

    async fn figures(&self, now: Time) -> Result<Figures, StoreError> {
        self.transact(move |memory, _| Ok(figures(memory, now))).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        self.transact(move |memory, _| {
            let mut events: BTreeMap<(ChannelId, u8), u64> = BTreeMap::new();
            for lane in memory.lanes.values().filter(|lane| lane.ready_at.is_some()) {
                let place = (lane.channel, number(lane.direction));
                *events.entry(place).or_default() += (lane.tail - lane.head).unsigned_abs();
            }
            let row = |((channel, direction), events)| Waiting {
                channel,
                direction: if direction == number(Direction::In) {
                    Direction::In
                } else {
                    Direction::Out
                },
                events,
            };
            Ok(events.into_iter().map(row).collect())
        })
        .await
    }

    async fn hooks(&self, filter: &HookFilter) -> Result<Vec<KeptHook>, StoreError> {
        let filter = filter.clone();
        self.transact(move |memory, _| {
            let ids: Vec<ReceiptId> = memory.receipts.keys().rev().copied().collect();
            let hooks = ids.into_iter().filter_map(|id| waiting(memory, id));
            let wanted = hooks.filter(|hook| {
                hook.parked == filter.parked
                    && filter
                        .channel
                        .is_none_or(|channel| hook.origin == Origin::Channel(channel))
                    && filter.from.is_none_or(|from| hook.received_at >= from)
                    && filter.to.is_none_or(|to| hook.received_at <= to)
                    && filter.after.is_none_or(|after| hook.id < after)
            });
            Ok(wanted.take(filter.limit as usize).collect())
        })
        .await
    }

    async fn hook(&self, id: ReceiptId) -> Result<Option<KeptHook>, StoreError> {
        self.transact(move |memory, _| Ok(waiting(memory, id))).await
    }

    async fn read_hook_again(&self, id: ReceiptId, now: Time) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            let hook = waiting(memory, id).ok_or(StoreError::NotFound("receipt that waits to be read"))?;
            if let Some(kept) = memory.receipts.get_mut(&id) {
                kept.tries = 0;
                kept.receipt.state = ReceiptState::Unparsed {
                    problem: hook.problem,
                    next_at: now,
                };
            }
            Ok(())
        })
        .await
    }

    async fn unfinished(&self, after: Option<MessageId>, limit: u32) -> Result<Vec<Unfinished>, StoreError> {
        self.transact(move |memory, _| {
            let events = memory.events.iter().filter_map(|(id, row)| {
                let lane = memory.lanes.get(&id.lane).filter(|lane| id.seq > lane.head)?;
                let someone = lane.identity.and_then(|identity| memory.people.get(&identity));
                Some(Unfinished {
                    id: *id,
                    channel: row.channel,
                    workspace: memory.channels.get(&row.channel)?.workspace,
                    direction: row.direction,
                    kind: row.kind.clone(),
                    opens: someone.is_some_and(|someone| someone.thread.is_none()),
                })
            });
            let behind = events.filter(|event| after.is_none_or(|after| event.id > after));
            Ok(behind.take(limit as usize).collect())
        })
        .await
    }

    async fn doubt(&self, effects: &[(MessageId, Effect)]) -> Result<(), StoreError> {
        let effects = effects.to_vec();
        self.transact(move |memory, _| {
            for (message, effect) in effects {
                let place = (message, effect.step.clone());
                let done = |known: &Effect| known.state == EffectState::Done;
                if !memory.effects.get(&place).is_some_and(done) {
                    memory.effects.insert(place, effect);
                }
            }
            Ok(())
        })
        .await
    }

    async fn restored(&self) -> Result<Option<Restored>, StoreError> {
        self.transact(|memory, _| Ok(memory.restored)).await
    }

    async fn set_restored(&self, restored: Restored) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            memory.restored = Some(restored);
            Ok(())
        })
        .await
    }
}

fn waiting(memory: &Memory, id: ReceiptId) -> Option<KeptHook> {
    let kept = memory.receipts.get(&id)?;
    let (parked, problem, next_at) = match &kept.receipt.state {
        ReceiptState::Parsed => return None,
        ReceiptState::Unparsed { problem, next_at } => (false, problem, Some(*next_at)),
        ReceiptState::Parked { problem } => (true, problem, None),
    };
    Some(KeptHook {
        id,
        origin: kept.receipt.origin,
        received_at: kept.receipt.hook.received_at,
        parked,
        problem: problem.clone(),
        tries: kept.tries,
        next_at,
        deliveries: kept.deliveries,
    })
}

fn figures(memory: &Memory, now: Time) -> Figures {
    let mut ready: BTreeMap<ChannelId, (u64, Time)> = BTreeMap::new();
    for lane in memory.lanes.values().filter(|lane| lane.claim.is_none()) {
        if let Some(since) = lane.ready_at.filter(|at| *at <= now) {
            let (lanes, oldest) = ready.entry(lane.channel).or_insert((0, since));
            *lanes += 1;
            *oldest = since.min(*oldest);
        }
    }
    let hooks = |parked| {
        let all = memory.receipts.keys().filter_map(|id| waiting(memory, *id));
        all.filter(|hook| hook.parked == parked).count() as u64
    };
    let open = memory.effects.iter().filter(|((message, _), effect)| {
        let unfinished = memory
            .lanes
            .get(&message.lane)
            .is_some_and(|lane| message.seq > lane.head);
        unfinished && matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)
    });
    let dead = memory.endings.iter().filter(|(message, ending)| {
        let origin = memory
            .events
            .get(message)
            .and_then(|row| row.origin_seq)
            .unwrap_or(message.seq);
        let again = memory
            .events
            .iter()
            .any(|(id, row)| id.lane == message.lane && id.seq > message.seq && row.origin_seq == Some(origin));
        matches!(ending, Ending::Dead { .. }) && !again
    });
    Figures {
        ready: ready
            .into_iter()
            .map(|(channel, (lanes, oldest))| (channel, lanes, now.since(oldest)))
            .collect(),
        effects_ambiguous: open.count() as u64,
        dead: dead.count() as u64,
        hooks_unread: hooks(false),
        hooks_parked: hooks(true),
        log_bytes: None,
        oldest_transaction: None,
    }
}

//! Receipts, events, dedupe and identities.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId, ReceiptId};
use mantle_model::inbound::{Alias, AliasKind};
use mantle_store::StoreError;
use mantle_store::intake::{
    AHEAD, Accepted, AcceptedEvent, Intake, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState, Unparsed, Unread,
};

use super::{Kept, Lane, Memory, MemoryStore, Now, Row, Someone, body_of, number};

#[async_trait]
impl Intake for MemoryStore {
    async fn accept(&self, receipt: NewReceipt, events: Vec<NewEvent>) -> Result<Accepted, StoreError> {
        self.transact(move |memory, now| {
            let accepted = memory.take_in(now, Some(receipt.id), events);
            let known = match receipt.state {
                ReceiptState::Parsed => memory.told_before(&accepted),
                _ => memory.unread_twin(&receipt),
            };
            let id = known.unwrap_or(receipt.id);
            if known.is_none() {
                let kept = Kept {
                    receipt,
                    tries: 0,
                    deliveries: 1,
                };
                memory.receipts.insert(id, kept);
            }
            Ok(Accepted {
                receipt: id,
                events: accepted,
            })
        })
        .await
    }

    async fn enqueue(&self, events: Vec<NewEvent>) -> Result<Vec<AcceptedEvent>, StoreError> {
        self.transact(move |memory, now| Ok(memory.take_in(now, None, events)))
            .await
    }

    async fn unparsed(&self, now: Time, limit: u32) -> Result<Vec<Unparsed>, StoreError> {
        self.transact(move |memory, _| {
            let mut due: Vec<_> = memory
                .receipts
                .values()
                .filter_map(|kept| match kept.receipt.state {
                    ReceiptState::Unparsed { next_at, .. } if next_at <= now => Some((next_at, kept)),
                    _ => None,
                })
                .collect();
            due.sort_by_key(|(next_at, kept)| (*next_at, kept.receipt.id));
            let unparsed = due.into_iter().take(limit as usize).map(|(_, kept)| Unparsed {
                id: kept.receipt.id,
                origin: kept.receipt.origin,
                hook: kept.receipt.hook.clone(),
                tries: kept.tries,
            });
            Ok(unparsed.collect())
        })
        .await
    }

    async fn unread(&self, channel: ChannelId) -> Result<Unread, StoreError> {
        self.transact(move |memory, _| {
            let kept = memory.receipts.values().map(|kept| &kept.receipt);
            let unread =
                kept.filter(|kept| kept.origin == Origin::Channel(channel) && kept.state != ReceiptState::Parsed);
            Ok(unread.fold(Unread::default(), |sum, kept| Unread {
                receipts: sum.receipts + 1,
                bytes: sum.bytes + kept.hook.body.len() as u64,
            }))
        })
        .await
    }

    async fn reparsed(
        &self,
        id: ReceiptId,
        state: ReceiptState,
        events: Vec<NewEvent>,
    ) -> Result<Accepted, StoreError> {
        self.transact(move |memory, now| {
            let kept = memory.receipts.get_mut(&id).ok_or(StoreError::NotFound("receipt"))?;
            kept.receipt.state = state;
            kept.tries += 1;
            let events = memory.take_in(now, Some(id), events);
            Ok(Accepted { receipt: id, events })
        })
        .await
    }

    async fn receipt(&self, id: ReceiptId) -> Result<Option<NewReceipt>, StoreError> {
        self.transact(move |memory, _| Ok(memory.receipts.get(&id).map(|kept| kept.receipt.clone())))
            .await
    }
}

impl Memory {
    fn told_before(&self, accepted: &[AcceptedEvent]) -> Option<ReceiptId> {
        let mut first = None;
        for event in accepted {
            match event {
                AcceptedEvent::New { .. } => return None,
                AcceptedEvent::Duplicate { of } => first = first.or(Some(*of)),
            }
        }
        self.events.get(&first?)?.receipt
    }

    fn unread_twin(&mut self, receipt: &NewReceipt) -> Option<ReceiptId> {
        let twin = self.receipts.values_mut().find(|kept| {
            kept.receipt.state != ReceiptState::Parsed
                && kept.receipt.origin == receipt.origin
                && body_of(&kept.receipt.hook) == body_of(&receipt.hook)
        })?;
        twin.deliveries += 1;
        Some(twin.receipt.id)
    }

    pub(super) fn take_in(
        &mut self,
        now: Now<'_>,
        receipt: Option<ReceiptId>,
        events: Vec<NewEvent>,
    ) -> Vec<AcceptedEvent> {
        events
            .into_iter()
            .map(|event| self.take_in_one(now, receipt, &event))
            .collect()
    }

    fn take_in_one(&mut self, now: Now<'_>, receipt: Option<ReceiptId>, event: &NewEvent) -> AcceptedEvent {
        let dedupe = (event.channel, number(event.direction), event.key.clone());
        if let Some((of, deliveries)) = self.dedupe.get_mut(&dedupe) {
            *deliveries += 1;
            return AcceptedEvent::Duplicate { of: *of };
        }
        let (key, identity) = match &event.lane {
            LaneKey::Person {
                aliases,
                name,
                language,
            } => {
                let identity = self.resolve(now, event.channel, aliases);
                if let Some(person) = self.people.get_mut(&identity) {
                    person.name = name.clone().or(person.name.take());
                    person.language = language.clone().or(person.language.take());
                }
                (identity.to_string(), Some(identity))
            }
            LaneKey::Identity(identity) => {
                let identity = self.present(*identity).unwrap_or(*identity);
                (identity.to_string(), Some(identity))
            }
            LaneKey::Ahead(identity) => {
                let identity = self.present(*identity).unwrap_or(*identity);
                (format!("{AHEAD}{identity}"), Some(identity))
            }
            LaneKey::Chore(chore) => (chore.clone(), None),
        };
        if let (true, Some(person)) = (event.opens_window, identity.and_then(|id| self.people.get_mut(&id))) {
            person.last_inbound_at = person.last_inbound_at.max(Some(event.at));
            person.window_closed = false;
        }
        let message = self.join_lane(now, (event, receipt), (key, identity));
        self.dedupe.insert(dedupe, (message, 1));
        AcceptedEvent::New { message, identity }
    }

    fn join_lane(
        &mut self,
        now: Now<'_>,
        (event, receipt): (&NewEvent, Option<ReceiptId>),
        (key, identity): (String, Option<IdentityId>),
    ) -> MessageId {
        let place = (event.channel, number(event.direction), key.clone());
        let id = *self.lane_keys.entry(place).or_insert_with(|| LaneId(now.next_id()));
        let lane = self.lanes.entry(id).or_insert(Lane {
            channel: event.channel,
            direction: event.direction,
            key,
            identity,
            tail: 0,
            head: 0,
            ready_at: None,
            tries: 0,
            failing_since: None,
            cause: None,
            last_at: now.time,
            claim: None,
        });
        lane.tail += 1;
        lane.last_at = now.time;
        let ready_at = event.not_before.unwrap_or(now.time).max(now.time);
        lane.ready_at = lane.ready_at.or(Some(ready_at));
        let message = MessageId {
            lane: id,
            seq: lane.tail,
        };
        let row = Row {
            channel: event.channel,
            direction: event.direction,
            receipt,
            kind: event.kind.to_owned(),
            key: event.key.clone(),
            remote_id: event.remote_id.clone(),
            at: event.at,
            accepted_at: now.time,
            not_before: event.not_before,
            origin_seq: None,
            attempt_no: 0,
            payload: event.payload.clone(),
        };
        self.events.insert(message, row);
        message
    }

    fn resolve(&mut self, now: Now<'_>, channel: ChannelId, aliases: &[Alias]) -> IdentityId {
        let identity = self.named(channel, aliases).unwrap_or_else(|| {
            let identity = IdentityId(now.next_id());
            let person = Someone {
                channel: Some(channel),
                ..Someone::default()
            };
            self.people.insert(identity, person);
            identity
        });
        self.add_aliases(channel, identity, aliases);
        identity
    }

    /// The lasting id decides before the wider one, that before the phone number; a handle names nobody.
    pub(super) fn named(&self, channel: ChannelId, aliases: &[Alias]) -> Option<IdentityId> {
        let known = aliases.iter().filter(|alias| alias.kind != AliasKind::Handle);
        let known = known.filter_map(|alias| Some((alias.kind, *self.aliases.get(&(channel, alias.clone()))?)));
        known.min_by_key(|(kind, _)| *kind).map(|(_, identity)| identity)
    }

    pub(super) fn add_aliases(&mut self, channel: ChannelId, identity: IdentityId, aliases: &[Alias]) {
        for alias in aliases {
            let owner = self.aliases.entry((channel, alias.clone())).or_insert(identity);
            if alias.kind == AliasKind::Handle {
                *owner = identity;
            }
        }
    }

    pub(super) fn present(&self, identity: IdentityId) -> Option<IdentityId> {
        self.people
            .get(&identity)
            .map(|person| person.joined_into.unwrap_or(identity))
    }
}

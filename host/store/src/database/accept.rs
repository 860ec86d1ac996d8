//! Receipts and events inside the writer's transaction: dedupe, identity, lane, event.

mod joining;

use std::collections::{BTreeMap, HashMap};

use crate::sql::{Connection, Given, over, sql};
use mantle_model::ids::{IdentityId, LaneId, MessageId, ReceiptId};

use self::joining::{Joining, join_lanes};
use super::Context;
use super::handing::Offer;
use super::identities::{self, Sender};
use super::rows::{Of, direction_number, to_int};
use crate::StoreError;
use crate::intake::{AHEAD, Accepted, AcceptedEvent, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState};

/// A hook on its way in: the receipt, its headers sealed already, and what was made of it. All that needs no database
/// is done by whoever gives it, since all wait for the writer.
pub(super) struct Taken {
    pub receipt: NewReceipt,
    pub headers: Vec<u8>,
    pub body_sha256: [u8; 32],
    pub events: Vec<NewEvent>,
}

/// The receipts with what was made of their events, in as many statements as one would take. A receipt of which
/// everything was told before is not kept again. Lanes at rest are claimed as far as the offer goes.
pub(super) async fn receipts(
    tx: &mut Connection,
    context: &Context,
    taken: &[&Taken],
    offer: &mut Offer,
) -> Result<Vec<Accepted>, StoreError> {
    let arriving: Vec<Arriving<'_>> = taken
        .iter()
        .flat_map(|taken| arriving(Some(taken.receipt.id), &taken.events))
        .collect();
    let mut events = join(tx, context, &arriving, Some(offer)).await?.into_iter();
    let mut accepted = Vec::with_capacity(taken.len());
    let mut kept = Vec::with_capacity(taken.len());
    for taken in taken {
        let events: Vec<AcceptedEvent> = events.by_ref().take(taken.events.len()).collect();
        let known = known_receipt(tx, taken, &events).await?;
        if known.is_none() {
            kept.push(*taken);
        }
        accepted.push(Accepted {
            receipt: known.unwrap_or(taken.receipt.id),
            events,
        });
    }
    insert_receipts(tx, &kept).await?;
    Ok(accepted)
}

/// The earlier receipt that stands for this one, if there is one. Most bring something new, and nothing is asked.
async fn known_receipt(
    tx: &mut Connection,
    taken: &Taken,
    events: &[AcceptedEvent],
) -> Result<Option<ReceiptId>, StoreError> {
    if taken.receipt.state != ReceiptState::Parsed {
        // A sender that comes again and again with what cannot be read does not fill the disk.
        return unread_twin(tx, taken).await;
    }
    match only_duplicates(events) {
        Some(first) => receipt_of(tx, first).await,
        None => Ok(None),
    }
}

fn only_duplicates(accepted: &[AcceptedEvent]) -> Option<MessageId> {
    let mut first = None;
    for event in accepted {
        match event {
            AcceptedEvent::New { .. } => return None,
            AcceptedEvent::Duplicate { of } => first = first.or(Some(*of)),
        }
    }
    first
}

async fn receipt_of(tx: &mut Connection, message: MessageId) -> Result<Option<ReceiptId>, StoreError> {
    let receipt: Option<Option<i64>> = sql(r"select receipt_id from event where lane_id = $1 and seq = $2")
        .bind(message.lane.0)
        .bind(message.seq)
        .scalar_optional(tx)
        .await?;
    Ok(receipt.flatten().map(ReceiptId))
}

/// Counts the delivery with an unread receipt of the same body, if there is one.
async fn unread_twin(tx: &mut Connection, taken: &Taken) -> Result<Option<ReceiptId>, StoreError> {
    let receipt = &taken.receipt;
    let (channel, workspace) = origin_columns(receipt.origin);
    let twin: Option<i64> = sql(r"update receipt set deliveries = deliveries + 1
          where id = (select id from receipt
                      where body_sha256 = $1 and state <> 0 and path = $2
                        and channel_id is not distinct from $3 and workspace_id is not distinct from $4
                      order by id limit 1)
          returning id")
    .bind(taken.body_sha256.as_slice())
    .bind(receipt.hook.path_and_query.as_bytes())
    .bind(channel)
    .bind(workspace)
    .scalar_optional(tx)
    .await?;
    Ok(twin.map(ReceiptId))
}

fn origin_columns(origin: Origin) -> (Option<i64>, Option<i64>) {
    match origin {
        Origin::Channel(channel) => (Some(channel.0), None),
        Origin::Workspace(workspace) => (None, Some(workspace.0)),
    }
}

/// (state, problem, next time) as columns.
pub(super) fn state_columns(state: &ReceiptState) -> (i64, Option<&[u8]>, Option<i64>) {
    match state {
        ReceiptState::Parsed => (0, None, None),
        ReceiptState::Unparsed { problem, next_at } => (1, Some(problem.as_bytes()), Some(next_at.unix_ms())),
        ReceiptState::Parked { problem } => (2, Some(problem.as_bytes()), None),
    }
}

async fn insert_receipts(tx: &mut Connection, taken: &[&Taken]) -> Result<(), StoreError> {
    let receipts = || taken.iter().map(|taken| &taken.receipt);
    let origins = || receipts().map(|receipt| origin_columns(receipt.origin));
    let states = || receipts().map(|receipt| state_columns(&receipt.state));
    let given = Given::rows(taken.len())
        .ints(receipts().map(|receipt| receipt.id.0))
        .ints(origins().map(|origin| origin.0))
        .ints(origins().map(|origin| origin.1))
        .texts(receipts().map(|receipt| receipt.hook.method.as_str()))
        .bytes(receipts().map(|receipt| receipt.hook.path_and_query.as_bytes()))
        .bytes(taken.iter().map(|taken| taken.headers.as_slice()))
        .bytes(receipts().map(|receipt| receipt.hook.body.as_slice()))
        .bytes(taken.iter().map(|taken| taken.body_sha256.as_slice()))
        .ints(receipts().map(|receipt| receipt.hook.received_at.unix_ms()))
        .ints(states().map(|state| state.0))
        .bytes(states().map(|state| state.1))
        .ints(states().map(|state| state.2));
    over(
        r"with given (id, channel_id, workspace_id, method, path, headers, body, body_sha256, received_at, state,
                      problem, next_at) as ({rows})
          insert into receipt (id, channel_id, workspace_id, method, path, headers, body, body_sha256, received_at,
                               state, problem, next_at)
          select id, channel_id, workspace_id, method, path, headers, body, body_sha256, received_at, state, problem,
                 next_at
          from given where true
          on conflict (id) do nothing",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An event and the receipt that it was made of.
#[derive(Clone, Copy)]
pub(super) struct Arriving<'a> {
    receipt: Option<ReceiptId>,
    event: &'a NewEvent,
}

pub(super) fn arriving(receipt: Option<ReceiptId>, events: &[NewEvent]) -> impl Iterator<Item = Arriving<'_>> {
    events.iter().map(move |event| Arriving { receipt, event })
}

/// What a key says of an event.
enum Told {
    Never,
    Before(MessageId),
    /// An event before it in the same group has the key.
    With(usize),
}

/// Puts the events that are new into their lanes, as if one came after the other.
pub(super) async fn accept(
    tx: &mut Connection,
    context: &Context,
    arriving: &[Arriving<'_>],
) -> Result<Vec<AcceptedEvent>, StoreError> {
    join(tx, context, arriving, None).await
}

async fn join(
    tx: &mut Connection,
    context: &Context,
    arriving: &[Arriving<'_>],
    offer: Option<&mut Offer>,
) -> Result<Vec<AcceptedEvent>, StoreError> {
    if arriving.is_empty() {
        return Ok(Vec::new());
    }
    let told = count_deliveries(tx, arriving).await?;
    let mut repeated = vec![0_i64; arriving.len()];
    let mut fresh = Vec::with_capacity(arriving.len());
    for (place, told) in told.iter().enumerate() {
        match told {
            Told::Never => fresh.push(place),
            Told::With(first) => repeated[*first] += 1,
            Told::Before(_) => {}
        }
    }
    let new: Vec<&NewEvent> = fresh.iter().map(|place| arriving[*place].event).collect();
    let senders = senders(tx, context, &new).await?;
    let joining: Vec<Joining<'_>> = fresh
        .iter()
        .zip(&senders)
        .map(|(place, (key, identity))| Joining {
            arriving: arriving[*place],
            key,
            identity: *identity,
            deliveries: 1 + repeated[*place],
        })
        .collect();
    let messages = join_lanes(tx, context, &joining, offer).await?;
    let mut accepted: Vec<Option<AcceptedEvent>> = Vec::new();
    accepted.resize_with(arriving.len(), || None);
    for ((place, message), joining) in fresh.iter().zip(&messages).zip(&joining) {
        accepted[*place] = Some(AcceptedEvent::New {
            message: *message,
            identity: joining.identity,
        });
    }
    let new_at = |place: usize| match &accepted[place] {
        Some(AcceptedEvent::New { message, .. }) => Some(*message),
        _ => None,
    };
    told.iter()
        .enumerate()
        .map(|(place, told)| match told {
            Told::Never => accepted[place].clone(),
            Told::Before(of) => Some(AcceptedEvent::Duplicate { of: *of }),
            Told::With(first) => new_at(*first).map(|of| AcceptedEvent::Duplicate { of }),
        })
        .collect::<Option<Vec<_>>>()
        .ok_or(StoreError::NotFound("event that was just accepted"))
}

/// Counts the delivery of what was told before.
async fn count_deliveries(tx: &mut Connection, arriving: &[Arriving<'_>]) -> Result<Vec<Told>, StoreError> {
    let mut told = Vec::with_capacity(arriving.len());
    let mut first_of: HashMap<(i64, i64, &str), usize> = HashMap::with_capacity(arriving.len());
    let key = |event: &NewEvent| (event.channel.0, direction_number(event.direction));
    for (place, Arriving { event, .. }) in arriving.iter().enumerate() {
        let (channel, direction) = key(event);
        let first = *first_of.entry((channel, direction, &event.key)).or_insert(place);
        told.push(if first == place { Told::Never } else { Told::With(first) });
    }
    let mut asked: Vec<usize> = first_of.into_values().collect();
    asked.sort_unstable();
    let events = || asked.iter().map(|place| arriving[*place].event);
    let given = Given::rows(asked.len())
        .ints(asked.iter().map(|place| to_int(*place)))
        .ints(events().map(|event| key(event).0))
        .ints(events().map(|event| key(event).1))
        .bytes(events().map(|event| event.key.as_bytes()));
    let rows = over(
        r"with given (place, channel_id, direction, key) as ({rows})
          select given.place, dedupe.lane_id, dedupe.seq
          from given join dedupe on dedupe.channel_id = given.channel_id and dedupe.direction = given.direction
                                and dedupe.key = given.key",
        given,
    )
    .fetch_all(&mut *tx)
    .await?;
    if rows.is_empty() {
        return Ok(told);
    }
    for row in &rows {
        let row = Of { table: "dedupe", row };
        let place = row.place("place", told.len())?;
        told[place] = Told::Before(message_id(row)?);
    }
    let before: Vec<Option<MessageId>> = told
        .iter()
        .map(|one| match one {
            Told::Before(of) => Some(*of),
            Told::With(first) => match told[*first] {
                Told::Before(of) => Some(of),
                Told::Never | Told::With(_) => None,
            },
            Told::Never => None,
        })
        .collect();
    let mut times: BTreeMap<usize, i64> = BTreeMap::new();
    for (place, of) in before.into_iter().enumerate() {
        let Some(of) = of else { continue };
        let first = match told[place] {
            Told::With(first) => first,
            Told::Never | Told::Before(_) => place,
        };
        *times.entry(first).or_default() += 1;
        told[place] = Told::Before(of);
    }
    let events = || times.keys().map(|place| arriving[*place].event);
    let given = Given::rows(times.len())
        .ints(events().map(|event| key(event).0))
        .ints(events().map(|event| key(event).1))
        .bytes(events().map(|event| event.key.as_bytes()))
        .ints(times.values().copied());
    over(
        r"with given (channel_id, direction, key, times) as ({rows})
          update dedupe set deliveries = deliveries + given.times from given
          where dedupe.channel_id = given.channel_id and dedupe.direction = given.direction
            and dedupe.key = given.key",
        given,
    )
    .execute(tx)
    .await?;
    Ok(told)
}

/// The lane's key of each event, and whose lane it is.
async fn senders(
    tx: &mut Connection,
    context: &Context,
    events: &[&NewEvent],
) -> Result<Vec<(String, Option<IdentityId>)>, StoreError> {
    let people: Vec<Sender<'_>> = events.iter().filter_map(|event| sender(event)).collect();
    let mut people = identities::resolve(tx, context, &people).await?.into_iter();
    let named: Vec<IdentityId> = events
        .iter()
        .filter_map(|event| match event.lane {
            LaneKey::Identity(identity) | LaneKey::Ahead(identity) => Some(identity),
            LaneKey::Person { .. } | LaneKey::Chore(_) => None,
        })
        .collect();
    let present = identities::all_present(tx, &named).await?;
    let mut opened = Vec::new();
    let mut senders = Vec::with_capacity(events.len());
    for event in events {
        senders.push(match &event.lane {
            LaneKey::Person { .. } => {
                let identity = people.next().ok_or(StoreError::NotFound("identity"))?;
                (identity.to_string(), Some(identity))
            }
            LaneKey::Identity(identity) => {
                let identity = present.get(identity).copied().unwrap_or(*identity);
                if event.opens_window {
                    opened.push((identity, event.at));
                }
                (identity.to_string(), Some(identity))
            }
            LaneKey::Ahead(identity) => {
                let identity = present.get(identity).copied().unwrap_or(*identity);
                (format!("{AHEAD}{identity}"), Some(identity))
            }
            LaneKey::Chore(chore) => (chore.clone(), None),
        });
    }
    identities::open_windows(tx, &opened).await?;
    Ok(senders)
}

fn sender(event: &NewEvent) -> Option<Sender<'_>> {
    match &event.lane {
        LaneKey::Person {
            aliases,
            name,
            language,
        } => Some(Sender {
            channel: event.channel,
            aliases,
            name: name.as_deref(),
            language: language.as_deref(),
            wrote_at: event.opens_window.then_some(event.at),
        }),
        LaneKey::Identity(_) | LaneKey::Ahead(_) | LaneKey::Chore(_) => None,
    }
}

pub(super) fn message_id(row: Of<'_>) -> Result<MessageId, StoreError> {
    Ok(MessageId {
        lane: LaneId(row.int("lane_id")?),
        seq: row.int("seq")?,
    })
}

//! What workers learnt, applied inside the writer's transaction.

mod lane;
mod links;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sql::{Connection, Given, over, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId, WorkspaceId};
use mantle_model::inbound::DeliveryReport;

pub(super) use self::lane::waits;
use self::lane::{Finished, Retried, finish, retry};
use self::links::{link_contacts, link_threads, own_parts, set_reach};
use super::accept::Arriving;
use super::claims::Claims;
use super::known::Waits;
use super::rows::{bytes, effect_number, report_number};
use super::{Context, accept, identities, shared, single};
use crate::StoreError;
use crate::intake::NewEvent;
use crate::lanes::{Change, Claim, Effect, Hop};
use crate::people::{ContactLink, ThreadLink};

/// What one worker learnt, and under which claim.
pub(super) struct Learnt {
    pub claims: Arc<Claims>,
    pub claim: Claim,
    pub changes: Vec<Change>,
    /// The lane is given back with it.
    pub frees: bool,
}

/// The lane that a change belongs to.
#[derive(Clone, Copy)]
struct Place {
    lane: LaneId,
    channel: ChannelId,
    now: Time,
}

/// What all of them learnt, in as many statements as one would take. Tells which of the lanes that were given back have
/// more to do.
///
/// # Errors
/// [`StoreError::Fenced`]: the claim of one of them does not hold any more.
pub(super) async fn learn(
    tx: &mut Connection,
    context: &Context,
    learnt: &[&Learnt],
) -> Result<BTreeMap<LaneId, Waits>, StoreError> {
    let mut sorted = Sorted::default();
    let now = context.now();
    let mut held = Vec::with_capacity(learnt.len());
    let mut freed: Vec<Claim> = Vec::new();
    for one in learnt {
        if one.changes.is_empty() {
            freed.extend(one.frees.then_some(one.claim));
            continue;
        }
        held.push(one.claim);
        let place = Place {
            lane: one.claim.lane,
            channel: one.claims.check(one.claim)?,
            now,
        };
        // What ends the turn gives the lane back with it.
        let last = one.changes.iter().rposition(ends).filter(|_| one.frees);
        for (number, change) in one.changes.iter().enumerate() {
            sorted.put(place, change, Some(number) == last);
        }
        if one.frees && last.is_none() {
            freed.push(one.claim);
        }
    }
    if tx.is_postgres() {
        shared::fence(tx, &held).await?;
    }
    for (place, change) in &sorted.others {
        apply_one(tx, *place, change).await?;
    }
    let mut ready = sorted.write(tx, context).await?;
    if tx.is_postgres() {
        ready.extend(shared::free(tx, &freed, now).await?);
    }
    Ok(ready.into_iter().map(|waits| (waits.lane, waits)).collect())
}

/// Whether the lane's row is written as its turn ends.
fn ends(change: &Change) -> bool {
    matches!(change, Change::Finish { .. } | Change::Retry { .. })
}

/// Changes of many commits by what they are. Those of one commit touch different rows or are equal in any order; those
/// that touch the same row are written one after the other ([`in_rounds`]).
#[derive(Default)]
struct Sorted<'a> {
    effects: Vec<(Place, i64, &'a Effect)>,
    hops: Vec<(Place, i64, &'a Hop)>,
    contacts: Vec<&'a ContactLink>,
    threads: Vec<&'a ThreadLink>,
    own_parts: Vec<(Place, &'a str)>,
    outgoing: Vec<(ChannelId, MessageId, &'a str, &'a str)>,
    reports: Vec<Reported<'a>>,
    spawned: Vec<&'a NewEvent>,
    finished: Vec<Finished<'a>>,
    retried: Vec<Retried<'a>>,
    /// What happens seldom.
    others: Vec<(Place, &'a Change)>,
}

/// A report by its provider's id, with its code.
struct Reported<'a> {
    channel: ChannelId,
    remote_id: &'a str,
    report: DeliveryReport,
    at: Time,
    code: Option<&'a str>,
}

impl<'a> Sorted<'a> {
    fn put(&mut self, place: Place, change: &'a Change, frees: bool) {
        match change {
            Change::Effect { seq, effect } => self.effects.push((place, *seq, effect)),
            Change::Hop { seq, hop } => self.hops.push((place, *seq, hop)),
            Change::Contact(link) => self.contacts.push(link),
            Change::Thread(link) => self.threads.push(link),
            Change::OwnPart { part } => self.own_parts.push((place, part)),
            Change::Outgoing { seq, step, remote_id } => {
                let message = MessageId {
                    lane: place.lane,
                    seq: *seq,
                };
                self.outgoing.push((place.channel, message, step, remote_id));
            }
            Change::Report {
                remote_id,
                report,
                at,
                code,
            } => self.reports.push(Reported {
                channel: place.channel,
                remote_id,
                report: *report,
                at: *at,
                code: code.as_deref(),
            }),
            Change::Spawn(event) => self.spawned.push(event),
            Change::Finish { seq, ending } => self.finished.push(Finished {
                place,
                seq: *seq,
                ending,
                frees,
            }),
            Change::Retry { until, cause, counts } => self.retried.push(Retried {
                place,
                until: *until,
                counts: *counts,
                cause,
                frees,
            }),
            // Said by the commit as a whole.
            Change::GiveBack => {}
            Change::Making { .. }
            | Change::Made { .. }
            | Change::Aliases { .. }
            | Change::Reach { .. }
            | Change::WindowClosed { .. }
            | Change::Settle { .. } => self.others.push((place, change)),
        }
    }

    /// Tells which lanes were given back and are ready.
    async fn write(self, tx: &mut Connection, context: &Context) -> Result<Vec<Waits>, StoreError> {
        for effects in in_rounds(self.effects, |(place, seq, effect)| [(place.lane, *seq, &effect.step)]) {
            write_effects(tx, &effects).await?;
        }
        write_hops(tx, &self.hops).await?;
        for links in in_rounds(self.contacts, |link| [link.identity]) {
            link_contacts(tx, &links).await?;
        }
        for links in in_rounds(self.threads, linked) {
            link_threads(tx, &links).await?;
        }
        own_parts(tx, &self.own_parts, context.now()).await?;
        for outgoing in in_rounds(self.outgoing, |(channel, _, _, remote_id)| [(*channel, *remote_id)]) {
            write_outgoing(tx, &outgoing).await?;
        }
        write_reports(tx, &self.reports).await?;
        let spawned: Vec<Arriving<'_>> = self
            .spawned
            .into_iter()
            .flat_map(|event| accept::arriving(None, std::slice::from_ref(event)))
            .collect();
        accept::accept(tx, context, &spawned).await?;
        let mut ready = Vec::new();
        for finished in in_rounds(self.finished, |one| [one.place.lane]) {
            ready.extend(finish(tx, &finished).await?);
        }
        for retried in in_rounds(self.retried, |one| [one.place.lane]) {
            retry(tx, &retried).await?;
        }
        Ok(ready)
    }
}

/// What a link of a thread writes to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Linked<'a> {
    Identity(IdentityId),
    Conversation(WorkspaceId, &'a str),
}

fn linked<'a>(link: &&'a ThreadLink) -> [Linked<'a>; 2] {
    [
        Linked::Identity(link.identity),
        Linked::Conversation(link.workspace, &link.conversation),
    ]
}

/// Parts the items so that no two of one round share a key, those that share one in their order.
fn in_rounds<T, K: Ord, const N: usize>(items: Vec<T>, keys: impl Fn(&T) -> [K; N]) -> Vec<Vec<T>> {
    let rounds: Vec<usize> = {
        let mut next: BTreeMap<K, usize> = BTreeMap::new();
        let of = |item| {
            let keys = keys(item);
            let round = keys.iter().filter_map(|key| next.get(key)).max().copied().unwrap_or(0);
            next.extend(keys.into_iter().map(|key| (key, round + 1)));
            round
        };
        items.iter().map(of).collect()
    };
    let mut parted: Vec<Vec<T>> = Vec::new();
    for (item, round) in items.into_iter().zip(rounds) {
        if parted.len() <= round {
            parted.resize_with(round + 1, Vec::new);
        }
        parted[round].push(item);
    }
    parted
}

async fn apply_one(tx: &mut Connection, place: Place, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Making {
            workspace,
            keys,
            announced_at,
        } => single::announce(tx, *workspace, keys, *announced_at).await,
        Change::Made {
            workspace,
            keys,
            remote_id,
        } => single::made(tx, *workspace, keys, (remote_id.as_deref(), place.now)).await,
        Change::Aliases { identity, aliases } => {
            let Some(identity) = identities::present(tx, *identity).await? else {
                return Err(StoreError::NotFound("identity"));
            };
            let owners = identities::owners(tx, place.channel, aliases).await?;
            identities::add_aliases(tx, (place.channel, identity), aliases, &owners, place.now).await
        }
        Change::Reach { identity, reach, at } => set_reach(tx, *identity, *reach, *at).await,
        Change::WindowClosed { identity } => {
            sql(r"update identity set window_closed = 1 where id = $1")
                .bind(identity.0)
                .execute(tx)
                .await?;
            Ok(())
        }
        Change::Settle {
            message,
            step,
            remote_id,
        } => settle(tx, place, (*message, step), remote_id).await,
        // Sorted apart, for all commits together.
        Change::Effect { .. }
        | Change::Hop { .. }
        | Change::Contact(_)
        | Change::Thread(_)
        | Change::OwnPart { .. }
        | Change::Outgoing { .. }
        | Change::Report { .. }
        | Change::Spawn(_)
        | Change::Finish { .. }
        | Change::Retry { .. }
        | Change::GiveBack => Ok(()),
    }
}

async fn write_effects(tx: &mut Connection, effects: &[(Place, i64, &Effect)]) -> Result<(), StoreError> {
    let all = || effects.iter().map(|(_, _, effect)| effect);
    let given = Given::rows(effects.len())
        .ints(effects.iter().map(|(place, _, _)| place.lane.0))
        .ints(effects.iter().map(|(_, seq, _)| *seq))
        .texts(all().map(|effect| effect.step.as_str()))
        .ints(all().map(|effect| effect_number(effect.state)))
        .bytes(all().map(|effect| effect.target.as_bytes()))
        .bytes(all().map(|effect| effect.fingerprint.as_bytes()))
        .bytes(all().map(|effect| bytes(effect.remote_id.as_deref())))
        .ints(all().map(|effect| effect.announced_at.unix_ms()))
        .ints(all().map(|effect| effect.ended_at.map(Time::unix_ms)))
        .bytes(all().map(|effect| bytes(effect.code.as_deref())));
    over(
        r"with given (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code)
               as ({rows})
          insert into effect (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code)
          select lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code
          from given where true
          on conflict (lane_id, seq, step) do update
          set state = excluded.state, target = excluded.target, fingerprint = excluded.fingerprint,
              remote_id = excluded.remote_id, announced_at = excluded.announced_at, ended_at = excluded.ended_at,
              code = excluded.code
          -- Done (1) never becomes ambiguous (2).
          where not (effect.state = 1 and excluded.state = 2)",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes an effect that may have happened without being known here. What is known to be done stays.
pub(super) async fn doubt(tx: &mut Connection, message: MessageId, effect: &Effect) -> Result<(), StoreError> {
    sql(
        r"insert into effect (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
          on conflict (lane_id, seq, step) do update
          set state = excluded.state, announced_at = excluded.announced_at, ended_at = excluded.ended_at,
              code = excluded.code
          where effect.state <> 1",
    )
    .bind(message.lane.0)
    .bind(message.seq)
    .bind(effect.step.as_str())
    .bind(effect_number(effect.state))
    .bind(effect.target.as_bytes())
    .bind(effect.fingerprint.as_bytes())
    .bind(bytes(effect.remote_id.as_deref()))
    .bind(effect.announced_at.unix_ms())
    .bind(effect.ended_at.map(Time::unix_ms))
    .bind(bytes(effect.code.as_deref()))
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_hops(tx: &mut Connection, hops: &[(Place, i64, &Hop)]) -> Result<(), StoreError> {
    let all = || hops.iter().map(|(_, _, hop)| hop);
    let given = Given::rows(hops.len())
        .ints(hops.iter().map(|(place, _, _)| place.lane.0))
        .ints(hops.iter().map(|(_, seq, _)| *seq))
        .ints(all().map(|hop| hop.at.unix_ms()))
        .bytes(all().map(|hop| hop.what.as_bytes()))
        .bytes(all().map(|hop| bytes(hop.code.as_deref())))
        .bytes(all().map(|hop| bytes(hop.detail.as_deref())));
    over(
        r"with given (lane_id, seq, at, what, code, detail) as ({rows})
          insert into hop (lane_id, seq, at, what, code, detail)
          select lane_id, seq, at, what, code, detail from given",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_outgoing(
    tx: &mut Connection,
    outgoing: &[(ChannelId, MessageId, &str, &str)],
) -> Result<(), StoreError> {
    let given = Given::rows(outgoing.len())
        .ints(outgoing.iter().map(|(channel, _, _, _)| channel.0))
        .bytes(outgoing.iter().map(|(_, _, _, remote_id)| remote_id.as_bytes()))
        .ints(outgoing.iter().map(|(_, message, _, _)| message.lane.0))
        .ints(outgoing.iter().map(|(_, message, _, _)| message.seq))
        .texts(outgoing.iter().map(|(_, _, step, _)| *step));
    over(
        r"with given (channel_id, remote_id, lane_id, seq, step) as ({rows})
          insert into outgoing (channel_id, remote_id, lane_id, seq, step)
          select channel_id, remote_id, lane_id, seq, step from given where true
          on conflict (channel_id, remote_id) do update
          set lane_id = excluded.lane_id, seq = excluded.seq, step = excluded.step",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The lane is looked at at once: it may be waiting for this very word. One that is in work keeps its claim.
async fn settle(
    tx: &mut Connection,
    place: Place,
    (message, step): (MessageId, &str),
    remote_id: &str,
) -> Result<(), StoreError> {
    write_outgoing(tx, &[(place.channel, message, step, remote_id)]).await?;
    sql(r"update effect set state = 1, remote_id = $4, ended_at = $5
          where lane_id = $1 and seq = $2 and step = $3 and state in (0, 2)")
    .bind(message.lane.0)
    .bind(message.seq)
    .bind(step)
    .bind(remote_id.as_bytes())
    .bind(place.now.unix_ms())
    .execute(&mut *tx)
    .await?;
    sql(r"update lane set ready_at = $2 where id = $1 and ready_at > $2")
        .bind(message.lane.0)
        .bind(place.now.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}

/// One row per kind of report; the first of a kind stays. The state is read from the set, so no order of arrival
/// and no doubling changes it, and it need not be known yet whose message it is.
async fn write_reports(tx: &mut Connection, reports: &[Reported<'_>]) -> Result<(), StoreError> {
    let given = Given::rows(reports.len())
        .ints(reports.iter().map(|one| one.channel.0))
        .bytes(reports.iter().map(|one| one.remote_id.as_bytes()))
        .ints(reports.iter().map(|one| report_number(one.report)))
        .ints(reports.iter().map(|one| one.at.unix_ms()))
        .bytes(reports.iter().map(|one| bytes(one.code)));
    over(
        r"with given (channel_id, remote_id, rank, at, code) as ({rows})
          insert into report (channel_id, remote_id, rank, at, code)
          select channel_id, remote_id, rank, at, code from given where true
          on conflict (channel_id, remote_id, rank) do nothing",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

//! What workers learnt, applied inside the writer's transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sql::{Connection, Given, over, sql};
use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId};
use mantle_model::inbound::{DeliveryReport, Reach};

use super::accept::Arriving;
use super::claims::Claims;
use super::rows::{Of, bytes, day, effect_number, id_list, reach_number, report_number};
use super::{Context, accept, identities, shared, single};
use crate::intake::NewEvent;
use crate::lanes::{Attempt, Change, Claim, Effect, Ending, Hop};
use crate::people::{ContactLink, ThreadLink};
use crate::{Conflict, StoreError};

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

/// What all of them learnt, in as many statements as one would take. Tells which of the lanes that were given back in the
/// rows are ready for the next worker, where there are such rows.
///
/// # Errors
/// [`StoreError::Fenced`]: the claim of one of them does not hold any more.
pub(super) async fn learn(
    tx: &mut Connection,
    context: &Context,
    learnt: &[&Learnt],
) -> Result<BTreeSet<LaneId>, StoreError> {
    let mut sorted = Sorted::default();
    let now = context.now();
    let mut held = Vec::with_capacity(learnt.len());
    for one in learnt {
        if one.changes.is_empty() {
            continue;
        }
        held.push(one.claim);
        let place = Place {
            lane: one.claim.lane,
            channel: one.claims.check(one.claim)?,
            now,
        };
        for change in &one.changes {
            sorted.put(place, change);
        }
    }
    if tx.is_postgres() {
        shared::fence(tx, &held).await?;
    }
    for (place, change) in &sorted.others {
        apply_one(tx, *place, change).await?;
    }
    sorted.write(tx, context).await?;
    if !tx.is_postgres() {
        return Ok(BTreeSet::new());
    }
    let freed: Vec<Claim> = learnt.iter().filter(|one| one.frees).map(|one| one.claim).collect();
    shared::free(tx, &freed, now).await
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
    finished: Vec<(Place, i64, &'a Ending)>,
    retried: Vec<(Place, Time, Attempt, &'a Cause)>,
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
    fn put(&mut self, place: Place, change: &'a Change) {
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
            Change::Finish { seq, ending } => self.finished.push((place, *seq, ending)),
            Change::Retry { until, cause, counts } => self.retried.push((place, *until, *counts, cause)),
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

    async fn write(self, tx: &mut Connection, context: &Context) -> Result<(), StoreError> {
        for effects in in_rounds(self.effects, |(place, seq, effect)| (place.lane, *seq, &effect.step)) {
            write_effects(tx, &effects).await?;
        }
        write_hops(tx, &self.hops).await?;
        for links in in_rounds(self.contacts, |link| link.identity) {
            link_contacts(tx, &links).await?;
        }
        for links in in_rounds(self.threads, |link| (link.workspace, &link.conversation)) {
            link_threads(tx, &links).await?;
        }
        own_parts(tx, &self.own_parts, context.now()).await?;
        for outgoing in in_rounds(self.outgoing, |(channel, _, _, remote_id)| (*channel, *remote_id)) {
            write_outgoing(tx, &outgoing).await?;
        }
        write_reports(tx, &self.reports).await?;
        let spawned: Vec<Arriving<'_>> = self
            .spawned
            .into_iter()
            .flat_map(|event| accept::arriving(None, std::slice::from_ref(event)))
            .collect();
        accept::accept(tx, context, &spawned).await?;
        for finished in in_rounds(self.finished, |(place, _, _)| place.lane) {
            finish(tx, &finished).await?;
        }
        for retried in in_rounds(self.retried, |(place, _, _, _)| place.lane) {
            retry(tx, &retried).await?;
        }
        Ok(())
    }
}

/// Parts the items so that no two of one round have the same key, those of one key in their order.
fn in_rounds<T, K: Ord>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let rounds: Vec<usize> = {
        let mut seen: BTreeMap<K, usize> = BTreeMap::new();
        let next = |item| {
            let times = seen.entry(key(item)).or_default();
            *times += 1;
            *times - 1
        };
        items.iter().map(next).collect()
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

async fn link_contacts(tx: &mut Connection, links: &[&ContactLink]) -> Result<(), StoreError> {
    let identities = present_or_missing(tx, links.iter().map(|link| link.identity)).await?;
    let given = Given::rows(links.len())
        .ints(identities.iter().map(|identity| identity.0))
        .bytes(links.iter().map(|link| link.contact.as_bytes()))
        .bytes(links.iter().map(|link| bytes(link.written_name.as_deref())));
    over(
        r"with given (id, contact, written_name) as ({rows})
          update identity set contact = given.contact, written_name = given.written_name
          from given where identity.id = given.id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A conversation never moves from one person to another: two who said the same in the same second, one of them with a
/// lost answer, would else share one.
async fn link_threads(tx: &mut Connection, links: &[&ThreadLink]) -> Result<(), StoreError> {
    let identities = present_or_missing(tx, links.iter().map(|link| link.identity)).await?;
    let given = Given::rows(links.len())
        .ints(links.iter().map(|link| link.workspace.0))
        .bytes(links.iter().map(|link| link.conversation.as_bytes()))
        .ints(identities.iter().map(|identity| identity.0))
        .ints(links.iter().map(|link| link.opened_at.unix_ms()))
        .ints(links.iter().map(|link| link.last_part_at.unix_ms()))
        .ints(links.iter().map(|link| i64::from(link.parts)));
    let rows = over(
        r"with given (workspace_id, conversation, identity_id, opened_at, last_part_at, parts) as ({rows})
          insert into thread (workspace_id, conversation, identity_id, opened_at, last_part_at, parts)
          select workspace_id, conversation, identity_id, opened_at, last_part_at, parts from given where true
          on conflict (workspace_id, conversation) do update
          set opened_at = excluded.opened_at, last_part_at = excluded.last_part_at, parts = excluded.parts
          returning workspace_id, conversation, identity_id",
        given,
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        let row = Of { table: "thread", row };
        let (workspace, conversation, owner) = (
            row.int("workspace_id")?,
            row.text("conversation")?,
            IdentityId(row.int("identity_id")?),
        );
        let is_it = |link: &&ThreadLink| link.workspace.0 == workspace && link.conversation == conversation;
        let place = links.iter().position(is_it).ok_or_else(|| row.wrong("conversation"))?;
        if identities[place] != owner {
            return Err(StoreError::Conflict(Conflict::Conversation { by: owner }));
        }
    }
    let given = Given::rows(links.len())
        .ints(identities.iter().map(|identity| identity.0))
        .ints(links.iter().map(|link| link.workspace.0))
        .bytes(links.iter().map(|link| link.conversation.as_bytes()));
    over(
        r"with given (id, workspace_id, conversation) as ({rows})
          update identity set thread_workspace = given.workspace_id, thread_conversation = given.conversation
          from given
          where identity.id = given.id
            and (identity.thread_workspace is distinct from given.workspace_id
              or identity.thread_conversation is distinct from given.conversation)",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whoever the identities are now, in their order.
async fn present_or_missing(
    tx: &mut Connection,
    identities: impl Iterator<Item = IdentityId>,
) -> Result<Vec<IdentityId>, StoreError> {
    let asked: Vec<IdentityId> = identities.collect();
    let present = identities::all_present(tx, &asked).await?;
    asked
        .iter()
        .map(|identity| present.get(identity).copied())
        .collect::<Option<Vec<_>>>()
        .ok_or(StoreError::NotFound("identity"))
}

async fn own_parts(tx: &mut Connection, parts: &[(Place, &str)], now: Time) -> Result<(), StoreError> {
    if parts.is_empty() {
        return Ok(());
    }
    let channels: BTreeSet<i64> = parts.iter().map(|(place, _)| place.channel.0).collect();
    let rows = sql("select id, workspace_id from channel where id in (select value from json_each($1))")
        .bind(id_list(channels))
        .fetch_all(&mut *tx)
        .await?;
    let mut workspaces: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &rows {
        let row = Of { table: "channel", row };
        workspaces.insert(row.int("id")?, row.int("workspace_id")?);
    }
    let of = |place: &Place| {
        let workspace = workspaces.get(&place.channel.0).copied();
        workspace.ok_or(StoreError::NotFound("channel"))
    };
    let workspaces: Vec<i64> = parts.iter().map(|(place, _)| of(place)).collect::<Result<_, _>>()?;
    let given = Given::rows(parts.len())
        .ints(workspaces)
        .bytes(parts.iter().map(|(_, part)| part.as_bytes()))
        .ints(parts.iter().map(|_| day(now)));
    over(
        r"with given (workspace_id, part, day) as ({rows})
          insert into own_part (workspace_id, part, day) select workspace_id, part, day from given where true
          on conflict (workspace_id, part) do nothing",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// By the provider's time: an older word that comes late does not undo a newer one.
async fn set_reach(tx: &mut Connection, identity: IdentityId, reach: Reach, at: Time) -> Result<(), StoreError> {
    let identity = identities::present(tx, identity)
        .await?
        .ok_or(StoreError::NotFound("identity"))?;
    sql(r"update identity set reach = $2, reach_at = $3 where id = $1 and reach_at <= $3")
        .bind(identity.0)
        .bind(reach_number(reach))
        .bind(at.unix_ms())
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

/// One event of each lane.
async fn finish(tx: &mut Connection, finished: &[(Place, i64, &Ending)]) -> Result<(), StoreError> {
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

async fn retry(tx: &mut Connection, retried: &[(Place, Time, Attempt, &Cause)]) -> Result<(), StoreError> {
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

//! [`Lanes`] in SQL: claiming, waiting, giving back. What a commit does stands in [`super::commit`].

mod reading;

use std::sync::Arc;

pub(super) use self::reading::effect;
use crate::sql::{Connection, either, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId, LaneId, MessageId};

use super::accept::message_id;
use super::claims::{After, Claims};
use super::commit::Learnt;
use super::known::Waits;
use super::rows::{Of, id_list, to_int};
use super::writer::Terms;
use super::{SqlStore, claims, people, replay, touch};
use crate::StoreError;
use crate::lanes::{Change, Claim, ClaimedLane, Effect, EffectState, Hands, Lanes, ReadyChannel, Room};

/// Events handed out with a lane. The rest comes with the next claim, so that no lane keeps others waiting.
pub(super) const EVENTS_PER_CLAIM: usize = 32;

/// What a change weighs in the writer's queue, its payload aside.
const CHANGE_BYTES: usize = 256;

#[async_trait]
impl Lanes for SqlStore {
    async fn ready(&self, now: Time, limit: usize, room: Room<'_>) -> Result<Vec<ReadyChannel>, StoreError> {
        // What is begun now could not be written down.
        if self.writer.is_full() {
            return Ok(Vec::new());
        }
        if let Some(known) = self.claims.known(limit, room) {
            return Ok(known);
        }
        let mut ready = Vec::new();
        for channel in self.channels_in_turn().await? {
            // As soon as every lane of the limit can come from a channel of its own, more need not be looked at.
            if ready.len() >= limit {
                break;
            }
            // One at least: whoever asks is to know that there is something.
            let lanes = self.ready_lanes(channel, now, room(channel).clamp(1, limit)).await?;
            if !lanes.is_empty() {
                ready.push(ReadyChannel { channel, lanes });
            }
        }
        Ok(ready)
    }

    fn hand_over(&self, to: Option<Arc<dyn Hands>>) -> Vec<Claim> {
        self.claims.hand_over(to)
    }

    async fn handed(&self) -> Result<Vec<ClaimedLane>, StoreError> {
        let mut handed = Handed {
            lanes: self.claims.handed().await,
            claims: &self.claims,
        };
        let identities: Vec<IdentityId> = handed.lanes.iter().filter_map(|lane| lane.identity).collect();
        let people = people::all(&mut self.readers.acquire().await?, &identities).await?;
        let mut lanes = std::mem::take(&mut handed.lanes);
        for lane in &mut lanes {
            lane.person = lane.identity.and_then(|identity| people.get(&identity).cloned());
        }
        Ok(lanes)
    }

    async fn take(&self, now: Time, lanes: &[(ChannelId, LaneId)]) -> Result<Vec<ClaimedLane>, StoreError> {
        if let Some(shared) = &self.shared {
            shared.membership.make_sure(&shared.claimers, &self.claims).await?;
        }
        let token = claims::token()?;
        let mut taken: Vec<Claim> = Vec::with_capacity(lanes.len());
        for (channel, lane) in lanes {
            taken.extend(self.claims.take(*lane, *channel, token));
        }
        let claimed = async {
            match &self.shared {
                Some(shared) => {
                    let marked = shared.mark(&self.claims, &taken, token, now).await?;
                    self.claimed(&marked, now).await
                }
                None => self.claimed(&taken, now).await,
            }
        }
        .await;
        if claimed.is_err() {
            taken.iter().for_each(|claim| self.let_go(*claim));
        }
        claimed
    }

    async fn commit(&self, claim: Claim, changes: Vec<Change>) -> Result<(), StoreError> {
        let in_flight = self.claims.begin(claim)?;
        if let Some(shared) = &self.shared
            && changes.iter().any(announces)
            && !shared.membership.holds()
        {
            return Err(StoreError::Fenced);
        }
        let after = changes.iter().map(leaves).max().unwrap_or(After::Kept);
        let wakes = changes
            .iter()
            .any(|change| matches!(change, Change::Spawn(_) | Change::Settle { .. }));
        let mut touches = touch::changes(in_flight.channel, &changes);
        touches.extend(in_flight.touch.clone());
        let terms = Terms::worker()
            .weighing(changes.iter().map(change_bytes).sum())
            .touching(touches)
            .waking(wakes);
        let notified = Arc::clone(&self.claims);
        let learnt = Learnt {
            claims: Arc::clone(&self.claims),
            claim,
            changes,
            frees: after != After::Kept,
        };
        let committed = move |more: &Option<Waits>| {
            in_flight.committed(after);
            if let Some(waits) = more {
                notified.waits(*waits);
            }
            if wakes {
                notified.wake();
            }
        };
        self.writer.learn(terms, learnt, committed).await.map(drop)
    }

    fn may_act(&self, claim: Claim) -> bool {
        let leased = self.shared.as_ref().is_none_or(|shared| shared.membership.holds());
        leased && self.claims.check(claim).is_ok()
    }

    async fn release(&self, claim: Claim) -> Result<(), StoreError> {
        if self.shared.is_some()
            && let Some(touch) = self.claims.touch_of(claim)
        {
            let terms = Terms::worker().touching(touch.into_iter().collect());
            let nothing_more = Learnt {
                claims: Arc::clone(&self.claims),
                claim,
                changes: Vec::new(),
                frees: true,
            };
            match self.writer.learn(terms, nothing_more, |_| ()).await {
                Ok(more) => {
                    self.claims.give_back(claim);
                    if let Some(waits) = more {
                        self.claims.waits(waits);
                    }
                    return Ok(());
                }
                // Let go of here, it is a stray of ours and freed with the next heartbeat.
                Err(error) => {
                    tracing::warn!(lane = %claim.lane, %error, "Lane {} is given back later: {error}", claim.lane);
                }
            }
        }
        self.let_go(claim);
        Ok(())
    }

    async fn heartbeat(&self, claims: &[Claim], _now: Time) -> Result<(), StoreError> {
        self.claims.renew(claims);
        match &self.shared {
            Some(shared) => shared.heartbeat(&self.claims).await,
            None => {
                self.claims.no_rows();
                Ok(())
            }
        }
    }

    async fn wait_ready(&self) {
        self.claims.wait().await;
    }

    async fn next_ready(&self) -> Result<Option<Time>, StoreError> {
        // Lanes in work keep a time of the past and must not look like work to be done at once.
        let held = self.claims.held();
        let next: Option<i64> = either(
            r"select min(ready_at) from lane
              where ready_at is not null and id not in (select value from json_each($1))",
            r"select min(ready_at) from lane
              where ready_at is not null and id not in (select value from json_each($1))
                and (claim is null
                     or owner not in (select host.id from host where host.leased_until > server_ms()))",
        )
        .bind(id_list(held.into_iter().map(|lane| lane.0)))
        .scalar(&self.readers)
        .await?;
        Ok(next.map(Time::from_unix_ms))
    }

    fn lanes_in_work(&self) -> usize {
        self.claims.held().len()
    }

    async fn wake_channel(&self, channel: ChannelId, now: Time) -> Result<(), StoreError> {
        let claims = Arc::clone(&self.claims);
        self.writer
            .submit(
                Terms::worker().waking(true),
                async move |tx: &mut Connection| {
                    sql(r"update lane set ready_at = $2 where channel_id = $1 and ready_at > $2")
                        .bind(channel.0)
                        .bind(now.unix_ms())
                        .execute(tx)
                        .await?;
                    Ok(())
                },
                move |&()| claims.wake(),
            )
            .await
    }

    async fn replay(&self, message: MessageId, now: Time) -> Result<MessageId, StoreError> {
        let claims = Arc::clone(&self.claims);
        self.writer
            .submit(
                Terms::sender(),
                async move |tx: &mut Connection| replay::again(tx, message, now).await,
                move |_| claims.wake(),
            )
            .await
    }

    async fn resend(&self, attempt: MessageId, now: Time) -> Result<MessageId, StoreError> {
        let claims = Arc::clone(&self.claims);
        self.writer
            .submit(
                Terms::sender(),
                async move |tx: &mut Connection| replay::newest_again(tx, attempt, now).await,
                move |_| claims.wake(),
            )
            .await
    }

    async fn last_announced(&self, lane: LaneId, steps: &str) -> Result<Option<Time>, StoreError> {
        // Places rise with time, so the newest is found from the end of the key without reading the rest.
        let at: Option<i64> = sql(r"select announced_at from effect
              where lane_id = $1 and substr(step, 1, length($2)) = $2
              order by seq desc, announced_at desc
              limit 1")
        .bind(lane.0)
        .bind(steps)
        .scalar_optional(&self.readers)
        .await?;
        Ok(at.map(Time::from_unix_ms))
    }

    async fn open_effects(&self, target: &str, except: Option<MessageId>) -> Result<Vec<Effect>, StoreError> {
        let rows = sql(
            r"select lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at, code
              from effect
              where target = $1 and state in (0, 2)
              order by announced_at, lane_id, seq, step",
        )
        .bind(target.as_bytes())
        .fetch_all(&self.readers)
        .await?;
        let mut open = Vec::new();
        for row in &rows {
            let row = Of { table: "effect", row };
            if Some(message_id(row)?) != except {
                open.push(effect(row, "remote_id")?);
            }
        }
        Ok(open)
    }
}

/// Lanes on their way to who asked for them. Whoever stops asking, or meets an error, leaves them to the next who asks.
struct Handed<'a> {
    lanes: Vec<ClaimedLane>,
    claims: &'a Claims,
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        self.claims.hand_again(std::mem::take(&mut self.lanes));
    }
}

/// What a claim hands out of so many events that have not ended.
pub(super) fn events_of_a_claim(waiting: i64) -> u32 {
    u32::try_from(waiting.clamp(1, to_int(EVENTS_PER_CLAIM))).unwrap_or(1)
}

/// Whether a call to the outside follows.
fn announces(change: &Change) -> bool {
    matches!(change, Change::Effect { effect, .. } if effect.state == EffectState::Intent)
}

fn leaves(change: &Change) -> After {
    match change {
        Change::Retry { .. } => After::Postponed,
        Change::GiveBack => After::GivenBack,
        _ => After::Kept,
    }
}

fn change_bytes(change: &Change) -> usize {
    CHANGE_BYTES
        + match change {
            Change::Spawn(event) => event.payload.len(),
            _ => 0,
        }
}

impl SqlStore {
    /// Nobody here has the claim any more. If its row says otherwise, the next heartbeat mends it.
    fn let_go(&self, claim: Claim) {
        if self.shared.is_some() {
            self.claims.doubt([claim]);
        }
        self.claims.give_back(claim);
    }
}

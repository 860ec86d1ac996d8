//! What one alone does.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MessageId, WorkspaceId};
use mantle_store::StoreError;
use mantle_store::intake::Direction;
use mantle_store::single::{Making, Single, Standing, Sweep};

use super::{Made, Memory, MemoryStore, Swept, number};

#[async_trait]
impl Single for MemoryStore {
    async fn begin_making(
        &self,
        workspace: WorkspaceId,
        keys: &[String],
        by: MessageId,
        _now: Time,
    ) -> Result<Making, StoreError> {
        let keys = keys.to_vec();
        self.transact(move |memory, _| Ok(memory.begin_making(workspace, keys, by)))
            .await
    }

    async fn begin_sweep(
        &self,
        workspace: WorkspaceId,
        now: Time,
        until: Time,
        at_once: bool,
    ) -> Result<Option<Sweep>, StoreError> {
        self.transact(move |memory, _| {
            let Some(known) = memory.sweeps.get_mut(&workspace) else {
                let noted = Swept {
                    seen_until: now,
                    next_at: now,
                    held_until: now,
                };
                memory.sweeps.insert(workspace, noted);
                return Ok(None);
            };
            if known.held_until > now || (known.next_at > now && !at_once) {
                return Ok(None);
            }
            known.held_until = until;
            Ok(Some(Sweep {
                seen_until: known.seen_until,
            }))
        })
        .await
    }

    async fn end_sweep(
        &self,
        workspace: WorkspaceId,
        seen_until: Option<Time>,
        next_at: Time,
    ) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            if let Some(known) = memory.sweeps.get_mut(&workspace) {
                known.seen_until = seen_until.unwrap_or(known.seen_until);
                known.next_at = next_at;
                known.held_until = Time::default();
            }
            Ok(())
        })
        .await
    }

    async fn told_before(
        &self,
        channel: ChannelId,
        direction: Direction,
        keys: &[String],
    ) -> Result<Vec<bool>, StoreError> {
        let keys = keys.to_vec();
        self.transact(move |memory, _| {
            let known = |key: String| memory.dedupe.contains_key(&(channel, number(direction), key));
            Ok(keys.into_iter().map(known).collect())
        })
        .await
    }

    async fn standing(
        &self,
        channel: ChannelId,
        direction: Direction,
        key: &str,
    ) -> Result<Option<Standing>, StoreError> {
        let key = (channel, number(direction), key.to_owned());
        self.transact(move |memory, _| {
            let Some((message, _)) = memory.dedupe.get(&key) else {
                return Ok(None);
            };
            let lane = memory.lanes.get(&message.lane);
            Ok(Some(Standing {
                message: *message,
                finished: lane.is_some_and(|lane| message.seq <= lane.head),
            }))
        })
        .await
    }
}

impl Memory {
    fn begin_making(&mut self, workspace: WorkspaceId, keys: Vec<String>, by: MessageId) -> Making {
        let mut announced_at = None;
        for key in &keys {
            let Some(known) = self.makings.get(&(workspace, key.clone())) else {
                continue;
            };
            if let Some(made) = &known.remote_id {
                return Making::Made(made.clone());
            }
            let lane = self.lanes.get(&known.by.lane);
            if known.by != by && lane.is_some_and(|lane| lane.head < known.by.seq) {
                return Making::Others;
            }
            announced_at = announced_at.max(known.announced_at);
        }
        for key in keys {
            let made = Made {
                by,
                announced_at,
                remote_id: None,
            };
            self.makings.insert((workspace, key), made);
        }
        Making::Yours { announced_at }
    }

    pub(super) fn making(&mut self, workspace: WorkspaceId, keys: Vec<String>, announced_at: Option<Time>) {
        for key in keys {
            if let Some(known) = self.makings.get_mut(&(workspace, key)) {
                known.announced_at = announced_at;
            }
        }
    }

    pub(super) fn made(&mut self, workspace: WorkspaceId, keys: Vec<String>, by: MessageId, id: Option<&str>) {
        for key in keys {
            match id {
                Some(id) => {
                    let made = Made {
                        by,
                        announced_at: None,
                        remote_id: Some(id.to_owned()),
                    };
                    self.makings.insert((workspace, key), made);
                }
                None => drop(self.makings.remove(&(workspace, key))),
            }
        }
    }

    /// What was made goes by another id, or is gone.
    pub(super) fn moved(&mut self, workspace: WorkspaceId, from: &str, into: Option<&str>) {
        self.makings.retain(|(of, _), known| {
            if *of != workspace || known.remote_id.as_deref() != Some(from) {
                return true;
            }
            known.remote_id = into.map(str::to_owned);
            into.is_some()
        });
    }
}

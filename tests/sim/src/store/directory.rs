//! Workspaces and channels. What a simulation does not change stays as it was made.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_model::secret::Secret;
use mantle_store::directory::{Channel, ChannelChange, Directory, Known, Workspace, WorkspaceChange};
use mantle_store::{Conflict, StoreError};

use super::MemoryStore;

#[async_trait]
impl Directory for MemoryStore {
    async fn create_workspace(&self, workspace: &Workspace) -> Result<(), StoreError> {
        let workspace = workspace.clone();
        self.transact(move |memory, _| {
            let taken = memory
                .workspaces
                .values()
                .find(|known| known.platform_id == workspace.platform_id);
            if let Some(known) = taken {
                return Err(StoreError::Conflict(Conflict::Workspace { by: known.id }));
            }
            memory.workspaces.insert(workspace.id, workspace);
            Ok(())
        })
        .await
    }

    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
        self.transact(move |memory, _| Ok(memory.workspaces.get(&id).cloned()))
            .await
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        self.transact(|memory, _| Ok(memory.workspaces.values().cloned().collect()))
            .await
    }

    async fn change_workspace(
        &self,
        id: WorkspaceId,
        change: WorkspaceChange,
        now: Time,
    ) -> Result<Workspace, StoreError> {
        self.transact(move |memory, _| {
            let workspace = memory
                .workspaces
                .get_mut(&id)
                .ok_or(StoreError::NotFound("workspace"))?;
            if let Some((status, cause)) = change.status {
                workspace.status = status;
                workspace.status_cause = cause;
                workspace.status_since = now;
            }
            if let Some(warning) = change.warning {
                workspace.warning = warning;
            }
            Ok(workspace.clone())
        })
        .await
    }

    async fn create_channel(&self, channel: &Channel) -> Result<(), StoreError> {
        let channel = channel.clone();
        self.transact(move |memory, _| {
            memory.channels.insert(channel.id, channel);
            Ok(())
        })
        .await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StoreError> {
        self.transact(move |memory, _| Ok(memory.channels.get(&id).cloned()))
            .await
    }

    async fn channels(&self, workspace: Option<WorkspaceId>) -> Result<Vec<Channel>, StoreError> {
        self.transact(move |memory, _| {
            let wanted = |channel: &&Channel| workspace.is_none_or(|workspace| channel.workspace == workspace);
            Ok(memory.channels.values().filter(wanted).cloned().collect())
        })
        .await
    }

    async fn change_channel(&self, id: ChannelId, change: ChannelChange, now: Time) -> Result<Channel, StoreError> {
        self.transact(move |memory, _| {
            let channel = memory.channels.get_mut(&id).ok_or(StoreError::NotFound("channel"))?;
            if let Some((status, cause)) = change.status {
                channel.status = status;
                channel.status_cause = cause;
                channel.status_since = now;
            }
            channel.refused_groups += change.refused_groups;
            Ok(channel.clone())
        })
        .await
    }

    async fn renew_secrets(
        &self,
        id: ChannelId,
        renewed: Vec<(String, Secret)>,
        known: Known,
        _now: Time,
    ) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            let channel = memory.channels.get_mut(&id).ok_or(StoreError::NotFound("channel"))?;
            for (name, secret) in renewed {
                channel.secrets.renew(name, secret, known.until, known.held_max);
            }
            Ok(())
        })
        .await
    }

    async fn forget_channel(&self, id: ChannelId) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            memory.channels.remove(&id);
            Ok(())
        })
        .await
    }

    async fn changed_elsewhere(&self, _known: i64) -> Result<i64, StoreError> {
        // One host has it for itself.
        std::future::pending().await
    }
}

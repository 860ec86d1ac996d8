//! Workspaces and channels as they stand, in memory: asked on every hook, so never a query.

use std::collections::HashMap;
use std::sync::Arc;

use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_store::directory::{Channel, Platform, Workspace};
use mantle_store::{Store, StoreError};

/// A snapshot; archived ones are not in it.
#[derive(Debug, Default)]
pub struct Directory {
    workspaces: HashMap<WorkspaceId, Arc<Workspace>>,
    channels: HashMap<ChannelId, Arc<Channel>>,
}

impl Directory {
    pub(crate) async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let workspaces = store.workspaces().await?;
        let channels = store.channels(None).await?;
        Ok(Self {
            workspaces: workspaces
                .into_iter()
                .map(|found| (found.id, Arc::new(found)))
                .collect(),
            channels: channels.into_iter().map(|found| (found.id, Arc::new(found))).collect(),
        })
    }

    #[must_use]
    pub fn workspace(&self, id: WorkspaceId) -> Option<Arc<Workspace>> {
        self.workspaces.get(&id).cloned()
    }

    /// The workspace that the platform calls by this id.
    #[must_use]
    pub fn workspace_of(&self, platform: Platform, platform_id: &str) -> Option<Arc<Workspace>> {
        self.workspaces
            .values()
            .find(|workspace| workspace.platform == platform && workspace.platform_id == platform_id)
            .cloned()
    }

    /// All workspaces, oldest first.
    pub(crate) fn workspaces(&self) -> Vec<Arc<Workspace>> {
        let mut all: Vec<_> = self.workspaces.values().cloned().collect();
        all.sort_by_key(|workspace| workspace.id);
        all
    }

    pub(crate) fn first_workspace(&self, platform: Platform) -> Option<Arc<Workspace>> {
        let of_platform = self
            .workspaces
            .values()
            .filter(|workspace| workspace.platform == platform);
        of_platform.min_by_key(|workspace| workspace.id).cloned()
    }

    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<Arc<Channel>> {
        self.channels.get(&id).cloned()
    }

    /// All channels of a plugin, oldest first.
    #[must_use]
    pub fn channels_of(&self, plugin: &str) -> Vec<Arc<Channel>> {
        self.sorted(|channel| channel.plugin == plugin)
    }

    /// All channels of a workspace, oldest first.
    #[must_use]
    pub fn channels_in(&self, workspace: WorkspaceId) -> Vec<Arc<Channel>> {
        self.sorted(|channel| channel.workspace == workspace)
    }

    /// All channels, oldest first.
    #[must_use]
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        self.sorted(|_| true)
    }

    fn sorted(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<Arc<Channel>> {
        let mut found: Vec<_> = self
            .channels
            .values()
            .filter(|channel| wanted(channel))
            .cloned()
            .collect();
        found.sort_by_key(|channel| channel.id);
        found
    }
}

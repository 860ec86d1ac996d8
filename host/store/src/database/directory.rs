//! [`Directory`] in SQL: workspaces and channels.

mod channels;
mod workspaces;

use crate::sql::{Connection, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_model::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::Of;
use super::{SqlStore, secrets, shared, touch};
use crate::StoreError;
use crate::directory::{Channel, ChannelChange, Directory, Known, Workspace, WorkspaceChange};

#[async_trait]
impl Directory for SqlStore {
    async fn create_workspace(&self, workspace: &Workspace) -> Result<(), StoreError> {
        let sealed = workspaces::seal(&self.key, workspace.id, &workspace.token)?;
        let workspace = workspace.clone();
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            workspaces::check_free(tx, &workspace).await?;
            workspaces::write(tx, &workspace).await?;
            secrets::replace(tx, (secrets::OF_WORKSPACE, workspace.id.0), &sealed).await
        })
        .await
    }

    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        workspaces::read(&mut connection, &self.key, id).await
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let ids: Vec<i64> = sql(r"select id from workspace where status <> 'archived' order by created_at, id")
            .scalars(&mut connection)
            .await?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(workspaces::read(&mut connection, &self.key, WorkspaceId(id)).await?);
        }
        Ok(found)
    }

    async fn change_workspace(
        &self,
        id: WorkspaceId,
        change: WorkspaceChange,
        now: Time,
    ) -> Result<Workspace, StoreError> {
        let key = self.key.clone();
        let sealed = change
            .token
            .as_ref()
            .map(|token| workspaces::seal(&key, id, token))
            .transpose()?;
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            // Before reading: a new token must not depend on the old one's being readable.
            if let Some(sealed) = &sealed {
                secrets::replace(tx, (secrets::OF_WORKSPACE, id.0), sealed).await?;
            }
            let mut workspace = workspaces::read(tx, &key, id)
                .await?
                .ok_or(StoreError::NotFound("workspace"))?;
            workspaces::change(&mut workspace, &change, now);
            workspaces::check_free(tx, &workspace).await?;
            workspaces::write(tx, &workspace).await?;
            Ok(workspace)
        })
        .await
    }

    async fn create_channel(&self, channel: &Channel) -> Result<(), StoreError> {
        let owner = (secrets::OF_CHANNEL, channel.id.0);
        let sealed = secrets::seal_all(&self.key, owner, &channel.secrets)?;
        let channel = channel.clone();
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            channels::check_free(tx, &channel).await?;
            channels::write(tx, &channel).await?;
            secrets::replace(tx, owner, &sealed).await
        })
        .await
    }

    async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        channels::read(&mut connection, &self.key, id).await
    }

    async fn channels(&self, workspace: Option<WorkspaceId>) -> Result<Vec<Channel>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let ids: Vec<i64> = sql(r"select id from channel
              where status <> 'archived' and ($1 is null or workspace_id = $1)
              order by created_at, id")
        .bind(workspace.map(|workspace| workspace.0))
        .scalars(&mut connection)
        .await?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(channels::read(&mut connection, &self.key, ChannelId(id)).await?);
        }
        Ok(found)
    }

    async fn change_channel(&self, id: ChannelId, change: ChannelChange, now: Time) -> Result<Channel, StoreError> {
        let key = self.key.clone();
        let owner = (secrets::OF_CHANNEL, id.0);
        let sealed = change
            .secrets
            .as_ref()
            .map(|secrets| secrets::seal_all(&key, owner, secrets))
            .transpose()?;
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            // Before reading: new secrets must not depend on the old ones' being readable.
            if let Some(sealed) = &sealed {
                secrets::replace(tx, owner, sealed).await?;
            }
            let mut channel = channels::read(tx, &key, id)
                .await?
                .ok_or(StoreError::NotFound("channel"))?;
            channels::change(&mut channel, &change, now);
            channels::check_free(tx, &channel).await?;
            channels::write(tx, &channel).await?;
            Ok(channel)
        })
        .await
    }

    async fn renew_secrets(
        &self,
        id: ChannelId,
        renewed: Vec<(String, Secret)>,
        known: Known,
        now: Time,
    ) -> Result<(), StoreError> {
        let key = self.key.clone();
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            let mut channel = channels::read(tx, &key, id)
                .await?
                .ok_or(StoreError::NotFound("channel"))?;
            for (name, secret) in &renewed {
                let secrets = &mut channel.secrets;
                secrets.renew(name.clone(), secret.clone(), known.until, known.held_max);
            }
            let owner = (secrets::OF_CHANNEL, id.0);
            let sealed = secrets::seal_all(&key, owner, &channel.secrets.at(now))?;
            secrets::replace(tx, owner, &sealed).await
        })
        .await
    }

    async fn forget_channel(&self, id: ChannelId) -> Result<(), StoreError> {
        self.write_touching(vec![touch::directory()], async move |tx: &mut Connection| {
            shared::directory_changes(tx).await?;
            channels::forget(tx, id).await
        })
        .await
    }

    async fn changed_elsewhere(&self, known: i64) -> Result<i64, StoreError> {
        match &self.shared {
            Some(shared) => shared.directory_after(known, &self.readers).await,
            None => std::future::pending().await,
        }
    }
}

/// The word of a case, as it stands in the API too.
fn word<T: Serialize>(case: &T) -> Result<String, StoreError> {
    match serde_json::to_value(case) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(StoreError::Database(sqlx::Error::Encode(
            format!("`{other}` is not a word").into(),
        ))),
        Err(error) => Err(StoreError::Database(sqlx::Error::Encode(Box::new(error)))),
    }
}

fn case<T: DeserializeOwned>(row: Of<'_>, column: &'static str) -> Result<T, StoreError> {
    let word = serde_json::Value::String(row.text(column)?);
    serde_json::from_value(word).map_err(|_| row.wrong(column))
}

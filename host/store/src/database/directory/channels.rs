//! Rows of channels.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, WorkspaceId};

use super::super::rows::{Of, bytes, json};
use super::super::secrets;
use super::{case, word};
use crate::directory::{Channel, ChannelChange, ChannelStatus};
use crate::seal::Key;
use crate::{Conflict, StoreError};

/// There is one writer, so between this look and the write nobody else can take the account. A channel whose
/// account is not known yet takes none.
pub(super) async fn check_free(tx: &mut Connection, channel: &Channel) -> Result<(), StoreError> {
    if channel.external_id.is_empty() || channel.status == ChannelStatus::Archived {
        return Ok(());
    }
    let taken = sql(r"select id, workspace_id from channel
          where plugin = $1 and external_id = $2 and status <> 'archived' and id <> $3")
    .bind(channel.plugin.as_str())
    .bind(channel.external_id.as_bytes())
    .bind(channel.id.0)
    .fetch_optional(tx)
    .await?;
    let Some(row) = taken else { return Ok(()) };
    let row = Of {
        table: "channel",
        row: &row,
    };
    Err(StoreError::Conflict(Conflict::Account {
        by: ChannelId(row.int("id")?),
        workspace: WorkspaceId(row.int("workspace_id")?),
    }))
}

pub(super) async fn write(tx: &mut Connection, channel: &Channel) -> Result<(), StoreError> {
    sql(
        r"insert into channel (id, workspace_id, plugin, name, external_id, external_name, fields, status,
                               status_cause, status_since, notices, settings, refused_groups, created_at, updated_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
          on conflict (id) do update
          set name = excluded.name, external_id = excluded.external_id, external_name = excluded.external_name,
              fields = excluded.fields, status = excluded.status, status_cause = excluded.status_cause,
              status_since = excluded.status_since, notices = excluded.notices, settings = excluded.settings,
              refused_groups = excluded.refused_groups, updated_at = excluded.updated_at",
    )
    .bind(channel.id.0)
    .bind(channel.workspace.0)
    .bind(channel.plugin.as_str())
    .bind(channel.name.as_bytes())
    .bind(channel.external_id.as_bytes())
    .bind(channel.external_name.as_bytes())
    .bind(json(&channel.fields)?)
    .bind(word(&channel.status)?)
    .bind(bytes(channel.status_cause.as_deref()))
    .bind(channel.status_since.unix_ms())
    .bind(json(&channel.notices)?)
    .bind(json(&channel.settings)?)
    .bind(i64::try_from(channel.refused_groups).unwrap_or(i64::MAX))
    .bind(channel.created_at.unix_ms())
    .bind(channel.updated_at.unix_ms())
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn read(connection: &mut Connection, key: &Key, id: ChannelId) -> Result<Option<Channel>, StoreError> {
    let row = sql(
        r"select id, workspace_id, plugin, name, external_id, external_name, fields, status, status_cause,
                 status_since, notices, settings, refused_groups, created_at, updated_at
          from channel where id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Of {
        table: "channel",
        row: &row,
    };
    Ok(Some(Channel {
        id,
        workspace: WorkspaceId(row.int("workspace_id")?),
        plugin: row.text("plugin")?,
        name: row.text("name")?,
        external_id: row.text("external_id")?,
        external_name: row.text("external_name")?,
        fields: row.json("fields")?,
        secrets: secrets::open_all(connection, key, (secrets::OF_CHANNEL, id.0)).await?,
        status: case(row, "status")?,
        status_cause: row.text_opt("status_cause")?,
        status_since: row.time("status_since")?,
        notices: row.json("notices")?,
        settings: row.json("settings")?,
        refused_groups: row.int("refused_groups")?.unsigned_abs(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    }))
}

pub(super) fn change(channel: &mut Channel, change: &ChannelChange, now: Time) {
    if let Some(name) = &change.name {
        channel.name.clone_from(name);
    }
    if let Some(external_id) = &change.external_id {
        channel.external_id.clone_from(external_id);
    }
    if let Some(external_name) = &change.external_name {
        channel.external_name.clone_from(external_name);
    }
    if let Some(fields) = &change.fields {
        channel.fields.clone_from(fields);
    }
    if let Some(secrets) = &change.secrets {
        channel.secrets = secrets.clone();
    }
    if let Some((status, cause)) = &change.status {
        if channel.status != *status {
            channel.status_since = now;
        }
        channel.status = *status;
        channel.status_cause.clone_from(cause);
    }
    if let Some(notices) = &change.notices {
        channel.notices.clone_from(notices);
    }
    if let Some(settings) = &change.settings {
        channel.settings.clone_from(settings);
    }
    channel.refused_groups = channel.refused_groups.saturating_add(change.refused_groups);
    channel.updated_at = now;
}

/// The row, its secrets and whatever hooks left while it was being set up. Receipts stay until their time is over.
pub(super) async fn forget(tx: &mut Connection, id: ChannelId) -> Result<(), StoreError> {
    sql(
        r"delete from effect where lane_id in (select id from lane where channel_id = $1);
          delete from ending where lane_id in (select id from lane where channel_id = $1);
          delete from hop where lane_id in (select id from lane where channel_id = $1);
          delete from event where channel_id = $1;
          delete from dedupe where channel_id = $1;
          delete from lane where channel_id = $1;
          delete from outgoing where channel_id = $1;
          delete from report where channel_id = $1;
          delete from thread where identity_id in (select identity_id from alias where channel_id = $1);
          delete from identity where id in (select identity_id from alias where channel_id = $1);
          delete from alias where channel_id = $1;
          delete from kv where channel_id = $1;
          delete from secret where owner = $2 and owner_id = $1;
          delete from channel where id = $1",
    )
    .bind(id.0)
    .bind(secrets::OF_CHANNEL)
    .execute(tx)
    .await?;
    Ok(())
}

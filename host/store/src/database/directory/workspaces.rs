//! Rows of workspaces.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::ids::WorkspaceId;
use mantle_model::secret::{Secret, Secrets};

use super::super::rows::{Of, bytes, json};
use super::super::secrets::{self, SealedRow};
use super::{case, word};
use crate::directory::{Workspace, WorkspaceChange, WorkspaceStatus};
use crate::seal::Key;
use crate::{Conflict, StoreError};

/// What the token is called among secrets.
const TOKEN: &str = "token";

pub(super) fn seal(key: &Key, id: WorkspaceId, token: &Secret) -> Result<Vec<SealedRow>, StoreError> {
    let mut secrets = Secrets::default();
    secrets.add(TOKEN, token.clone());
    secrets::seal_all(key, (secrets::OF_WORKSPACE, id.0), &secrets)
}

/// There is one writer, so between this look and the write nobody else can take the name.
pub(super) async fn check_free(tx: &mut Connection, workspace: &Workspace) -> Result<(), StoreError> {
    if workspace.status == WorkspaceStatus::Archived {
        return Ok(());
    }
    let taken: Option<i64> = sql(r"select id from workspace
          where platform = $1 and platform_id = $2 and status <> 'archived' and id <> $3")
    .bind(word(&workspace.platform)?)
    .bind(workspace.platform_id.as_bytes())
    .bind(workspace.id.0)
    .scalar_optional(tx)
    .await?;
    match taken {
        Some(by) => Err(StoreError::Conflict(Conflict::Workspace { by: WorkspaceId(by) })),
        None => Ok(()),
    }
}

pub(super) async fn write(tx: &mut Connection, workspace: &Workspace) -> Result<(), StoreError> {
    sql(
        r"insert into workspace (id, platform, platform_id, name, facts, status, status_cause, status_since,
                                 added_by, settings, warning, created_at, updated_at)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
          on conflict (id) do update
          set name = excluded.name, facts = excluded.facts, status = excluded.status,
              status_cause = excluded.status_cause, status_since = excluded.status_since,
              settings = excluded.settings, warning = excluded.warning, updated_at = excluded.updated_at",
    )
    .bind(workspace.id.0)
    .bind(word(&workspace.platform)?)
    .bind(workspace.platform_id.as_bytes())
    .bind(workspace.name.as_bytes())
    .bind(json(&workspace.facts)?)
    .bind(word(&workspace.status)?)
    .bind(bytes(workspace.status_cause.as_deref()))
    .bind(workspace.status_since.unix_ms())
    .bind(workspace.added_by.as_bytes())
    .bind(json(&workspace.settings)?)
    .bind(bytes(workspace.warning.as_deref()))
    .bind(workspace.created_at.unix_ms())
    .bind(workspace.updated_at.unix_ms())
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn read(
    connection: &mut Connection,
    key: &Key,
    id: WorkspaceId,
) -> Result<Option<Workspace>, StoreError> {
    let row = sql(
        r"select id, platform, platform_id, name, facts, status, status_cause, status_since, added_by, settings,
                 warning, created_at, updated_at
          from workspace where id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Of {
        table: "workspace",
        row: &row,
    };
    let secrets = secrets::open_all(connection, key, (secrets::OF_WORKSPACE, id.0)).await?;
    Ok(Some(Workspace {
        id,
        platform: case(row, "platform")?,
        name: row.text("name")?,
        platform_id: row.text("platform_id")?,
        facts: row.json("facts")?,
        status: case(row, "status")?,
        status_cause: row.text_opt("status_cause")?,
        status_since: row.time("status_since")?,
        added_by: row.text("added_by")?,
        settings: row.json("settings")?,
        warning: row.text_opt("warning")?,
        token: secrets.get(TOKEN).cloned().ok_or_else(|| row.wrong("id"))?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    }))
}

pub(super) fn change(workspace: &mut Workspace, change: &WorkspaceChange, now: Time) {
    if let Some(name) = &change.name {
        workspace.name.clone_from(name);
    }
    if let Some(facts) = &change.facts {
        workspace.facts.clone_from(facts);
    }
    if let Some((status, cause)) = &change.status {
        if workspace.status != *status {
            workspace.status_since = now;
        }
        workspace.status = *status;
        workspace.status_cause.clone_from(cause);
    }
    if let Some(settings) = &change.settings {
        workspace.settings.clone_from(settings);
    }
    if let Some(warning) = &change.warning {
        workspace.warning.clone_from(warning);
    }
    workspace.updated_at = now;
}

//! Connecting and archiving workspaces.

use std::sync::Arc;

use mantle_inbox::{InboxError, Profile};
use mantle_model::failure::{Cause, Failure};
use mantle_model::ids::WorkspaceId;
use mantle_model::secret::Secret;
use mantle_store::directory::{Platform, Workspace, WorkspaceChange, WorkspaceSettings, WorkspaceStatus};
use mantle_store::{Conflict, StoreError};

use crate::gates::Key;
use crate::{Flow, access, channels, sweep};

/// Teammates that a refusal offers: as many as somebody reads.
const OPERATORS_NAMED_MAX: usize = 10;

/// Why a workspace was not connected.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("There is no such workspace.")]
    NotFound,
    #[error("This host is not set up for that inbox.")]
    NoInbox,
    /// It belongs to somebody else on this host. The words are those that customers know.
    #[error("This Intercom Workspace has been activated under a different account.")]
    OtherAccount,
    /// The token was refused.
    #[error("The access token is not accepted: {}", .0.message)]
    Token(Cause),
    /// The token is good, but for another workspace.
    #[error("This token belongs to the workspace “{0}”. Connect that one as a workspace of its own.")]
    OtherWorkspace(String),
    /// Nobody of this id is in the inbox.
    #[error("There is no teammate `{id}` in this workspace. Choose one of: {known}.")]
    NoOperator { id: String, known: String },
    #[error("The inbox did not do it: {}", .0.message)]
    Inbox(Cause),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Connects the workspace that the token belongs to. One that is connected already gets the new token and keeps
/// its channels: that is how one reconnects.
///
/// # Errors
/// See [`WorkspaceError`].
pub async fn connect(flow: &Flow, platform: Platform, token: Secret) -> Result<Arc<Workspace>, WorkspaceError> {
    let profile = prove(flow, platform, &token).await?;
    if let Some(known) = flow.directory().workspace_of(platform, &profile.platform_id) {
        return renew(flow, known.id, token, profile).await;
    }
    let now = flow.now();
    let workspace = Workspace {
        id: WorkspaceId(flow.next_id()),
        platform,
        name: profile.name.clone(),
        platform_id: profile.platform_id.clone(),
        facts: profile.facts.clone(),
        status: WorkspaceStatus::Active,
        status_cause: None,
        status_since: now,
        added_by: profile.added_by.name.clone(),
        settings: WorkspaceSettings {
            default_operator: Some(profile.added_by.id.clone()),
            ..WorkspaceSettings::default()
        },
        warning: None,
        token: token.clone(),
        created_at: now,
        updated_at: now,
    };
    match flow.store().create_workspace(&workspace).await {
        Ok(()) => {
            sweep::from_now_on(flow, workspace.id).await?;
            flow.refresh().await?;
            Ok(Arc::new(workspace))
        }
        // Another call won the race.
        Err(StoreError::Conflict(Conflict::Workspace { by })) => {
            flow.refresh().await?;
            if flow.directory().workspace(by).is_none() {
                return Err(WorkspaceError::OtherAccount);
            }
            renew(flow, by, token, profile).await
        }
        Err(error) => Err(error.into()),
    }
}

/// A new token for one certain workspace.
///
/// # Errors
/// See [`WorkspaceError`]; the old token stays in use then.
pub async fn reconnect(flow: &Flow, id: WorkspaceId, token: Secret) -> Result<Arc<Workspace>, WorkspaceError> {
    let known = flow.directory().workspace(id).ok_or(WorkspaceError::NotFound)?;
    let profile = prove(flow, known.platform, &token).await?;
    if profile.platform_id != known.platform_id {
        return Err(WorkspaceError::OtherWorkspace(profile.name));
    }
    renew(flow, id, token, profile).await
}

/// Asks the inbox whether the token is still good, and keeps the answer: only a refused token disconnects the
/// workspace, and one that is taken connects it again. An inbox that does not answer changes nothing.
///
/// # Errors
/// See [`WorkspaceError`]; never [`WorkspaceError::Token`].
pub async fn check(flow: &Flow, id: WorkspaceId) -> Result<Arc<Workspace>, WorkspaceError> {
    let known = flow.directory().workspace(id).ok_or(WorkspaceError::NotFound)?;
    let cause = match reconnect(flow, id, known.token.clone()).await {
        Err(WorkspaceError::Token(cause)) => cause,
        other => return other,
    };
    tracing::warn!(workspace.id = %id, code = cause.code, "The inbox refuses the workspace's token");
    let change = WorkspaceChange {
        status: Some((WorkspaceStatus::Disconnected, Some(cause.message))),
        ..WorkspaceChange::default()
    };
    change_workspace(flow, id, change).await
}

async fn prove(flow: &Flow, platform: Platform, token: &Secret) -> Result<Profile, WorkspaceError> {
    let inbox = flow.inbox(platform).ok_or(WorkspaceError::NoInbox)?;
    inbox.connect(token).await.map_err(inbox_error)
}

fn inbox_error(error: InboxError) -> WorkspaceError {
    match error {
        InboxError::Failure(Failure::Unauthorized(cause)) => WorkspaceError::Token(cause),
        InboxError::Failure(failure) => WorkspaceError::Inbox(failure.cause().clone()),
        other => WorkspaceError::Inbox(Cause::new("inbox", other.to_string())),
    }
}

async fn renew(
    flow: &Flow,
    id: WorkspaceId,
    token: Secret,
    profile: Profile,
) -> Result<Arc<Workspace>, WorkspaceError> {
    let change = WorkspaceChange {
        name: Some(profile.name),
        token: Some(token),
        facts: Some(profile.facts),
        status: Some((WorkspaceStatus::Active, None)),
        ..WorkspaceChange::default()
    };
    let changed = change_workspace(flow, id, change).await?;
    // What waited for the token goes on now.
    flow.gates.forgive(Key::inbox(&changed));
    flow.tell_others().await;
    for channel in flow.directory().channels_in(id) {
        flow.store().wake_channel(channel.id, flow.now()).await?;
    }
    Ok(changed)
}

/// Changes what an operator may change, and shows it everywhere. A newly chosen operator ends the warning.
///
/// # Errors
/// The workspace does not exist, the chosen operator does not, the inbox cannot be asked, or the store does not take it.
pub async fn change_workspace(
    flow: &Flow,
    id: WorkspaceId,
    mut change: WorkspaceChange,
) -> Result<Arc<Workspace>, WorkspaceError> {
    let known = flow.directory().workspace(id).ok_or(WorkspaceError::NotFound)?;
    let chosen = change
        .settings
        .as_ref()
        .map(|settings| settings.default_operator.clone());
    if let Some(operator) = chosen.filter(|operator| *operator != known.settings.default_operator) {
        if let Some(operator) = operator {
            present(flow, &known, operator).await?;
        }
        change.warning = Some(None);
    }
    let changed = flow.store().change_workspace(id, change, flow.now()).await?;
    flow.refresh().await?;
    Ok(Arc::new(changed))
}

/// Refuses a teammate who is not there: nothing would be written in their name.
async fn present(flow: &Flow, workspace: &Workspace, id: String) -> Result<(), WorkspaceError> {
    let inbox = flow.inbox(workspace.platform).ok_or(WorkspaceError::NoInbox)?;
    let operators = inbox.operators(&access(workspace)).await.map_err(inbox_error)?;
    if operators.iter().any(|operator| operator.id == id) {
        return Ok(());
    }
    let usable = operators.iter().filter(|operator| operator.usable);
    let known: Vec<String> = usable
        .take(OPERATORS_NAMED_MAX)
        .map(|operator| format!("{} ({})", operator.id, operator.name))
        .collect();
    Err(WorkspaceError::NoOperator {
        id,
        known: known.join(", "),
    })
}

/// Archives the workspace with all its channels. Nothing more reaches inbox or customer.
///
/// # Errors
/// The workspace does not exist, or the store does not take it.
pub async fn archive(flow: &Flow, id: WorkspaceId) -> Result<(), WorkspaceError> {
    flow.directory().workspace(id).ok_or(WorkspaceError::NotFound)?;
    for channel in flow.directory().channels_in(id) {
        match channels::archive(flow, channel.id).await {
            Ok(_) | Err(channels::ChannelError::NotFound(_)) => {}
            Err(channels::ChannelError::Store(error)) => return Err(error.into()),
            Err(other) => tracing::warn!(channel.id = %channel.id, error = %other, "A channel was not taken down"),
        }
    }
    let change = WorkspaceChange {
        status: Some((WorkspaceStatus::Archived, None)),
        ..WorkspaceChange::default()
    };
    flow.store().change_workspace(id, change, flow.now()).await?;
    flow.refresh().await?;
    Ok(())
}

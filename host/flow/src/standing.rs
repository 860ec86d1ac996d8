//! How a workspace stands with its inbox, for people: in use, away, or disconnected, since when and why.
//!
//! Losing such a line loses no message: what cannot be stored is logged, and the next call tells again.

use mantle_model::failure::Cause;
use mantle_store::directory::{WorkspaceChange, WorkspaceStatus};
use mantle_store::lanes::Ending;

use crate::job::Job;
use crate::paced::News;

/// On the workspace from the first message that is given up until somebody connects it anew or clears it.
const DEAD_WARNING: &str = "Messages were given up after two days without success. They are in the list of messages \
                            under the state `dead` and can be replayed one by one.";

/// Takes note of what a call to the inbox told. Messages keep being stored whatever it is.
pub(crate) async fn heard(job: &Job<'_>, news: News) {
    let present = job.workspace.status;
    match news {
        News::Refused(cause) if present != WorkspaceStatus::Disconnected => {
            tracing::error!(workspace.id = %job.workspace.id, code = cause.code, "The workspace's token is refused; reconnect it");
            change_status(job, WorkspaceStatus::Disconnected, Some(cause)).await;
        }
        News::Away(cause) if present == WorkspaceStatus::Active => {
            tracing::warn!(workspace.id = %job.workspace.id, code = cause.code, "The inbox is away; messages are kept until it is back");
            change_status(job, WorkspaceStatus::Waiting, Some(cause)).await;
        }
        _ => {}
    }
}

/// What reached the inbox, or was read there to be sent, proves that it is there and takes the token.
pub(crate) async fn recovered(job: &Job<'_>, ending: &Ending) {
    let proven = matches!(job.event.kind.as_str(), "message" | "note" | "reply") && *ending == Ending::Done;
    if !proven {
        return;
    }
    job.flow.sweeps.answered(job.workspace.id);
    if matches!(
        job.workspace.status,
        WorkspaceStatus::Disconnected | WorkspaceStatus::Waiting
    ) {
        tracing::info!(workspace.id = %job.workspace.id, "The inbox takes messages again");
        change_status(job, WorkspaceStatus::Active, None).await;
    }
}

async fn change_status(job: &Job<'_>, status: WorkspaceStatus, cause: Option<Cause>) {
    let change = WorkspaceChange {
        status: Some((status, cause.map(|cause| cause.message))),
        ..WorkspaceChange::default()
    };
    change_workspace(job, change).await;
}

/// A message was given up: the workspace says so until somebody has looked.
pub(crate) async fn warn_of_dead(job: &Job<'_>) {
    if job.workspace.warning.as_deref() == Some(DEAD_WARNING) {
        return;
    }
    let change = WorkspaceChange {
        warning: Some(Some(DEAD_WARNING.to_owned())),
        ..WorkspaceChange::default()
    };
    change_workspace(job, change).await;
}

async fn change_workspace(job: &Job<'_>, change: WorkspaceChange) {
    let store = job.flow.store();
    let changed = store.change_workspace(job.workspace.id, change, job.now()).await;
    if let Err(error) = changed.map(drop) {
        tracing::error!(workspace.id = %job.workspace.id, %error, "How the workspace stands could not be stored");
    } else if let Err(error) = job.flow.refresh().await {
        tracing::error!(%error, "The directory could not be refreshed");
    }
}

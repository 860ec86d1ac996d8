//! Asks the inbox for replies whose webhook was lost: on start, when an outage of the inbox is over, and now and then.
//!
//! What is found becomes an event exactly as a webhook would have made it, under the same key, so it goes out once
//! whichever comes first. Of several hosts one at a time looks a workspace through. A sweep that breaks off is no
//! loss: the next one begins at the same place.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use mantle_inbox::{ChangedConversation, Inbox, InboxError};
use mantle_model::clock::Time;
use mantle_model::failure::Failure;
use mantle_model::ids::WorkspaceId;
use mantle_store::StoreError;
use mantle_store::directory::{Workspace, WorkspaceChange, WorkspaceStatus};
use mantle_store::intake::{AcceptedEvent, Direction, NewEvent};

use crate::{Flow, access, outbound};

/// How often a workspace is looked through in which something happens.
const EVERY: Duration = Duration::from_secs(60);
/// And one in which nothing did. With [`SETTLED_AFTER`] a lost reply is found within five minutes (OUT-3).
const IDLE_EVERY: Duration = Duration::from_secs(200);
/// Looked at again each time: clocks differ and the inbox's index lags (pipeline, gap sweep).
const OVERLAP: Duration = Duration::from_secs(10 * 60);
/// A younger reply may still be told: a webhook is repeated after one minute.
const SETTLED_AFTER: Duration = Duration::from_secs(90);
/// How long one host has a workspace to itself. What a sweep does not get done in this time the next one does.
const HELD_FOR: Duration = Duration::from_secs(5 * 60);
/// A sweep stops itself before another host may begin one.
const SWEEP_MAX: Duration = Duration::from_secs(4 * 60);
/// Workspaces looked through side by side: calls wait on the network.
const WORKSPACES_AT_ONCE: usize = 4;
/// Pages of changed conversations in one sweep; at 150 a page more than a day of any workspace that one host serves.
const PAGES_MAX: usize = 100;
/// How the warning begins, so that it is known again.
const WARNING: &str = "Webhooks of the inbox do not arrive: ";

/// What this process knows of the sweeps.
#[derive(Debug, Default)]
pub(crate) struct Sweeps(Mutex<HashMap<WorkspaceId, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Not due before; the store decides, this only spares asking it.
    next_at: Option<Time>,
    /// Calls of the workspace fail.
    troubled: bool,
    /// Begun before, in this process.
    started: bool,
    /// To be looked through without waiting: an outage is over.
    at_once: bool,
    /// Conversations that were read when nothing in them was young any more, by the time of their last change.
    read: HashMap<String, Time>,
}

impl Sweeps {
    fn of<T>(&self, workspace: WorkspaceId, then: impl FnOnce(&mut Known) -> T) -> T {
        // Nothing panics half-way through a change.
        let mut all: MutexGuard<'_, _> = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        then(all.entry(workspace).or_default())
    }

    /// A call to the workspace's inbox failed for want of the inbox.
    pub fn troubled(&self, workspace: WorkspaceId) {
        self.of(workspace, |known| known.troubled = true);
    }

    /// The inbox answers. After trouble its webhooks may be missing.
    pub fn answered(&self, workspace: WorkspaceId) {
        self.of(workspace, |known| {
            known.at_once |= known.troubled;
            known.troubled = false;
        });
    }

    fn keep(&self, alive: &HashSet<WorkspaceId>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|workspace, _| alive.contains(workspace));
    }
}

/// A workspace is connected: replies of the team are ours to deliver from this moment on.
pub(crate) async fn from_now_on(flow: &Flow, workspace: WorkspaceId) -> Result<(), StoreError> {
    let now = flow.now();
    flow.store().begin_sweep(workspace, now, now, false).await.map(drop)
}

/// Looks through the workspaces that are due.
pub(crate) async fn run_due(flow: &Flow) {
    let workspaces = flow.directory().workspaces();
    flow.sweeps
        .keep(&workspaces.iter().map(|workspace| workspace.id).collect());
    let due = workspaces.into_iter().filter(|workspace| {
        workspace.status == WorkspaceStatus::Active && !flow.directory().channels_in(workspace.id).is_empty()
    });
    stream::iter(due)
        .for_each_concurrent(WORKSPACES_AT_ONCE, |workspace| async move {
            if let Err(error) = begin(flow, &workspace).await {
                tracing::error!(workspace.id = %workspace.id, %error, "A workspace could not be looked through");
            }
        })
        .await;
}

async fn begin(flow: &Flow, workspace: &Workspace) -> Result<(), StoreError> {
    let now = flow.now();
    let Some(inbox) = flow.inbox(workspace.platform) else {
        return Ok(());
    };
    let (due, at_once) = flow.sweeps.of(workspace.id, |known| {
        let at_once = known.at_once || !known.started;
        (at_once || known.next_at.is_none_or(|at| at <= now), at_once)
    });
    if !due {
        return Ok(());
    }
    let begun = flow
        .store()
        .begin_sweep(workspace.id, now, now.after(HELD_FOR), at_once)
        .await?;
    flow.sweeps.of(workspace.id, |known| {
        known.started = true;
        known.at_once = false;
        // Another host has it, or had it a moment ago.
        known.next_at = Some(now.after(EVERY));
    });
    let Some(sweep) = begun else { return Ok(()) };
    let outcome = look(flow, &*inbox, workspace, (sweep.seen_until.before(OVERLAP), now)).await;
    let (seen_until, next) = match outcome {
        Ok(found) => {
            warn(flow, workspace, found.replies).await?;
            let wait = if found.changed > 0 { EVERY } else { IDLE_EVERY };
            (Some(now), wait)
        }
        Err(Broken::Store(error)) => {
            flow.store().end_sweep(workspace.id, None, now.after(EVERY)).await?;
            return Err(error);
        }
        Err(broken) => {
            tracing::info!(workspace.id = %workspace.id, error = %broken, "Looking for lost replies broke off");
            (None, broken.wait())
        }
    };
    let next_at = flow.now().after(next);
    flow.sweeps.of(workspace.id, |known| known.next_at = Some(next_at));
    flow.store().end_sweep(workspace.id, seen_until, next_at).await
}

/// Why a sweep did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Inbox(#[from] InboxError),
    #[error("it took longer than {} s; the next one goes on", SWEEP_MAX.as_secs())]
    Long,
}

impl Broken {
    /// As long as the inbox says.
    fn wait(&self) -> Duration {
        match self {
            Self::Inbox(InboxError::Failure(Failure::RateLimited { after: Some(after), .. })) => (*after).max(EVERY),
            _ => EVERY,
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    /// Conversations of ours that changed.
    changed: usize,
    /// Replies that nobody had told.
    replies: u64,
}

async fn look(
    flow: &Flow,
    inbox: &dyn Inbox,
    workspace: &Workspace,
    (since, begun_at): (Time, Time),
) -> Result<Found, Broken> {
    let access = access(workspace);
    let mut found = Found::default();
    let mut seen = HashMap::new();
    let mut page = None;
    for number in 1.. {
        let changed = inbox.changed_conversations(&access, since, page.as_deref()).await?;
        for conversation in changed.conversations {
            if flow.now().since(begun_at) > SWEEP_MAX {
                return Err(Broken::Long);
            }
            if let Some(owner) = flow.store().conversation_owner(workspace.id, &conversation.id).await?
                && flow.directory().channel(owner.channel).is_some()
            {
                found.changed += 1;
                found.replies += read(flow, inbox, workspace, (&conversation, since)).await?;
                if let Some(at) = flow
                    .sweeps
                    .of(workspace.id, |known| known.read.get(&conversation.id).copied())
                {
                    seen.insert(conversation.id, at);
                }
            }
        }
        page = changed.next;
        if page.is_none() {
            break;
        }
        if number >= PAGES_MAX {
            tracing::warn!(workspace.id = %workspace.id, "More conversations changed than are looked through in one go");
            break;
        }
    }
    // What has not changed any more is not remembered either.
    flow.sweeps.of(workspace.id, |known| known.read = seen);
    Ok(found)
}

/// Reads one conversation that changed; answers with how many replies in it were news.
async fn read(
    flow: &Flow,
    inbox: &dyn Inbox,
    workspace: &Workspace,
    (conversation, since): (&ChangedConversation, Time),
) -> Result<u64, Broken> {
    let unchanged = flow.sweeps.of(workspace.id, |known| {
        known.read.get(&conversation.id) == Some(&conversation.at)
    });
    if unchanged {
        return Ok(0);
    }
    let now = flow.now();
    let told = match inbox
        .told_in(&access(workspace), &workspace.platform_id, &conversation.id)
        .await
    {
        Ok(told) => told,
        Err(InboxError::ConversationGone) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut events = Vec::new();
    // In order, and only as far as all are old enough: a young one must not overtake its elders, nor be overtaken.
    let settled = told
        .into_iter()
        .take_while(|event| now.since(event.at) >= SETTLED_AFTER);
    for event in settled.filter(|event| event.at >= since) {
        events.extend(outbound::judge(flow, workspace, event).await?);
    }
    let replies = enqueue(flow, events).await?;
    if now.since(conversation.at) >= SETTLED_AFTER {
        let (id, at) = (conversation.id.clone(), conversation.at);
        flow.sweeps.of(workspace.id, |known| known.read.insert(id, at));
    }
    Ok(replies)
}

/// Stores what was never told.
async fn enqueue(flow: &Flow, events: Vec<NewEvent>) -> Result<u64, StoreError> {
    let mut news = Vec::new();
    for event in events {
        let known = flow
            .store()
            .told_before(event.channel, Direction::Out, std::slice::from_ref(&event.key))
            .await?;
        if event.direction == Direction::Out && known == [false] {
            news.push(event);
        }
    }
    if news.is_empty() {
        return Ok(0);
    }
    let stored = flow.store().enqueue(news).await?;
    let new = |event: &&AcceptedEvent| matches!(event, AcceptedEvent::New { .. });
    Ok(stored.iter().filter(new).count() as u64)
}

/// Counts what was found and shows it on the workspace.
async fn warn(flow: &Flow, workspace: &Workspace, found: u64) -> Result<(), StoreError> {
    if found == 0 {
        return Ok(());
    }
    flow.metrics().gap_found(workspace.id, found);
    tracing::warn!(workspace.id = %workspace.id, found, "Replies were found that no webhook told; look at the app's webhook address and topics");
    let text = format!(
        "{WARNING}replies were found only by asking for them. Look at the webhook address and topics of the app."
    );
    set_warning(flow, workspace, Some(text)).await
}

/// A webhook told a reply: webhooks arrive.
pub(crate) async fn webhooks_arrive(flow: &Flow, workspace: &Arc<Workspace>) -> Result<(), StoreError> {
    let warned = workspace.warning.as_ref().is_some_and(|text| text.starts_with(WARNING));
    if warned {
        set_warning(flow, workspace, None).await?;
    }
    Ok(())
}

/// Another warning stays: it needs somebody to act, this one may end by itself.
async fn set_warning(flow: &Flow, workspace: &Workspace, warning: Option<String>) -> Result<(), StoreError> {
    let present = flow
        .directory()
        .workspace(workspace.id)
        .and_then(|known| known.warning.clone());
    let others = present.as_ref().is_some_and(|text| !text.starts_with(WARNING));
    if others || present == warning {
        return Ok(());
    }
    let change = WorkspaceChange {
        warning: Some(warning),
        ..WorkspaceChange::default()
    };
    flow.store().change_workspace(workspace.id, change, flow.now()).await?;
    flow.refresh().await
}

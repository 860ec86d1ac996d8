//! The right to make something in the inbox that must be there once: a person's contact, a conversation.
//!
//! A row of the store says who makes it, so it holds over all hosts and across a crash of the maker. Within one
//! process those who ask for the same queue up, which costs nobody a second look.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_store::single::Making;
use tokio::sync::OwnedMutexGuard;

use crate::job::{Job, Stop};

/// When a maker on another host is asked after again: it can tell nobody here when it is done.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// To be kept until it is made, or not.
pub(crate) struct Right {
    /// A call left then that nobody had an answer to.
    pub announced_at: Option<Time>,
    _alone: Vec<OwnedMutexGuard<()>>,
}

pub(crate) enum Asked {
    /// It is there already, under this id of the inbox.
    Made(String),
    Ours(Right),
}

/// Asks for what goes by any of these names.
pub(crate) async fn ask(job: &Job<'_>, keys: &[String]) -> Result<Asked, Stop> {
    let alone = enter(job, keys).await;
    let asked = job
        .flow
        .store()
        .begin_making(job.workspace.id, keys, job.event.id, job.now());
    match asked.await? {
        Making::Made(id) => Ok(Asked::Made(id)),
        Making::Yours { announced_at } => Ok(Asked::Ours(Right {
            announced_at,
            _alone: alone,
        })),
        Making::Others => Err(Stop::Unsettled(AGAIN_AFTER)),
    }
}

/// In one order for all, so that nobody waits for somebody who waits for them.
async fn enter(job: &Job<'_>, keys: &[String]) -> Vec<OwnedMutexGuard<()>> {
    let mut names: Vec<String> = keys.iter().map(|key| format!("{}/{key}", job.workspace.id)).collect();
    names.sort_unstable();
    names.dedup();
    let mut alone = Vec::with_capacity(names.len());
    for name in names {
        alone.push(job.flow.making.enter(name).await);
    }
    alone
}

//! Chooses the next lanes among those that are ready, and takes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_store::StoreError;
use mantle_store::lanes::{ClaimedLane, ReadyChannel};

use crate::Flow;
use crate::fair::{Fair, Load, Waiting};
use crate::gates::Key;

/// Lanes worked at the same time: calls wait on networks, not on this machine.
pub(crate) const HANDS: usize = 64;

/// What is remembered from one choice to the next.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Mutex<Fair>);

/// Takes up to `free` lanes beside what is being worked on.
pub(crate) async fn claim(flow: &Flow, load: &Load, free: usize) -> Result<Vec<ClaimedLane>, StoreError> {
    let now = flow.now();
    let ready = flow.store().ready(now, HANDS).await?;
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    let (waiting, mut room) = grouped(flow, ready);
    let chosen = {
        // No choice panics; were it so, what is owed would still be whole.
        let mut fair = flow.schedule.0.lock().unwrap_or_else(PoisonError::into_inner);
        fair.choose(&waiting, load, (free, HANDS), &mut room)
    };
    flow.store().take(now, &chosen).await
}

/// Channels of one workspace share its token, and with it the room.
fn grouped(flow: &Flow, ready: Vec<ReadyChannel>) -> (Vec<Waiting>, Vec<usize>) {
    let (directory, now) = (flow.directory(), flow.now());
    let mut groups: HashMap<Option<WorkspaceId>, usize> = HashMap::new();
    let mut room = Vec::new();
    let mut group_of = |channel: ChannelId| {
        let workspace = directory
            .channel(channel)
            .and_then(|channel| directory.workspace(channel.workspace));
        *groups
            .entry(workspace.as_ref().map(|workspace| workspace.id))
            .or_insert_with(|| {
                // Channels that are gone make no calls.
                room.push(workspace.map_or(usize::MAX, |workspace| flow.gates.room(Key::inbox(&workspace), now)));
                room.len() - 1
            })
    };
    let waiting = ready
        .into_iter()
        .map(|of| Waiting {
            group: group_of(of.channel),
            channel: of.channel,
            lanes: of.lanes,
        })
        .collect();
    (waiting, room)
}

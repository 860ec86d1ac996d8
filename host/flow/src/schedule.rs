//! Chooses the next lanes among those that are ready, and takes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_store::StoreError;
use mantle_store::lanes::{ClaimedLane, ReadyChannel};

use crate::Flow;
use crate::fair::{Fair, Load, Waiting};
use crate::gates::Key;

/// Lanes worked at the same time. Each waits for two commits and a call over the network; a turn of 50 ms on so many
/// lanes makes 5,000 messages a second, and one keeps some 50 KiB.
pub(crate) const HANDS: usize = 256;

/// What is remembered from one choice to the next.
#[derive(Debug, Default)]
pub(crate) struct Schedule(Mutex<Fair>);

/// What a look at the lanes brought.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub lanes: Vec<ClaimedLane>,
    /// Lanes that are ready too and that nobody may begin yet: a turn must end first.
    pub left: bool,
}

/// Takes up to `free` lanes beside what is being worked on.
pub(crate) async fn claim(flow: &Flow, load: &Load, free: usize) -> Result<Found, StoreError> {
    let now = flow.now();
    let ready = flow.store().ready(now, free).await?;
    if ready.is_empty() {
        return Ok(Found::default());
    }
    let all: usize = ready.iter().map(|channel| channel.lanes.len()).sum();
    let (waiting, mut room) = grouped(flow, ready);
    let chosen = {
        // No choice panics; were it so, what is owed would still be whole.
        let mut fair = flow.schedule.0.lock().unwrap_or_else(PoisonError::into_inner);
        fair.choose(&waiting, load, (free, HANDS), &mut room)
    };
    Ok(Found {
        left: chosen.len() < all,
        lanes: flow.store().take(now, &chosen).await?,
    })
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

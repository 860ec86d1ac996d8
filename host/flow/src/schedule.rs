//! Chooses the next lanes among those that are ready, and takes them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, Weak};

use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_store::StoreError;
use mantle_store::lanes::{ClaimedLane, Hands, InHand, ReadyChannel};

use crate::Flow;
use crate::directory::Directory;
use crate::fair::{Fair, Load, TURNS_PER_CHANNEL, Waiting};
use crate::gates::Key;

/// Lanes worked at the same time. Each waits for two commits and a call over the network; a turn of 100 ms on so many
/// lanes makes 5,000 messages a second, and one keeps some 50 KiB.
pub(crate) const HANDS: usize = 512;

/// Hands kept for lanes whose events have just come, so that who writes during a backlog need not wait behind it.
pub(crate) const FRESH_HANDS: usize = HANDS / 4;
/// Of those one channel has at most so many while others wait: a flood of new lanes leaves the old ones their turns.
const FRESH_PER_CHANNEL: usize = TURNS_PER_CHANNEL / 4;

/// What is remembered from one choice to the next.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    fair: Mutex<Fair>,
    /// The last look left lanes that nobody had room for.
    behind: AtomicBool,
}

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
    let directory = flow.directory();
    let room = |channel: ChannelId| {
        let working = load.of_channel.get(&channel).copied().unwrap_or(0);
        let turns = TURNS_PER_CHANNEL.saturating_sub(working);
        turns.min(credential_room(flow, &directory, channel).1)
    };
    let ready = flow.store().ready(now, free, &room).await?;
    if ready.is_empty() {
        flow.schedule.behind.store(false, Ordering::Relaxed);
        return Ok(Found::default());
    }
    let all: usize = ready.iter().map(|channel| channel.lanes.len()).sum();
    let (waiting, mut room) = grouped(flow, ready);
    let chosen = {
        // No choice panics; were it so, what is owed would still be whole.
        let mut fair = flow.schedule.fair.lock().unwrap_or_else(PoisonError::into_inner);
        fair.choose(&waiting, load, (free, HANDS), &mut room)
    };
    let left = chosen.len() < all;
    flow.schedule
        .behind
        .store(left || chosen.len() == free, Ordering::Relaxed);
    Ok(Found {
        left,
        lanes: flow.store().take(now, &chosen).await?,
    })
}

/// Whose token the channel's messages go by, and how many more turns that has room for. Channels that are gone make no calls.
fn credential_room(flow: &Flow, directory: &Directory, channel: ChannelId) -> (Option<WorkspaceId>, usize) {
    let workspace = directory
        .channel(channel)
        .and_then(|channel| directory.workspace(channel.workspace));
    match workspace {
        Some(workspace) => (Some(workspace.id), flow.gates.room(Key::inbox(&workspace), flow.now())),
        None => (None, usize::MAX),
    }
}

/// Channels of one workspace share its token, and with it the room.
fn grouped(flow: &Flow, ready: Vec<ReadyChannel>) -> (Vec<Waiting>, Vec<usize>) {
    let directory = flow.directory();
    let mut groups: HashMap<Option<WorkspaceId>, usize> = HashMap::new();
    let mut room = Vec::new();
    let mut group_of = |channel: ChannelId| {
        let (workspace, left) = credential_room(flow, &directory, channel);
        *groups.entry(workspace).or_insert_with(|| {
            room.push(left);
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

/// What lanes are handed to as their events come. Does not keep the flow alive.
pub(crate) struct Ours(pub Weak<Flow>);

impl Hands for Ours {
    fn room(&self, channel: ChannelId, in_hand: InHand) -> usize {
        let Some(flow) = self.0.upgrade() else { return 0 };
        let (_, credential) = credential_room(&flow, &flow.directory(), channel);
        fresh_room(in_hand, flow.schedule.behind.load(Ordering::Relaxed)).min(credential)
    }
}

/// How many lanes may be begun as their events come; `behind`: while others wait.
fn fresh_room(in_hand: InHand, behind: bool) -> usize {
    let free = HANDS.saturating_sub(in_hand.all);
    if behind {
        let fresh = FRESH_HANDS.saturating_sub(in_hand.fresh);
        free.min(fresh)
            .min(FRESH_PER_CHANNEL.saturating_sub(in_hand.fresh_of_channel))
    } else {
        free.min(TURNS_PER_CHANNEL.saturating_sub(in_hand.of_channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_during_a_backlog_a_share_of_the_hands_is_for_who_writes_just_now() {
        // All that looking may take is taken, by one channel or by many.
        let full = InHand {
            all: HANDS - FRESH_HANDS,
            of_channel: TURNS_PER_CHANNEL,
            ..InHand::default()
        };
        assert_eq!(fresh_room(full, true), FRESH_PER_CHANNEL);
        assert_eq!(fresh_room(full, false), 0, "nobody waits: the channel has its turns");
        let fresh = |fresh_of_channel, fresh| InHand {
            all: full.all + fresh,
            fresh,
            fresh_of_channel,
            ..full
        };
        assert_eq!(fresh_room(fresh(FRESH_PER_CHANNEL - 1, FRESH_PER_CHANNEL - 1), true), 1);
        assert_eq!(
            fresh_room(fresh(FRESH_PER_CHANNEL, FRESH_PER_CHANNEL), true),
            0,
            "a flood has no more"
        );
        assert_eq!(
            fresh_room(fresh(0, FRESH_PER_CHANNEL), true),
            FRESH_PER_CHANNEL,
            "another channel has its own"
        );
        assert_eq!(fresh_room(fresh(0, FRESH_HANDS), true), 0);
    }
}

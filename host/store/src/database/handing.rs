//! Lanes that are claimed in the commit that brings their events: what came in is in memory already, so nobody need look
//! for it, mark it and read it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, LaneId};

use super::claims::{self, Claims};
use super::known::Waits;
use crate::StoreError;
use crate::lanes::{Claim, ClaimedLane};

/// Whom lanes are claimed for.
#[derive(Debug, Clone)]
pub(super) struct Handing {
    pub claims: Arc<Claims>,
    /// Our row among the hosts, where rows say who has a lane.
    pub owner: Option<i64>,
}

/// What stands in a lane that a group joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was at rest and is claimed for us.
    Ours,
    /// Whoever looks may have it.
    Free,
    /// It waits for a time, or failed before: whoever looks then finds it.
    Put,
    /// Somebody works it, and finds what has come when giving it back.
    Held,
}

impl Handing {
    pub(super) fn offer(&self) -> Result<Offer, StoreError> {
        Ok(Offer {
            token: claims::token()?,
            owner: self.owner,
            room: Room {
                claims: Arc::clone(&self.claims),
                left: BTreeMap::new(),
                wanted: 0,
            },
            handed: Vec::new(),
            left: Vec::new(),
        })
    }

    /// The group is on disk. Tells whether lanes are left that anybody may look for.
    pub(super) fn committed(&self, offer: Offer) -> bool {
        let in_row = self.owner.is_some();
        let others_may = offer.left.iter().any(|(_, standing)| *standing == Standing::Free);
        for lane in offer.handed {
            self.claims.hand(lane, in_row);
        }
        for (waits, standing) in offer.left {
            match standing {
                Standing::Free => self.claims.waits(waits),
                // By us, perhaps; what is given back is looked at again then.
                Standing::Held | Standing::Ours | Standing::Put => {
                    self.claims.wants(waits.lane);
                }
            }
        }
        others_may
    }

    /// The group may be on disk or not: what it claimed is given back if it is.
    pub(super) fn unknown(&self, offer: Offer) {
        if self.owner.is_some() {
            self.claims.doubt(offer.handed.into_iter().map(|lane| lane.claim));
        }
    }
}

/// The claims of one group.
pub(super) struct Offer {
    pub token: u128,
    pub owner: Option<i64>,
    room: Room,
    handed: Vec<ClaimedLane>,
    left: Vec<(Waits, Standing)>,
}

struct Room {
    claims: Arc<Claims>,
    left: BTreeMap<ChannelId, usize>,
    /// Of all channels.
    wanted: usize,
}

impl Offer {
    /// Whether a lane that becomes ready at this time is to be claimed, if it is at rest. The lanes of one channel are
    /// asked for one after the other, so that the next channel has what they leave.
    pub(super) fn wants(&mut self, channel: ChannelId, (ready_at, now): (Time, Time)) -> bool {
        let Room { claims, left, wanted } = &mut self.room;
        let left = left.entry(channel).or_insert_with(|| claims.room(channel, *wanted));
        let wants = ready_at <= now && *left > 0;
        *left -= usize::from(wants);
        *wanted += usize::from(wants);
        wants
    }

    pub(super) fn claim(&self, lane: LaneId) -> Claim {
        Claim {
            lane,
            token: self.token,
        }
    }

    /// All that stands in the lane.
    pub(super) fn hand(&mut self, lane: ClaimedLane) {
        self.handed.push(lane);
    }

    pub(super) fn leave(&mut self, waits: Waits, standing: Standing) {
        self.left.push((waits, standing));
    }

    /// Nothing of it was written.
    pub(super) fn forget(&mut self) {
        self.handed.clear();
        self.left.clear();
    }

    /// Another part of the same group: it finds the lanes that are claimed here held.
    pub(super) fn join(&mut self, other: Self) {
        self.handed.extend(other.handed);
        self.left.extend(other.left);
    }
}

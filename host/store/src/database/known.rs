//! Lanes that are known to be ready without a look at the table: their events came in here and there was no room, or they
//! were given back here with more to do. Only a hint: whoever takes one reads whether it is still to be had.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, LaneId};

use crate::lanes::{ReadyChannel, ReadyLane, Room};

/// Lanes that are remembered; the rest is looked for. Some 100 bytes each.
const KNOWN_MAX: usize = 16_384;

/// The table is looked at this often at least: other hosts leave work behind, and what waits by the clock becomes due.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// And this often at most, as long as something is known: a look at the table costs as much as some fifty messages.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Oldest first, by channel.
#[derive(Debug, Default)]
pub(super) struct Known {
    lanes: BTreeMap<ChannelId, BTreeMap<(Time, LaneId), u32>>,
    places: HashMap<LaneId, (ChannelId, Time)>,
    looked: Option<Instant>,
    /// Something may be ready that is not known here.
    more: bool,
}

/// A lane with events that may be worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    pub channel: ChannelId,
    pub lane: LaneId,
    pub since: Time,
    /// Events that have not ended.
    pub events: u32,
    /// The first of them was tried before.
    pub failed: bool,
}

impl Known {
    pub(super) fn add(&mut self, waits: Waits) {
        if waits.failed {
            // These have a share of the turns, which looking at the table keeps.
            self.more = true;
            return;
        }
        if self.places.len() >= KNOWN_MAX || self.places.contains_key(&waits.lane) {
            self.more |= !self.places.contains_key(&waits.lane);
            return;
        }
        self.places.insert(waits.lane, (waits.channel, waits.since));
        let channel = self.lanes.entry(waits.channel).or_default();
        channel.insert((waits.since, waits.lane), waits.events);
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn remove(&mut self, lane: LaneId) {
        if let Some((channel, since)) = self.places.remove(&lane)
            && let Some(lanes) = self.lanes.get_mut(&channel)
        {
            lanes.remove(&(since, lane));
            if lanes.is_empty() {
                self.lanes.remove(&channel);
            }
        }
    }

    /// Something may be ready that is not known here.
    pub(super) fn look(&mut self) {
        self.more = true;
    }

    /// What is known, the channel behind `last` first, where that will do. None: the table is to be looked at.
    pub(super) fn enough(
        &mut self,
        last: Option<ChannelId>,
        limit: usize,
        room: Room<'_>,
    ) -> Option<Vec<ReadyChannel>> {
        let ago = self.looked.map_or(LOOK_EVERY, |looked| looked.elapsed());
        let wanting = self.more && self.places.len() < limit;
        let next = if wanting { LOOK_AGAIN_AFTER } else { LOOK_EVERY };
        let enough = !self.places.is_empty() && ago < next;
        if !enough {
            self.looked = Some(Instant::now());
            self.more = false;
            return None;
        }
        let mut ready: Vec<ReadyChannel> = self
            .lanes
            .iter()
            .map(|(channel, lanes)| ReadyChannel {
                channel: *channel,
                lanes: lanes
                    .iter()
                    .take(room(*channel).clamp(1, limit))
                    .map(|((_, lane), events)| ReadyLane {
                        lane: *lane,
                        events: *events,
                        failed: false,
                    })
                    .collect(),
            })
            .collect();
        if let Some(last) = last {
            let first = ready.partition_point(|of| of.channel <= last);
            ready.rotate_left(first);
        }
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(channel: i64, lane: i64, since: i64) -> Waits {
        Waits {
            channel: ChannelId(channel),
            lane: LaneId(lane),
            since: Time::from_unix_ms(since),
            events: 1,
            failed: false,
        }
    }

    fn lanes(ready: &[ReadyChannel]) -> Vec<(i64, Vec<i64>)> {
        let of = |of: &ReadyChannel| (of.channel.0, of.lanes.iter().map(|lane| lane.lane.0).collect());
        ready.iter().map(of).collect()
    }

    #[test]
    fn the_table_is_looked_at_first_and_then_what_is_known_will_do() {
        let mut known = Known::default();
        known.add(waits(1, 11, 5));
        known.add(waits(1, 10, 7));
        known.add(waits(2, 20, 6));
        assert_eq!(known.enough(None, 8, &|_| 8), None, "nobody has looked yet");
        let ready = known.enough(Some(ChannelId(1)), 8, &|_| 8).unwrap();
        assert_eq!(lanes(&ready), [(2, vec![20]), (1, vec![11, 10])]);
        let ready = known.enough(None, 8, &|_| 1).unwrap();
        assert_eq!(
            lanes(&ready),
            [(1, vec![11]), (2, vec![20])],
            "as many as there is room for"
        );
    }

    #[test]
    fn what_others_may_have_left_is_looked_for_where_there_is_room_for_more() {
        let mut known = Known::default();
        known.add(waits(1, 10, 1));
        assert_eq!(known.enough(None, 8, &|_| 8), None);
        known.look();
        known.looked = Instant::now().checked_sub(LOOK_AGAIN_AFTER);
        assert!(known.enough(None, 1, &|_| 8).is_some(), "one is all that is asked for");
        assert_eq!(known.enough(None, 8, &|_| 8), None);
        known.look();
        assert!(known.enough(None, 8, &|_| 8).is_some(), "and not again at once");
        known.remove(LaneId(10));
        assert_eq!(known.enough(None, 8, &|_| 8), None, "nothing is known");
    }

    #[test]
    fn lanes_that_failed_are_looked_for() {
        let mut known = Known::default();
        known.add(waits(1, 10, 1));
        assert_eq!(known.enough(None, 8, &|_| 8), None);
        known.add(Waits {
            failed: true,
            ..waits(1, 11, 0)
        });
        known.looked = Instant::now().checked_sub(LOOK_AGAIN_AFTER);
        assert_eq!(
            known.enough(None, 8, &|_| 8),
            None,
            "the table tells how many of them there are"
        );
    }

    #[test]
    fn lanes_beyond_what_is_remembered_are_looked_for() {
        let mut known = Known::default();
        for lane in 0..=i64::try_from(KNOWN_MAX).unwrap() {
            known.add(waits(1, lane, lane));
        }
        assert_eq!(known.places.len(), KNOWN_MAX);
        assert!(known.more);
    }
}

//! Whose turn it is: deficit round robin over channels, the oldest ready lane first within one. Pure.
//!
//! Each round gives every channel that has work the same allowance of events. A channel with few events on many
//! lanes gets as much done as one with many events on few. What failed before gets a bounded share of the hands, so
//! that an outage of one other side leaves hands for what works. Knows no clock, store or lane's content.

use std::collections::HashMap;

use mantle_model::ids::{ChannelId, LaneId};
use mantle_store::lanes::ReadyLane;

/// The allowance of one round, in events: what a lane hands out at most, so that every round serves a lane.
const ALLOWANCE: u32 = 32;
/// Turns of one channel at once: a quarter of the hands, so that no channel alone has all.
pub(crate) const TURNS_PER_CHANNEL: usize = 128;
/// Of ten hands so many at most are for what failed before.
const RETRY_HANDS_OF_TEN: usize = 3;

/// A channel with lanes that could be worked now, in the order in which they became ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub channel: ChannelId,
    pub lanes: Vec<ReadyLane>,
    /// How many more turns its credential has room for; channels of one credential name the same group.
    pub group: usize,
}

/// What is being worked on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub of_channel: HashMap<ChannelId, usize>,
    /// Turns at what failed before.
    pub failed: usize,
}

/// Remembers what each channel is owed from one choice to the next.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    /// Events a channel may still take in this round. Only of channels with work: who had none is owed nothing.
    owed: HashMap<ChannelId, u32>,
    /// Where the round stands, and whether that channel has had its allowance.
    stand: Option<(ChannelId, bool)>,
}

impl Fair {
    /// Chooses lanes for `free` of `hands`. `waiting` is in turn, as the store tells it; `room` is what each group has room for.
    pub(crate) fn choose(
        &mut self,
        waiting: &[Waiting],
        load: &Load,
        (free, hands): (usize, usize),
        room: &mut [usize],
    ) -> Vec<(ChannelId, LaneId)> {
        self.owed
            .retain(|channel, _| waiting.iter().any(|waits| waits.channel == *channel));
        let mut retries = (hands * RETRY_HANDS_OF_TEN / 10).max(1).saturating_sub(load.failed);
        let mut queues: Vec<Queue<'_>> = waiting.iter().map(|waits| Queue::new(waits, load)).collect();
        let mut chosen = Vec::new();
        let mut at = self.begin(waiting);
        // A whole round that serves nobody is the last one; the first visit may be the rest of an earlier one.
        let mut in_vain = 0;
        while in_vain <= waiting.len() && chosen.len() < free {
            let waits = &waiting[at];
            let owed = self.owed.entry(waits.channel).or_insert(0);
            if self.stand != Some((waits.channel, true)) {
                // What was not used up is kept, but never heaped up.
                *owed = (*owed + ALLOWANCE).min(2 * ALLOWANCE);
                self.stand = Some((waits.channel, true));
            }
            let before = chosen.len();
            while chosen.len() < free && room[waits.group] > 0 {
                let Some(lane) = queues[at].next(*owed, retries > 0) else {
                    break;
                };
                *owed -= lane.events;
                retries -= usize::from(lane.failed);
                room[waits.group] -= 1;
                chosen.push((waits.channel, lane.lane));
            }
            in_vain = if chosen.len() > before { 0 } else { in_vain + 1 };
            if chosen.len() < free {
                at = (at + 1) % waiting.len();
                self.stand = Some((waiting[at].channel, false));
            }
        }
        chosen
    }

    /// Where the round goes on: at the channel it stands at, or at the one whose turn it is.
    fn begin(&self, waiting: &[Waiting]) -> usize {
        let stands = |waits: &Waiting| self.stand.is_some_and(|(channel, _)| channel == waits.channel);
        waiting.iter().position(stands).unwrap_or(0)
    }
}

/// The lanes of one channel that were not chosen yet.
struct Queue<'a> {
    lanes: &'a [ReadyLane],
    /// Turns that the channel may still get.
    places: usize,
}

impl<'a> Queue<'a> {
    fn new(waits: &'a Waiting, load: &Load) -> Self {
        let working = load.of_channel.get(&waits.channel).copied().unwrap_or(0);
        Self {
            lanes: &waits.lanes,
            places: TURNS_PER_CHANNEL.saturating_sub(working),
        }
    }

    /// The oldest lane that may be taken. Those that failed are passed over for good once they may not: their share
    /// of the hands is used up.
    fn next(&mut self, owed: u32, retries: bool) -> Option<ReadyLane> {
        let place = self.lanes.iter().position(|lane| retries || !lane.failed)?;
        let lane = self.lanes[place];
        if self.places == 0 || lane.events > owed {
            return None;
        }
        self.lanes = &self.lanes[place + 1..];
        self.places -= 1;
        Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDS: usize = 64;

    fn ready(lane: i64, events: u32) -> ReadyLane {
        ReadyLane {
            lane: LaneId(lane),
            events,
            failed: false,
        }
    }

    fn waiting(channel: i64, lanes: Vec<ReadyLane>) -> Waiting {
        Waiting {
            channel: ChannelId(channel),
            lanes,
            group: 0,
        }
    }

    /// Lanes with so many events left, worked in rounds of `free` hands until nothing is left. Answers the round in
    /// which each channel's events ended, weighed: (channel, round) for each turn.
    fn simulate(mut left: Vec<(i64, Vec<u32>)>, free: usize, rounds: usize) -> Vec<Vec<(i64, u32)>> {
        let mut fair = Fair::default();
        let mut turns = Vec::new();
        let mut last = 0;
        for _ in 0..rounds {
            let mut look: Vec<Waiting> = left
                .iter()
                .map(|(channel, lanes)| {
                    let ready_lanes = lanes.iter().enumerate().filter(|(_, events)| **events > 0);
                    let lanes = ready_lanes.map(|(lane, events)| ready(lane as i64, (*events).min(32)));
                    waiting(*channel, lanes.take(HANDS).collect())
                })
                .filter(|waits| !waits.lanes.is_empty())
                .collect();
            // As the store tells them: beginning behind the channel served last.
            let first = look.partition_point(|waits| waits.channel.0 <= last);
            look.rotate_left(first);
            let mut room = [usize::MAX];
            let chosen = fair.choose(&look, &Load::default(), (free, HANDS), &mut room);
            last = chosen.last().map_or(last, |(channel, _)| channel.0);
            let mut round = Vec::new();
            for (channel, lane) in chosen {
                let (_, lanes) = left.iter_mut().find(|(id, _)| *id == channel.0).unwrap();
                let events = &mut lanes[usize::try_from(lane.0).unwrap()];
                let done = (*events).min(32);
                *events -= done;
                round.push((channel.0, done));
            }
            turns.push(round);
        }
        turns
    }

    #[test]
    fn f2_eight_calm_channels_beside_a_flooding_one_are_served_in_the_first_choice() {
        // The flood: a thousand lanes of 32 events. The calm ones: one event each.
        let mut left = vec![(1, vec![32; 1_000])];
        left.extend((2..=9).map(|channel| (channel, vec![1])));
        for free in [9, 16, 64] {
            let turns = simulate(left.clone(), free, 1);
            let calm: Vec<i64> = turns[0]
                .iter()
                .map(|(channel, _)| *channel)
                .filter(|id| *id > 1)
                .collect();
            assert_eq!(calm, (2..=9).collect::<Vec<_>>(), "{free} hands");
        }
        // With a single hand everybody is served once before the flood is served twice.
        let turns = simulate(left, 1, 9);
        let mut served: Vec<i64> = turns.iter().flatten().map(|(channel, _)| *channel).collect();
        served.sort_unstable();
        assert_eq!(served, (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn p15_channels_get_equal_shares_of_events_whatever_their_lanes_look_like() {
        // Long lanes, lanes of one, and lanes in between.
        let left = vec![(1, vec![10_000; 50]), (2, vec![1; 20_000]), (3, vec![7; 5_000])];
        let turns = simulate(left, 8, 400);
        let mut done: HashMap<i64, u32> = HashMap::new();
        for (channel, events) in turns.into_iter().flatten() {
            *done.entry(channel).or_default() += events;
        }
        let (least, most) = (done.values().min().unwrap(), done.values().max().unwrap());
        assert!(most - least <= 3 * ALLOWANCE, "{done:?}");
    }

    #[test]
    fn f3_a_lane_of_a_thousand_events_starves_no_small_ones() {
        // One lane keeps its place at the front; small lanes of the same channel go on beside it.
        let mut lanes = vec![1_000];
        lanes.extend([1; 100]);
        let turns = simulate(vec![(1, lanes)], 8, 32);
        let small_after = turns
            .iter()
            .take(20)
            .flatten()
            .filter(|(_, events)| *events == 1)
            .count();
        assert_eq!(small_after, 100, "all small lanes are done long before the large one");
        let large: u32 = turns
            .iter()
            .flatten()
            .map(|(_, events)| events)
            .filter(|events| **events > 1)
            .sum();
        assert_eq!(large, 1_000, "and the large one is worked all the while");
    }

    #[test]
    fn what_failed_before_gets_three_of_ten_hands() {
        let failed = |lane| ReadyLane {
            failed: true,
            ..ready(lane, 1)
        };
        let mut fair = Fair::default();
        let mut lanes: Vec<ReadyLane> = (0..100).map(failed).collect();
        lanes.extend((100..110).map(|lane| ready(lane, 1)));
        let look = [waiting(1, lanes)];
        let chosen = fair.choose(&look, &Load::default(), (64, HANDS), &mut [usize::MAX]);
        let retries = chosen.iter().filter(|(_, lane)| lane.0 < 100).count();
        assert_eq!((retries, chosen.len()), (19, 29), "and the fresh ones pass them");
        let busy = Load {
            failed: 19,
            ..Load::default()
        };
        let chosen = fair.choose(&look, &busy, (45, HANDS), &mut [usize::MAX]);
        assert!(chosen.iter().all(|(_, lane)| lane.0 >= 100));
    }

    #[test]
    fn caps_of_channel_and_credential_hold() {
        let mut fair = Fair::default();
        let look = [
            waiting(1, (0..200).map(|lane| ready(lane, 1)).collect()),
            waiting(2, (200..400).map(|lane| ready(lane, 1)).collect()),
        ];
        let chosen = fair.choose(&look, &Load::default(), (64, HANDS), &mut [40]);
        assert_eq!(chosen.len(), 40, "the credential of both");
        let load = Load {
            of_channel: [(ChannelId(1), TURNS_PER_CHANNEL - 1)].into(),
            failed: 0,
        };
        let chosen = fair.choose(&look, &load, (2 * TURNS_PER_CHANNEL, HANDS), &mut [usize::MAX]);
        let of_one = chosen.iter().filter(|(channel, _)| channel.0 == 1).count();
        assert_eq!((of_one, chosen.len()), (1, 1 + TURNS_PER_CHANNEL));
    }
}

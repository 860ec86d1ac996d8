//! Lanes that are claimed in the commit that brings their events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use mantle_model::ids::ChannelId;
use mantle_store::StoreError;
use mantle_store::intake::{Accepted, AcceptedEvent, NewEvent, ReceiptState};
use mantle_store::lanes::{Attempt, Change, ClaimedLane, Ending, Hands, InHand};

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL, cause};

/// Room for so many lanes of a channel beside what is in hand; remembers what it was asked.
struct Room(usize, Mutex<Vec<(ChannelId, InHand)>>);

impl Room {
    fn of(desk: &Desk<'_>, lanes: usize) -> Arc<Self> {
        let room = Arc::new(Self(lanes, Mutex::default()));
        desk.store.hand_over(Some(Arc::clone(&room) as Arc<dyn Hands>));
        room
    }
}

impl Hands for Room {
    fn room(&self, channel: ChannelId, in_hand: InHand) -> usize {
        self.1.lock().unwrap().push((channel, in_hand));
        self.0.saturating_sub(in_hand.of_channel)
    }
}

async fn hook(desk: &Desk<'_>, events: Vec<NewEvent>) -> Accepted {
    let receipt = desk.receipt("a hook", ReceiptState::Parsed);
    desk.store.accept(receipt, events).await.unwrap()
}

fn keys(lanes: &[ClaimedLane]) -> Vec<Vec<&str>> {
    // In an order of our own.
    let mut keys: Vec<Vec<&str>> = lanes.iter().map(keys_of).collect();
    keys.sort();
    keys
}

fn keys_of(lane: &ClaimedLane) -> Vec<&str> {
    lane.events.iter().map(|event| event.key.as_str()).collect()
}

fn ended(lane: &ClaimedLane) -> Vec<Change> {
    let ends = lane.events.iter().map(|event| Change::Finish {
        seq: event.id.seq,
        ending: Ending::Done,
    });
    ends.chain([Change::GiveBack]).collect()
}

/// What is handed over is in hand before the hook's caller is told.
fn works(desk: &Desk<'_>, lanes: usize) {
    assert_eq!(desk.store.lanes_in_work(), lanes);
}

pub async fn what_comes_for_a_lane_at_rest_is_handed_over_whole(desk: &Desk<'_>) {
    let room = Room::of(desk, 8);
    let mut events = vec![
        desk.message("1", "ann"),
        desk.message("2", "ann"),
        desk.message("3", "bob"),
    ];
    events[0].remote_id = None;
    let accepted = hook(desk, events).await;
    let handed = desk.store.handed().await.unwrap();
    assert_eq!(keys(&handed), [vec!["1", "2"], vec!["3"]]);
    assert_eq!(room.1.lock().unwrap()[0], (CHANNEL, InHand::default()));
    desk.nothing_to_claim().await;
    assert_eq!(desk.store.lanes_in_work(), 2);
    // It is what whoever claims it would read.
    let ann = handed.iter().find(|lane| lane.events.len() == 2).unwrap().clone();
    desk.store.release(ann.claim).await.unwrap();
    let mut read = desk.claim().await;
    assert!(
        desk.store.commit(ann.claim, ended(&ann)).await.is_err(),
        "it was given back"
    );
    read.claim = ann.claim;
    assert_eq!(format!("{read:?}"), format!("{ann:?}"));
    let AcceptedEvent::New { message, identity } = &accepted.events[0] else {
        panic!("{accepted:?}")
    };
    assert_eq!((ann.events[0].id, ann.identity), (*message, *identity));
    assert_eq!(ann.person.as_ref().map(|person| person.id), *identity);
}

pub async fn a_lane_handed_over_is_worked_and_at_rest_again(desk: &Desk<'_>) {
    let room = Room::of(desk, 8);
    for round in 0..3 {
        hook(desk, vec![desk.message(&format!("{round}"), "ann")]).await;
        let handed = desk.store.handed().await.unwrap();
        assert_eq!(handed.len(), 1);
        assert!(desk.store.may_act(handed[0].claim));
        desk.store.commit(handed[0].claim, ended(&handed[0])).await.unwrap();
        desk.nothing_to_claim().await;
        assert_eq!(
            (desk.store.lanes_in_work(), desk.store.backlog().await.unwrap()),
            (0, 0)
        );
    }
    assert!(room.1.lock().unwrap().iter().all(|(_, in_hand)| in_hand.all == 0));
}

pub async fn what_comes_for_a_lane_in_hand_waits_until_it_is_given_back(desk: &Desk<'_>) {
    Room::of(desk, 8);
    hook(desk, vec![desk.message("1", "ann")]).await;
    let first = desk.store.handed().await.unwrap().remove(0);
    hook(desk, vec![desk.message("2", "ann")]).await;
    works(desk, 1);
    desk.nothing_to_claim().await;
    desk.store.commit(first.claim, ended(&first)).await.unwrap();
    desk.store.wait_ready().await;
    let second = desk.claim().await;
    assert_eq!(keys(std::slice::from_ref(&second)), [["2"]]);
    let late = desk.store.commit(first.claim, ended(&second)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    desk.store.commit(second.claim, ended(&second)).await.unwrap();
    assert_eq!(desk.store.backlog().await.unwrap(), 0);
}

pub async fn what_there_is_no_room_for_is_found_by_looking(desk: &Desk<'_>) {
    let room = Room::of(desk, 2);
    let people = |from: usize| (from..from + 3).map(|person| desk.message(&format!("{person}"), &format!("p{person}")));
    hook(desk, people(0).collect()).await;
    let handed = desk.store.handed().await.unwrap();
    assert_eq!(handed.len(), 2);
    let other = NewEvent {
        channel: OTHER_CHANNEL,
        ..desk.message("other", "eve")
    };
    hook(desk, vec![other, desk.message("9", "p9")]).await;
    assert_eq!(
        keys(&desk.store.handed().await.unwrap()),
        [["other"]],
        "another channel has room of its own"
    );
    let asked = *room.1.lock().unwrap().last().unwrap();
    let in_hand = InHand {
        all: 2,
        fresh: 2,
        of_channel: 0,
        fresh_of_channel: 0,
    };
    assert_eq!(asked, (OTHER_CHANNEL, in_hand));
    let found = desk.store.claim(desk.now(), 10).await.unwrap();
    assert_eq!(keys(&found), [["2"], ["9"]]);
    // Nobody takes any over any more, and what waited comes back.
    let third = NewEvent {
        channel: ChannelId(13),
        ..desk.message("third", "kim")
    };
    hook(desk, vec![third]).await;
    let left = desk.store.hand_over(None);
    assert_eq!(left.len(), 1);
    desk.store.release(left[0]).await.unwrap();
    assert_eq!(keys(&desk.store.claim(desk.now(), 10).await.unwrap()), [["third"]]);
    let in_work = desk.store.lanes_in_work();
    hook(desk, people(20).collect()).await;
    works(desk, in_work);
    assert_eq!(desk.store.claim(desk.now(), 10).await.unwrap().len(), 3);
}

pub async fn who_stops_asking_leaves_what_was_handed_over(desk: &Desk<'_>) {
    Room::of(desk, 8);
    hook(desk, vec![desk.message("1", "ann")]).await;
    // Given up at its first wait, if it waits at all.
    let mut lanes = desk.store.handed().now_or_never().map_or(Vec::new(), Result::unwrap);
    if lanes.is_empty() {
        lanes = desk.store.handed().await.unwrap();
    }
    assert_eq!(keys(&lanes), [["1"]]);
}

pub async fn what_was_put_off_is_not_handed_over(desk: &Desk<'_>) {
    Room::of(desk, 8);
    hook(desk, vec![desk.message("1", "ann")]).await;
    let lane = desk.store.handed().await.unwrap().remove(0);
    let retry = Change::Retry {
        until: desk.now().after(Duration::from_secs(60)),
        cause: cause("503"),
        counts: Attempt::Counts,
    };
    desk.store.commit(lane.claim, vec![retry]).await.unwrap();
    hook(desk, vec![desk.message("2", "ann")]).await;
    let later = NewEvent {
        not_before: Some(desk.now().after(Duration::from_secs(60))),
        ..desk.message("3", "bob")
    };
    hook(desk, vec![later]).await;
    works(desk, 0);
    desk.nothing_to_claim().await;
    desk.pass(61);
    let found = desk.store.claim(desk.now(), 10).await.unwrap();
    assert_eq!(keys(&found), [vec!["1", "2"], vec!["3"]]);
}

pub async fn what_is_told_twice_is_handed_over_once(desk: &Desk<'_>) {
    Room::of(desk, 8);
    let twins = (0..8).map(|_| hook(desk, vec![desk.message("1", "ann")]));
    futures_util::future::join_all(twins).await;
    let handed = desk.store.handed().await.unwrap();
    assert_eq!(keys(&handed), [["1"]]);
    desk.store.commit(handed[0].claim, ended(&handed[0])).await.unwrap();
    hook(desk, vec![desk.message("1", "ann")]).await;
    works(desk, 0);
    desk.nothing_to_claim().await;
}

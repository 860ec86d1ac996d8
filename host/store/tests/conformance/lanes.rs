use std::time::Duration;

use mantle_model::ids::MessageId;
use mantle_store::StoreError;
use mantle_store::intake::{AcceptedEvent, Direction, LaneKey, NewEvent};
use mantle_store::lanes::{Attempt, Change, Claim, ClaimedLane, EffectState, Ending};
use mantle_store::ledger::MessageFilter;
use mantle_store::upkeep::Waiting;

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL, cause};

fn finish(seq: i64) -> Change {
    Change::Finish {
        seq,
        ending: Ending::Done,
    }
}

fn keys(lane: &ClaimedLane) -> Vec<&str> {
    lane.events.iter().map(|event| event.key.as_str()).collect()
}

pub async fn events_of_a_lane_come_in_order_and_one_worker_at_a_time(desk: &Desk<'_>) {
    let (_, ann) = desk.person("0", "ann").await;
    for key in 1..40 {
        desk.person(&key.to_string(), "ann").await;
    }
    let lane = desk.claim().await;
    assert_eq!(
        (lane.identity, lane.channel, lane.key),
        (Some(ann), CHANNEL, ann.to_string())
    );
    let seqs: Vec<i64> = lane.events.iter().map(|event| event.id.seq).collect();
    assert_eq!(seqs, (1..=32).collect::<Vec<_>>());
    desk.nothing_to_claim().await;
    assert_eq!(desk.store.next_ready().await.unwrap(), None);
    desk.store
        .commit(lane.claim, (1..=32).map(finish).collect())
        .await
        .unwrap();
    desk.nothing_to_claim().await;
    desk.store.release(lane.claim).await.unwrap();
    let rest = desk.claim().await;
    assert_eq!(keys(&rest), ["32", "33", "34", "35", "36", "37", "38", "39"]);
    desk.store
        .commit(rest.claim, (33..=40).map(finish).collect())
        .await
        .unwrap();
    desk.store.release(rest.claim).await.unwrap();
    desk.nothing_to_claim().await;
    assert_eq!(desk.store.next_ready().await.unwrap(), None);
    assert_eq!(desk.store.backlog().await.unwrap(), 0);
}

pub async fn an_arrival_during_work_brings_no_second_worker(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    let lane = desk.claim().await;
    desk.person("2", "ann").await;
    desk.nothing_to_claim().await;
    desk.store.commit(lane.claim, vec![finish(1)]).await.unwrap();
    desk.person("3", "ann").await;
    desk.nothing_to_claim().await;
    desk.store.release(lane.claim).await.unwrap();
    assert_eq!(keys(&desk.claim().await), ["2", "3"]);
}

pub async fn a_lost_claim_commits_nothing(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    let first = desk.claim().await;
    desk.store.release(first.claim).await.unwrap();
    let second = desk.claim().await;
    let forged = Claim {
        token: second.claim.token ^ 1,
        ..second.claim
    };
    for lost in [first.claim, forged] {
        let refused = desk.store.commit(lost, vec![finish(1)]).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
        assert!(!desk.store.may_act(lost), "a call under it would be made twice");
    }
    assert!(desk.store.may_act(second.claim));
    // Giving back what one has lost does not take it from the next.
    desk.store.release(first.claim).await.unwrap();
    desk.nothing_to_claim().await;
    desk.store.heartbeat(&[second.claim], desk.now()).await.unwrap();
    desk.store.commit(second.claim, vec![finish(1)]).await.unwrap();
    assert_eq!(desk.store.backlog().await.unwrap(), 0);
}

pub async fn finishing_out_of_turn_is_refused_whole(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    desk.person("2", "ann").await;
    let lane = desk.claim().await;
    let effect = desk.effect("part:0", EffectState::Intent);
    let changes = vec![Change::Effect { seq: 1, effect }, finish(2)];
    let refused = desk.store.commit(lane.claim, changes).await;
    assert!(matches!(refused, Err(StoreError::Inconsistent { .. })), "{refused:?}");
    // The claim holds on, and nothing of the commit happened.
    assert!(
        desk.store
            .open_effects("conversation-1", None)
            .await
            .unwrap()
            .is_empty()
    );
    desk.store.commit(lane.claim, vec![finish(1), finish(2)]).await.unwrap();
    let beyond = desk.store.commit(lane.claim, vec![finish(3)]).await;
    assert!(matches!(beyond, Err(StoreError::Inconsistent { .. })), "{beyond:?}");
}

pub async fn a_repeated_commit_changes_nothing(desk: &Desk<'_>) {
    let (first, _) = desk.person("1", "ann").await;
    desk.person("2", "ann").await;
    let lane = desk.claim().await;
    let changes = || {
        vec![
            Change::Effect {
                seq: 1,
                effect: desk.effect("part:0", EffectState::Done),
            },
            Change::Spawn(desk.chore("spawned", "status")),
            Change::Finish {
                seq: 1,
                ending: Ending::Ignored { why: "echo".into() },
            },
        ]
    };
    desk.store.commit(lane.claim, changes()).await.unwrap();
    desk.store.commit(lane.claim, changes()).await.unwrap();
    assert_eq!(desk.store.backlog().await.unwrap(), 2);
    let trace = desk.store.trace(first).await.unwrap().unwrap();
    assert_eq!(trace.message.reason.as_deref(), Some("echo"));
    assert_eq!(trace.effects.len(), 1);
}

pub async fn a_retry_waits_and_counts_what_counts(desk: &Desk<'_>) {
    let (message, _) = desk.person("1", "ann").await;
    let start = desk.now();
    let retry = |counts| Change::Retry {
        until: desk.now().after(Duration::from_secs(10)),
        cause: cause("429"),
        counts,
    };
    let lane = desk.claim().await;
    assert_eq!((lane.tries, lane.failing_since), (0, None));
    desk.store.commit(lane.claim, vec![retry(Attempt::Free)]).await.unwrap();
    // The lane is free already; giving it back once more is no mistake.
    let late = desk.store.commit(lane.claim, vec![finish(1)]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    desk.store.release(lane.claim).await.unwrap();
    desk.nothing_to_claim().await;
    let until = start.after(Duration::from_secs(10));
    assert_eq!(desk.store.next_ready().await.unwrap(), Some(until));
    // Who comes while the lane waits, waits behind.
    desk.person("2", "ann").await;
    desk.nothing_to_claim().await;

    desk.pass(10);
    let lane = desk.claim().await;
    assert_eq!((lane.tries, lane.failing_since), (0, None));
    desk.store
        .commit(lane.claim, vec![retry(Attempt::Counts)])
        .await
        .unwrap();
    let trace = desk.store.trace(message).await.unwrap().unwrap();
    assert_eq!(
        (trace.tries, trace.next_at),
        (1, Some(start.after(Duration::from_secs(20))))
    );
    desk.pass(10);
    let lane = desk.claim().await;
    assert_eq!((lane.tries, lane.failing_since), (1, Some(until)));
    desk.store.commit(lane.claim, vec![finish(1)]).await.unwrap();
    desk.store.release(lane.claim).await.unwrap();
    let lane = desk.claim().await;
    assert_eq!((keys(&lane), lane.tries, lane.failing_since), (vec!["2"], 0, None));
}

pub async fn a_busy_channel_does_not_crowd_out_others(desk: &Desk<'_>) {
    for person in 0..20 {
        desk.person(&format!("busy-{person}"), &format!("p{person}")).await;
        desk.pass(1);
    }
    let quiet = NewEvent {
        channel: OTHER_CHANNEL,
        ..desk.message("quiet", "q")
    };
    desk.put(quiet).await;
    let mut lanes = desk.store.claim(desk.now(), 3).await.unwrap();
    lanes.sort_by_key(|lane| lane.events[0].id.lane);
    let first: Vec<&str> = lanes.iter().map(|lane| lane.events[0].key.as_str()).collect();
    // Oldest first within a channel.
    assert_eq!(first, ["busy-0", "busy-1", "quiet"]);
    let more = desk.store.claim(desk.now(), 100).await.unwrap();
    assert_eq!(more.len(), 18);
    desk.nothing_to_claim().await;
}

pub async fn a_delayed_event_waits_for_its_time(desk: &Desk<'_>) {
    let later = desk.now().after(Duration::from_secs(30));
    let delayed = |key: &str| NewEvent {
        not_before: Some(later),
        ..desk.chore(key, "note:x")
    };
    desk.put(delayed("1")).await;
    desk.nothing_to_claim().await;
    assert_eq!(desk.store.next_ready().await.unwrap(), Some(later));
    let now = NewEvent {
        lane: LaneKey::Chore("note:y".into()),
        ..desk.chore("2", "note:y")
    };
    desk.put(now).await;
    let behind = NewEvent {
        lane: LaneKey::Chore("note:y".into()),
        ..delayed("3")
    };
    desk.put(behind).await;
    let lane = desk.claim().await;
    assert_eq!(
        (lane.key.as_str(), keys(&lane), lane.identity),
        ("note:y", vec!["2"], None)
    );
    desk.store.commit(lane.claim, vec![finish(1)]).await.unwrap();
    desk.store.release(lane.claim).await.unwrap();
    desk.nothing_to_claim().await;
    desk.pass(30);
    let lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    let mut due: Vec<&str> = lanes.iter().flat_map(keys).collect();
    due.sort_unstable();
    assert_eq!(due, ["1", "3"]);
}

pub async fn p3_what_goes_ahead_stands_beside_the_persons_own_queue(desk: &Desk<'_>) {
    let (_, ann) = desk.person("1", "ann").await;
    desk.work(Vec::new(), Ending::Done).await;
    let standing = async |key: &str| desk.store.standing(CHANNEL, Direction::Out, key).await.unwrap();
    assert_eq!(standing("a").await, None);
    let (own, _) = desk.put(desk.reply("b", ann)).await;
    let first = desk.claim().await;
    assert!(!first.is_ahead());
    let ahead = NewEvent {
        lane: LaneKey::Ahead(ann),
        ..desk.reply("a", ann)
    };
    let retry = Change::Retry {
        until: desk.now().after(Duration::from_secs(1)),
        cause: cause("in-line"),
        counts: Attempt::Free,
    };
    desk.store
        .commit(first.claim, vec![Change::Spawn(ahead.clone()), retry])
        .await
        .unwrap();
    let beside = desk.claim().await;
    assert!(beside.is_ahead(), "{beside:?}");
    assert_eq!((keys(&beside), beside.identity), (vec!["a"], Some(ann)));
    let before = standing("a").await.unwrap();
    assert_eq!((before.message, before.finished), (beside.events[0].id, false));
    // Told once more in the ordinary way it is known.
    let told = desk.store.enqueue(vec![desk.reply("a", ann)]).await.unwrap();
    assert_eq!(told, [AcceptedEvent::Duplicate { of: before.message }]);
    desk.store.commit(beside.claim, vec![finish(1)]).await.unwrap();
    desk.store.release(beside.claim).await.unwrap();
    assert!(standing("a").await.unwrap().finished);
    let waits = standing("b").await.unwrap();
    assert_eq!((waits.message, waits.finished), (own, false));
    // It is one of the person's messages, wherever it stands.
    let filter = MessageFilter {
        identities: Some(vec![ann]),
        limit: 10,
        ..MessageFilter::default()
    };
    assert_eq!(desk.store.messages(&filter).await.unwrap().len(), 3);
}

pub async fn f8_what_waits_is_counted_by_channel_and_direction(desk: &Desk<'_>) {
    assert_eq!(desk.store.waiting().await.unwrap(), []);
    let (_, ann) = desk.person("1", "ann").await;
    desk.put(desk.message("2", "ann")).await;
    desk.put(desk.message("3", "bob")).await;
    desk.put(desk.reply("4", ann)).await;
    let elsewhere = NewEvent {
        channel: OTHER_CHANNEL,
        ..desk.message("5", "eve")
    };
    desk.put(elsewhere).await;
    let row = |channel, direction, events| Waiting {
        channel,
        direction,
        events,
    };
    let other = row(OTHER_CHANNEL, Direction::In, 1);
    let waiting = async || {
        let mut rows = desk.store.waiting().await.unwrap();
        rows.sort_by_key(|row| (row.channel.0, row.direction == Direction::Out));
        rows
    };
    let mine = |inbound| vec![row(CHANNEL, Direction::In, inbound), row(CHANNEL, Direction::Out, 1)];
    let with_other = |mut rows: Vec<Waiting>| {
        rows.push(other);
        rows.sort_by_key(|row| (row.channel.0, row.direction == Direction::Out));
        rows
    };
    assert_eq!(waiting().await, with_other(mine(3)));
    // What is in work has not come to its end either.
    let lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    assert_eq!(waiting().await, with_other(mine(3)));
    let anns = lanes.iter().find(|lane| keys(lane) == ["1", "2"]).unwrap();
    desk.store.commit(anns.claim, vec![finish(1)]).await.unwrap();
    assert_eq!(waiting().await, with_other(mine(2)));
}

pub async fn a_channel_that_came_back_wakes_its_lanes(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let retry = Change::Retry {
        until: desk.now().after(Duration::from_secs(3600)),
        cause: cause("offline"),
        counts: Attempt::Free,
    };
    desk.store.commit(lane.claim, vec![retry]).await.unwrap();
    desk.store.wake_channel(OTHER_CHANNEL, desk.now()).await.unwrap();
    desk.nothing_to_claim().await;
    desk.store.wake_channel(CHANNEL, desk.now()).await.unwrap();
    assert_eq!(keys(&desk.claim().await), ["1"]);
}

pub async fn effects_stay_with_their_event(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let intent = desk.effect("contact", EffectState::Intent);
    let change = |effect| vec![Change::Effect { seq: 1, effect }];
    desk.store.commit(lane.claim, change(intent.clone())).await.unwrap();
    let done = mantle_store::lanes::Effect {
        state: EffectState::Done,
        remote_id: Some("c1".into()),
        ended_at: Some(desk.now()),
        ..intent
    };
    desk.store.commit(lane.claim, change(done.clone())).await.unwrap();
    let second = desk.effect("part:0", EffectState::Ambiguous);
    desk.store.commit(lane.claim, change(second.clone())).await.unwrap();
    desk.store.release(lane.claim).await.unwrap();
    let event = desk.claim().await.events.remove(0);
    assert_eq!(event.effect("contact"), Some(&done));
    assert_eq!(event.effect("part:0"), Some(&second));
    assert_eq!((event.effects.len(), event.attempt_no), (2, 0));
}

pub async fn open_effects_are_found_by_target(desk: &Desk<'_>) {
    let (first, _) = desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let change = |step, state| Change::Effect {
        seq: 1,
        effect: desk.effect(step, state),
    };
    let changes = vec![
        change("a", EffectState::Intent),
        change("b", EffectState::Done),
        change("c", EffectState::Ambiguous),
        change("d", EffectState::Failed),
    ];
    desk.store.commit(lane.claim, changes).await.unwrap();
    let steps = async |target: &str, except: Option<MessageId>| {
        let open = desk.store.open_effects(target, except).await.unwrap();
        open.into_iter().map(|effect| effect.step).collect::<Vec<_>>()
    };
    assert_eq!(steps("conversation-1", None).await, ["a", "c"]);
    assert!(steps("conversation-1", Some(first)).await.is_empty());
    assert!(steps("conversation-2", None).await.is_empty());
}

pub async fn a_spawned_event_comes_with_the_commit_or_not_at_all(desk: &Desk<'_>) {
    desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let spawn = || Change::Spawn(desk.chore("note", "note:x"));
    let refused = desk.store.commit(lane.claim, vec![spawn(), finish(7)]).await;
    assert!(refused.is_err());
    desk.nothing_to_claim().await;
    desk.store.commit(lane.claim, vec![spawn(), finish(1)]).await.unwrap();
    assert_eq!(keys(&desk.claim().await), ["note"]);
}

pub async fn a_waiting_worker_is_woken_by_an_arrival(desk: &Desk<'_>) {
    // The wake-up of an arrival before the wait is not lost, and a wait without any ends by itself.
    desk.person("1", "ann").await;
    desk.store.wait_ready().await;
    desk.store.wait_ready().await;
    assert_eq!(desk.store.next_ready().await.unwrap(), Some(desk.now()));
    assert_eq!(keys(&desk.claim().await), ["1"]);
}

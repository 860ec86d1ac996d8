//! Dropping what is old, and what waits for a person.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::inbound::DeliveryReport;
use mantle_store::intake::{AcceptedEvent, ReceiptState};
use mantle_store::lanes::{Change, EffectState, Ending};
use mantle_store::upkeep::{HookFilter, Kept, Restored};

use crate::desk::{CHANNEL, Desk, WORKSPACE, cause};

const DAY: u64 = 24 * 60 * 60;
/// So few that every kind takes several steps.
const ROWS: u32 = 2;

/// All steps of a pass; how much went.
async fn prune(desk: &Desk<'_>, what: Kept, before: Time) -> u32 {
    let (mut gone, mut from) = (0, Some(0));
    while let Some(place) = from {
        let step = desk.store.prune(what, before, place, ROWS).await.unwrap();
        assert!(step.gone <= ROWS || what == Kept::Reports, "{what:?}: {step:?}");
        gone += step.gone;
        from = step.next;
    }
    gone
}

pub async fn pv_2_finished_messages_go_with_all_that_belongs_to_them(desk: &Desk<'_>) {
    let (_, identity) = desk.person("first", "ada").await;
    desk.work(Vec::new(), Ending::Done).await;
    let mut old = Vec::new();
    for key in ["a", "b", "c"] {
        let (message, _) = desk.put(desk.reply(key, identity)).await;
        let lane = desk.claim().await;
        let changes = vec![
            Change::Effect {
                seq: message.seq,
                effect: desk.effect("send:0", EffectState::Done),
            },
            Change::Outgoing {
                seq: message.seq,
                step: "send:0".into(),
                remote_id: format!("sms-{key}"),
            },
            Change::Report {
                remote_id: format!("sms-{key}"),
                report: DeliveryReport::Delivered,
                at: desk.now(),
                code: None,
            },
            Change::Finish {
                seq: message.seq,
                ending: Ending::Failed { cause: cause("x") },
            },
        ];
        desk.store.commit(lane.claim, changes).await.unwrap();
        desk.store.release(lane.claim).await.unwrap();
        old.push(message);
    }
    // One waits on, one is put in line again.
    let replayed = desk.store.replay(old[2], desk.now()).await.unwrap();
    desk.pass(10 * DAY);
    let before = desk.now().before(Duration::from_secs(DAY));
    let (young, _) = desk.put(desk.message("young", "ada")).await;
    assert_eq!(prune(desk, Kept::Messages, before).await, 3, "the first, a and b");
    for message in &old[..2] {
        assert!(desk.store.trace(*message).await.unwrap().is_none());
    }
    let kept = desk.store.trace(old[2]).await.unwrap().unwrap();
    assert_eq!(
        (kept.effects.len(), kept.reports.len()),
        (1, 1),
        "a message goes after its replays"
    );
    assert!(
        desk.store.trace(replayed).await.unwrap().is_some(),
        "what is not finished stays"
    );
    assert!(desk.store.trace(young).await.unwrap().is_some());
    let by_id = desk.store.message_by_remote_id(CHANNEL, "sms-a").await.unwrap();
    assert!(by_id.is_none());
    // The person is known as before.
    assert_eq!(desk.put(desk.message("again", "ada")).await.1, Some(identity));
    assert_eq!(
        desk.store
            .enqueue(vec![desk.message("first", "ada")])
            .await
            .unwrap()
            .len(),
        1
    );
}

pub async fn in_5_keys_outlive_their_messages(desk: &Desk<'_>) {
    desk.person("a", "ada").await;
    desk.work(Vec::new(), Ending::Done).await;
    desk.pass(30 * DAY);
    let before = desk.now().before(Duration::from_secs(DAY));
    assert_eq!(prune(desk, Kept::Messages, before).await, 1);
    let again = desk.store.enqueue(vec![desk.message("a", "ada")]).await.unwrap();
    assert!(matches!(again[0], AcceptedEvent::Duplicate { .. }), "{again:?}");
    assert_eq!(prune(desk, Kept::Keys, before).await, 1);
    desk.put(desk.message("a", "ada")).await;
}

pub async fn raw_hooks_go_but_for_those_still_to_be_read(desk: &Desk<'_>) {
    let unread = ReceiptState::Unparsed {
        problem: "trap".into(),
        next_at: desk.now(),
    };
    let parked = ReceiptState::Parked {
        problem: "no text".into(),
    };
    let mut ids = Vec::new();
    for (body, state) in [
        ("1", ReceiptState::Parsed),
        ("2", unread),
        ("3", parked),
        ("4", ReceiptState::Parsed),
    ] {
        let events = match state {
            ReceiptState::Parsed => vec![desk.message(body, "ada")],
            _ => Vec::new(),
        };
        let receipt = desk.receipt(body, state);
        ids.push(desk.store.accept(receipt, events).await.unwrap().receipt);
    }
    desk.pass(40 * DAY);
    let young = desk.receipt("5", ReceiptState::Parsed);
    let young = desk
        .store
        .accept(young, vec![desk.message("5", "ada")])
        .await
        .unwrap()
        .receipt;
    let before = desk.now().before(Duration::from_secs(30 * DAY));
    assert_eq!(prune(desk, Kept::Receipts, before).await, 3);
    assert!(
        desk.store.receipt(ids[1]).await.unwrap().is_some(),
        "it is somebody's message"
    );
    assert!(desk.store.receipt(ids[2]).await.unwrap().is_none());
    assert!(desk.store.receipt(young).await.unwrap().is_some());
}

pub async fn own_parts_and_strange_reports_go_in_time(desk: &Desk<'_>) {
    desk.connect().await;
    desk.put(desk.chore("s", "status:1")).await;
    let mut changes: Vec<Change> = (0..5)
        .map(|part| Change::OwnPart {
            part: format!("part-{part}"),
        })
        .collect();
    changes.extend((0..5).map(|number| Change::Report {
        remote_id: format!("unknown-{number}"),
        report: DeliveryReport::Sent,
        at: desk.now(),
        code: None,
    }));
    desk.work(changes, Ending::Done).await;
    let before = desk.now();
    assert_eq!(prune(desk, Kept::OwnParts, before).await, 0);
    assert_eq!(prune(desk, Kept::Reports, before).await, 0);
    desk.pass(2 * DAY);
    let before = desk.now();
    assert_eq!(prune(desk, Kept::OwnParts, before).await, 5);
    assert_eq!(prune(desk, Kept::Reports, before).await, 5);
    assert!(!desk.store.is_own_part(WORKSPACE, "part-0").await.unwrap());
}

pub async fn p_5_parked_hooks_are_listed_and_read_again(desk: &Desk<'_>) {
    let mut ids = Vec::new();
    for body in ["1", "2", "3"] {
        let parked = ReceiptState::Parked {
            problem: format!("no text in {body}"),
        };
        let accepted = desk.store.accept(desk.receipt(body, parked), Vec::new()).await.unwrap();
        ids.push(accepted.receipt);
        desk.pass(60);
    }
    let filter = HookFilter {
        parked: true,
        limit: 2,
        ..HookFilter::default()
    };
    let page = desk.store.hooks(&filter).await.unwrap();
    let listed: Vec<_> = page.iter().map(|hook| hook.id).collect();
    assert_eq!(listed, [ids[2], ids[1]], "newest first");
    assert_eq!(page[0].problem, "no text in 3");
    let next = HookFilter {
        after: Some(ids[1]),
        ..filter.clone()
    };
    assert_eq!(desk.store.hooks(&next).await.unwrap()[0].id, ids[0]);
    assert_eq!(desk.store.figures(desk.now()).await.unwrap().hooks_parked, 3);

    desk.store.read_hook_again(ids[0], desk.now()).await.unwrap();
    let due = desk.store.unparsed(desk.now(), 10).await.unwrap();
    assert_eq!(
        (due.len(), due[0].id, due[0].tries),
        (1, ids[0], 0),
        "with all its tries"
    );
    desk.store
        .reparsed(ids[0], ReceiptState::Parsed, vec![desk.message("1", "ada")])
        .await
        .unwrap();
    assert!(desk.store.hook(ids[0]).await.unwrap().is_none());
    assert!(
        desk.store.read_hook_again(ids[0], desk.now()).await.is_err(),
        "it was read"
    );
    let unread = HookFilter {
        parked: false,
        ..filter
    };
    assert!(desk.store.hooks(&unread).await.unwrap().is_empty());
}

pub async fn figures_tell_how_things_stand(desk: &Desk<'_>) {
    assert!(desk.store.figures(desk.now()).await.unwrap().ready.is_empty());
    desk.person("a", "ada").await;
    desk.person("b", "bob").await;
    desk.pass(90);
    let figures = desk.store.figures(desk.now()).await.unwrap();
    assert_eq!(figures.ready, [(CHANNEL, 2, Duration::from_secs(90))]);
    let lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    let figures = desk.store.figures(desk.now()).await.unwrap();
    assert!(figures.ready.is_empty(), "what is worked waits for nobody");
    let (first, second) = (&lanes[0], &lanes[1]);
    let announced = Change::Effect {
        seq: 1,
        effect: desk.effect("part:0", EffectState::Ambiguous),
    };
    desk.store.commit(first.claim, vec![announced]).await.unwrap();
    let given_up = Change::Finish {
        seq: 1,
        ending: Ending::Dead { cause: cause("x") },
    };
    desk.store.commit(second.claim, vec![given_up]).await.unwrap();
    let figures = desk.store.figures(desk.now()).await.unwrap();
    assert_eq!((figures.effects_ambiguous, figures.dead), (1, 1));
    desk.store.release(second.claim).await.unwrap();
    desk.store.replay(second.events[0].id, desk.now()).await.unwrap();
    assert_eq!(
        desk.store.figures(desk.now()).await.unwrap().dead,
        0,
        "it is in line again"
    );
}

pub async fn a_16_unfinished_events_are_told_and_put_in_doubt(desk: &Desk<'_>) {
    desk.connect().await;
    let (one, identity) = desk.person("a", "ada").await;
    let (two, _) = desk.put(desk.message("b", "ada")).await;
    desk.work(Vec::new(), Ending::Done).await;
    let (reply, _) = desk.put(desk.reply("r", identity)).await;
    let page = desk.store.unfinished(None, 1).await.unwrap();
    let rest = desk.store.unfinished(Some(page[0].id), 10).await.unwrap();
    let all: Vec<_> = page.iter().chain(&rest).collect();
    let ids: Vec<_> = all.iter().map(|event| event.id).collect();
    assert!(
        ids.contains(&two) && ids.contains(&reply) && !ids.contains(&one),
        "{ids:?}"
    );
    assert_eq!(ids.len(), 2);
    assert!(all.iter().all(|event| event.opens && event.workspace == WORKSPACE));

    let known = desk.effect("send:0", EffectState::Done);
    let lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    let lane = lanes.iter().find(|lane| lane.claim.lane == reply.lane).unwrap();
    let change = Change::Effect {
        seq: reply.seq,
        effect: known,
    };
    desk.store.commit(lane.claim, vec![change]).await.unwrap();
    let doubtful = |step: &str| desk.effect(step, EffectState::Ambiguous);
    let doubts = [(two, doubtful("part:0")), (reply, doubtful("send:0"))];
    desk.store.doubt(&doubts).await.unwrap();
    desk.store.doubt(&doubts).await.unwrap();
    let state = async |message| {
        let trace = desk.store.trace(message).await.unwrap().unwrap();
        trace.effects[0].1.state
    };
    assert_eq!(state(two).await, EffectState::Ambiguous);
    assert_eq!(state(reply).await, EffectState::Done, "what is known stays");

    assert_eq!(desk.store.restored().await.unwrap(), None);
    let restored = Restored {
        taken_at: desk.now(),
        restored_at: desk.now(),
        reconciled: true,
    };
    desk.store.set_restored(restored).await.unwrap();
    assert_eq!(desk.store.restored().await.unwrap(), Some(restored));
}

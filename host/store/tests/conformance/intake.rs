use futures_util::future::join_all;
use mantle_model::ids::ReceiptId;
use mantle_model::inbound::AliasKind;
use mantle_store::StoreError;
use mantle_store::intake::{AcceptedEvent, Direction, LaneKey, NewEvent, ReceiptState};

use crate::desk::{CHANNEL, Desk, alias, id};

fn unparsed(at: mantle_model::clock::Time) -> ReceiptState {
    ReceiptState::Unparsed {
        problem: "the connector trapped".into(),
        next_at: at,
    }
}

fn new_ones(events: &[AcceptedEvent]) -> usize {
    let is_new = |event: &&AcceptedEvent| matches!(event, AcceptedEvent::New { .. });
    events.iter().filter(is_new).count()
}

pub async fn an_event_told_twice_in_turn_is_stored_once(desk: &Desk<'_>) {
    let first = desk.receipt("{}", ReceiptState::Parsed);
    let first = desk.store.accept(first, vec![desk.message("k", "ann")]).await.unwrap();
    let AcceptedEvent::New { message, .. } = first.events[0] else {
        panic!("{first:?}");
    };
    let again = desk.receipt("{}", ReceiptState::Parsed);
    let again_id = again.id;
    let again = desk.store.accept(again, vec![desk.message("k", "ann")]).await.unwrap();
    assert_eq!(again.events, [AcceptedEvent::Duplicate { of: message }]);
    // Nothing new in it: the first receipt is the evidence, the second is not kept.
    assert_eq!(again.receipt, first.receipt);
    assert!(desk.store.receipt(again_id).await.unwrap().is_none());
    let trace = desk.store.trace(message).await.unwrap().unwrap();
    assert_eq!((trace.message.deliveries, trace.receipt), (2, Some(first.receipt)));
    assert_eq!(desk.claim().await.events.len(), 1);
}

pub async fn an_event_told_twice_in_one_request_is_stored_once(desk: &Desk<'_>) {
    let events = vec![
        desk.message("k", "ann"),
        desk.message("k", "ann"),
        desk.message("l", "ann"),
    ];
    let receipt = desk.receipt("{}", ReceiptState::Parsed);
    let accepted = desk.store.accept(receipt, events).await.unwrap();
    let AcceptedEvent::New { message, identity } = accepted.events[0] else {
        panic!("{accepted:?}");
    };
    assert_eq!(accepted.events[1], AcceptedEvent::Duplicate { of: message });
    // The same person in the same commit is the same identity.
    assert!(matches!(accepted.events[2], AcceptedEvent::New { identity: other, .. } if other == identity));
    assert_eq!(desk.claim().await.events.len(), 2);
}

pub async fn an_event_told_many_times_at_once_is_stored_once(desk: &Desk<'_>) {
    let calls = (0..50).map(|_| {
        let receipt = desk.receipt("{}", ReceiptState::Parsed);
        desk.store.accept(receipt, vec![desk.message("k", "ann")])
    });
    let outcomes = join_all(calls).await;
    let stored: usize = outcomes.iter().map(|one| new_ones(&one.as_ref().unwrap().events)).sum();
    assert_eq!(stored, 1);
    let lane = desk.claim().await;
    let trace = desk.store.trace(lane.events[0].id).await.unwrap().unwrap();
    assert_eq!((lane.events.len(), trace.message.deliveries), (1, 50));
}

pub async fn one_key_in_both_directions_names_two_events(desk: &Desk<'_>) {
    let (_, identity) = desk.person("k", "ann").await;
    let (message, _) = desk.put(desk.reply("k", identity)).await;
    let row = desk.store.trace(message).await.unwrap().unwrap().message;
    assert_eq!((row.direction, row.identity), (Direction::Out, Some(identity)));
}

pub async fn receipts_are_read_back_as_they_came(desk: &Desk<'_>) {
    let receipt = desk.receipt("\u{0}\u{1}body", ReceiptState::Parsed);
    desk.store.accept(receipt.clone(), Vec::new()).await.unwrap();
    let kept = desk.store.receipt(receipt.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.hook, kept.origin, kept.state),
        (receipt.hook, receipt.origin, receipt.state)
    );
    assert!(desk.store.receipt(ReceiptId(1)).await.unwrap().is_none());
}

pub async fn in_7_an_unread_hook_told_again_is_kept_once(desk: &Desk<'_>) {
    let first = desk.receipt("?", unparsed(desk.now()));
    let first = desk.store.accept(first, Vec::new()).await.unwrap();
    for _ in 0..3 {
        let again = desk.receipt("?", unparsed(desk.now()));
        assert_eq!(
            desk.store.accept(again, Vec::new()).await.unwrap().receipt,
            first.receipt
        );
    }
    let other = desk.receipt("!", unparsed(desk.now()));
    let other = desk.store.accept(other, Vec::new()).await.unwrap();
    let due: Vec<_> = desk.store.unparsed(desk.now(), 10).await.unwrap();
    let due: Vec<ReceiptId> = due.iter().map(|one| one.id).collect();
    assert_eq!(due, [first.receipt, other.receipt]);
}

pub async fn in_7_good_items_of_a_parked_hook_are_stored(desk: &Desk<'_>) {
    let state = ReceiptState::Parked {
        problem: "item 2 has no sender".into(),
    };
    let receipt = desk.receipt("[1,2]", state.clone());
    let accepted = desk
        .store
        .accept(receipt, vec![desk.message("k", "ann")])
        .await
        .unwrap();
    assert_eq!(new_ones(&accepted.events), 1);
    let kept = desk.store.receipt(accepted.receipt).await.unwrap().unwrap();
    assert_eq!(kept.state, state);
    assert_eq!(desk.claim().await.events[0].receipt, Some(accepted.receipt));
}

pub async fn an_unread_hook_is_due_in_time_and_read_later(desk: &Desk<'_>) {
    let later = desk.now().after(std::time::Duration::from_secs(10));
    let receipt = desk.receipt("?", unparsed(later));
    let id = receipt.id;
    desk.store.accept(receipt, Vec::new()).await.unwrap();
    assert!(desk.store.unparsed(desk.now(), 10).await.unwrap().is_empty());
    desk.pass(10);
    let due = desk.store.unparsed(desk.now(), 10).await.unwrap();
    assert_eq!(
        (due[0].id, due[0].tries, due[0].hook.body.as_slice()),
        (id, 0, b"?".as_slice())
    );

    let again = desk.now().after(std::time::Duration::from_secs(10));
    desk.store.reparsed(id, unparsed(again), Vec::new()).await.unwrap();
    desk.pass(10);
    assert_eq!(desk.store.unparsed(desk.now(), 10).await.unwrap()[0].tries, 1);

    let events = vec![desk.message("k", "ann")];
    let accepted = desk.store.reparsed(id, ReceiptState::Parsed, events).await.unwrap();
    assert_eq!((accepted.receipt, new_ones(&accepted.events)), (id, 1));
    assert!(desk.store.unparsed(desk.now(), 10).await.unwrap().is_empty());
    assert_eq!(desk.claim().await.events[0].receipt, Some(id));
    let missing = desk
        .store
        .reparsed(ReceiptId(1), ReceiptState::Parsed, Vec::new())
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

pub async fn a_customer_who_wrote_opens_the_window(desk: &Desk<'_>) {
    let (_, identity) = desk.person("k", "ann").await;
    let start = desk.now();
    let read = async || desk.store.identity(identity).await.unwrap().unwrap();
    assert_eq!(read().await.last_inbound_at, Some(start));

    let lane = desk.claim().await;
    let closed = mantle_store::lanes::Change::WindowClosed { identity };
    desk.store.commit(lane.claim, vec![closed]).await.unwrap();
    assert!(read().await.window_closed);

    // What came late does not shorten the window, what is no message does not open it.
    let late = NewEvent {
        at: start.before(std::time::Duration::from_secs(5)),
        opens_window: false,
        ..desk.message("l", "ann")
    };
    desk.put(late).await;
    let person = read().await;
    assert_eq!((person.last_inbound_at, person.window_closed), (Some(start), true));

    desk.pass(60);
    let named = NewEvent {
        lane: LaneKey::Person {
            aliases: vec![id("ann"), alias(AliasKind::Handle, "@ann")],
            name: Some("Ann".into()),
            language: Some("de".into()),
        },
        ..desk.message("m", "ann")
    };
    desk.put(named).await;
    let person = read().await;
    assert_eq!(
        (person.last_inbound_at, person.window_closed),
        (Some(desk.now()), false)
    );
    assert_eq!(
        (person.name.as_deref(), person.language.as_deref()),
        (Some("Ann"), Some("de"))
    );
    assert_eq!((person.channel, person.aliases.len()), (CHANNEL, 2));
    // A message that does not name its sender leaves the name.
    desk.put(desk.message("n", "ann")).await;
    assert_eq!(read().await.name.as_deref(), Some("Ann"));
}

use std::time::Duration;

use mantle_model::delivery::{InboundState, OutboundState};
use mantle_model::ids::{IdentityId, MessageId};
use mantle_model::inbound::DeliveryReport;
use mantle_store::StoreError;
use mantle_store::intake::NewEvent;
use mantle_store::lanes::{Attempt, Change, EffectState, Ending, Hop};
use mantle_store::ledger::{MessageFilter, MessageState, Trace};

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL, cause};

async fn trace(desk: &Desk<'_>, message: MessageId) -> Trace {
    desk.store.trace(message).await.unwrap().unwrap()
}

async fn state(desk: &Desk<'_>, message: MessageId) -> MessageState {
    trace(desk, message).await.message.state
}

/// An identity whose lanes are empty.
async fn ann(desk: &Desk<'_>) -> IdentityId {
    let (_, identity) = desk.person("first", "ann").await;
    desk.work(Vec::new(), Ending::Done).await;
    identity
}

fn outgoing(step: &str, remote_id: &str) -> Change {
    Change::Outgoing {
        seq: 1,
        step: step.into(),
        remote_id: remote_id.into(),
    }
}

fn report(desk: &Desk<'_>, remote_id: &str, report: DeliveryReport) -> Change {
    Change::Report {
        remote_id: remote_id.into(),
        report,
        at: desk.now(),
        code: (report == DeliveryReport::Failed).then(|| "131047".to_owned()),
    }
}

/// A status arrives in a lane of its own.
async fn tell(desk: &Desk<'_>, key: &str, change: Change) {
    desk.put(desk.chore(key, "status")).await;
    desk.work(vec![change], Ending::Done).await;
}

pub async fn in_10_a_message_goes_from_stored_to_posted(desk: &Desk<'_>) {
    let (message, identity) = desk.person("1", "ann").await;
    let row = trace(desk, message).await.message;
    assert_eq!(row.state, MessageState::In(InboundState::Stored));
    assert_eq!(
        (row.id, row.channel, row.identity, row.deliveries),
        (message, CHANNEL, Some(identity), 1)
    );
    assert_eq!(
        (row.kind.as_str(), row.remote_id.as_deref()),
        ("message", Some("remote-1"))
    );
    let hop = Hop {
        at: desk.now(),
        what: "contact found".into(),
        code: Some("200".into()),
        detail: None,
    };
    let hop_change = Change::Hop {
        seq: 1,
        hop: hop.clone(),
    };
    desk.work(vec![hop_change], Ending::Done).await;
    let after = trace(desk, message).await;
    assert_eq!(after.message.state, MessageState::In(InboundState::Posted));
    assert_eq!(
        (after.hops, after.payload, after.message.reason),
        (vec![hop], b"1".to_vec(), None)
    );
    let nobody = MessageId { seq: 99, ..message };
    assert!(desk.store.trace(nobody).await.unwrap().is_none());
}

pub async fn endings_tell_their_reason(desk: &Desk<'_>) {
    let identity = ann(desk).await;
    let told = || Some("It did not work. (E1)".to_owned());
    let outbound = [
        (Ending::Failed { cause: cause("E1") }, OutboundState::Failed),
        (Ending::Unknown { cause: cause("E1") }, OutboundState::Unknown),
        (Ending::Dead { cause: cause("E1") }, OutboundState::Failed),
    ];
    for (place, (ending, expected)) in outbound.into_iter().enumerate() {
        let (message, _) = desk.put(desk.reply(&format!("out-{place}"), identity)).await;
        assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Queued));
        desk.work(Vec::new(), ending).await;
        let row = trace(desk, message).await.message;
        assert_eq!((row.state, row.reason), (MessageState::Out(expected), told()));
    }
    let (message, _) = desk.person("dead", "ann").await;
    desk.work(Vec::new(), Ending::Dead { cause: cause("E1") }).await;
    let row = trace(desk, message).await.message;
    assert_eq!((row.state, row.reason), (MessageState::In(InboundState::Dead), told()));
    let (message, _) = desk.person("echo", "ann").await;
    desk.work(Vec::new(), Ending::Ignored { why: "echo".into() }).await;
    let row = trace(desk, message).await.message;
    assert_eq!(
        (row.state, row.reason.as_deref()),
        (MessageState::In(InboundState::Ignored), Some("echo"))
    );
}

/// Every order of these, by swapping.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for place in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(place);
        for mut tail in orders(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

pub async fn ap_2_reports_give_one_state_in_every_order(desk: &Desk<'_>) {
    use DeliveryReport as R;
    let identity = ann(desk).await;
    let sets: [(&[R], OutboundState); 5] = [
        (&[R::Sent, R::Delivered, R::Read], OutboundState::Read),
        (&[R::Sent, R::Delivered], OutboundState::Delivered),
        (&[R::Sent, R::Failed], OutboundState::Failed),
        (&[R::Delivered, R::Failed], OutboundState::Delivered),
        (&[R::Sent, R::Sent], OutboundState::Sent),
    ];
    let mut run = 0;
    for (reports, expected) in sets {
        // None is our own answer of the send, which may come before, between or after the reports.
        let mut steps: Vec<Option<R>> = reports.iter().copied().map(Some).collect();
        steps.push(None);
        for order in orders(&steps) {
            run += 1;
            let remote_id = format!("wamid-{run}");
            let (message, _) = desk.put(desk.reply(&format!("out-{run}"), identity)).await;
            let lane = desk.claim().await;
            for (place, step) in order.iter().enumerate() {
                match step {
                    Some(told) => {
                        tell(desk, &format!("{run}-{place}"), report(desk, &remote_id, *told)).await;
                    }
                    None => {
                        let changes = vec![
                            Change::Outgoing {
                                seq: message.seq,
                                step: "send:0".into(),
                                remote_id: remote_id.clone(),
                            },
                            Change::Finish {
                                seq: message.seq,
                                ending: Ending::Done,
                            },
                        ];
                        desk.store.commit(lane.claim, changes).await.unwrap();
                    }
                }
            }
            desk.store.release(lane.claim).await.unwrap();
            assert_eq!(state(desk, message).await, MessageState::Out(expected), "{order:?}");
        }
    }
}

pub async fn ap_2_a_message_in_parts_is_as_far_as_its_last_part(desk: &Desk<'_>) {
    use DeliveryReport as R;
    let identity = ann(desk).await;
    let (message, _) = desk.put(desk.reply("out", identity)).await;
    let lane = desk.claim().await;
    let begun = Change::Effect {
        seq: 1,
        effect: desk.effect("send:0", EffectState::Intent),
    };
    desk.store.commit(lane.claim, vec![begun]).await.unwrap();
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Sending));
    desk.store.release(lane.claim).await.unwrap();
    desk.work(vec![outgoing("send:0", "a"), outgoing("send:1", "b")], Ending::Done)
        .await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Accepted));
    tell(desk, "1", report(desk, "a", R::Read)).await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Accepted));
    tell(desk, "2", report(desk, "b", R::Delivered)).await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Delivered));
    let reports = trace(desk, message).await.reports;
    assert_eq!(
        reports,
        [
            ("b".to_owned(), R::Delivered, desk.now(), None),
            ("a".to_owned(), R::Read, desk.now(), None)
        ]
    );

    let (message, _) = desk.put(desk.reply("out2", identity)).await;
    let two = |step: &str, remote_id: &str| Change::Outgoing {
        seq: 2,
        step: step.into(),
        remote_id: remote_id.into(),
    };
    desk.work(vec![two("send:0", "c"), two("send:1", "d")], Ending::Done)
        .await;
    tell(desk, "3", report(desk, "c", R::Read)).await;
    tell(desk, "4", report(desk, "d", R::Failed)).await;
    let row = trace(desk, message).await.message;
    assert_eq!(row.state, MessageState::Out(OutboundState::Failed));
    assert_eq!(row.reason.as_deref(), Some("131047"));
}

pub async fn an_unknown_message_that_arrives_after_all_is_known(desk: &Desk<'_>) {
    let identity = ann(desk).await;
    let (message, _) = desk.put(desk.reply("out", identity)).await;
    let doubtful = |step| Change::Effect {
        seq: 1,
        effect: desk.effect(step, EffectState::Ambiguous),
    };
    let unknown = Ending::Unknown {
        cause: cause("timeout"),
    };
    desk.work(vec![outgoing("send:0", "a"), doubtful("send:1")], unknown)
        .await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Unknown));
    // A report by an id that nobody knows yet changes nothing …
    tell(desk, "early", report(desk, "b", DeliveryReport::Delivered)).await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Unknown));
    // … until the id is recognised as that of the doubtful part.
    desk.put(desk.reply("next", identity)).await;
    desk.work(vec![outgoing("send:1", "b")], Ending::Done).await;
    tell(desk, "sent", report(desk, "a", DeliveryReport::Sent)).await;
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Sent));
}

pub async fn a_replay_keeps_the_attempts_before(desk: &Desk<'_>) {
    let (message, _) = desk.person("1", "ann").await;
    let tried = |seq, step: &str, state| Change::Effect {
        seq,
        effect: desk.effect(step, state),
    };
    let hop = |seq, what: &str| Change::Hop {
        seq,
        hop: Hop {
            at: desk.now(),
            what: what.into(),
            code: None,
            detail: None,
        },
    };
    let dead = Ending::Dead { cause: cause("500") };
    desk.work(
        vec![tried(1, "part:0", EffectState::Failed), hop(1, "first")],
        dead.clone(),
    )
    .await;
    desk.person("2", "ann").await;
    let again = desk.store.replay(message, desk.now()).await.unwrap();
    assert_eq!((again.lane, again.seq), (message.lane, 3));
    assert_eq!(state(desk, message).await, MessageState::In(InboundState::Stored));
    // Not twice: it is on its way.
    let twice = desk.store.replay(message, desk.now()).await;
    assert!(matches!(twice, Err(StoreError::NotReplayable(_))), "{twice:?}");

    let lane = desk.claim().await;
    let order: Vec<(&str, u32, usize)> = lane
        .events
        .iter()
        .map(|event| (event.key.as_str(), event.attempt_no, event.effects.len()))
        .collect();
    assert_eq!(order, [("2", 0, 0), ("1", 1, 0)]);
    assert_eq!(lane.events[1].payload, b"1");
    desk.store.release(lane.claim).await.unwrap();
    desk.work(Vec::new(), Ending::Done).await;
    desk.work(vec![tried(3, "part:0", EffectState::Failed), hop(3, "second")], dead)
        .await;
    // A replay that failed is replayed again, by either id.
    let third = desk.store.replay(again, desk.now()).await.unwrap();
    assert_eq!(desk.claim().await.events[0].attempt_no, 2);
    for id in [message, again, third] {
        let all = trace(desk, id).await;
        let attempts: Vec<u32> = all.effects.iter().map(|(attempt, _)| *attempt).collect();
        assert_eq!((all.message.id, attempts), (id, vec![0, 1]));
        let hops: Vec<&str> = all.hops.iter().map(|hop| hop.what.as_str()).collect();
        assert_eq!(hops, ["first", "second"]);
    }
    // One message in lists, however often it was tried.
    let filter = MessageFilter {
        channel: Some(CHANNEL),
        limit: 10,
        ..MessageFilter::default()
    };
    assert_eq!(desk.store.messages(&filter).await.unwrap().len(), 2);
}

pub async fn what_did_not_fail_is_not_replayed(desk: &Desk<'_>) {
    let (message, identity) = desk.person("1", "ann").await;
    let refused = |outcome: Result<MessageId, StoreError>| {
        assert!(matches!(outcome, Err(StoreError::NotReplayable(_))), "{outcome:?}");
    };
    refused(desk.store.replay(message, desk.now()).await);
    desk.work(Vec::new(), Ending::Done).await;
    refused(desk.store.replay(message, desk.now()).await);
    desk.person("2", "ann").await;
    let ignored = desk.work(Vec::new(), Ending::Ignored { why: "echo".into() }).await;
    refused(desk.store.replay(ignored, desk.now()).await);
    let missing = MessageId { seq: 77, ..message };
    let missing = desk.store.replay(missing, desk.now()).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
    // What the provider took and then reported as failed may go out again.
    let (sent, _) = desk.put(desk.reply("out", identity)).await;
    desk.work(vec![outgoing("send:0", "a")], Ending::Done).await;
    refused(desk.store.replay(sent, desk.now()).await);
    tell(desk, "failed", report(desk, "a", DeliveryReport::Failed)).await;
    let again = desk.store.replay(sent, desk.now()).await.unwrap();
    assert_eq!(state(desk, again).await, MessageState::Out(OutboundState::Queued));
}

pub async fn lists_are_filtered_and_paged(desk: &Desk<'_>) {
    let mut all = Vec::new();
    for place in 0..6 {
        let person = if place % 2 == 0 { "ann" } else { "bob" };
        all.push(desk.person(&format!("k{place}"), person).await);
        desk.pass(1);
    }
    desk.put(desk.chore("status", "status")).await;
    let elsewhere = NewEvent {
        channel: OTHER_CHANNEL,
        ..desk.message("other", "ann")
    };
    desk.put(elsewhere).await;
    let list = async |filter: MessageFilter| {
        let rows = desk.store.messages(&filter).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let here = |limit| MessageFilter {
        channel: Some(CHANNEL),
        limit,
        ..MessageFilter::default()
    };
    let newest_first: Vec<MessageId> = all.iter().rev().map(|(message, _)| *message).collect();
    assert_eq!(list(here(200)).await, newest_first);
    let everywhere = MessageFilter {
        limit: 200,
        ..MessageFilter::default()
    };
    assert_eq!(list(everywhere).await.len(), 7);
    let first = list(here(4)).await;
    let second = MessageFilter {
        after: first.last().copied(),
        ..here(4)
    };
    assert_eq!([first, list(second).await].concat(), newest_first);
    let anns = MessageFilter {
        identities: Some(vec![all[0].1]),
        ..here(200)
    };
    assert_eq!(list(anns).await, [all[4].0, all[2].0, all[0].0]);
    let start = mantle_store::testing::START;
    let between = MessageFilter {
        from: Some(start.after(Duration::from_secs(1))),
        to: Some(start.after(Duration::from_secs(2))),
        ..here(200)
    };
    assert_eq!(list(between).await, [all[2].0, all[1].0]);

    let mut lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    lanes.retain(|lane| lane.identity == Some(all[1].1));
    let dead = Change::Finish {
        seq: 1,
        ending: Ending::Dead { cause: cause("x") },
    };
    desk.store.commit(lanes[0].claim, vec![dead]).await.unwrap();
    let of_state = |state: &str| MessageFilter {
        state: Some(state.to_owned()),
        ..here(200)
    };
    assert_eq!(list(of_state("dead")).await, [all[1].0]);
    // Chores show when a state is asked for: a dead one must be found.
    assert_eq!(list(of_state("stored")).await.len(), 6);
    assert!(list(of_state("nonsense")).await.is_empty());
}

pub async fn a_message_is_found_by_either_id(desk: &Desk<'_>) {
    let (message, identity) = desk.person("1", "ann").await;
    desk.work(Vec::new(), Ending::Done).await;
    let status = NewEvent {
        remote_id: Some("remote-1".into()),
        ..desk.chore("s", "status")
    };
    desk.put(status).await;
    desk.work(Vec::new(), Ending::Done).await;
    let (sent, _) = desk.put(desk.reply("part-9", identity)).await;
    desk.work(vec![outgoing("send:0", "wamid")], Ending::Done).await;
    let found = async |channel, remote_id: &str| {
        let trace = desk.store.message_by_remote_id(channel, remote_id).await.unwrap();
        trace.map(|trace| trace.message.id)
    };
    assert_eq!(found(CHANNEL, "remote-1").await, Some(message));
    assert_eq!(found(CHANNEL, "remote-part-9").await, Some(sent));
    assert_eq!(found(CHANNEL, "wamid").await, Some(sent));
    assert_eq!(found(OTHER_CHANNEL, "wamid").await, None);
    assert_eq!(found(CHANNEL, "nothing").await, None);
}

pub async fn traffic_and_backlog_are_counted(desk: &Desk<'_>) {
    assert_eq!(desk.store.last_traffic(CHANNEL).await.unwrap(), (None, None));
    let (_, identity) = desk.person("1", "ann").await;
    let inbound = desk.now();
    desk.pass(5);
    desk.put(desk.reply("2", identity)).await;
    let outbound = desk.now();
    desk.pass(5);
    desk.put(desk.chore("3", "status")).await;
    assert_eq!(
        desk.store.last_traffic(CHANNEL).await.unwrap(),
        (Some(inbound), Some(outbound))
    );
    assert_eq!(desk.store.backlog().await.unwrap(), 3);
    let lanes = desk.store.claim(desk.now(), 10).await.unwrap();
    let retry = Change::Retry {
        until: desk.now().after(Duration::from_secs(60)),
        cause: cause("429"),
        counts: Attempt::Counts,
    };
    desk.store.commit(lanes[0].claim, vec![retry]).await.unwrap();
    assert_eq!(desk.store.backlog().await.unwrap(), 3);
}

/// A send in doubt with a report of another lane that names it.
pub async fn out_10_a_word_from_another_lane_settles_a_send(desk: &Desk<'_>) {
    let identity = ann(desk).await;
    let (message, _) = desk.put(desk.reply("out", identity)).await;
    let effect = |state| Change::Effect {
        seq: 1,
        effect: desk.effect("send:0", state),
    };
    let later = |changes: Vec<Change>| async move {
        let lane = desk.claim().await;
        let retry = Change::Retry {
            until: desk.now().after(Duration::from_secs(30)),
            cause: cause("in-doubt"),
            counts: Attempt::Free,
        };
        let changes = changes.into_iter().chain([retry]).collect();
        desk.store.commit(lane.claim, changes).await.unwrap();
    };
    later(vec![effect(EffectState::Ambiguous)]).await;
    let settle = Change::Settle {
        message,
        step: "send:0".into(),
        remote_id: "a".into(),
    };
    let (chore, _) = desk.put(desk.chore("told", "status")).await;
    let told = desk.claim().await;
    assert_eq!(told.events[0].id, chore);
    let finish = Change::Finish {
        seq: chore.seq,
        ending: Ending::Done,
    };
    let changes = vec![settle, report(desk, "a", DeliveryReport::Delivered), finish];
    desk.store.commit(told.claim, changes).await.unwrap();
    desk.store.release(told.claim).await.unwrap();

    // The lane is looked at now, not at its time, and its effect is done.
    let lane = desk.claim().await;
    assert_eq!(lane.events[0].id, message);
    let found = lane.events[0].effect("send:0").unwrap();
    assert_eq!(
        (found.state, found.remote_id.as_deref()),
        (EffectState::Done, Some("a"))
    );
    // Doubt that is written later takes nothing back.
    desk.store
        .commit(lane.claim, vec![effect(EffectState::Ambiguous)])
        .await
        .unwrap();
    let found = trace(desk, message).await.effects[0].1.clone();
    assert_eq!(
        (found.state, found.remote_id.as_deref()),
        (EffectState::Done, Some("a"))
    );
    let done = Change::Finish {
        seq: 1,
        ending: Ending::Done,
    };
    desk.store.commit(lane.claim, vec![done]).await.unwrap();
    assert_eq!(state(desk, message).await, MessageState::Out(OutboundState::Delivered));
    let found = desk.store.message_by_remote_id(CHANNEL, "a").await.unwrap().unwrap();
    assert_eq!(found.message.id, message);
}

pub async fn out_12_only_the_newest_attempt_is_sent_again(desk: &Desk<'_>) {
    let identity = ann(desk).await;
    let (first, _) = desk.put(desk.reply("out", identity)).await;
    let failed = || Ending::Failed { cause: cause("400") };
    desk.work(Vec::new(), failed()).await;
    assert_eq!(trace(desk, first).await.newest, first);
    let second = desk.store.resend(first, desk.now()).await.unwrap();
    assert_eq!(trace(desk, first).await.newest, second);
    for attempt in [first, second] {
        let again = desk.store.resend(attempt, desk.now()).await;
        assert!(
            matches!(again, Err(StoreError::NotReplayable(_))),
            "under way: {again:?}"
        );
    }
    desk.work(Vec::new(), failed()).await;
    let again = desk.store.resend(first, desk.now()).await;
    assert!(
        matches!(again, Err(StoreError::NotReplayable(_))),
        "of the first: {again:?}"
    );
    desk.store.resend(second, desk.now()).await.unwrap();
    let nobody = MessageId { seq: 99, ..first };
    let missing = desk.store.resend(nobody, desk.now()).await;
    assert!(matches!(missing, Err(StoreError::NotFound("message"))), "{missing:?}");
}

pub async fn out_9_the_newest_send_of_a_lane_is_found(desk: &Desk<'_>) {
    let identity = ann(desk).await;
    let (message, _) = desk.put(desk.reply("out", identity)).await;
    let last = || desk.store.last_announced(message.lane, "send:");
    assert_eq!(last().await.unwrap(), None);
    let effect = |seq, step: &str| Change::Effect {
        seq,
        effect: desk.effect(step, EffectState::Done),
    };
    let (first, begun) = (effect(1, "send:0"), desk.now());
    desk.work(vec![first], Ending::Done).await;
    assert_eq!(last().await.unwrap(), Some(begun));
    desk.clock.advance(Duration::from_secs(5));
    desk.put(desk.reply("next", identity)).await;
    desk.work(vec![effect(2, "note")], Ending::Done).await;
    assert_eq!(last().await.unwrap(), Some(begun), "another kind of step");
    desk.put(desk.reply("third", identity)).await;
    desk.work(vec![effect(3, "send:0"), effect(3, "send:1")], Ending::Done)
        .await;
    assert_eq!(last().await.unwrap(), Some(desk.now()));
}

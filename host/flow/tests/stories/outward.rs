//! From the inbox to the customer.

use mantle_flow::channels;
use mantle_inbox::ReplyFile;
use mantle_model::failure::{Cause, Failure, Reason, Refusal};
use mantle_model::inbound::{Author, DeliveryReport, Event, EventBody, Status};
use mantle_sandbox::CallError;
use mantle_store::directory::{ChannelChange, ChannelStatus};
use mantle_store::intake::Direction;
use mantle_store::ledger::{MessageFilter, MessageRow, MessageState};

use crate::inward::text;
use crate::world::World;

async fn begun() -> World {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    world
}

async fn reply_row(world: &World) -> MessageRow {
    let filter = MessageFilter {
        limit: 10,
        ..MessageFilter::default()
    };
    let rows = world.flow.store().messages(&filter).await.unwrap();
    rows.into_iter()
        .find(|row| row.direction == Direction::Out && row.kind == "reply")
        .unwrap()
}

async fn reply_state(world: &World) -> String {
    match reply_row(world).await.state {
        MessageState::Out(state) => format!("{state:?}"),
        MessageState::In(state) => format!("{state:?}"),
    }
}

fn refusal(reason: Reason) -> Refusal {
    Refusal {
        reason,
        cause: Cause::new("131026", "The number is not on WhatsApp."),
        next_step: None,
    }
}

fn status(world: &World, id: &str, report: DeliveryReport) -> Event {
    Event {
        key: format!("{id}:{report:?}"),
        at: world.now(),
        account: None,
        body: EventBody::Status(Status {
            message_id: id.into(),
            correlation: None,
            report,
            refusal: (report == DeliveryReport::Failed).then(|| refusal(Reason::Unreachable)),
        }),
    }
}

#[tokio::test]
async fn out_1_out_3_a_reply_goes_out_once() {
    let world = begun().await;
    for _ in 0..3 {
        world.answered("v1", "r1", "Hi Ada", Vec::new()).await;
    }
    assert_eq!(world.sent(), ["Hi Ada"]);
    assert_eq!(reply_state(&world).await, "Accepted");
}

#[tokio::test]
async fn out_4_out_18_own_and_foreign_parts_stay_inside() {
    let world = begun().await;
    world.answered("v1", "p1", "Hello", Vec::new()).await;
    world.answered("elsewhere", "r9", "Not ours", Vec::new()).await;
    assert!(world.sent().is_empty());
    assert_eq!(world.flow.store().backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn out_9_trouble_at_the_provider_is_delay_and_keeps_the_order() {
    let world = begun().await;
    let limited = Failure::RateLimited {
        after: Some(std::time::Duration::from_secs(30)),
        cause: Cause::new("429", "Slow down."),
    };
    world
        .connector
        .script(|script| script.sends.push_back(Err(CallError::Provider(limited))));
    world.answered("v1", "r1", "First", Vec::new()).await;
    world.answered("v1", "r2", "Second", Vec::new()).await;
    assert_eq!(world.sent(), ["First"], "the second waits behind the first");
    world.later(31).await;
    assert_eq!(world.sent(), ["First", "First", "Second"]);
}

#[tokio::test]
async fn out_10_an_unknown_outcome_is_said_and_not_repeated() {
    let world = begun().await;
    let lost = Failure::Unknown(Cause::new("timeout", "No answer came."));
    world
        .connector
        .script(|script| script.sends.push_back(Err(CallError::Provider(lost))));
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    world.later(7_200).await;
    assert_eq!(world.sent(), ["Hi"]);
    assert_eq!(reply_state(&world).await, "Unknown");
    let notes: Vec<_> = world.lines().into_iter().filter(|line| line.0 == "note").collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].1.contains("may not have been delivered"), "{notes:?}");
}

#[tokio::test]
async fn out_11_a_refusal_is_one_note_even_when_told_twice() {
    let world = begun().await;
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    world.told(vec![status(&world, "wamid1", DeliveryReport::Failed)]).await;
    world.told(vec![status(&world, "wamid1", DeliveryReport::Failed)]).await;
    let notes: Vec<_> = world.lines().into_iter().filter(|line| line.0 == "note").collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    for words in [
        "Not delivered (WhatsApp).",
        "“Hi”",
        "The number is not on WhatsApp (code 131026).",
        "another way",
    ] {
        assert!(notes[0].1.contains(words), "{words} in {notes:?}");
    }
    assert_eq!(reply_state(&world).await, "Failed");
}

#[tokio::test]
async fn ap_2_a_late_sent_undoes_no_read() {
    let world = begun().await;
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    world.told(vec![status(&world, "wamid1", DeliveryReport::Read)]).await;
    world.told(vec![status(&world, "wamid1", DeliveryReport::Sent)]).await;
    assert_eq!(reply_state(&world).await, "Read");
}

#[tokio::test]
async fn in_16_an_echo_settles_a_lost_answer() {
    let world = begun().await;
    let lost = Failure::Unknown(Cause::new("timeout", "No answer came."));
    world
        .connector
        .script(|script| script.sends.push_back(Err(CallError::Provider(lost))));
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    let correlation = world.connector.script(|script| script.sent[0].id.clone());
    let mut echo = text(&world, "wamid77", "Hi");
    if let EventBody::Message(message) = &mut echo.body {
        message.author = Author::Ourselves;
        message.correlation = Some(correlation);
    }
    world.told(vec![echo]).await;
    let found = world
        .flow
        .store()
        .message_by_remote_id(world.channel, "wamid77")
        .await
        .unwrap();
    assert_eq!(found.unwrap().message.id, reply_row(&world).await.id);
    assert_eq!(world.lines().iter().filter(|line| line.0 == "customer").count(), 1);
}

#[tokio::test]
async fn out_13_what_fails_stops_what_follows() {
    let world = begun().await;
    world.connector.script(|script| {
        let refused = CallError::Provider(Failure::Refused(refusal(Reason::Policy)));
        script.sends.extend([Ok(()), Err(refused)]);
    });
    let long = "One sentence that fills it all. Two sentences that fill it all. Three sentences that fill it.";
    world.answered("v1", "r1", long, Vec::new()).await;
    assert_eq!(world.sent().len(), 2);
    let note = world.lines().pop().unwrap().1;
    assert!(
        note.contains("Part 2 of 3 failed. Nothing after it was sent."),
        "{note}"
    );
}

#[tokio::test]
async fn at_5_a_file_too_large_stays_and_the_rest_goes() {
    let world = begun().await;
    let file = |name: &str, content: &str| ReplyFile {
        name: name.into(),
        url: content.into(),
        content_type: None,
        bytes: None,
    };
    let large = file("big.bin", "more than twenty bytes of it");
    world
        .answered("v1", "r1", "Two files", vec![large, file("small.bin", "few")])
        .await;
    assert_eq!(world.sent(), ["Two files", "small.bin"]);
    let note = world.lines().pop().unwrap().1;
    assert!(
        note.contains("big.bin (28 bytes) is larger than WhatsApp allows (20 bytes)"),
        "{note}"
    );
}

#[tokio::test]
async fn wi_1_a_second_late_is_too_late() {
    let world = begun().await;
    world.later(86_400).await;
    world.answered("v1", "r1", "Still in time", Vec::new()).await;
    world.later(1).await;
    world.answered("v1", "r2", "Too late", Vec::new()).await;
    assert_eq!(world.sent(), ["Still in time"]);
    let note = world.lines().pop().unwrap().1;
    assert!(
        note.contains("ended at 2026-11-21 00:00 UTC (code window_closed)"),
        "{note}"
    );
    assert!(note.contains("Send an approved template instead."), "{note}");
}

#[tokio::test]
async fn wi_2_the_provider_may_know_better() {
    let world = begun().await;
    let closed = CallError::Provider(Failure::Refused(refusal(Reason::WindowClosed)));
    world.connector.script(|script| script.sends.push_back(Err(closed)));
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    world.answered("v1", "r2", "Hi again", Vec::new()).await;
    assert_eq!(world.sent(), ["Hi"], "the second is not even tried");
    world.told(vec![text(&world, "m2", "Here I am")]).await;
    world.answered("v1", "r3", "Welcome", Vec::new()).await;
    assert_eq!(world.sent(), ["Hi", "Welcome"]);
}

async fn becomes(world: &World, status: ChannelStatus) {
    let change = ChannelChange {
        status: Some((status, None)),
        ..ChannelChange::default()
    };
    channels::change_channel(&world.flow, world.channel, change)
        .await
        .unwrap();
}

/// Nobody looked at the replies before the channel came back: those that are too old stay all the same.
#[tokio::test]
async fn out_17_what_waited_for_too_long_is_not_sent_when_the_channel_is_back() {
    let world = begun().await;
    becomes(&world, ChannelStatus::Disconnected).await;
    world.answered("v1", "r1", "Too old", Vec::new()).await;
    world.answered("v1", "r2", "Too old as well", Vec::new()).await;
    world.clock.advance(std::time::Duration::from_secs(60));
    world.answered("v1", "r3", "Young enough", Vec::new()).await;
    world.clock.advance(std::time::Duration::from_secs(29 * 60));
    becomes(&world, ChannelStatus::Connected).await;
    world.later(60).await;
    assert_eq!(world.sent(), ["Young enough"]);
    let notes: Vec<_> = world.lines().into_iter().filter(|line| line.0 == "note").collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].1.contains("“Too old”") && notes[0].1.contains("The channel was away"),
        "{notes:?}"
    );
    // Written when all was well again.
    world.answered("v1", "r4", "And now", Vec::new()).await;
    assert_eq!(world.sent(), ["Young enough", "And now"]);
}

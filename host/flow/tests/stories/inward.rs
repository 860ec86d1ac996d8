//! From the provider into the inbox.

use mantle_inbox::InboxError;
use mantle_model::failure::{Cause, Failure};
use mantle_model::inbound::{
    Alias, AliasKind, Attachment, AttachmentKind, Author, Chat, Content, Event, EventBody, Group, Malformed, Message,
    Person, Reach, Reachability,
};
use mantle_sandbox::CallError;
use mantle_store::ledger::MessageFilter;

use crate::world::World;

pub fn person() -> Person {
    Person {
        aliases: vec![Alias::new(AliasKind::Phone, "+353888888999")],
        name: Some("Ada".into()),
        language: None,
    }
}

pub fn message(world: &World, id: &str, content: Content) -> Event {
    Event {
        key: id.into(),
        at: world.now(),
        account: None,
        body: EventBody::Message(Message {
            id: id.into(),
            person: person(),
            chat: Chat::Direct,
            author: Author::Customer,
            content: vec![content],
            quote: None,
            referral: None,
            forwarded: false,
            correlation: None,
        }),
    }
}

pub fn text(world: &World, id: &str, text: &str) -> Event {
    message(world, id, Content::Text(text.into()))
}

fn image(world: &World, id: &str) -> Event {
    let attachment = Attachment {
        kind: AttachmentKind::Document,
        source: "plan.bin".into(),
        name: None,
        content_type: None,
        bytes: None,
        duration_ms: None,
        caption: None,
        emoji: None,
    };
    message(world, id, Content::Attachment(attachment))
}

fn transient() -> Failure {
    Failure::Transient(Cause::new("503", "Not available."))
}

#[tokio::test]
async fn in_1_in_2_ct_1_one_contact_one_conversation_two_parts() {
    let world = World::new().await;
    assert_eq!(
        world.told(vec![text(&world, "m1", "Hello  👋\n")]).await.answer.status,
        200
    );
    world.told(vec![text(&world, "m2", "Still there?")]).await;
    world.inbox.desk(|desk| {
        assert_eq!((desk.searches, desk.contacts.len(), desk.conversations), (1, 1, 1));
        let texts: Vec<_> = desk
            .lines
            .iter()
            .map(|line| (line.0.as_str(), line.2.as_str()))
            .collect();
        assert_eq!(texts, [("v1", "Hello  👋\n"), ("v1", "Still there?")]);
    });
    assert_eq!(world.flow.store().backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn in_5_in_6_told_again_it_stays_one_part() {
    let world = World::new().await;
    for _ in 0..4 {
        assert_eq!(world.told(vec![text(&world, "m1", "Hello")]).await.answer.status, 200);
    }
    assert_eq!(world.lines(), [("customer", "Hello".to_owned())]);
    let filter = MessageFilter {
        limit: 10,
        ..MessageFilter::default()
    };
    let rows = world.flow.store().messages(&filter).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.deliveries).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn in_7_good_items_survive_a_bad_one() {
    let world = World::new().await;
    let bad = Malformed {
        place: "entry[0]".into(),
        problem: "no id".into(),
    };
    let events = vec![text(&world, "m1", "Hello")];
    world
        .connector
        .script(|script| script.received.push_back(Ok((events, vec![bad]))));
    assert_eq!(world.hook("good").await.answer.status, 200);
    world.flow.settle().await.unwrap();
    assert_eq!(world.lines(), [("customer", "Hello".to_owned())]);
}

#[tokio::test]
async fn in_8_a_write_without_an_answer_is_looked_for_not_repeated() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    let unknown = InboxError::Failure(Failure::Unknown(Cause::new("timeout", "No answer.")));
    world.inbox.desk(|desk| {
        desk.applied_all_the_same = true;
        desk.script.push_back(Err(unknown));
    });
    world.told(vec![text(&world, "m2", "Again")]).await;
    world.later(10).await;
    assert_eq!(world.lines().len(), 2);
    assert_eq!(world.inbox.desk(|desk| desk.located.len()), 1);
    assert_eq!(world.flow.store().backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn in_8_a_part_that_never_arrived_is_repeated_soon() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    let unknown = InboxError::Failure(Failure::Unknown(Cause::new("503", "Bad gateway.")));
    world.inbox.desk(|desk| desk.script.push_back(Err(unknown)));
    world.told(vec![text(&world, "m2", "Again")]).await;
    world.later(4).await;
    assert_eq!(world.lines().len(), 1, "it may still show up");
    world.later(10).await;
    world.later(10).await;
    assert_eq!(world.lines()[1..], [("customer", "Again".to_owned())]);
}

#[tokio::test]
async fn in_8_an_opening_that_never_arrived_is_repeated_after_two_minutes() {
    let world = World::new().await;
    let unknown = InboxError::Failure(Failure::Unknown(Cause::new("timeout", "No answer.")));
    world.inbox.desk(|desk| desk.script.push_back(Err(unknown)));
    world.told(vec![text(&world, "m1", "Hello")]).await;
    for _ in 0..5 {
        world.later(5).await;
    }
    assert!(world.lines().is_empty(), "it may still show up");
    for _ in 0..10 {
        world.later(10).await;
    }
    assert_eq!(world.lines(), [("customer", "Hello".to_owned())]);
}

#[tokio::test]
async fn in_9_a_forged_hook_leaves_nothing() {
    let world = World::new().await;
    assert_eq!(world.hook("bad").await.answer.status, 401);
    assert_eq!(world.flow.store().backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn in_11_a_late_message_names_its_time() {
    let world = World::new().await;
    let mut late = text(&world, "m2", "Earlier");
    late.at = world.now().before(std::time::Duration::from_secs(2_400));
    world.told(vec![text(&world, "m1", "Hello")]).await;
    world.told(vec![late]).await;
    assert_eq!(world.lines()[1].1, "[Sent 2026-11-19 23:20 UTC]\nEarlier");
}

#[tokio::test]
async fn in_12_what_fails_comes_later_in_order() {
    let world = World::new().await;
    world.told(vec![text(&world, "m0", "Zero")]).await;
    world
        .inbox
        .desk(|desk| desk.script.extend([Err(transient().into()), Err(transient().into())]));
    world.told(vec![text(&world, "m1", "One")]).await;
    world.told(vec![text(&world, "m2", "Two")]).await;
    for _ in 0..4 {
        world.later(60).await;
    }
    let texts: Vec<String> = world.lines().into_iter().map(|line| line.1).collect();
    assert_eq!(texts, ["Zero", "One", "Two"]);
}

#[tokio::test]
async fn in_15_a_group_makes_no_conversation() {
    let world = World::new().await;
    let mut event = text(&world, "m1", "Hello all");
    if let EventBody::Message(message) = &mut event.body {
        message.chat = Chat::Group(Group {
            id: "-5".into(),
            title: None,
        });
    }
    world.told(vec![event]).await;
    assert!(world.lines().is_empty());
    assert_eq!(
        world
            .flow
            .store()
            .channel(world.channel)
            .await
            .unwrap()
            .unwrap()
            .refused_groups,
        1
    );
}

#[tokio::test]
async fn in_17_a_native_answer_is_the_teams_and_never_goes_out() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    let mut event = text(&world, "m2", "From my phone");
    if let EventBody::Message(message) = &mut event.body {
        message.author = Author::NativeApp("WhatsApp Business".into());
    }
    world.told(vec![event]).await;
    let expected = "From my phone\n\n(sent from WhatsApp Business)";
    assert_eq!(world.lines()[1], ("operator", expected.to_owned()));
    let own = world.inbox.desk(|desk| format!("p{}", desk.parts));
    world.answered("v1", &own, expected, Vec::new()).await;
    assert!(world.sent().is_empty());
}

#[tokio::test]
async fn in_18_a_block_opens_nothing_and_stops_the_next_reply() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    let blocked = Event {
        key: "b1".into(),
        at: world.now(),
        account: None,
        body: EventBody::Reachability(Reachability {
            person: person(),
            reach: Reach::Blocked,
        }),
    };
    world.told(vec![blocked]).await;
    world.answered("v1", "r1", "Hi", Vec::new()).await;
    assert!(world.sent().is_empty());
    assert!(
        world.lines()[1].1.contains("has blocked this channel"),
        "{:?}",
        world.lines()
    );
}

#[tokio::test]
async fn a_connector_that_traps_costs_no_message() {
    let world = World::new().await;
    world
        .connector
        .script(|script| script.received.push_back(Err(CallError::Trapped("unreachable".into()))));
    assert_eq!(world.hook("good").await.answer.status, 200);
    let events = vec![text(&world, "m1", "Hello")];
    world
        .connector
        .script(|script| script.received.push_back(Ok((events, Vec::new()))));
    world.later(11).await;
    assert_eq!(world.lines(), [("customer", "Hello".to_owned())]);
}

#[tokio::test]
async fn th_8_a_conversation_that_is_gone_is_followed_by_a_new_one() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    let gone = || Err(InboxError::ConversationGone);
    world.inbox.desk(|desk| desk.script.extend([gone(), gone(), gone()]));
    world.told(vec![text(&world, "m2", "Anybody?")]).await;
    for _ in 0..3 {
        world.later(9).await;
    }
    world.inbox.desk(|desk| {
        let last = desk.lines.last().unwrap();
        assert_eq!(last.0, "v2");
        assert_eq!(last.2, "[The previous conversation is no longer available.]\nAnybody?");
        assert_eq!(desk.contacts.len(), 1);
    });
}

#[tokio::test]
async fn at_2_a_file_alone_opens_one_conversation() {
    let world = World::new().await;
    world.told(vec![image(&world, "m1")]).await;
    world.inbox.desk(|desk| {
        let told: Vec<_> = desk
            .lines
            .iter()
            .map(|line| (line.2.as_str(), line.3.clone()))
            .collect();
        assert_eq!(told, [("[file]", Vec::new()), ("", vec!["plan.bin".to_owned()])]);
        assert_eq!(desk.conversations, 1);
    });
}

#[tokio::test]
async fn at_3_words_go_at_once_and_the_file_follows() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    world
        .connector
        .script(|script| script.fetches.push_back(Err(CallError::Provider(transient()))));
    world.told(vec![image(&world, "m2")]).await;
    assert_eq!(world.lines()[1].1, "[attachment on its way]");
    world.later(3).await;
    world.inbox.desk(|desk| assert_eq!(desk.lines[2].3, ["plan.bin"]));
}

#[tokio::test]
async fn at_3_an_inbox_that_takes_no_file_now_gets_it_later() {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    world.inbox.desk(|desk| desk.script.push_back(Err(transient().into())));
    world.told(vec![image(&world, "m2")]).await;
    assert_eq!(world.lines()[1].1, "[attachment on its way]");
    world.later(3).await;
    world.inbox.desk(|desk| assert_eq!(desk.lines[2].3, ["plan.bin"]));
}

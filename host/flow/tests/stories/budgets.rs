//! Two hosts on one PostgreSQL database with the same credentials: what one of them is told, both keep to.

use std::time::Duration;

use futures_util::future::join;
use mantle_flow::Flow;
use mantle_inbox::{InboxError, Reply};
use mantle_model::failure::{Cause, Failure};
use mantle_model::inbound::{Alias, AliasKind, Event, EventBody};
use mantle_model::text::RichText;
use mantle_sandbox::CallError;

use crate::inward::text;
use crate::world::{World, teammate};

/// A tenth of a second: as fine as the windows are looked at.
const STEP: Duration = Duration::from_millis(100);

/// A first message of a person of this number.
fn from(world: &World, number: usize) -> Event {
    let mut event = text(world, &format!("m{number}"), "Hello");
    if let EventBody::Message(message) = &mut event.body {
        message.person.aliases = vec![Alias::new(AliasKind::Phone, format!("+35388000{number:04}"))];
    }
    event
}

/// So many people with a conversation each.
async fn people(world: &World, count: usize) {
    let events = (0..count).map(|number| from(world, number)).collect();
    world.told(events).await;
    assert_eq!(world.flow.store().backlog().await.unwrap(), 0);
}

/// A teammate answers in this conversation; worked by nobody yet.
async fn answer(world: &World, conversation: &str) {
    let part = format!("reply-{conversation}");
    let reply = Reply {
        part: part.clone(),
        author: teammate(),
        text: RichText::plain("Hi"),
        attachments: Vec::new(),
        at: world.now(),
        earlier: Vec::new(),
    };
    world.inbox.desk(|desk| desk.replies.insert(part.clone(), reply));
    world.webhook(conversation, &part, "Hi").await;
}

async fn both(world: &World) {
    let (one, other) = join(world.flow.settle(), world.other_host.settle()).await;
    one.and(other).unwrap();
}

/// What each host has sent.
fn sent(world: &World) -> (usize, usize) {
    let count = |connector: &crate::world::FakeConnector| connector.script(|script| script.sent.len());
    (count(&world.connector), count(&world.other_connector))
}

async fn backlog(flow: &Flow) -> u64 {
    flow.store().backlog().await.unwrap()
}

fn limited(seconds: u64) -> Failure {
    Failure::RateLimited {
        after: Some(Duration::from_secs(seconds)),
        cause: Cause::new("429", "Slow down."),
    }
}

fn away() -> CallError {
    CallError::Provider(Failure::Transient(Cause::new("503", "Nothing works.")))
}

#[tokio::test]
async fn c1_out_9_two_hosts_together_stay_within_the_rate_in_every_window() {
    const RATE: f64 = 10.0;
    const PEOPLE: usize = 60;
    let Some(world) = World::on_two_hosts(Some(RATE)).await else {
        return;
    };
    people(&world, PEOPLE).await;
    for number in 1..=PEOPLE {
        answer(&world, &format!("v{number}")).await;
    }
    let mut steps = vec![sent(&world)];
    while backlog(&world.flow).await > 0 {
        assert!(steps.len() < 300, "it does not come to an end: {steps:?}");
        both(&world).await;
        steps.push(sent(&world));
        world.clock.advance(STEP);
    }
    let all: Vec<usize> = steps.iter().map(|(one, other)| one + other).collect();
    for (begin, before) in all.iter().enumerate() {
        for (end, after) in all.iter().enumerate().skip(begin + 1) {
            let seconds = (end - begin - 1) as f64 * STEP.as_secs_f64();
            let allowed = RATE * (seconds + 1.0) + 1.0;
            let made = after - before;
            assert!(made as f64 <= allowed, "{made} calls within {seconds} s: {steps:?}");
        }
    }
    let (one, other) = sent(&world);
    assert_eq!(one + other, PEOPLE);
    assert!(one > 0 && other > 0, "both hosts had a part: {one}, {other}");
}

#[tokio::test]
async fn out_9_a_limit_that_one_host_met_holds_the_other_and_costs_no_attempt() {
    let Some(world) = World::on_two_hosts(None).await else {
        return;
    };
    people(&world, 2).await;
    let limit = CallError::Provider(limited(30));
    world.connector.script(|script| script.sends.push_back(Err(limit)));
    answer(&world, "v1").await;
    world.flow.settle().await.unwrap();
    assert_eq!(sent(&world), (1, 0));
    answer(&world, "v2").await;
    world.other_host.settle().await.unwrap();
    world.clock.advance(Duration::from_secs(29));
    both(&world).await;
    assert_eq!(
        (sent(&world), backlog(&world.flow).await),
        ((1, 0), 2),
        "held by what the first host heard"
    );
    let tried = "select 1 from lane where tries > 0";
    assert_eq!(world.store.postgres.as_ref().unwrap().run(tried).await.unwrap(), 0);
    for _ in 0..12 {
        world.clock.advance(Duration::from_secs(1));
        both(&world).await;
    }
    let (one, other) = sent(&world);
    assert_eq!(
        (one + other, backlog(&world.flow).await),
        (3, 0),
        "each once, beside the one that was refused"
    );
}

#[tokio::test]
async fn c1_a_limit_of_the_inbox_that_one_host_met_holds_the_other() {
    let Some(world) = World::on_two_hosts(None).await else {
        return;
    };
    people(&world, 2).await;
    let before = world.lines().len();
    let limit = InboxError::Failure(limited(60));
    world.inbox.desk(|desk| desk.script.push_back(Err(limit)));
    let say = |number: usize, id: &str| {
        let mut event = from(&world, number);
        event.key = id.to_owned();
        if let EventBody::Message(message) = &mut event.body {
            message.id = id.to_owned();
        }
        event
    };
    world.told(vec![say(0, "more-0")]).await;
    let read = Ok((vec![say(1, "more-1")], Vec::new()));
    world.connector.script(|script| script.received.push_back(read));
    world.hook("good").await;
    world.other_host.settle().await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    both(&world).await;
    assert_eq!((world.lines().len(), backlog(&world.flow).await), (before, 2));
    for _ in 0..20 {
        world.clock.advance(Duration::from_secs(1));
        both(&world).await;
    }
    assert_eq!((world.lines().len(), backlog(&world.flow).await), (before + 2, 0));
}

#[tokio::test]
async fn c2_one_call_tries_a_side_that_does_not_answer_over_both_hosts() {
    let Some(world) = World::on_two_hosts(None).await else {
        return;
    };
    people(&world, 30).await;
    // The first host finds out.
    world
        .connector
        .script(|script| script.sends.extend((0..10).map(|_| Err(away()))));
    for number in 1..=10 {
        answer(&world, &format!("v{number}")).await;
    }
    world.flow.settle().await.unwrap();
    assert_eq!(sent(&world), (10, 0));
    // Both have work for it now, and neither calls.
    for number in 11..=30 {
        answer(&world, &format!("v{number}")).await;
    }
    world.clock.advance(Duration::from_millis(9_900));
    both(&world).await;
    assert_eq!(sent(&world), (10, 0), "the second host never called in vain");
    // Whoever tries next fails, and the one after finds it well again.
    for connector in [&world.connector, &world.other_connector] {
        connector.script(|script| script.sends.push_back(Err(away())));
    }
    let mut tries = Vec::new();
    for _ in 0..120 {
        let before = sent(&world);
        both(&world).await;
        let after = sent(&world);
        tries.push(after.0 + after.1 - before.0 - before.1);
        world.clock.advance(Duration::from_millis(250));
        if tries.iter().sum::<usize>() == 1 {
            // The other one's is not needed: this try was in vain for both.
            for connector in [&world.connector, &world.other_connector] {
                connector.script(|script| script.sends.clear());
            }
        }
        if tries.iter().sum::<usize>() > 1 {
            break;
        }
    }
    let first = tries.iter().position(|made| *made > 0).unwrap();
    assert_eq!(tries[first], 1, "one try of both hosts: {tries:?}");
    let second = first + 1 + tries[first + 1..].iter().position(|made| *made > 0).unwrap();
    assert!(second - first >= 80, "20 s between the tries: {tries:?}");
    // All of it arrives once it answers.
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        both(&world).await;
    }
    let (one, other) = sent(&world);
    assert_eq!((one + other, backlog(&world.flow).await), (30 + 11, 0));
    assert!(other > 0, "both hosts are at work again");
}

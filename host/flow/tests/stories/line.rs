//! Replies whose webhooks overtake each other or get lost.

use std::time::Duration;

use futures_util::future::join;
use mantle_model::failure::{Cause, Failure, Reason, Refusal};
use mantle_sandbox::CallError;

use crate::inward::text;
use crate::world::World;

/// By the clock of the story.
const PATIENCE: u64 = 120;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn begun() -> World {
    let world = World::new().await;
    world.told(vec![text(&world, "m1", "Hello")]).await;
    world
}

fn reply(number: u64) -> (String, String) {
    (format!("r{number}"), format!("reply {number}"))
}

/// The team writes so many replies, and nobody is told yet.
fn written(world: &World, replies: u64) -> Vec<String> {
    let mut all = Vec::new();
    for (part, text) in (1..=replies).map(reply) {
        world.writes("v1", &part, &text, Vec::new());
        all.push(text);
    }
    all
}

/// Both hosts, until nothing is left.
async fn work_all(world: &World) {
    for _ in 0..PATIENCE {
        let (one, other) = join(world.flow.settle(), world.other_host.settle()).await;
        one.and(other).unwrap();
        if world.flow.store().backlog().await.unwrap() == 0 {
            return;
        }
        world.clock.advance(Duration::from_secs(1));
    }
    panic!("it does not come to an end");
}

/// Every order of four webhooks, over two hosts; each told twice.
#[tokio::test]
async fn p3_out_3_replies_go_out_as_they_were_written_whatever_the_order_of_their_webhooks() {
    const REPLIES: u64 = 4;
    let mut orders: Vec<Vec<u64>> = vec![Vec::new()];
    for _ in 0..REPLIES {
        let longer = |order: &Vec<u64>| {
            let rest = (1..=REPLIES).filter(|next| !order.contains(next)).collect::<Vec<_>>();
            rest.into_iter()
                .map(|next| [order.as_slice(), &[next]].concat())
                .collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    assert_eq!(orders.len(), 24);
    for (seed, order) in orders.iter().enumerate() {
        let world = begun().await;
        let expected = written(&world, REPLIES);
        for (place, number) in order.iter().chain(order).enumerate() {
            let (part, text) = reply(*number);
            let host = if place % 2 == 0 { &world.flow } else { &world.other_host };
            assert_eq!(world.webhook_at(host, "v1", &part, &text).await.answer.status, 200);
            // Sometimes the first ones are at work before the others are told.
            if (seed + place) % 3 == 0 {
                host.settle().await.unwrap();
            }
        }
        work_all(&world).await;
        assert_eq!(world.sent(), expected, "told in the order {order:?}");
    }
}

#[tokio::test]
async fn p3_out_3_a_reply_that_no_webhook_told_goes_before_the_next_and_its_late_webhook_changes_nothing() {
    let world = begun().await;
    let expected = written(&world, 3);
    world.webhook("v1", "r3", "reply 3").await;
    work_all(&world).await;
    assert_eq!(world.sent(), expected);
    for number in [1, 2, 3] {
        let (part, text) = reply(number);
        world.webhook("v1", &part, &text).await;
    }
    work_all(&world).await;
    assert_eq!(world.sent(), expected, "each once");
}

/// The earlier one meets trouble: the later one waits for as long, and a refusal ends the waiting.
#[tokio::test]
async fn p3_out_8_what_went_ahead_is_waited_for_through_limits_and_refusals() {
    let world = begun().await;
    written(&world, 3);
    let limited = Failure::RateLimited {
        after: Some(Duration::from_secs(30)),
        cause: Cause::new("429", "Slow down."),
    };
    let refused = Failure::Refused(Refusal {
        reason: Reason::Invalid,
        cause: Cause::new("400", "Not like this."),
        next_step: None,
    });
    world.connector.script(|script| {
        script.sends.push_back(Err(CallError::Provider(limited)));
        script.sends.push_back(Err(CallError::Provider(refused)));
    });
    world.webhook("v1", "r3", "reply 3").await;
    world.flow.settle().await.unwrap();
    world.later(20).await;
    assert_eq!(world.sent(), ["reply 1"], "the others wait");
    work_all(&world).await;
    assert_eq!(world.sent(), ["reply 1", "reply 1", "reply 2", "reply 3"]);
    let notes = world.lines().into_iter().filter(|line| line.0 == "note").count();
    assert_eq!(notes, 1, "the refused one has its note");
}

#[tokio::test]
async fn p3_our_own_parts_and_what_is_older_than_a_day_are_not_sent_for_being_earlier() {
    let world = begun().await;
    // "p1" is the customer's first message, which we wrote.
    world.writes("v1", "p1", "Hello", Vec::new());
    world.writes("v1", "r1", "of yesterday", Vec::new());
    world.clock.advance(DAY + Duration::from_secs(1));
    world.told(vec![text(&world, "m2", "Still there?")]).await;
    world.answered("v1", "r2", "Yes", Vec::new()).await;
    work_all(&world).await;
    assert_eq!(world.sent(), ["Yes"]);
}

//! Two hosts on one store, and customers who write to both at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use mantle_flow::{Flow, inbound};
use mantle_inbox::Quiet;
use mantle_model::hook::Hook;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Alias, AliasKind, ContactCard, Content, Event, EventBody, Location};
use mantle_store::directory::{WorkspaceChange, WorkspaceSettings};

use crate::inward::text;
use crate::world::World;

/// How many orders of events are tried; `MANTLE_SEEDS` tries more.
const SEEDS: u64 = 200;
const MESSAGES_MAX: u64 = 30;
const CONNECTIONS_MAX: u64 = 5;
/// By the clock of the story.
const PATIENCE: Duration = Duration::from_secs(30);

/// One seed, one story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        from + (self.0 >> 33) % (to - from + 1)
    }
}

/// A message of any kind, by a customer of this story's own.
fn event(world: &World, (seed, number): (u64, usize), kind: u64) -> Event {
    let id = format!("{seed}:{number}");
    let mut event = text(world, &id, &id);
    let EventBody::Message(message) = &mut event.body else {
        panic!("a text is a message");
    };
    message.person.aliases = vec![Alias::new(AliasKind::Phone, format!("+3538{seed:08}"))];
    message.content = vec![match kind {
        0 => Content::Location(Location {
            latitude: 1.0,
            longitude: 2.0,
            name: Some(id),
            address: None,
        }),
        1 => Content::Contact(ContactCard {
            name: id,
            phones: Vec::new(),
            emails: Vec::new(),
            organization: None,
        }),
        2 => Content::Line(id),
        _ => Content::Text(id),
    }];
    event
}

/// The hooks of one connection, one behind the other.
async fn connection(world: &World, (host, channel): (&Arc<Flow>, ChannelId), bodies: Vec<Vec<u8>>) {
    for body in bodies {
        let hook = Hook {
            method: "POST".into(),
            path_and_query: format!("/hooks/whatsapp/{channel}"),
            headers: vec![("good".into(), "1".into())],
            body,
            received_at: world.now(),
        };
        let answer = inbound::receive(host, hook, "whatsapp", Some(channel)).await;
        assert_eq!(answer.answer.status, 200);
        host.settle().await.unwrap();
    }
}

/// Each connection belongs to one channel, and ends at one host.
async fn story(world: &World, channels: &[ChannelId], seed: u64) {
    let mut dice = Dice(seed);
    for _ in 0..8 {
        dice.roll(0, 1);
    }
    let count = usize::try_from(dice.roll(2, MESSAGES_MAX)).unwrap();
    let mut lines: Vec<Vec<Vec<u8>>> = vec![Vec::new(); usize::try_from(dice.roll(2, CONNECTIONS_MAX)).unwrap()];
    for number in 0..count {
        let body = format!("{seed}/{number}").into_bytes();
        let told = event(world, (seed, number), dice.roll(0, 5));
        world
            .connector
            .script(|script| script.by_body.insert(body.clone(), vec![told]));
        let line = usize::try_from(dice.roll(0, lines.len() as u64 - 1)).unwrap();
        lines[line].push(body);
    }
    let before = world.inbox.desk(|desk| {
        desk.chance = dice.roll(1, u64::from(u32::MAX));
        (desk.contacts.len(), desk.conversations, desk.lines.len())
    });
    let began = world.now();
    let hosts = [&world.flow, &world.other_host];
    let posts = lines.iter().enumerate().map(|(place, bodies)| {
        let to = (
            hosts[place % hosts.len()],
            channels[place / hosts.len() % channels.len()],
        );
        connection(world, to, bodies.clone())
    });
    join_all(posts).await;
    let (one, other) = join(world.flow.settle(), world.other_host.settle()).await;
    one.and(other).unwrap();
    // Who found another host at it asks again a second later.
    while world.flow.store().backlog().await.unwrap() > 0 {
        assert!(
            world.now().since(began) < PATIENCE,
            "seed {seed}: it does not come to an end"
        );
        world.later(1).await;
    }
    let used = |place: usize| !lines[place].is_empty();
    let in_use: HashSet<ChannelId> = (0..lines.len())
        .filter(|place| used(*place))
        .map(|place| channels[place / hosts.len() % channels.len()])
        .collect();
    let written = world.inbox.desk(|desk| {
        assert_eq!(desk.contacts.len(), before.0 + 1, "seed {seed}: one contact");
        let conversations = desk.conversations - before.1;
        assert_eq!(
            conversations as usize,
            in_use.len(),
            "seed {seed}: one conversation a channel"
        );
        desk.lines[before.2..]
            .iter()
            .map(|line| line.2.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(written.len(), count, "seed {seed}: every message once: {written:?}");
    let place = |number: &str| {
        let names = |line: &&String| line.split(['\n', ' ']).any(|word| word == number);
        written.iter().position(|line| names(&line))
    };
    for bodies in &lines {
        let places: Vec<_> = bodies
            .iter()
            .map(|body| place(&String::from_utf8_lossy(body).replace('/', ":")))
            .collect();
        assert!(places.iter().all(Option::is_some), "seed {seed}: {written:?}");
        assert!(
            places.is_sorted(),
            "seed {seed}: in the order of each connection: {written:?}"
        );
    }
}

fn seeds() -> u64 {
    let more = std::env::var("MANTLE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    more.unwrap_or(SEEDS)
}

#[tokio::test]
async fn in_3_b10_mixed_messages_at_once_over_two_hosts_are_one_contact_and_one_conversation() {
    let world = World::new().await;
    for seed in 1..=seeds() {
        story(&world, &[world.channel], seed).await;
    }
}

#[tokio::test]
async fn in_4_ct_4_b10_two_channels_over_two_hosts_make_one_contact_that_no_search_shows() {
    let world = World::new().await;
    let channels = [world.channel, world.another_channel().await];
    for seed in 1..=seeds() {
        story(&world, &channels, seed).await;
    }
}

/// A customer who writes an hour after a closing begins anew, on both hosts.
async fn begins_anew(world: &World) {
    let directory = world.flow.directory();
    let workspace = directory.channel(world.channel).unwrap().workspace;
    let change = WorkspaceChange {
        settings: Some(WorkspaceSettings {
            new_conversation_after: Some(3_600),
            ..WorkspaceSettings::default()
        }),
        ..WorkspaceChange::default()
    };
    let store = world.flow.store();
    store.change_workspace(workspace, change, world.now()).await.unwrap();
    world.flow.refresh().await.unwrap();
    world.other_host.refresh().await.unwrap();
}

/// Closes every conversation there is, and lets the hour pass.
fn close_all(world: &World) {
    let closed = Quiet {
        closed_at: Some(world.now()),
        spoken_at: Some(world.now()),
    };
    world.inbox.desk(|desk| {
        for number in 1..=desk.conversations {
            desk.quiet.insert(format!("v{number}"), closed);
        }
    });
    world.clock.advance(Duration::from_secs(3_600));
}

/// Both hosts, until nothing is left.
async fn work_all(world: &World, seed: u64) {
    let began = world.now();
    loop {
        let (one, other) = join(world.flow.settle(), world.other_host.settle()).await;
        one.and(other).unwrap();
        if world.flow.store().backlog().await.unwrap() == 0 {
            return;
        }
        assert!(
            world.now().since(began) < PATIENCE,
            "seed {seed}: it does not come to an end"
        );
        world.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn th_6_messages_at_once_past_the_buffer_over_two_hosts_are_one_new_conversation() {
    let world = World::new().await;
    begins_anew(&world).await;
    for seed in 1..=seeds() {
        let mut dice = Dice(seed);
        for _ in 0..8 {
            dice.roll(0, 1);
        }
        let count = usize::try_from(dice.roll(2, 4)).unwrap();
        let bodies: Vec<Vec<u8>> = (0..=count)
            .map(|number| format!("{seed}/{number}").into_bytes())
            .collect();
        let tell = |number: usize| {
            let told = event(&world, (seed, number), 4);
            let body = bodies[number].clone();
            world.connector.script(|script| script.by_body.insert(body, vec![told]));
        };
        tell(0);
        connection(&world, (&world.flow, world.channel), vec![bodies[0].clone()]).await;
        close_all(&world);
        (1..=count).for_each(tell);
        let before = world.inbox.desk(|desk| {
            desk.chance = dice.roll(1, u64::from(u32::MAX));
            (desk.conversations, desk.lines.len())
        });
        let hosts = [&world.flow, &world.other_host];
        let posts = (1..=count).map(|number| {
            let host = hosts[(number + usize::try_from(seed).unwrap()) % hosts.len()];
            connection(&world, (host, world.channel), vec![bodies[number].clone()])
        });
        join_all(posts).await;
        work_all(&world, seed).await;
        world.inbox.desk(|desk| {
            assert_eq!(desk.conversations, before.0 + 1, "seed {seed}: one new conversation");
            let new = format!("v{}", desk.conversations);
            let lines = &desk.lines[before.1..];
            assert_eq!(lines.len(), count, "seed {seed}: every message once: {lines:?}");
            assert!(
                lines.iter().all(|line| line.0 == new),
                "seed {seed}: all in it: {lines:?}"
            );
        });
    }
}

/// Two identities that turn out to be one person have two queues, which are worked at the same time.
#[tokio::test]
async fn th_6_two_queues_of_one_person_past_the_buffer_are_one_new_conversation_and_lose_nothing() {
    let world = World::new().await;
    begins_anew(&world).await;
    for seed in 1..=seeds() {
        let phone = Alias::new(AliasKind::Phone, format!("+3539{seed:08}"));
        let other = Alias::new(AliasKind::Id, format!("user{seed}"));
        let said = |number: usize, alias: &Alias| {
            let mut told = event(&world, (seed, number), 4);
            if let EventBody::Message(message) = &mut told.body {
                message.person.aliases = vec![alias.clone()];
            }
            let body = format!("{seed}/{number}").into_bytes();
            world
                .connector
                .script(|script| script.by_body.insert(body.clone(), vec![told]));
            body
        };
        let first = vec![said(0, &phone), said(1, &other)];
        connection(&world, (&world.flow, world.channel), first).await;
        close_all(&world);
        let before = world.inbox.desk(|desk| {
            desk.chance = seed;
            (desk.conversations, desk.lines.len())
        });
        // Both stand in their queues before the two are known to be one.
        for body in [said(2, &phone), said(3, &other)] {
            let hook = Hook {
                method: "POST".into(),
                path_and_query: "/hooks/whatsapp".into(),
                headers: vec![("good".into(), "1".into())],
                body,
                received_at: world.now(),
            };
            let answer = inbound::receive(&world.flow, hook, "whatsapp", Some(world.channel)).await;
            assert_eq!(answer.answer.status, 200);
        }
        let joined = world.flow.store().join_aliases(
            world.channel,
            std::slice::from_ref(&phone),
            std::slice::from_ref(&other),
        );
        assert!(joined.await.unwrap().is_some());
        work_all(&world, seed).await;
        world.inbox.desk(|desk| {
            let lines = &desk.lines[before.1..];
            assert_eq!(lines.len(), 2, "seed {seed}: nothing is lost or doubled: {lines:?}");
            assert_eq!(
                desk.conversations,
                before.0 + 1,
                "seed {seed}: one new conversation: {lines:?}"
            );
        });
    }
}

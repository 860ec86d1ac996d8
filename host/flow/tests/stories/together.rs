//! Two hosts on one store, and customers who write to both at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use mantle_flow::{Flow, inbound};
use mantle_model::hook::Hook;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Alias, AliasKind, ContactCard, Content, Event, EventBody, Location};

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
        let answer = inbound::receive(host, hook, "whatsapp".into(), Some(channel)).await;
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

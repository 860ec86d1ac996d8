//! Several hosts on one PostgreSQL database.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mantle_model::clock::Clock;
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, MediaId, ReceiptId};
use mantle_model::inbound::{Alias, AliasKind};
use mantle_store::database::SqlStore;
use mantle_store::database::examine::examine;
use mantle_store::directory::Directory;
use mantle_store::intake::{AcceptedEvent, Direction, Intake, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState};
use mantle_store::keyed::{Keyed, MediaRow};
use mantle_store::lanes::{Change, ClaimedLane, Ending, Hands, InHand, Lanes};
use mantle_store::ledger::Ledger;
use mantle_store::testing::cluster::Cluster;
use mantle_store::testing::{START, TestStore};
use mantle_store::upkeep::{Figures, Upkeep};
use mantle_store::{Database, StoreError};

const CHANNEL: ChannelId = ChannelId(11);

fn message(key: &str, person: &str) -> NewEvent {
    NewEvent {
        channel: CHANNEL,
        direction: Direction::In,
        lane: LaneKey::Person {
            aliases: vec![
                Alias::new(AliasKind::Id, person),
                Alias::new(AliasKind::Phone, format!("+{person}")),
            ],
            name: Some(person.into()),
            language: None,
        },
        key: key.into(),
        kind: "message",
        remote_id: None,
        at: START,
        payload: key.as_bytes().to_vec(),
        opens_window: true,
        not_before: None,
    }
}

async fn two_hosts() -> Option<(TestStore, TestStore)> {
    let one = TestStore::open_postgres().await.unwrap()?;
    let two = one.beside().await.unwrap();
    Some((one, two))
}

fn finish(lane: &ClaimedLane) -> Vec<Change> {
    vec![Change::Finish {
        seq: lane.events[0].id.seq,
        ending: Ending::Done,
    }]
}

/// As if the lease of every host had run out on the server's clock.
async fn leases_end(host: &TestStore) {
    let past = "update host set leased_until = server_ms() - 1";
    host.postgres.as_ref().unwrap().run(past).await.unwrap();
}

#[tokio::test]
async fn hosts_claim_each_lane_once() {
    let Some((one, two)) = two_hosts().await else { return };
    for person in 0..40 {
        let event = message(&format!("k{person}"), &format!("p{person}"));
        one.store.enqueue(vec![event]).await.unwrap();
    }
    let now = one.clock.now();
    let mut seen = HashSet::new();
    let mut lanes = 0;
    while lanes < 40 {
        let (first, second) = tokio::join!(one.store.claim(now, 5), two.store.claim(now, 5));
        for lane in first.unwrap().into_iter().chain(second.unwrap()) {
            assert!(seen.insert(lane.claim.lane), "{} is held twice", lane.claim.lane);
            lanes += 1;
        }
    }
    assert!(one.store.claim(now, 5).await.unwrap().is_empty());
    assert_eq!(two.store.next_ready().await.unwrap(), None);
}

#[tokio::test]
async fn b6_a_host_whose_lease_ended_is_fenced_and_the_lane_goes_on() {
    let Some((one, two)) = two_hosts().await else { return };
    one.store.enqueue(vec![message("k", "ann")]).await.unwrap();
    let now = one.clock.now();
    let lost = one.store.claim(now, 5).await.unwrap().remove(0);
    assert!(two.store.claim(now, 5).await.unwrap().is_empty());
    leases_end(&one).await;
    let taken = two.store.claim(now, 5).await.unwrap().remove(0);
    assert_eq!(taken.claim.lane, lost.claim.lane);
    // The second host lives: its lease is renewed by the claim or the heartbeat, and the first one's no longer helps it.
    two.store.heartbeat(&[taken.claim], now).await.unwrap();
    one.store.heartbeat(&[lost.claim], now).await.unwrap();
    let late = one.store.commit(lost.claim, finish(&lost)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    // Giving back what was lost takes nothing from the other.
    one.store.release(lost.claim).await.unwrap();
    assert!(one.store.claim(now, 5).await.unwrap().is_empty());
    two.store.commit(taken.claim, finish(&taken)).await.unwrap();
    assert_eq!(one.store.backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn b5_the_lanes_of_a_host_that_stopped_are_free_and_those_of_a_living_one_are_not() {
    let Some((one, two)) = two_hosts().await else { return };
    one.store.enqueue(vec![message("k", "ann")]).await.unwrap();
    let now = one.clock.now();
    let held = one.store.claim(now, 5).await.unwrap().remove(0);
    for _ in 0..3 {
        one.store.heartbeat(&[held.claim], now).await.unwrap();
        assert!(two.store.claim(now, 5).await.unwrap().is_empty());
    }
    drop(one);
    assert_eq!(two.store.claim(now, 5).await.unwrap().len(), 1);
}

struct Always;

impl Hands for Always {
    fn room(&self, _: ChannelId, _: InHand) -> usize {
        usize::MAX
    }
}

fn receipt(number: i64) -> NewReceipt {
    NewReceipt {
        id: ReceiptId(number),
        origin: Origin::Channel(CHANNEL),
        hook: Hook {
            method: "POST".to_owned(),
            path_and_query: "/hooks/telegram/chn_x".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            received_at: START,
        },
        state: ReceiptState::Parsed,
    }
}

#[tokio::test]
async fn b6_a_lane_handed_over_is_the_hosts_that_took_the_hook_until_its_lease_ends() {
    let Some((one, two)) = two_hosts().await else { return };
    for host in [&one, &two] {
        host.store.hand_over(Some(Arc::new(Always)));
    }
    one.store.accept(receipt(1), vec![message("k", "ann")]).await.unwrap();
    let first = one.store.handed().await.unwrap().remove(0);
    // The other host takes the next hook in, and leaves the lane to who has it.
    two.store.accept(receipt(2), vec![message("l", "ann")]).await.unwrap();
    let now = one.clock.now();
    assert_eq!(two.store.lanes_in_work(), 0);
    assert!(two.store.claim(now, 5).await.unwrap().is_empty());
    leases_end(&one).await;
    // Found by whoever looks which hosts live, and told to whoever waits here.
    let taken = loop {
        if let Some(taken) = two.store.claim(now, 5).await.unwrap().pop() {
            break taken;
        }
        two.store.wait_ready().await;
    };
    assert_eq!((taken.claim.lane, taken.events.len()), (first.claim.lane, 2));
    two.store.heartbeat(&[taken.claim], now).await.unwrap();
    let late = one.store.commit(first.claim, finish(&first)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    two.store.commit(taken.claim, finish(&taken)).await.unwrap();
    assert_eq!(two.store.backlog().await.unwrap(), 1);
    two.store.release(taken.claim).await.unwrap();
    assert_eq!(one.store.backlog().await.unwrap(), 1);
}

#[tokio::test]
async fn a_claim_that_nobody_here_has_is_taken_back_by_the_next_heartbeat() {
    let Some((one, two)) = two_hosts().await else { return };
    one.store.hand_over(Some(Arc::new(Always)));
    one.store.accept(receipt(1), vec![message("k", "ann")]).await.unwrap();
    let lane = one.store.handed().await.unwrap().remove(0);
    let database = one.postgres.as_ref().unwrap();
    // Giving it back fails half-way: the rows still say that the host has it.
    database.run("alter table lane rename to away").await.unwrap();
    one.store.release(lane.claim).await.unwrap();
    database.run("alter table away rename to lane").await.unwrap();
    let now = one.clock.now();
    assert!(two.store.claim(now, 5).await.unwrap().is_empty());
    one.store.heartbeat(&[], now).await.unwrap();
    assert_eq!(two.store.claim(now, 5).await.unwrap().len(), 1);
}

#[tokio::test]
async fn b8_an_arrival_wakes_the_other_host() {
    let Some((one, two)) = two_hosts().await else { return };
    // However often a wait ends by itself: the work is found in the end, by the notification or by the poll.
    one.store.enqueue(vec![message("k", "ann")]).await.unwrap();
    loop {
        two.store.wait_ready().await;
        if !two.store.claim(two.clock.now(), 5).await.unwrap().is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn b10_first_messages_on_all_hosts_make_one_person_and_each_is_stored_once() {
    let Some((one, two)) = two_hosts().await else { return };
    let calls = (0..50).map(|place| {
        let store = Arc::clone(if place % 2 == 0 { &one.store } else { &two.store });
        // Every key comes to both hosts.
        let event = message(&format!("k{}", place / 2), "ann");
        tokio::spawn(async move { store.enqueue(vec![event]).await.unwrap().remove(0) })
    });
    let mut people = HashSet::new();
    let mut new = 0;
    for call in futures_util::future::join_all(calls).await {
        if let AcceptedEvent::New { identity, .. } = call.unwrap() {
            people.insert(identity.unwrap());
            new += 1;
        }
    }
    assert_eq!((new, people.len()), (25, 1));
    assert_eq!(one.store.backlog().await.unwrap(), 25);
}

/// The same people in another order on each host, with their lanes worked in between.
async fn storm(host: Arc<SqlStore>, seed: u64, clock: impl Clock) {
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for batch in 0..200 {
        let events = (0..=random(4))
            .map(|place| message(&format!("{seed}-{batch}-{place}"), &format!("p{}", random(12))))
            .collect();
        host.enqueue(events).await.unwrap();
        for lane in host.claim(clock.now(), 2).await.unwrap() {
            host.commit(lane.claim, finish(&lane)).await.unwrap();
            host.release(lane.claim).await.unwrap();
        }
    }
}

#[tokio::test]
async fn parallel_batches_of_two_hosts_do_not_lock_each_other_out() {
    let Some((one, two)) = two_hosts().await else { return };
    let hosts = [(&one, 1), (&two, 2), (&one, 3), (&two, 4)];
    let storms = hosts.map(|(host, seed)| tokio::spawn(storm(Arc::clone(&host.store), seed, host.clock.clone())));
    for storm in storms {
        storm.await.unwrap();
    }
    let postgres = one.postgres.as_ref().unwrap();
    let deadlocks = "select 1 from pg_stat_database where datname = current_database() and deadlocks > 0";
    assert_eq!(postgres.run(deadlocks).await.unwrap(), 0);
}

#[tokio::test]
async fn a_change_of_the_directory_is_told_to_all_hosts() {
    let Some((one, two)) = two_hosts().await else { return };
    let seen = two.store.changed_elsewhere(0).await.unwrap();
    let later = two.store.changed_elsewhere(seen);
    let change = one.store.forget_channel(CHANNEL);
    let (later, changed) = tokio::join!(later, change);
    changed.unwrap();
    assert!(later.unwrap() > seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_a_server_that_crashed_is_found_again_with_all_that_was_accepted() {
    let Some(cluster) = Cluster::start_own().unwrap() else {
        return;
    };
    let host = TestStore::open_on(&cluster).await.unwrap();
    host.store.enqueue(vec![message("before", "ann")]).await.unwrap();
    tokio::task::block_in_place(|| cluster.crash()).unwrap();
    // The first to meet the dead connection may be told to come again.
    loop {
        match host.store.enqueue(vec![message("after", "ann")]).await {
            Ok(_) => break,
            Err(StoreError::Busy(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    let lane = loop {
        match host.store.claim(host.clock.now(), 5).await {
            Ok(mut lanes) if !lanes.is_empty() => break lanes.remove(0),
            _ => tokio::task::yield_now().await,
        }
    };
    let keys: Vec<&str> = lane.events.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["before", "after"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused_unless_it_only_adds() {
    let Some(host) = TestStore::open_postgres().await.unwrap() else {
        return;
    };
    let postgres = host.postgres.clone().unwrap();
    postgres
        .run("insert into migration (version, needs) values (1000, 1)")
        .await
        .unwrap();
    let beside = host.beside().await.unwrap();
    drop(beside);
    postgres
        .run("update migration set needs = 1000 where version = 1000")
        .await
        .unwrap();
    let Err(StoreError::Unusable(why)) = host.beside().await else {
        panic!("opened a database of the future");
    };
    assert!(why.contains("schema version 1000"), "{why}");
}

#[tokio::test]
async fn a_file_taken_in_by_one_host_is_read_by_the_other() {
    let Some((one, two)) = two_hosts().await else { return };
    // More than one piece.
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|place| (place % 251) as u8).collect();
    let chunks: Vec<_> = bytes
        .chunks(70_000)
        .map(bytes::Bytes::copy_from_slice)
        .map(Ok::<_, std::io::Error>)
        .collect();
    let stored = one
        .store
        .files()
        .put(futures_util::stream::iter(chunks), 3_000_000, None)
        .await
        .unwrap();
    let row = MediaRow {
        id: MediaId(1),
        sha256: stored.sha256,
        name: None,
        content_type: stored.content_type,
        bytes: stored.bytes,
        created_at: START,
    };
    one.store.add_media(&row).await.unwrap();
    let read = two
        .store
        .files()
        .read(&row.sha256, 1_500_000, 1_000_000)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read, bytes[1_500_000..2_500_000]);
    // What nobody has is nowhere.
    assert!(two.store.files().read(&[7; 32], 0, 1).await.unwrap().is_none());
    one.store.erase_media(row.id).await.unwrap();
    let third = one.beside().await.unwrap();
    assert!(third.store.files().read(&row.sha256, 0, 1).await.unwrap().is_none());
}

/// As behind a pooler that hands sessions on, which passes no notification.
#[tokio::test]
async fn b8_where_nobody_notifies_the_next_look_finds_the_work_of_another_host() {
    let Some(mut one) = TestStore::open_postgres().await.unwrap() else {
        return;
    };
    let postgres = one.postgres.as_mut().unwrap();
    let poll_only = format!("{}&statement_cache_capacity=0", postgres.url);
    postgres.database = Database::parse(&poll_only).unwrap();
    let two = one.beside().await.unwrap();
    let three = two.beside().await.unwrap();
    three.store.enqueue(vec![message("k", "ann")]).await.unwrap();
    let begun = Instant::now();
    loop {
        two.store.wait_ready().await;
        if !two.store.claim(two.clock.now(), 5).await.unwrap().is_empty() {
            break;
        }
    }
    // A look every quarter of a second; the rest is the machine's.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A session of somebody else has the rows, and keeps them.
#[tokio::test]
async fn b3_what_another_session_locks_is_given_up_in_seconds_and_not_half_done() {
    let Some(host) = TestStore::open_postgres().await.unwrap() else {
        return;
    };
    let mut outsider = host.postgres.as_ref().unwrap().session().await.unwrap();
    outsider
        .run("begin; lock table lane in access exclusive mode")
        .await
        .unwrap();
    let begun = Instant::now();
    let (refused, unread) = tokio::join!(host.store.enqueue(vec![message("k", "ann")]), host.store.backlog());
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    assert!(unread.is_err(), "{unread:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(outsider);
    let accepted = host.store.enqueue(vec![message("k", "ann")]).await.unwrap();
    assert!(matches!(accepted[..], [AcceptedEvent::New { .. }]), "{accepted:?}");
    assert_eq!(host.store.backlog().await.unwrap(), 1);
}

/// The server, the database and the role are told not to wait for the disk. What a host was told is kept is on the disk
/// all the same: it outlives the server's memory, in which a commit of somebody else is lost at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synchronous_commit_off_is_overruled_for_what_hosts_write() {
    /// The server may write the other's commit by itself just before it is killed: the control is played again then.
    const TRIES: usize = 5;
    let Some(cluster) = Cluster::start_own().unwrap() else {
        return;
    };
    let postgres = cluster.database().await.unwrap();
    for setting in [
        "alter system set synchronous_commit = off",
        "alter system set wal_writer_delay = '10s'",
        "alter role mantle set synchronous_commit = off",
        "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
        "create table control (no bigint)",
        "checkpoint",
    ] {
        postgres.run(setting).await.unwrap();
    }
    tokio::task::block_in_place(|| cluster.crash()).unwrap();
    for round in 0..TRIES {
        let host = TestStore::open_at(postgres.clone()).await.unwrap();
        let key = format!("kept-{round}");
        host.store.enqueue(vec![message(&key, "ann")]).await.unwrap();
        postgres.run("insert into control (no) values (1)").await.unwrap();
        tokio::task::block_in_place(|| cluster.crash()).unwrap();
        let kept = postgres.texts("select key from event").await.unwrap();
        assert!(
            kept.contains(&key),
            "an acknowledged event is lost with the server's memory"
        );
        if postgres.number("select count(*) from control").await.unwrap() == 0 {
            return;
        }
        postgres.run("delete from control").await.unwrap();
    }
    panic!("nothing was ever lost: the control shows nothing");
}

#[tokio::test]
async fn b9_a_transaction_that_nobody_ends_is_a_figure_and_named() {
    let Some(host) = TestStore::open_postgres().await.unwrap() else {
        return;
    };
    let postgres = host.postgres.as_ref().unwrap();
    let lingering = postgres.linger().await.unwrap();
    let open = |figures: Figures| figures.oldest_transaction.unwrap_or_default();
    let mut age = Duration::ZERO;
    // It ages by the server's clock, and not before it has begun.
    while age < Duration::from_millis(20) {
        age = open(host.store.figures(host.clock.now()).await.unwrap());
    }
    let Database::Postgres(address) = &postgres.database else {
        panic!("it is on PostgreSQL");
    };
    let (_, who) = examine(address).await.unwrap().oldest_transaction.unwrap();
    assert!(who.contains("a report") && who.contains("idle in transaction"), "{who}");
    drop(lingering);
    while open(host.store.figures(host.clock.now()).await.unwrap()) >= age {}
}

#[tokio::test]
async fn b9_tables_whose_rows_change_all_the_time_are_cleaned_up_by_rules_of_their_own() {
    let Some(host) = TestStore::open_postgres().await.unwrap() else {
        return;
    };
    let postgres = host.postgres.as_ref().unwrap();
    let cared = "select 1 from pg_class where relname in ('lane', 'bucket', 'host', 'kv', 'effect', 'event', 'receipt') \
                 and reloptions::text like '%autovacuum_vacuum_%'";
    assert_eq!(postgres.run(cared).await.unwrap(), 7);
}

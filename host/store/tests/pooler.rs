//! Two hosts that reach PostgreSQL through a pooler in transaction mode: each transaction is another session.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::HashSet;
use std::sync::Arc;

use mantle_model::clock::Clock;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Alias, AliasKind};
use mantle_store::Database;
use mantle_store::database::SqlStore;
use mantle_store::database::examine::examine;
use mantle_store::directory::Directory;
use mantle_store::intake::{Direction, Intake, LaneKey, NewEvent};
use mantle_store::lanes::{Change, Ending, Lanes};
use mantle_store::ledger::Ledger;
use mantle_store::testing::cluster::{self, Pooler, TestDatabase};
use mantle_store::testing::{START, TestStore};

const CHANNEL: ChannelId = ChannelId(11);

fn message(key: &str, person: &str) -> NewEvent {
    NewEvent {
        channel: CHANNEL,
        direction: Direction::In,
        lane: LaneKey::Person {
            aliases: vec![Alias::new(AliasKind::Id, person)],
            name: None,
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

async fn pooled() -> Option<(Pooler, TestDatabase, TestDatabase)> {
    let cluster = cluster::shared().unwrap()?;
    let pooler = Pooler::before(cluster).unwrap()?;
    let behind = cluster.database().await.unwrap();
    let before = pooler.database(&behind).unwrap();
    Some((pooler, before, behind))
}

/// Stores and works until everything of its own is stored; what is worked is anybody's.
async fn host(store: Arc<SqlStore>, name: &str, clock: impl Clock) -> HashSet<String> {
    let mut done = HashSet::new();
    for batch in 0..60 {
        let events =
            (0..3).map(|place| message(&format!("{name}-{batch}-{place}"), &format!("p{}", (batch + place) % 7)));
        store.enqueue(events.collect()).await.unwrap();
        for lane in store.claim(clock.now(), 3).await.unwrap() {
            let seq = lane.events[0].id.seq;
            let ending = Ending::Done;
            store
                .commit(lane.claim, vec![Change::Finish { seq, ending }])
                .await
                .unwrap();
            assert!(done.insert(lane.events[0].key.clone()), "worked twice by one host");
            store.release(lane.claim).await.unwrap();
        }
        store.heartbeat(&[], clock.now()).await.unwrap();
    }
    done
}

#[tokio::test]
async fn b8_hosts_work_through_a_pooler_in_transaction_mode() {
    let Some((_pooler, through, _)) = pooled().await else {
        return;
    };
    let one = TestStore::open_at(through).await.unwrap();
    let two = one.beside().await.unwrap();
    let (first, second) = tokio::join!(
        host(Arc::clone(&one.store), "one", one.clock.clone()),
        host(Arc::clone(&two.store), "two", two.clock.clone())
    );
    assert!(first.is_disjoint(&second), "no event was worked twice");
    let left = one.store.backlog().await.unwrap();
    assert_eq!(first.len() + second.len() + usize::try_from(left).unwrap(), 2 * 60 * 3);
    // What the other host writes is found by asking.
    one.store.enqueue(vec![message("last", "somebody new")]).await.unwrap();
    loop {
        two.store.wait_ready().await;
        if two.store.next_ready().await.unwrap().is_some() {
            break;
        }
    }
    let seen = two.store.changed_elsewhere(0).await.unwrap();
    let (later, changed) = tokio::join!(two.store.changed_elsewhere(seen), one.store.forget_channel(CHANNEL));
    changed.unwrap();
    assert!(later.unwrap() > seen);
}

#[tokio::test]
async fn a_pooler_that_nobody_told_of_is_found_by_the_examination() {
    let Some((_pooler, through, behind)) = pooled().await else {
        return;
    };
    let address = |database: &TestDatabase| match &database.database {
        Database::Postgres(address) => address.clone(),
        Database::Sqlite(_) => unreachable!("it is on PostgreSQL"),
    };
    assert_eq!(
        examine(&address(&behind)).await.unwrap().notifications_arrive,
        Some(true)
    );
    assert_eq!(examine(&address(&through)).await.unwrap().notifications_arrive, None);
    // As if `transaction_pooler` were forgotten: PgBouncer 1.18 refuses the session by its settings, later ones lose
    // the notification.
    let forgotten = mantle_store::Address::parse(&through.url).unwrap();
    let told = examine(&forgotten).await;
    let found = match &told {
        Ok(examined) => examined.notifications_arrive == Some(false),
        Err(error) => error.to_string().contains("transaction_pooler = true"),
    };
    assert!(found, "{told:?}");
}

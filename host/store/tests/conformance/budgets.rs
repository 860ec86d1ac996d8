//! What hosts share of a credential, by its row.

use std::time::Duration;

use mantle_store::budgets::{Ask, BudgetKey, Told};

use crate::desk::Desk;

const KEY: BudgetKey = BudgetKey([0xA5; 16]);
const OTHER: BudgetKey = BudgetKey([0x00; 16]);
const WAIT: Duration = Duration::from_secs(10);

/// Ten calls a second.
fn ask(by: i64) -> Ask {
    Ask {
        by,
        calls: 3,
        owed: 0,
        each: Duration::from_millis(100),
        probe: None,
    }
}

fn try_it(by: i64) -> Ask {
    Ask {
        probe: Some(Duration::from_secs(150)),
        ..ask(by)
    }
}

pub async fn c1_leases_of_all_hosts_stay_within_the_rate(desk: &Desk<'_>) {
    let mut leased = 0;
    for step in 0..40 {
        let asks = (1..=3).map(|by| desk.store.lease(KEY, ask(by), desk.now()));
        for lease in futures_util::future::join_all(asks).await {
            leased += lease.unwrap().calls;
        }
        let allowed = 10 * step / 10 + 6;
        assert!(leased <= allowed, "{leased} calls after {step} tenths of a second");
        desk.clock.advance(Duration::from_millis(100));
    }
    assert!(leased >= 39, "the rate is used up: {leased}");
    // What was called beyond a lease is owed by all.
    let owed = Ask { owed: 50, ..ask(1) };
    assert_eq!(desk.store.lease(KEY, owed, desk.now()).await.unwrap().calls, 0);
    desk.pass(4);
    let lease = desk.store.lease(KEY, ask(2), desk.now()).await.unwrap();
    assert_eq!(lease.calls, 0);
    assert!(lease.next_at > desk.now());
    assert_eq!(
        desk.store.lease(OTHER, ask(2), desk.now()).await.unwrap().calls,
        3,
        "another credential"
    );
    desk.clock.advance(lease.next_at.since(desk.now()));
    assert_eq!(desk.store.lease(KEY, ask(3), desk.now()).await.unwrap().calls, 1);
}

pub async fn out_9_a_hold_is_known_to_all_and_the_longer_one_counts(desk: &Desk<'_>) {
    let (long, short) = (
        desk.now().after(Duration::from_secs(30)),
        desk.now().after(Duration::from_secs(2)),
    );
    desk.store
        .tell(KEY, 1, Told::Held { until: long }, desk.now())
        .await
        .unwrap();
    let standing = desk
        .store
        .tell(KEY, 2, Told::Held { until: short }, desk.now())
        .await
        .unwrap();
    assert_eq!((standing.held_until, standing.open), (long, None));
    assert_eq!(desk.store.standings(desk.now()).await.unwrap(), [(KEY, standing)]);
    assert_eq!(desk.store.lease(KEY, ask(3), desk.now()).await.unwrap().calls, 0);
    desk.pass(30);
    assert_eq!(desk.store.lease(KEY, ask(3), desk.now()).await.unwrap().calls, 3);
    desk.pass(90);
    assert!(
        desk.store.standings(desk.now()).await.unwrap().is_empty(),
        "over and heard"
    );
}

pub async fn c2_one_of_all_hosts_tries_and_all_hear_how_it_went(desk: &Desk<'_>) {
    let until = desk.now().after(WAIT);
    desk.store
        .tell(KEY, 1, Told::Opened { until, wait: WAIT }, desk.now())
        .await
        .unwrap();
    let early = desk.store.lease(KEY, try_it(2), desk.now()).await.unwrap();
    assert_eq!((early.probe, early.calls), (false, 0));
    desk.pass(10);
    let tries = (1..=8).map(|by| desk.store.lease(KEY, try_it(by), desk.now()));
    let tries = futures_util::future::join_all(tries).await;
    let won: Vec<i64> = (1..=8)
        .zip(&tries)
        .filter(|(_, lease)| lease.as_ref().unwrap().probe)
        .map(|(by, _)| by)
        .collect();
    assert_eq!(won.len(), 1, "one tries: {won:?}");
    let by = won[0];
    let longer = desk.now().after(WAIT * 2);
    let word = Told::Opened {
        until: longer,
        wait: WAIT * 2,
    };
    let standing = desk.store.tell(KEY, by, word, desk.now()).await.unwrap();
    let open = standing.open.unwrap();
    assert_eq!((open.until, open.wait, open.probe), (longer, WAIT * 2, None));
    assert_eq!(desk.store.standings(desk.now()).await.unwrap(), [(KEY, standing)]);
    desk.pass(20);
    assert!(desk.store.lease(KEY, try_it(7), desk.now()).await.unwrap().probe);
    let closed = desk.store.tell(KEY, 7, Told::Closed, desk.now()).await.unwrap();
    assert!(closed.no > standing.no && closed.open.is_none());
    assert_eq!(
        desk.store.standings(desk.now()).await.unwrap(),
        [(KEY, closed)],
        "told for a minute"
    );
    assert!(desk.store.lease(KEY, ask(3), desk.now()).await.unwrap().calls > 0);
}

pub async fn what_nobody_used_for_a_day_is_forgotten(desk: &Desk<'_>) {
    let until = desk.now();
    let told = desk.store.tell(KEY, 1, Told::Held { until }, desk.now()).await.unwrap();
    desk.pass(2 * 24 * 60 * 60);
    desk.store.lease(OTHER, ask(1), desk.now()).await.unwrap();
    let again = desk.store.tell(KEY, 1, Told::Held { until }, desk.now()).await.unwrap();
    assert!(
        again.no > told.no + 1,
        "the row began anew, and what is known of the old one is older"
    );
}

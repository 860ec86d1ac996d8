use mantle_model::capabilities::LimitScope;
use mantle_model::ids::LaneId;

use super::*;

const START: Time = Time::from_unix_seconds(1_795_000_000);

fn key(name: &str) -> Key {
    Key::of([name].into_iter())
}

const LIMIT: Limit = Limit {
    lane: LaneId(1),
    scope: LimitScope::Credential,
};

fn pass(entry: Entry) -> Pass {
    match entry {
        Entry::Pass(pass) => pass,
        other => panic!("{other:?}"),
    }
}

fn closed(entry: Entry) -> Closed {
    match entry {
        Entry::Closed(closed) => closed,
        other => panic!("{other:?}"),
    }
}

fn limited(seconds: Option<u64>) -> Failure {
    Failure::RateLimited {
        after: seconds.map(Duration::from_secs),
        cause: Cause::new("429", "Too many."),
    }
}

#[test]
fn c1_a_limit_holds_every_lane_of_the_credential_and_no_other() {
    let gates = Gates::default();
    drop(pass(gates.enter(key("a"), None, START)));
    let lesson = gates.failed(key("a"), &limited(Some(30)), LIMIT, START);
    assert_eq!(lesson.held, Some(Duration::from_secs(30)));
    for _ in 0..100 {
        let closed = closed(gates.enter(key("a"), None, START));
        assert_eq!(
            (closed.wait, closed.cause.code.as_str()),
            (Duration::from_secs(30), "rate_limit")
        );
    }
    pass(gates.enter(key("b"), None, START));
    pass(gates.enter(key("a"), None, START.after(Duration::from_secs(30))));
}

#[test]
fn out_9_a_limit_of_unclear_scope_holds_the_credential_once_two_people_meet_it() {
    let gates = Gates::default();
    let met_by = |lane, scope, now| {
        let limit = Limit {
            lane: LaneId(lane),
            scope,
        };
        gates.failed(key("a"), &limited(Some(30)), limit, now).held
    };
    assert_eq!(met_by(1, LimitScope::Recipient, START), None);
    assert_eq!(met_by(2, LimitScope::Recipient, START), None);
    assert_eq!(met_by(1, LimitScope::Unclear, START), None);
    assert_eq!(met_by(1, LimitScope::Unclear, START), None, "the same person again");
    let over = START.after(Duration::from_secs(30));
    assert_eq!(
        met_by(2, LimitScope::Unclear, over),
        None,
        "the first one's time is over"
    );
    pass(gates.enter(key("a"), None, over));
    assert_eq!(met_by(3, LimitScope::Unclear, over), Some(Duration::from_secs(30)));
    closed(gates.enter(key("a"), None, over));
}

#[test]
fn c2_an_open_breaker_keeps_the_credential_alone_and_says_why() {
    let gates = Gates::default();
    let failure = Failure::Transient(Cause::new("503", "Nothing works."));
    let mut lesson = None;
    for _ in 0..10 {
        drop(pass(gates.enter(key("a"), None, START)));
        lesson = Some(gates.failed(key("a"), &failure, LIMIT, START));
    }
    let lesson = lesson.unwrap();
    assert_eq!((lesson.phase, lesson.away.is_some()), (Phase::Open, true));
    let closed = closed(gates.enter(key("a"), None, START));
    assert_eq!(closed.wait, Duration::from_secs(10));
    assert!(closed.cause.message.contains("Nothing works."), "{:?}", closed.cause);
    pass(gates.enter(key("b"), None, START));
}

#[test]
fn in_12_a_side_that_fares_badly_for_a_minute_is_shown_and_a_hiccup_is_not() {
    let gates = Gates::default();
    let failure = Failure::Unknown(Cause::new("500", "Broken."));
    assert_eq!(gates.failed(key("a"), &failure, LIMIT, START).away, None);
    let later = START.after(SHOWN_AFTER);
    assert!(gates.failed(key("a"), &failure, LIMIT, later).away.is_some());
    gates.good(key("a"), later);
    assert_eq!(gates.failed(key("a"), &failure, LIMIT, later).away, None);
    assert!(gates.failed(key("b"), &limited(Some(120)), LIMIT, START).away.is_some());
    assert!(gates.failed(key("c"), &limited(Some(2)), LIMIT, START).away.is_none());
}

fn asked(entry: Entry) -> Ask {
    match entry {
        Entry::Ask(ask) => ask,
        other => panic!("{other:?}"),
    }
}

fn standing(no: i64) -> Standing {
    Standing {
        no,
        held_until: Time::default(),
        open: None,
    }
}

#[test]
fn c1_without_an_answer_of_the_database_nobody_passes_and_it_is_asked_once_a_second() {
    let gates = Gates::among_others(7);
    let ask = asked(gates.enter(key("a"), Some(30.0), START));
    let refused = gates.settle(key("a"), &ask, None, START).unwrap_err();
    assert_eq!((refused.wait, refused.cause.code.as_str()), (ASK_AGAIN_AFTER, "store"));
    let again = closed(gates.enter(key("a"), Some(30.0), START.after(ASK_AGAIN_AFTER / 2)));
    assert_eq!(again.wait, ASK_AGAIN_AFTER / 2);
    asked(gates.enter(key("a"), Some(30.0), START.after(ASK_AGAIN_AFTER)));
    // What has no rate needs no lease.
    pass(gates.enter(key("b"), None, START));
}

#[test]
fn c1_a_lease_lets_through_as_many_as_it_has() {
    let gates = Gates::among_others(7);
    let ask = asked(gates.enter(key("a"), Some(30.0), START));
    let lease = Lease {
        calls: 3,
        next_at: START,
        probe: false,
        standing: standing(1),
    };
    let first = gates.settle(key("a"), &ask, Some(&lease), START).unwrap();
    let others = [(); 2].map(|()| pass(gates.enter(key("a"), Some(30.0), START)));
    asked(gates.enter(key("a"), Some(30.0), START));
    drop((first, others));
    assert!(gates.untold().is_empty());
}

#[test]
fn out_9_c2_what_one_host_learns_is_told_once_and_heard_by_the_other() {
    let (one, other) = (Gates::among_others(7), Gates::among_others(8));
    one.failed(key("a"), &limited(Some(30)), LIMIT, START);
    let until = START.after(Duration::from_secs(30));
    assert_eq!(one.untold(), [(key("a"), Told::Held { until })]);
    assert!(one.untold().is_empty());
    let held = Standing {
        held_until: until,
        ..standing(5)
    };
    other.hear(&[(key("a").budget(), held)]);
    assert_eq!(closed(other.enter(key("a"), None, START)).wait, Duration::from_secs(30));
    other.hear(&[(key("a").budget(), standing(4))]);
    closed(other.enter(key("a"), None, START));
    other.hear(&[(key("a").budget(), standing(6))]);
    pass(other.enter(key("a"), None, START));
}

#[test]
fn c2_a_try_that_made_no_call_is_given_back() {
    let gates = Gates::among_others(7);
    let failure = Failure::Unauthorized(Cause::new("401", "Not you."));
    gates.failed(key("a"), &failure, LIMIT, START);
    let due = START.after(Duration::from_secs(60));
    assert!(matches!(gates.untold()[..], [(_, Told::Opened { until, .. })] if until == due));
    let ask = asked(gates.enter(key("a"), None, due));
    assert!(ask.probe.is_some());
    let lease = Lease {
        calls: 0,
        next_at: due,
        probe: true,
        standing: standing(1),
    };
    let tries = gates.settle(key("a"), &ask, Some(&lease), due).unwrap();
    closed(gates.enter(key("a"), None, due));
    drop(tries);
    assert!(matches!(gates.untold()[..], [(_, Told::Opened { until, .. })] if until == due));
}

#[test]
fn jitter_is_behind_the_wait_and_bounded() {
    for seconds in [0, 1, 10, 300, 21_600] {
        let wait = Duration::from_secs(seconds);
        for chance in [0, 1, 77_777, u64::MAX] {
            let jittered = jittered(wait, chance);
            assert!(jittered >= wait && jittered <= wait + (wait / 5).min(JITTER_MAX));
        }
    }
}

#[test]
fn gates_of_tokens_long_gone_are_dropped() {
    let gates = Gates::default();
    for place in 0..GATES_MAX * 2 {
        drop(pass(gates.enter(key(&place.to_string()), None, START)));
    }
    assert!(gates.table().len() <= GATES_MAX);
}

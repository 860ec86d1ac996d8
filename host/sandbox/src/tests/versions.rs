//! Two versions side by side: which takes what, and what takes one back.

use std::path::PathBuf;
use std::sync::Arc;

use super::stage::{Stage, channel, entry, guest, hook, text};
use crate::{Before, CallError, Change, PluginEntry, PluginState, Plugins, Unchanged, Whom};

/// A plugin whose component is this guest's.
fn of(name: &str, trial_percent: u8) -> PluginEntry {
    PluginEntry {
        name: "guest".to_owned(),
        trial_percent,
        ..entry(name)
    }
}

/// For everybody who may get what is on trial: the number decides.
fn whom(share: u64) -> Whom<'static> {
    Whom {
        pin: None,
        share: Some(share),
    }
}

struct Side {
    plugins: Plugins,
    steady: String,
    _stage: Stage,
}

impl Side {
    /// `steady` in force, and whatever became of the second entry.
    async fn with(second: PluginEntry) -> (Self, Vec<Change>) {
        let stage = Stage::new();
        let plugins = Plugins::new(Arc::clone(&stage.sandbox));
        plugins.apply(vec![of("steady", 10)]).await;
        let steady = plugins.get("guest").unwrap().digest().to_owned();
        let changes = plugins.apply(vec![second]).await;
        let side = Self {
            plugins,
            steady,
            _stage: stage,
        };
        (side, changes)
    }

    fn in_force(&self) -> String {
        self.plugins.get("guest").unwrap().digest().to_owned()
    }
}

#[tokio::test]
async fn d17_a_newer_version_takes_its_share_by_number_and_nothing_else() {
    let (side, changes) = Side::with(of("fragile", 10)).await;
    assert!(matches!(changes.as_slice(), [Change::OnTrial(_)]), "{changes:?}");
    assert_eq!(side.in_force(), side.steady);
    for share in 0..100 {
        let chosen = side.plugins.choose("guest", &whom(share)).unwrap();
        assert_eq!(chosen.digest() != side.steady, share < 10, "{share}");
    }
    let anybody = side.plugins.choose("guest", &Whom::ANYBODY).unwrap();
    assert_eq!(
        anybody.digest(),
        side.steady,
        "what is no journey gets what is in force"
    );
}

#[tokio::test]
async fn d17_what_the_newer_version_cannot_read_the_older_one_reads_and_three_times_takes_it_back() {
    let (side, _) = Side::with(of("fragile", 10)).await;
    for round in 0..3 {
        assert!(side.plugins.settle().await.is_empty(), "{round}");
        let chosen = side.plugins.choose("guest", &whom(0)).unwrap();
        assert_ne!(chosen.digest(), side.steady);
        let inbound = chosen.receive(&channel(), &hook("boom")).await.unwrap();
        assert_eq!(inbound.events.len(), 1);
    }
    // From this moment on, before anybody draws the line.
    assert_eq!(side.plugins.choose("guest", &whom(0)).unwrap().digest(), side.steady);
    let changes = side.plugins.settle().await;
    let [Change::TakenBack { left, running, why }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(running.digest(), side.steady);
    assert!(why.contains("3 hooks that it failed at"), "{why}");
    let Some(PluginState::Refused { reason, .. }) = side.plugins.state("guest") else {
        panic!("it is not refused");
    };
    assert!(reason.to_string().contains("`mantle plugin approve guest`"), "{reason}");

    // The same version is not tried again by itself.
    let before = Before {
        sha256: side.steady.clone(),
        component: guest("steady"),
        rights: running.rights().clone(),
        refused: Some(left.digest().to_owned()),
    };
    let again = PluginEntry {
        sha256: Some(left.digest().to_owned()),
        before: Some(before),
        ..of("fragile", 10)
    };
    let changes = side.plugins.apply(vec![again.clone()]).await;
    assert!(
        matches!(
            changes.as_slice(),
            [Change::Refused {
                still_running: true,
                ..
            }]
        ),
        "{changes:?}"
    );
    let again = PluginEntry {
        before: again.before.map(|before| Before {
            refused: None,
            ..before
        }),
        ..again
    };
    // When somebody says so it is; by now the self-test knows what it fails at.
    let changes = side.plugins.apply(vec![again]).await;
    let [Change::Refused { reason, .. }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(reason.to_string().contains("its self-test failed"), "{reason}");
}

#[tokio::test]
async fn d17_what_neither_version_can_read_is_nobodys_fault() {
    let (side, _) = Side::with(of("fragile", 10)).await;
    for _ in 0..5 {
        let chosen = side.plugins.choose("guest", &whom(0)).unwrap();
        let error = chosen.receive(&channel(), &hook("")).await.unwrap_err();
        assert!(matches!(error, CallError::Malformed(_)), "{error}");
    }
    assert!(side.plugins.settle().await.is_empty());
    assert_ne!(side.plugins.choose("guest", &whom(0)).unwrap().digest(), side.steady);
}

#[tokio::test]
async fn d17_more_unauthorised_sends_than_before_take_it_back() {
    let (side, _) = Side::with(of("fragile", 10)).await;
    for _ in 0..3 {
        let older = side.plugins.choose("guest", &whom(50)).unwrap();
        older.send(&channel(), &text("stranger")).await.unwrap();
        let newer = side.plugins.choose("guest", &whom(0)).unwrap();
        newer.send(&channel(), &text("stranger")).await.unwrap_err();
    }
    let changes = side.plugins.settle().await;
    let [Change::TakenBack { why, .. }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!(why.contains("3 of its 3 calls"), "{why}");
}

#[tokio::test]
async fn d17_a_version_that_fails_at_everything_fails_its_self_test() {
    let (side, changes) = Side::with(of("traps", 100)).await;
    let [
        Change::Refused {
            reason,
            still_running: true,
            ..
        },
    ] = changes.as_slice()
    else {
        panic!("{changes:?}");
    };
    assert!(
        reason
            .to_string()
            .contains("its self-test failed: the connector crashed"),
        "{reason}"
    );
    assert_eq!(side.in_force(), side.steady);
}

#[tokio::test]
async fn d17_the_self_test_knows_the_hooks_of_the_day() {
    let stage = Stage::new();
    let plugins = Plugins::new(Arc::clone(&stage.sandbox));
    plugins.apply(vec![of("steady", 10)]).await;
    let steady = plugins.choose("guest", &whom(0)).unwrap();
    steady.receive(&channel(), &hook("what goes boom here")).await.unwrap();
    let changes = plugins.apply(vec![of("fragile", 100)]).await;
    assert!(matches!(changes.as_slice(), [Change::Refused { .. }]), "{changes:?}");
}

#[tokio::test]
async fn xt_3_a_proven_version_has_the_whole_and_one_word_leads_back() {
    let (side, _) = Side::with(of("fragile", 10)).await;
    for _ in 0..200 {
        let newer = side.plugins.choose("guest", &whom(0)).unwrap();
        newer.receive(&channel(), &hook("a")).await.unwrap();
    }
    let changes = side.plugins.settle().await;
    assert!(matches!(changes.as_slice(), [Change::Proven { .. }]), "{changes:?}");
    assert_ne!(side.in_force(), side.steady);
    assert_ne!(side.plugins.choose("guest", &whom(99)).unwrap().digest(), side.steady);
    assert_eq!(side.plugins.beside("guest").previous.unwrap().digest(), side.steady);
    assert!(side.plugins.settle().await.is_empty(), "it is told once");

    let change = side.plugins.roll_back("guest").await.unwrap();
    assert!(matches!(change, Change::TakenBack { .. }), "{change:?}");
    assert_eq!(side.in_force(), side.steady);
    assert!(matches!(
        side.plugins.roll_back("guest").await,
        Err(Unchanged::Nothing(_))
    ));
    assert_eq!(side.plugins.roll_back("nobody").await.unwrap_err(), Unchanged::Unknown);
}

#[tokio::test]
async fn xt_3_a_pinned_channel_stays_with_its_version() {
    let (side, _) = Side::with(of("fragile", 100)).await;
    let pin = side.steady.clone();
    let pinned = Whom {
        pin: Some(&pin[..12]),
        share: Some(0),
    };
    side.plugins.hold("guest", &pin, PathBuf::new()).await.unwrap();
    assert_eq!(side.plugins.choose("guest", &pinned).unwrap().digest(), pin);
    assert_ne!(side.plugins.choose("guest", &whom(0)).unwrap().digest(), pin);
    // One that nobody has uses what is in force.
    let unknown = Whom {
        pin: Some("000000000000"),
        share: Some(0),
    };
    assert_eq!(
        side.plugins.choose("guest", &unknown).unwrap().digest(),
        side.in_force()
    );
    side.plugins.release("guest", &std::collections::BTreeSet::new()).await;
    assert!(side.plugins.beside("guest").pinned.is_empty());
}

#[tokio::test]
async fn d19_more_rights_wait_for_consent_and_the_old_version_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("more.wasm");
    let component = std::fs::read(guest("fragile")).unwrap();
    let more = [("methods = [\"GET\", \"POST\"]", "methods = [\"PUT\", \"POST\"]")];
    std::fs::write(&file, mantle_components::variants::variant(&component, &more).unwrap()).unwrap();

    let stage = Stage::new();
    let plugins = Plugins::new(Arc::clone(&stage.sandbox));
    plugins.apply(vec![of("steady", 10)]).await;
    let steady = plugins.get("guest").unwrap();
    let asking = PluginEntry {
        component: file,
        before: Some(Before {
            sha256: steady.digest().to_owned(),
            component: guest("steady"),
            rights: steady.rights().clone(),
            refused: None,
        }),
        ..of("fragile", 10)
    };
    let changes = plugins.apply(vec![asking.clone()]).await;
    let [Change::Pending { difference, waiting }] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert_eq!(*difference, ["call PUT https://api.granted.example/v1/"]);
    assert_eq!(plugins.choose("guest", &whom(0)).unwrap().digest(), steady.digest());
    assert!(plugins.apply(vec![asking]).await.is_empty(), "it is told once");

    let other = plugins.approve("guest", Some(steady.digest())).await.unwrap_err();
    assert!(other.to_string().contains("look at the difference again"), "{other}");
    let change = plugins.approve("guest", Some(waiting.digest())).await.unwrap();
    assert!(matches!(change, Change::OnTrial(_)), "{change:?}");
    assert_eq!(plugins.choose("guest", &whom(0)).unwrap().digest(), waiting.digest());
    assert!(plugins.approve("guest", None).await.is_err(), "nothing waits any more");
}

//! What only the SQLite store promises: the file, the lock, the key, and what a crash leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use mantle_model::clock::{Clock, ManualClock};
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, MediaId, ReceiptId, WorkspaceId};
use mantle_model::inbound::{Alias, AliasKind};
use mantle_model::secret::{Secret, Secrets};
use mantle_store::database::SqlStore;
use mantle_store::directory::{Channel, ChannelSettings, ChannelStatus, Directory};
use mantle_store::intake::{
    Accepted, AcceptedEvent, Direction, Intake, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState,
};
use mantle_store::keyed::{Keyed, MediaRow};
use mantle_store::lanes::{Change, Ending, Lanes};
use mantle_store::seal::Key;
use mantle_store::testing::{START, TempFolder, TestStore, config};
use mantle_store::{Database, StoreConfig, StoreError};

const CHANNEL: ChannelId = ChannelId(11);

fn event(key: &str) -> NewEvent {
    NewEvent {
        channel: CHANNEL,
        direction: Direction::In,
        lane: LaneKey::Person {
            aliases: vec![Alias::new(AliasKind::Id, "ann")],
            name: None,
            language: None,
        },
        key: key.into(),
        kind: "message",
        remote_id: None,
        at: START,
        payload: Vec::new(),
        opens_window: true,
        not_before: None,
    }
}

async fn accept(store: &SqlStore, receipt: i64, key: &str) -> Accepted {
    let receipt = NewReceipt {
        id: ReceiptId(receipt),
        origin: Origin::Channel(CHANNEL),
        hook: Hook {
            method: "POST".into(),
            path_and_query: "/hooks/x".into(),
            headers: Vec::new(),
            body: key.as_bytes().to_vec(),
            received_at: START,
        },
        state: ReceiptState::Parsed,
    };
    store.accept(receipt, vec![event(key)]).await.unwrap()
}

fn channel() -> Channel {
    let mut secrets = Secrets::default();
    secrets.add("bot_token", Secret::new("canary-7f3a-token".into()));
    Channel {
        id: CHANNEL,
        workspace: WorkspaceId(1),
        plugin: "telegram".into(),
        name: "visible-name".into(),
        external_id: "bot".into(),
        external_name: "@bot".into(),
        fields: Default::default(),
        secrets,
        status: ChannelStatus::Connected,
        status_cause: None,
        status_since: START,
        notices: Vec::new(),
        settings: ChannelSettings::default(),
        refused_groups: 0,
        created_at: START,
        updated_at: START,
    }
}

#[tokio::test]
async fn a1_what_was_accepted_is_known_after_a_restart() {
    let test = TestStore::open().await.unwrap();
    let first = accept(&test.store, 1, "k").await;
    let AcceptedEvent::New { message, .. } = first.events[0] else {
        panic!("{first:?}");
    };
    let test = test.reopen().await.unwrap();
    let again = accept(&test.store, 2, "k").await;
    assert_eq!(again.events, [AcceptedEvent::Duplicate { of: message }]);
    assert!(test.store.receipt(ReceiptId(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_crash_frees_every_lane_and_fences_its_workers() {
    let test = TestStore::open().await.unwrap();
    accept(&test.store, 1, "k").await;
    let before = test.store.claim(test.clock.now(), 10).await.unwrap().remove(0);
    assert!(test.store.claim(test.clock.now(), 10).await.unwrap().is_empty());
    let test = test.reopen().await.unwrap();
    let after = test.store.claim(test.clock.now(), 10).await.unwrap().remove(0);
    assert_eq!(after.events[0].id, before.events[0].id);
    let finish = || {
        vec![Change::Finish {
            seq: 1,
            ending: Ending::Done,
        }]
    };
    let late = test.store.commit(before.claim, finish()).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    test.store.commit(after.claim, finish()).await.unwrap();
}

#[tokio::test]
async fn a12_a_second_host_on_the_same_file_is_refused() {
    let test = TestStore::open().await.unwrap();
    let second = SqlStore::open(config(test.data_dir(), &test.clock).unwrap()).await;
    let Err(StoreError::Unusable(why)) = second else {
        panic!("two hosts on one file");
    };
    assert!(why.contains("another host uses the database"), "{why}");
    // From another data directory too: the file is what must not be shared.
    let folder = TempFolder::new().unwrap();
    let elsewhere = |data_dir: &std::path::Path| StoreConfig {
        database: Database::Sqlite(folder.path().join("shared.db")),
        ..config(data_dir, &test.clock).unwrap()
    };
    let (one, two) = (TempFolder::new().unwrap(), TempFolder::new().unwrap());
    let _held = SqlStore::open(elsewhere(one.path())).await.unwrap();
    let second = SqlStore::open(elsewhere(two.path())).await;
    assert!(matches!(second, Err(StoreError::Unusable(_))));
}

#[tokio::test]
async fn secrets_are_unreadable_in_the_files_and_without_the_key() {
    let test = TestStore::open().await.unwrap();
    test.store.create_channel(&channel()).await.unwrap();
    let mut seen = false;
    for entry in std::fs::read_dir(test.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!holds(b"canary-7f3a"), "{}", path.display());
            seen |= holds(b"visible-name");
        }
    }
    assert!(seen, "the row itself is in one of the files that were searched");

    // The same files under another roof, opened with another key.
    let (clock, copy) = (test.clock.clone(), TempFolder::new().unwrap());
    copy_files(test.data_dir(), copy.path());
    let other_key = StoreConfig {
        key: Key::from_bytes([8; 32]),
        ..config(copy.path(), &clock).unwrap()
    };
    let store = SqlStore::open(other_key).await.unwrap();
    let read = store.channel(CHANNEL).await;
    assert!(matches!(read, Err(StoreError::Undecipherable(name)) if name == "bot_token"));
    drop(store);
    let store = SqlStore::open(config(copy.path(), &clock).unwrap()).await.unwrap();
    let read = store.channel(CHANNEL).await.unwrap().unwrap();
    assert_eq!(read.secrets.get("bot_token").unwrap().expose(), "canary-7f3a-token");
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test]
async fn folders_are_private() {
    let folder = TempFolder::new().unwrap();
    let data_dir = folder.path().join("deep/data");
    let clock = ManualClock::at(START);
    let _store = SqlStore::open(config(&data_dir, &clock).unwrap()).await.unwrap();
    for path in [&data_dir, &data_dir.join("media"), &folder.path().join("deep")] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
}

/// The database may lie in a folder that others can enter, as one outside of data_dir does.
#[tokio::test]
async fn the_database_is_private_wherever_it_lies() {
    let test = TempFolder::new().unwrap();
    let outside = test.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = outside.join("m.db");
    let modes = || {
        ["m.db", "m.db-wal", "m.db-shm"].map(|name| {
            let metadata = std::fs::metadata(outside.join(name)).unwrap();
            (name, metadata.permissions().mode() & 0o777)
        })
    };
    let private = ["m.db", "m.db-wal", "m.db-shm"].map(|name| (name, 0o600));
    let open = async || {
        let clock = ManualClock::at(START);
        let config = StoreConfig {
            database: Database::Sqlite(path.clone()),
            ..config(&test.path().join("data"), &clock).unwrap()
        };
        SqlStore::open(config).await.unwrap()
    };
    let store = open().await;
    accept(&store, 1, "k").await;
    assert_eq!(modes(), private);
    drop(store);

    // One that was made open to others is closed when it is used.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open().await;
    accept(&store, 2, "l").await;
    assert_eq!(modes(), private);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = TempFolder::new().unwrap();
    let clock = ManualClock::at(START);
    let path = folder.path().join("mantle.db");
    // Its user version raised to 1000 in the header.
    let store = SqlStore::open(config(folder.path(), &clock).unwrap()).await.unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let version = 60..64;
    assert_ne!(bytes[version.clone()], 0_u32.to_be_bytes(), "the version stands there");
    bytes[version].copy_from_slice(&1000_u32.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    for log in ["mantle.db-wal", "mantle.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(log));
    }
    let refused = SqlStore::open(config(folder.path(), &clock).unwrap()).await;
    let Err(StoreError::Unusable(why)) = refused else {
        panic!("opened a database of the future");
    };
    assert!(why.contains("schema version 1000"), "{why}");
}

#[tokio::test]
async fn bytes_go_with_their_last_row() {
    let test = TestStore::open().await.unwrap();
    let mut rows = Vec::new();
    for id in [1, 2] {
        let stream = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"GIF89a..."))]);
        let stored = test.store.files().put(stream, 100, None).await.unwrap();
        let row = MediaRow {
            id: MediaId(id),
            sha256: stored.sha256,
            name: None,
            content_type: stored.content_type,
            bytes: stored.bytes,
            created_at: test.clock.now(),
        };
        test.store.add_media(&row).await.unwrap();
        rows.push(row);
    }
    let files = test.store.files().clone();
    let there = async || files.read(&rows[0].sha256, 0, 3).await.unwrap().is_some();
    test.store.erase_media(rows[0].id).await.unwrap();
    assert!(there().await);
    test.store.erase_media(rows[1].id).await.unwrap();
    assert!(!there().await);
}

#[tokio::test]
async fn a_thousand_accepts_at_once_are_each_stored() {
    let test = TestStore::open().await.unwrap();
    let calls = (0..1000).map(|place| {
        let store = Arc::clone(&test.store);
        tokio::spawn(async move { accept(&store, place, &format!("k{place}")).await })
    });
    for call in futures_util::future::join_all(calls).await {
        assert!(matches!(call.unwrap().events[0], AcceptedEvent::New { .. }));
    }
    assert_eq!(mantle_store::ledger::Ledger::backlog(&*test.store).await.unwrap(), 1000);
}

#[test]
fn addresses_of_databases_are_read_or_refused_in_words() {
    let check = |url: &str, expected: Result<&str, &str>| match (Database::parse(url), expected) {
        (Ok(Database::Sqlite(path)), Ok(expected)) => assert_eq!(path, std::path::Path::new(expected)),
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (got, expected) => panic!("{url}: {got:?} instead of {expected:?}"),
    };
    check("sqlite:/data/mantle.db", Ok("/data/mantle.db"));
    check("sqlite:data/mantle.db", Ok("data/mantle.db"));
    check("sqlite:///data/mantle.db", Ok("/data/mantle.db"));
    check("sqlite:", Err("must name a file"));
    check("sqlite::memory:", Err("must name a file"));
    check("postgres://user@host", Err("names no database"));
    check("mysql://x", Err("must start with"));
}

use super::*;
use crate::keyed::{Keyed, MediaRow};
use crate::testing::{TempFolder, TestStore};
use crate::upkeep::Upkeep;

const QUIET: Progress<'static> = &|_, _, _| ();

fn places(folder: &Path) -> Places {
    Places {
        database: folder.join("mantle.db"),
        data_dir: folder.to_owned(),
    }
}

/// A store with one value and one file larger than a sealed piece.
async fn filled() -> (TestStore, [u8; 32]) {
    let test = TestStore::open().await.unwrap();
    let now = mantle_model::clock::Clock::now(&test.clock);
    let channel = mantle_model::ids::ChannelId(7);
    test.store
        .kv_set(channel, "greeting", None, Some(b"hello"), None, now)
        .await
        .unwrap();
    let bytes = vec![42; 200_000];
    let stream = futures_util::stream::iter([Ok::<_, io::Error>(bytes::Bytes::from(bytes))]);
    let file = test.store.files().put(stream, 1 << 20, None).await.unwrap();
    let row = MediaRow {
        id: mantle_model::ids::MediaId(1),
        sha256: file.sha256,
        name: None,
        content_type: file.content_type,
        bytes: file.bytes,
        created_at: now,
    };
    test.store.add_media(&row).await.unwrap();
    (test, file.sha256)
}

#[tokio::test]
async fn a_16_what_a_backup_holds_comes_back_whole() {
    let (test, sha256) = filled().await;
    let taken = mantle_model::clock::Clock::now(&test.clock);
    let (secrets, seal) = (Key::from_bytes([7; 32]), Key::from_bytes([9; 32]));
    let out = TempFolder::new().unwrap();
    for (name, seal) in [("plain", None), ("sealed", Some(&seal))] {
        let file = out.path().join(name);
        let made = make(&places(test.data_dir()), &file, (&secrets, seal), taken, QUIET)
            .await
            .unwrap();
        assert_eq!((made.files, made.files_missing, made.taken_at), (1, 0, taken));
        let again = make(&places(test.data_dir()), &file, (&secrets, seal), taken, QUIET).await;
        assert!(
            matches!(again, Err(BackupError::Occupied(_))),
            "no backup is overwritten"
        );

        let elsewhere = TempFolder::new().unwrap();
        let there = places(elsewhere.path());
        let later = taken.after(std::time::Duration::from_secs(60));
        let about = restore(&file, &there, seal, later, QUIET).await.unwrap();
        assert_eq!(about, made);
        let copied = fs::read(elsewhere.path().join("media").join(hex::encode(sha256))).unwrap();
        assert_eq!(copied, vec![42; 200_000]);
        let occupied = restore(&file, &there, seal, later, QUIET).await;
        assert!(
            matches!(occupied, Err(BackupError::Occupied(_))),
            "only into an empty place"
        );

        let config = crate::testing::config(elsewhere.path(), &test.clock).unwrap();
        let store = crate::database::SqlStore::open(config).await.unwrap();
        let channel = mantle_model::ids::ChannelId(7);
        assert_eq!(
            store.kv_get(channel, "greeting", later).await.unwrap().unwrap(),
            b"hello"
        );
        let restored = store.restored().await.unwrap().unwrap();
        assert_eq!((restored.taken_at, restored.restored_at), (taken, later));
        assert!(!restored.reconciled, "what was under way is still to be put in doubt");
    }
    let left = fs::read_dir(out.path()).unwrap().count();
    assert_eq!(left, 2, "nothing but the archives is left");
}

#[tokio::test]
async fn a_16_no_changed_byte_goes_unnoticed() {
    let (test, _) = filled().await;
    let (secrets, seal) = (Key::from_bytes([7; 32]), Key::from_bytes([9; 32]));
    let out = TempFolder::new().unwrap();
    for (name, seal) in [("plain", None), ("sealed", Some(&seal))] {
        let file = out.path().join(name);
        make(
            &places(test.data_dir()),
            &file,
            (&secrets, seal),
            Time::default(),
            QUIET,
        )
        .await
        .unwrap();
        let whole = fs::read(&file).unwrap();
        let refused = async |bytes: &[u8], key: Option<&Key>, what: &str| {
            let damaged = out.path().join("damaged");
            fs::write(&damaged, bytes).unwrap();
            let elsewhere = TempFolder::new().unwrap();
            let there = places(&elsewhere.path().join("data"));
            let outcome = restore(&damaged, &there, key, Time::default(), QUIET).await;
            assert!(
                matches!(outcome, Err(BackupError::Archive(_))),
                "{name}, {what}: {outcome:?}"
            );
            assert!(!there.database.exists(), "{name}, {what}");
        };
        // Spread over the whole file: head, entries, hashes, the end.
        for part in 0..24 {
            let place = (whole.len() - 1) * part / 23;
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            refused(&bytes, seal, &format!("byte {place}")).await;
        }
        refused(&whole[..whole.len() - 1], seal, "one byte short").await;
        refused(&whole[..whole.len() / 2], seal, "half").await;
        let mut longer = whole.clone();
        longer.push(0);
        refused(&longer, seal, "one byte more").await;
        let wrong = Key::from_bytes([8; 32]);
        refused(&whole, Some(&wrong), "another key").await;
    }
}

use std::time::Duration;

use mantle_model::ids::MediaId;
use mantle_store::keyed::{KeptAnswer, MediaRow};

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL};

const DAY: u64 = 24 * 60 * 60;

pub async fn values_end_with_their_time(desk: &Desk<'_>) {
    let until = desk.now().after(Duration::from_secs(10));
    let set = desk
        .store
        .kv_set(CHANNEL, "k", None, Some(b"v"), Some(until), desk.now())
        .await;
    assert!(set.unwrap());
    desk.store
        .kv_set(CHANNEL, "l", None, Some(b"w"), None, desk.now())
        .await
        .unwrap();
    let get = async |key| desk.store.kv_get(CHANNEL, key, desk.now()).await.unwrap();
    assert_eq!(get("k").await.as_deref(), Some(b"v".as_slice()));
    assert_eq!(desk.store.kv_get(OTHER_CHANNEL, "k", desk.now()).await.unwrap(), None);
    assert_eq!(desk.store.kv_count(CHANNEL).await.unwrap(), 2);
    desk.pass(10);
    assert_eq!(get("k").await, None);
    assert_eq!(desk.store.kv_count(CHANNEL).await.unwrap(), 1);
    assert_eq!(get("l").await.as_deref(), Some(b"w".as_slice()));
    desk.store
        .kv_set(CHANNEL, "l", None, None, None, desk.now())
        .await
        .unwrap();
    assert_eq!(get("l").await, None);
}

pub async fn a_value_is_swapped_only_if_it_is_as_expected(desk: &Desk<'_>) {
    let swap = async |expected: Option<&[u8]>, value: &[u8]| {
        let set = desk
            .store
            .kv_set(CHANNEL, "k", Some(expected), Some(value), None, desk.now());
        set.await.unwrap()
    };
    assert!(!swap(Some(b"x"), b"a").await);
    assert!(swap(None, b"a").await);
    assert!(!swap(None, b"b").await);
    assert!(!swap(Some(b"x"), b"b").await);
    assert!(swap(Some(b"a"), b"b").await);
    assert_eq!(
        desk.store.kv_get(CHANNEL, "k", desk.now()).await.unwrap().as_deref(),
        Some(b"b".as_slice())
    );
    // What has ended counts as absent.
    let until = desk.now().after(Duration::from_secs(1));
    desk.store
        .kv_set(CHANNEL, "k", None, Some(b"c"), Some(until), desk.now())
        .await
        .unwrap();
    desk.pass(1);
    assert!(swap(None, b"d").await);
}

pub async fn an_answer_is_kept_for_a_day(desk: &Desk<'_>) {
    let answer = KeptAnswer {
        request: [1; 32],
        status: 201,
        body: b"{}".to_vec(),
    };
    let other = KeptAnswer {
        status: 500,
        ..answer.clone()
    };
    desk.store.keep_answer("key", &answer, desk.now()).await.unwrap();
    desk.store.keep_answer("key", &other, desk.now()).await.unwrap();
    assert_eq!(desk.store.kept_answer("key").await.unwrap(), Some(answer));
    assert_eq!(desk.store.kept_answer("other").await.unwrap(), None);
    desk.pass(DAY);
    assert_eq!(desk.store.kept_answer("key").await.unwrap(), None);
    desk.store.keep_answer("key", &other, desk.now()).await.unwrap();
    assert_eq!(desk.store.kept_answer("key").await.unwrap(), Some(other));
}

pub async fn media_rows_are_kept_and_swept(desk: &Desk<'_>) {
    let row = |id| MediaRow {
        id: MediaId(id),
        sha256: [7; 32],
        name: Some("grüße.png".into()),
        content_type: "image/png".into(),
        bytes: 5,
        created_at: desk.now(),
    };
    let (old, new, erased) = (row(1), row(2), row(3));
    desk.store.add_media(&old).await.unwrap();
    assert_eq!(desk.store.media(old.id).await.unwrap(), Some(old.clone()));
    desk.pass(2 * DAY);
    let new = MediaRow {
        created_at: desk.now(),
        ..new
    };
    desk.store.add_media(&new).await.unwrap();
    desk.store.add_media(&erased).await.unwrap();
    desk.store.name_media(new.id, "other.png").await.unwrap();
    let nameless = MediaRow { name: None, ..row(4) };
    desk.store.add_media(&nameless).await.unwrap();
    desk.store.name_media(nameless.id, "told.png").await.unwrap();
    let named = desk.store.media(nameless.id).await.unwrap().and_then(|row| row.name);
    assert_eq!(named.as_deref(), Some("told.png"));
    desk.store.erase_media(erased.id).await.unwrap();
    assert_eq!(desk.store.media(erased.id).await.unwrap(), None);
    let gone = desk.store.sweep(desk.now(), Duration::from_secs(DAY)).await.unwrap();
    assert_eq!(gone, 1);
    assert_eq!(desk.store.media(old.id).await.unwrap(), None);
    assert_eq!(desk.store.media(new.id).await.unwrap(), Some(new));
}

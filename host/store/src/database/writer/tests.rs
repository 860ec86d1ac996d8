use std::sync::mpsc as blocking;

use super::*;
use crate::sql::sql;
use crate::testing::TestStore;

/// Keeps the writer busy until told, so that a group builds up behind it.
async fn held(store: &TestStore) -> (blocking::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (release, wait) = blocking::channel::<()>();
    let (started, running) = oneshot::channel();
    let wait = std::sync::Mutex::new(wait);
    let started = std::sync::Mutex::new(Some(started));
    let holder = Arc::clone(&store.store);
    let task = tokio::spawn(async move {
        holder
            .write(async move |_: &mut Connection| {
                if let Some(started) = started.lock().unwrap().take() {
                    let _ = started.send(());
                }
                let _ = wait.lock().unwrap().recv();
                Ok(())
            })
            .await
    });
    running.await.unwrap();
    (release, task)
}

async fn put(connection: &mut Connection, key: &'static str) -> Result<(), StoreError> {
    sql("insert into kv (channel_id, key, value) values (1, $1, x'00')")
        .bind(key.as_bytes())
        .execute(connection)
        .await?;
    Ok(())
}

#[tokio::test]
async fn one_bad_job_does_not_fail_the_others_of_its_group() {
    let test = TestStore::open().await.unwrap();
    let (release, holder) = held(&test).await;
    let mut jobs = Vec::new();
    for key in ["a", "b", "b", "c"] {
        let store = Arc::clone(&test.store);
        jobs.push(tokio::spawn(async move {
            store.write(async move |tx: &mut Connection| put(tx, key).await).await
        }));
        // Each must be queued before the next, so that the second "b" is the bad one.
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    let mut good = 0;
    for job in jobs {
        match job.await.unwrap() {
            Ok(()) => good += 1,
            Err(error) => assert!(matches!(error, StoreError::Sqlite(_)), "{error}"),
        }
    }
    assert_eq!(good, 3);
    let kept: i64 = sql("select count(*) from kv")
        .scalar(&test.store.readers)
        .await
        .unwrap();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn ws_4_who_is_refused_finds_what_it_was_refused_for() {
    let test = TestStore::open().await.unwrap();
    let (release, holder) = held(&test).await;
    let insert = |store: Arc<crate::database::SqlStore>| async move {
        let refused = store
            .write(async |tx: &mut Connection| {
                let text = "insert into kv (channel_id, key, value) values (1, x'07', x'00')";
                sql(text).execute(tx).await?;
                Ok(())
            })
            .await
            .is_err();
        let there: i64 = sql("select count(*) from kv").scalar(&store.readers).await.unwrap();
        (refused, there)
    };
    let one = tokio::spawn(insert(Arc::clone(&test.store)));
    let two = tokio::spawn(insert(Arc::clone(&test.store)));
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert_ne!(one.0, two.0, "one of two is refused");
    assert_eq!((one.1, two.1), (1, 1), "both find the row");
}

#[tokio::test]
async fn a_job_that_waited_too_long_is_refused_and_not_written() {
    let test = TestStore::open().await.unwrap();
    let (release, holder) = held(&test).await;
    let store = Arc::clone(&test.store);
    let late = tokio::spawn(async move {
        let patience = Patience::Exactly(Duration::ZERO);
        store
            .writer
            .submit(
                Terms::of(patience),
                async |tx: &mut Connection| put(tx, "late").await,
                |()| (),
            )
            .await
    });
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    assert!(matches!(late.await.unwrap(), Err(StoreError::Busy(_))));
    let kept: i64 = sql("select count(*) from kv")
        .scalar(&test.store.readers)
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a10_a_full_disk_refuses_what_does_not_fit_and_recovers() {
    let test = TestStore::open().await.unwrap();
    let pages = async |text: &'static str| {
        test.store
            .write(async move |tx: &mut Connection| {
                sql(text).execute(tx).await?;
                Ok(())
            })
            .await
    };
    // Fewer pages than there are mean: no page more.
    pages("pragma max_page_count = 1").await.unwrap();
    let big = "insert into kv (channel_id, key, value) values (1, x'01', zeroblob(1000000))";
    let refused = pages(big).await;
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    test.store
        .write(async |tx: &mut Connection| put(tx, "small").await)
        .await
        .unwrap();
    pages("pragma max_page_count = 1000000").await.unwrap();
    pages(big).await.unwrap();
}

#[tokio::test]
async fn more_bytes_than_may_wait_are_refused_at_once() {
    let test = TestStore::open().await.unwrap();
    let outcome = test
        .store
        .writer
        .submit(
            Terms::sender().weighing(QUEUE_BYTES_MAX + 1),
            async |tx: &mut Connection| put(tx, "big").await,
            |()| (),
        )
        .await;
    assert!(matches!(outcome, Err(StoreError::Busy(_))));
    // The share was given back.
    test.store
        .write(async |tx: &mut Connection| put(tx, "small").await)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_follows_a_commit_happens_even_if_the_caller_has_gone() {
    let test = TestStore::open().await.unwrap();
    let (release, holder) = held(&test).await;
    let followed = Arc::new(AtomicBool::new(false));
    let (store, told) = (Arc::clone(&test.store), Arc::clone(&followed));
    let caller = tokio::spawn(async move {
        let apply = async |tx: &mut Connection| put(tx, "a").await;
        let committed = move |&(): &()| told.store(true, Ordering::SeqCst);
        store.writer.submit(Terms::sender(), apply, committed).await
    });
    tokio::task::yield_now().await;
    caller.abort();
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    // A further job comes after the abandoned one.
    test.store
        .write(async |tx: &mut Connection| put(tx, "b").await)
        .await
        .unwrap();
    assert!(followed.load(Ordering::SeqCst));
}

#[test]
fn a_group_waits_for_company_under_load_alone() {
    assert_eq!(company_wait(Duration::from_millis(5), 1), Duration::ZERO);
    assert_eq!(
        company_wait(Duration::from_millis(5), COMPANY_FROM),
        Duration::from_millis(5)
    );
    assert_eq!(company_wait(Duration::from_secs(1), 500), COMPANY_WAIT_MAX);
}

//! What operators do: dead letters put in line again, hooks read again, old things let go, backup and restore.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_flow::upkeep::{self, Retention};
use mantle_it::{Bridge, text};
use mantle_model::clock::{Clock, Time};
use mantle_model::ids::IdSource;
use mantle_store::StoreConfig;
use mantle_store::backup::{self, Places};
use mantle_store::database::SqlStore;
use mantle_store::seal::Key;
use mantle_store::testing::cluster;
use mantle_store::upkeep::{Restored, Upkeep};
use mantle_world::Fault;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const PAGE: usize = 200;

/// Everything in this state, oldest first, as `mantle dead` has it.
async fn all_in(bridge: &Bridge, state: &str) -> Result<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = bridge
            .get(&format!("/api/v1/messages?state={state}&limit={PAGE}{after}"))
            .await?;
        all.extend(page["messages"].as_array().context("a list")?.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    all.reverse();
    Ok(all)
}

async fn replay(bridge: &Bridge, id: &str) -> Result<(u16, Value)> {
    let path = format!("/api/v1/messages/{id}/replay");
    bridge.api(Method::POST, &path, Some(&json!({}))).await
}

/// The words of each conversation's customer, by the first of them.
fn told(bridge: &Bridge) -> BTreeMap<String, Vec<String>> {
    let last_line = |body: &str| body.lines().last().unwrap_or_default().to_owned();
    let conversations = bridge.workspace().conversations();
    conversations
        .into_iter()
        .map(|conversation| {
            let words: Vec<String> = conversation
                .from_customer()
                .iter()
                .map(|part| last_line(&part.body))
                .collect();
            (words.first().cloned().unwrap_or_default(), words)
        })
        .collect()
}

/// P5 with 300 instead of 1,000 dead letters, on 20 lanes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn p_5_th_9_dead_letters_are_replayed_in_order_once_while_new_ones_flow() -> Result<()> {
    const CUSTOMERS: i64 = 20;
    const EACH: usize = 15;
    let (bridge, _) = Bridge::with_telegram().await?;
    let customers: Vec<_> = (1..=CUSTOMERS).map(|id| bridge.telegram_customer(id)).collect();
    for (number, customer) in customers.iter().enumerate() {
        assert!(customer.writes(&format!("first {number}")).await.delivered.is_good());
    }
    bridge.quiet().await?;
    bridge.world.intercom.faults().always(Fault::Refuse(422));
    for step in 0..EACH {
        for customer in &customers {
            assert!(customer.writes(&format!("dead {step}")).await.delivered.is_good());
        }
    }
    bridge.quiet().await?;
    bridge.world.intercom.faults().clear();
    let dead = all_in(&bridge, "dead").await?;
    assert_eq!(dead.len(), EACH * customers.len());
    let metrics = bridge.get("/metrics").await?;
    let shown = format!("mantle_dead_letters_waiting {}", dead.len());
    assert!(metrics.as_str().is_some_and(|text| text.contains(&shown)), "{metrics}");

    let replaying = async {
        for message in &dead {
            let (status, answer) = replay(&bridge, &text(message, "id")?).await?;
            ensure!(status == 202, "{status}: {answer}");
        }
        anyhow::Ok(())
    };
    let flowing = async {
        for step in 0..5 {
            for customer in &customers {
                assert!(customer.writes(&format!("live {step}")).await.delivered.is_good());
            }
        }
        anyhow::Ok(())
    };
    let (replayed, flowed) = tokio::join!(replaying, flowing);
    replayed?;
    flowed?;
    bridge.calm().await?;

    let expected =
        |word: &str, count: usize| -> Vec<String> { (0..count).map(|step| format!("{word} {step}")).collect() };
    let told = told(&bridge);
    assert_eq!(told.len(), customers.len());
    for (first, words) in &told {
        let of = |word: &str| -> Vec<String> { words.iter().filter(|text| text.starts_with(word)).cloned().collect() };
        assert_eq!(of("dead"), expected("dead", EACH), "{first}");
        assert_eq!(of("live"), expected("live", 5), "{first}");
        assert_eq!(words.len(), 1 + EACH + 5, "{first}: nothing twice");
    }
    assert!(all_in(&bridge, "dead").await?.is_empty());
    let again = replay(&bridge, &text(&dead[0], "id")?).await?;
    assert_eq!(again.0, 409, "what has arrived is not sent again: {}", again.1);
    let trace = bridge
        .get(&format!("/api/v1/messages/{}", text(&dead[0], "id")?))
        .await?;
    assert_eq!(trace["state"], "posted", "{trace}");
    assert!(
        trace["hops"].to_string().contains("replay 1"),
        "both attempts are told: {trace}"
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn p_5_p_6_parked_hooks_block_nobody_and_are_read_again_when_the_connector_is_back() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let file = bridge.folder().join("plugins.toml");
    let whole = std::fs::read_to_string(&file)?;
    std::fs::write(
        &file,
        whole.replace("[plugins.telegram]\n", "[plugins.telegram]\nenabled = false\n"),
    )?;
    bridge.host().reload().await;
    let customer = bridge.telegram_customer(5_550_001_234);
    for step in 0..3 {
        assert!(
            customer.writes(&format!("kept {step}")).await.delivered.is_good(),
            "2xx all the same"
        );
    }
    assert_eq!(all_in(&bridge, "received").await?.len(), 3);
    let mut waited = Duration::ZERO;
    while all_in(&bridge, "parked").await?.len() < 3 {
        ensure!(waited < DAY, "they are never parked");
        waited += Duration::from_secs(30 * 60);
        bridge.advance(Duration::from_secs(30 * 60));
        bridge.host().flow.settle().await?;
    }
    // Others go on.
    let other = bridge.sms_customer("+353888888222");
    assert!(other.writes("not blocked").await.delivered.is_good());
    bridge.quiet().await?;
    assert_eq!(told(&bridge).into_keys().collect::<Vec<_>>(), ["not blocked"]);

    let parked = all_in(&bridge, "parked").await?;
    let id = text(&parked[0], "id")?;
    let trace = bridge.get(&format!("/api/v1/messages/{id}")).await?;
    assert_eq!(
        (&trace["state"], &trace["kind"]),
        (&json!("parked"), &json!("hook")),
        "{trace}"
    );
    assert_eq!(trace["channel_id"], channels.telegram.id.as_str());
    assert!(trace["reason"].to_string().contains("is not loaded"), "{trace}");

    std::fs::write(&file, whole)?;
    bridge.host().reload().await;
    for hook in &parked {
        let (status, answer) = replay(&bridge, &text(hook, "id")?).await?;
        assert_eq!(status, 202, "{answer}");
    }
    bridge.host().flow.settle().await?;
    bridge.quiet().await?;
    assert!(all_in(&bridge, "parked").await?.is_empty() && all_in(&bridge, "received").await?.is_empty());
    let kept: Vec<String> = (0..3).map(|step| format!("kept {step}")).collect();
    let words = told(&bridge);
    assert_eq!(words.get("kept 0"), Some(&kept), "{words:?}");
    assert_eq!(replay(&bridge, &id).await?.0, 404, "it was read");
    bridge.assert_lawful()
}

/// F10 with some hundred rows: every step is short, and hooks that come meanwhile are answered at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_pv_2_old_things_go_in_short_steps_and_the_person_is_still_known() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    for step in 0..100 {
        assert!(customer.writes(&format!("old {step}")).await.delivered.is_good());
    }
    bridge.quiet().await?;
    let first = text(&bridge.get("/api/v1/messages?limit=1").await?["messages"][0], "id")?;
    bridge.advance(DAY * 91);
    let never = CancellationToken::new();
    let retention = Retention::default();
    let (gone, answered) = tokio::join!(upkeep::pass(&bridge.host().flow, retention, &never), async {
        let mut slowest = Duration::ZERO;
        for step in 0..20 {
            let begun = std::time::Instant::now();
            assert!(customer.writes(&format!("new {step}")).await.delivered.is_good());
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    });
    let gone = gone?;
    // A hundred messages, their raw hooks and their keys.
    assert!(gone.rows >= 300, "{gone:?}");
    assert!(
        answered < Duration::from_secs(1),
        "a hook waited {answered:?}; {gone:?}"
    );
    bridge.quiet().await?;
    assert_eq!(
        bridge
            .api(Method::GET, &format!("/api/v1/messages/{first}"), None)
            .await?
            .0,
        404
    );
    assert_eq!(bridge.workspace().contacts().len(), 1);
    let conversation = bridge.only_conversation()?;
    assert_eq!(conversation.from_customer().len(), 120, "one conversation, as before");
    // Nothing old is left for a second pass.
    let again = upkeep::pass(&bridge.host().flow, retention, &never).await?;
    assert_eq!((again.rows, again.files), (0, 0));
    bridge.assert_lawful()
}

fn places(bridge: &Bridge) -> Places {
    let data_dir = bridge.folder().join("data");
    Places {
        database: data_dir.join("mantle.db"),
        data_dir,
    }
}

/// A backup in this file, made at this moment.
struct Backup(PathBuf, Time);

/// Made while the host works: by `mantle backup`'s means on SQLite, by `pg_dump` on PostgreSQL.
async fn back_up(bridge: &Bridge) -> Result<Backup> {
    let now = bridge.clock.now();
    let archive = bridge.folder().join("backup.mantle");
    if let Some(postgres) = bridge.postgres.clone() {
        let cluster = cluster::shared()?.context("it has a database on it")?;
        let to = archive.clone();
        tokio::task::spawn_blocking(move || cluster.dump(&postgres, &to)).await??;
    } else {
        let secrets = Key::load(&bridge.folder().join("data/secret.key"))?;
        backup::make(&places(bridge), &archive, (&secrets, None), now, &|_, _, _| ()).await?;
    }
    Ok(Backup(archive, now))
}

/// The data folder or the server is lost; what the backup holds is put in its place, and the host starts on it.
async fn lose_and_restore(bridge: &mut Bridge, Backup(archive, taken_at): &Backup) -> Result<()> {
    bridge.stop().await;
    let places = places(bridge);
    std::fs::remove_dir_all(places.data_dir.join("media"))?;
    let now = bridge.clock.now();
    if bridge.postgres.is_some() {
        let cluster = cluster::shared()?.context("it had a database on it")?;
        bridge.postgres = Some(cluster.put_back(archive).await?);
        return reconciling(bridge, *taken_at).await;
    }
    for name in ["mantle.db", "mantle.db-wal", "mantle.db-shm", "mantle.lock"] {
        match std::fs::remove_file(places.data_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    backup::restore(archive, &places, None, now, &|_, _, _| ()).await?;
    bridge.restart().await
}

/// What `mantle restore --reconcile` does, and a start.
async fn reconciling(bridge: &mut Bridge, taken_at: Time) -> Result<()> {
    let postgres = bridge.postgres.as_ref().context("a database")?;
    let data_dir = bridge.folder().join("data");
    let store = SqlStore::open(StoreConfig {
        database: postgres.database.clone(),
        key: Key::load(&data_dir.join("secret.key"))?,
        data_dir,
        clock: Arc::new(bridge.clock.clone()),
        ids: Arc::new(IdSource::new()?),
    });
    let restored = Restored {
        taken_at,
        restored_at: bridge.clock.now(),
        reconciled: false,
    };
    store.await?.set_restored(restored).await?;
    bridge.restart().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_16_op_4_a_backup_under_load_comes_back_without_doubles_or_losses() -> Result<()> {
    const CUSTOMERS: i64 = 8;
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let customers: Vec<_> = (1..=CUSTOMERS).map(|id| bridge.telegram_customer(id)).collect();
    for (number, customer) in customers.iter().enumerate().take(4) {
        assert!(customer.writes(&format!("known {number}")).await.delivered.is_good());
    }
    bridge.quiet().await?;
    // Intercom is away, so that the backup finds much that waits, of known people and of new ones.
    bridge.world.intercom.faults().always(Fault::Refuse(503));
    let writing = async {
        for step in 0..6 {
            for (number, customer) in customers.iter().enumerate() {
                let words = format!("waiting {step} of {number}");
                assert!(customer.writes(&words).await.delivered.is_good());
            }
        }
    };
    writing.await;
    let more = async {
        for customer in &customers {
            assert!(customer.writes("meanwhile").await.delivered.is_good());
        }
    };
    let (made, ()) = tokio::join!(back_up(&bridge), more);
    let backup = made?;

    // The host runs on and works what the backup shows as waiting.
    bridge.world.intercom.faults().clear();
    for _ in 0..120 {
        if bridge.at_rest().await? == 0 {
            break;
        }
        bridge.advance(Duration::from_secs(60));
    }
    let before = told(&bridge);
    assert_eq!(
        before.values().map(Vec::len).sum::<usize>(),
        4 + 8 * 7,
        "all has arrived: {before:?}"
    );

    lose_and_restore(&mut bridge, &backup).await?;
    for _ in 0..120 {
        if bridge.at_rest().await? == 0 {
            break;
        }
        bridge.advance(Duration::from_secs(60));
    }
    assert_eq!(told(&bridge), before, "nothing twice, nothing elsewhere");
    assert_eq!(bridge.workspace().contacts().len(), customers.len());
    // The restored host goes on where the other was.
    for customer in &customers {
        assert!(customer.writes("afterwards").await.delivered.is_good());
    }
    bridge.calm().await?;
    let after = told(&bridge);
    assert_eq!(after.len(), customers.len(), "no second conversation");
    assert!(
        after
            .values()
            .all(|words| words.last().is_some_and(|word| word == "afterwards"))
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_16_replies_that_may_have_been_sent_are_asked_about_and_not_sent_again() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    // The provider is away: the reply waits when the backup is made.
    bridge
        .world
        .telegram
        .faults()
        .always_on("sendMessage", Fault::Limit(Some("30".to_owned())));
    let teammate = bridge.teammate();
    let told = teammate.replies(&conversation.id, "<p>waiting reply</p>", &[]).await;
    assert!(told.delivered.is_some_and(|delivered| delivered.is_good()));
    bridge.at_rest().await?;
    let backup = back_up(&bridge).await?;
    bridge.world.telegram.faults().clear();
    bridge.advance(Duration::from_secs(120));
    bridge.calm().await?;
    let got = |bridge: &Bridge| -> Vec<String> {
        let customer = bridge.telegram_customer(5_550_001_234);
        customer.received().iter().map(|message| message.text.clone()).collect()
    };
    assert_eq!(got(&bridge), ["waiting reply"], "the old host sent it after the backup");

    lose_and_restore(&mut bridge, &backup).await?;
    bridge.calm().await?;
    bridge.advance(Duration::from_secs(120));
    bridge.calm().await?;
    assert_eq!(got(&bridge), ["waiting reply"], "not sent twice");
    let notes: Vec<String> = bridge
        .only_conversation()?
        .notes()
        .iter()
        .map(|note| note.body.clone())
        .collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("may not have been delivered") && note.contains("waiting reply")),
        "the team is asked: {notes:?}"
    );
    assert_eq!(all_in(&bridge, "unknown").await?.len(), 1);
    // What is written now goes out.
    let told = bridge
        .teammate()
        .replies(&conversation.id, "<p>new reply</p>", &[])
        .await;
    assert!(told.delivered.is_some_and(|delivered| delivered.is_good()));
    bridge.calm().await?;
    assert_eq!(got(&bridge), ["waiting reply", "new reply"]);
    bridge.assert_lawful()
}

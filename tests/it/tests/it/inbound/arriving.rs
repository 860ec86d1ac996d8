//! First and next messages, and when they were written.

use std::time::Duration;

use anyhow::Result;
use mantle_it::{Bridge, START};
use mantle_world::whatsapp;
use serde_json::json;

use super::{ledger, newest, row, texts};

const ODD: &str = "  שלום\u{200f} 👩‍👩‍👧‍👦\n\n\ttwo  spaces & <b>markup</b> \\u00e9 \"quoted\"";
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_1_a_first_text_makes_one_lead_and_one_conversation_on_every_channel() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let (telegram, whatsapp, sms) = (
        bridge.telegram_customer(5_550_001_234),
        bridge.whatsapp_customer("4915155501234"),
        bridge.sms_customer("+15005550123"),
    );
    // Stored before the answer left: the ledger knows it at once.
    assert!(telegram.writes(ODD).await.delivered.is_good());
    assert_eq!(ledger(&bridge).await?.len(), 1);
    assert!(whatsapp.writes(ODD).await.delivered.is_good());
    assert_eq!(ledger(&bridge).await?.len(), 2);
    assert!(sms.writes(ODD).await.delivered.is_good());
    assert_eq!(ledger(&bridge).await?.len(), 3);
    bridge.quiet().await?;

    let contacts = bridge.workspace().contacts();
    assert_eq!(contacts.len(), 3, "{contacts:#?}");
    assert!(
        contacts.iter().all(|contact| contact["role"] == "lead"),
        "{contacts:#?}"
    );
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 3);
    for conversation in &conversations {
        assert_eq!(texts(conversation), [ODD]);
        assert_eq!(conversation.source.created_at, START.unix_seconds());
    }
    assert!(telegram.received().is_empty() && whatsapp.received().is_empty() && sms.received().is_empty());
    let rows = ledger(&bridge).await?;
    assert!(rows.iter().all(|row| row["state"] == "posted"), "{rows:#?}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_2_the_next_text_is_one_more_part_without_any_search() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(71);
    customer.writes("one").await;
    bridge.quiet().await?;
    let before = bridge.world.intercom.calls().len();
    for words in ["two", "three"] {
        bridge.advance(MINUTE);
        assert!(customer.writes(words).await.delivered.is_good());
        bridge.quiet().await?;
    }
    assert_eq!(texts(&bridge.only_conversation()?), ["one", "two", "three"]);
    assert_eq!(bridge.workspace().contacts().len(), 1);
    let calls: Vec<_> = bridge.world.intercom.calls().split_off(before);
    let conversation = bridge.only_conversation()?.id;
    let expected = format!("/conversations/{conversation}/reply");
    let made: Vec<_> = calls
        .iter()
        .map(|call| (call.method.as_str(), call.path.as_str()))
        .collect();
    assert_eq!(made, [("POST", expected.as_str()), ("POST", expected.as_str())]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_11_a_late_first_message_carries_the_providers_time() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let written = START.unix_seconds() - 40 * 60;
    let told = bridge
        .telegram_customer(72)
        .message(json!({"text": "late", "date": written}))
        .await;
    assert!(told.delivered.is_good());
    bridge.quiet().await?;
    let part = newest(&bridge)?;
    assert_eq!((part.body.as_str(), part.created_at), ("late", written));
    let row = row(&bridge, &format!("72:{}", told.message_id)).await?;
    assert_eq!(row["at"], "2026-11-20T13:20:00.000Z");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_11_what_is_older_than_the_last_part_comes_last_with_its_time_in_words() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("now").await;
    bridge.quiet().await?;
    let written = START.unix_seconds() - 40 * 60;
    let text = json!({"text": {"body": "forty minutes ago"}, "timestamp": written.to_string()});
    assert!(customer.message("text", text).await.delivered.is_good());
    bridge.quiet().await?;
    assert_eq!(
        texts(&bridge.only_conversation()?),
        ["now", "[Sent 2026-11-20 13:20 UTC]\nforty minutes ago"]
    );
    assert_eq!(newest(&bridge)?.created_at, START.unix_seconds());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_11_a_time_in_the_future_is_now() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    let ahead = START.unix_seconds() + 3 * 3600;
    let text = json!({"text": {"body": "from the future"}, "timestamp": ahead.to_string()});
    assert!(customer.message("text", text).await.delivered.is_good());
    bridge.quiet().await?;
    assert_eq!(newest(&bridge)?.created_at, START.unix_seconds());
    let rows = ledger(&bridge).await?;
    assert_eq!(rows[0]["at"], "2026-11-20T14:00:00.000Z");

    // Nor does it hold the window open beyond the day that began now.
    bridge.advance(Duration::from_secs(24 * 3600 + 1));
    let conversation = bridge.only_conversation()?.id;
    bridge
        .teammate()
        .replies(&conversation, "<p>Still there?</p>", &[])
        .await;
    bridge.quiet().await?;
    assert!(
        bridge
            .world
            .whatsapp
            .number(whatsapp::PHONE_NUMBER_ID)
            .sent()
            .is_empty()
    );
    bridge.assert_lawful()
}

//! The same message told again, in whatever wrapping.

use std::time::Duration;

use anyhow::Result;
use mantle_it::Bridge;
use mantle_world::{Delivered, telegram, whatsapp};
use serde_json::json;
use tokio::task::JoinSet;

use super::{row, texts};

/// Longer than any provider repeats.
const WEEK_AND_A_DAY: Duration = Duration::from_secs(8 * 24 * 3600);
const AT_ONCE: u32 = 8;

/// The same delivery several times in one instant, each over a connection of its own; all must be answered well.
async fn at_once<F>(tell: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Delivered> + Send + 'static,
{
    let mut deliveries = JoinSet::new();
    for _ in 0..AT_ONCE {
        deliveries.spawn(tell());
    }
    while let Some(delivered) = deliveries.join_next().await {
        let delivered = delivered?;
        assert!(delivered.is_good(), "{delivered:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_5_a_telegram_message_told_again_and_again_is_one_part() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let body = json!({"update_id": 900, "message": {"message_id": 5, "date": bridge.world.scene().now(),
        "from": {"id": 81, "is_bot": false, "first_name": "Jana"},
        "chat": {"id": 81, "type": "private", "first_name": "Jana"}, "text": "once"}});
    let bot = bridge.world.telegram.bot(telegram::TOKEN);
    at_once(|| {
        let (bot, body) = (bot.clone(), body.to_string());
        async move { bot.deliver_raw("900", body).await }
    })
    .await?;
    bridge.quiet().await?;
    for _ in 0..2 {
        assert!(bridge.world.telegram.webhooks().again("900").await.is_good());
    }
    bridge.restart().await?;
    assert!(bridge.world.telegram.webhooks().again("900").await.is_good());
    bridge.advance(WEEK_AND_A_DAY);
    assert!(bridge.world.telegram.webhooks().again("900").await.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["once"]);
    assert_eq!(bridge.workspace().contacts().len(), 1);
    assert_eq!(row(&bridge, "81:5").await?["deliveries"], AT_ONCE + 4);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_5_a_whatsapp_message_told_again_and_again_is_one_part() -> Result<()> {
    let (mut bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    let message = customer.compose("text", json!({"text": {"body": "once"}}));
    let change = customer.change(std::slice::from_ref(&message));
    at_once(|| {
        let (number, change) = (number.clone(), change.clone());
        async move { number.deliver("same", vec![change]).await }
    })
    .await?;
    bridge.quiet().await?;
    assert!(bridge.world.whatsapp.webhooks().again("same").await.is_good());
    bridge.restart().await?;
    assert!(bridge.world.whatsapp.webhooks().again("same").await.is_good());
    bridge.advance(WEEK_AND_A_DAY);
    assert!(bridge.world.whatsapp.webhooks().again("same").await.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["once"]);
    let id = message["id"].as_str().unwrap_or_default();
    assert_eq!(row(&bridge, id).await?["deliveries"], AT_ONCE + 3);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_5_a_text_message_told_again_and_again_is_one_part() -> Result<()> {
    let (mut bridge, _) = Bridge::connected().await?;
    let customer = bridge.sms_customer("+15005550123");
    let (sid, form) = customer.compose("once", &[]);
    at_once(|| {
        let (customer, sid, form) = (customer.clone(), sid.clone(), form.clone());
        async move { customer.deliver(&sid, &form).await }
    })
    .await?;
    bridge.quiet().await?;
    assert!(bridge.world.twilio.webhooks().again(&sid).await.is_good());
    bridge.restart().await?;
    assert!(bridge.world.twilio.webhooks().again(&sid).await.is_good());
    bridge.advance(WEEK_AND_A_DAY);
    assert!(bridge.world.twilio.webhooks().again(&sid).await.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["once"]);
    assert_eq!(row(&bridge, &sid).await?["deliveries"], AT_ONCE + 3);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_6_messages_of_a_batch_repeated_in_other_envelopes_are_one_part_each() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    let composed = |words: &str| customer.compose("text", json!({"text": {"body": words}}));
    let (one, two, three) = (composed("one"), composed("two"), composed("three"));
    assert!(customer.batch(&[one.clone(), two.clone()]).await.is_good());
    // Torn apart, joined with something new, and twice within one body.
    let torn = vec![customer.change(std::slice::from_ref(&two))];
    assert!(number.deliver("torn", torn).await.is_good());
    let joined = vec![
        customer.change(&[three.clone(), one.clone()]),
        customer.change(std::slice::from_ref(&one)),
    ];
    assert!(number.deliver("joined", joined).await.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["one", "two", "three"]);
    for (message, deliveries) in [(&one, 2), (&two, 2), (&three, 1)] {
        let row = row(&bridge, message["id"].as_str().unwrap_or_default()).await?;
        assert_eq!(row["deliveries"], deliveries, "{row:#?}");
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_6_a_text_message_told_again_as_a_fallback_is_one_part() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let customer = bridge.sms_customer("+15005550123");
    let (sid, mut form) = customer.compose("once", &[]);
    assert!(customer.deliver(&sid, &form).await.is_good());
    form.push(("ErrorCode", "11200".to_owned()));
    form.push(("ErrorUrl", "https://bridge.test/elsewhere".to_owned()));
    assert!(customer.deliver(&sid, &form).await.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["once"]);
    assert_eq!(row(&bridge, &sid).await?["deliveries"], 2);
    bridge.assert_lawful()
}

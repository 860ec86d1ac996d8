//! P3, OUT-3: replies go out as they were written, whatever becomes of their webhooks.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const REPLIES: u32 = 6;

fn numbered() -> Vec<String> {
    (1..=REPLIES).map(|number| format!("reply {number}")).collect()
}

async fn write(bridge: &Bridge, talk: &Talk) {
    for text in numbered() {
        let html = format!("<p>{text}</p>");
        bridge.teammate().replies(&talk.conversation, &html, &[]).await;
    }
}

async fn told_in(on: On, order: Order) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    bridge.world.intercom.webhooks().hold();
    write(&bridge, &talk).await;
    let told = bridge.world.intercom.webhooks().release(order).await;
    assert_eq!(told.len(), numbered().len());
    assert!(told.iter().all(mantle_world::Delivered::is_good));
    bridge.at_rest().await?;
    pass(&bridge, 60, SECOND).await?;
    assert_eq!(bridge.at_rest().await?, 0);
    assert_eq!(talk.got(&bridge), numbered());
    // And nothing that is looked for later is sent once more.
    pass(&bridge, 6, MINUTE).await?;
    assert_eq!(talk.got(&bridge), numbered());
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_out_3_telegram_replies_told_in_reverse_go_out_as_they_were_written() -> Result<()> {
    told_in(On::Telegram, Order::Reversed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_out_3_whatsapp_replies_told_in_reverse_go_out_as_they_were_written() -> Result<()> {
    told_in(On::WhatsApp, Order::Reversed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_out_3_sms_replies_told_at_once_go_out_as_they_were_written() -> Result<()> {
    told_in(On::Sms, Order::AtOnce).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_out_3_a_reply_whose_webhook_was_lost_goes_before_the_next_one() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    let lost = bridge.world.intercom.webhooks();
    lost.lose(REPLIES - 1);
    write(&bridge, &talk).await;
    bridge.at_rest().await?;
    pass(&bridge, 60, SECOND).await?;
    assert_eq!(talk.got(&bridge), numbered());
    pass(&bridge, 6, MINUTE).await?;
    assert_eq!(talk.got(&bridge), numbered());
    bridge.assert_lawful()
}

/// A host that is killed while an earlier reply goes ahead goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_out_3_a_new_start_in_between_changes_neither_order_nor_number() -> Result<()> {
    let mut bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge.world.intercom.webhooks().hold();
    write(&bridge, &talk).await;
    bridge.world.intercom.webhooks().release(Order::Reversed).await;
    bridge.at_rest().await?;
    for _ in 0..3 {
        pass(&bridge, 2, SECOND).await?;
        bridge.restart().await?;
    }
    pass(&bridge, 60, SECOND).await?;
    assert_eq!(talk.got(&bridge), numbered());
    bridge.assert_lawful()
}

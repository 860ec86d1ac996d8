//! OUT-1 to OUT-8: each reply once, and in order.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_1_one_send_on_the_channel_of_the_conversation() -> Result<()> {
    const OTHER_BOT: &str = "987654321:BBF0bCdEfGhIjKlMnOpQrStUvWxYz012345";
    let (bridge, channels) = Bridge::connected().await?;
    let _ = bridge.world.telegram.bot(OTHER_BOT);
    let fields = json!({"bot_token": OTHER_BOT});
    assert_ne!(fields, telegram_fields());
    bridge.connect(&channels.workspace, "telegram", fields).await?;

    let telegram = On::Telegram.talk(&bridge, 5_001).await?;
    let neighbour = On::Telegram.talk(&bridge, 5_002).await?;
    let whatsapp = On::WhatsApp.talk(&bridge, 5_001).await?;
    let sms = On::Sms.talk(&bridge, 5_001).await?;
    let at_other_bot = bridge.world.telegram.bot(OTHER_BOT).customer(5_001);
    assert!(at_other_bot.writes("Hello, other bot").await.delivered.is_good());
    bridge.quiet().await?;
    let other = bridge.workspace().conversations().pop().context("no conversation")?;

    telegram.reply(&bridge, "<p>To Telegram</p>", &[]).await?;
    whatsapp.reply(&bridge, "<p>To WhatsApp</p>", &[]).await?;
    sms.reply(&bridge, "<p>To the phone</p>", &[]).await?;
    bridge
        .teammate()
        .replies(&other.id, "<p>From the other bot</p>", &[])
        .await;
    bridge.quiet().await?;

    assert_eq!(telegram.got(&bridge), ["To Telegram"]);
    assert_eq!(whatsapp.got(&bridge), ["To WhatsApp"]);
    assert_eq!(sms.got(&bridge), ["To the phone"]);
    assert!(neighbour.got(&bridge).is_empty());
    let of_bot = |token: &str| {
        let sent = bridge.world.telegram.bot(token).sent();
        sent.into_iter().map(|sent| (sent.chat, sent.text)).collect::<Vec<_>>()
    };
    assert_eq!(of_bot(telegram::TOKEN), [(5_001, "To Telegram".to_owned())]);
    assert_eq!(of_bot(OTHER_BOT), [(5_001, "From the other bot".to_owned())]);
    assert_eq!(bridge.world.twilio.sent()[0].from, twilio::NUMBER);
    let path = format!("/{}/messages", whatsapp::PHONE_NUMBER_ID);
    let calls = bridge.world.whatsapp.calls();
    let sends = calls
        .iter()
        .filter(|call| call.operation == "messages" && call.body["type"] == "text");
    assert!(sends.clone().all(|call| call.path.ends_with(&path)));
    assert_eq!(sends.count(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_2_nothing_but_words_for_the_customer_is_sent() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let (teammate, id) = (bridge.teammate(), talk.conversation.as_str());
    teammate.notes(id, "<p>Between us</p>").await;
    teammate.assigns(id, Some(teammate.id())).await;
    teammate.assigns_team(id, "77").await;
    teammate.assigns(id, None).await;
    teammate.snoozes(id).await;
    teammate.reopens(id).await;
    teammate.closes(id, "").await;
    let tag = json!({"type": "tag", "id": "5", "name": "vip"});
    let item = json!({"type": "conversation", "id": id, "tags_added": {"type": "tag.list", "tags": [tag]}});
    bridge.workspace().notify("conversation_part.tag.created", item).await;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert!(talk.notes(&bridge)?.iter().all(|note| note == "<p>Between us</p>"));

    // What is said while closing is said to the customer.
    teammate.closes(id, "<p>Good bye</p>").await;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Good bye"]);
    assert_eq!(talk.seen(&bridge)?.state, "closed", "out_15: it stays closed");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_3_a_webhook_told_twice_or_late_sends_once() -> Result<()> {
    let mut bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge.world.intercom.webhooks().twice(true);
    talk.reply(&bridge, "<p>Told twice</p>", &[]).await?;
    bridge.world.intercom.webhooks().twice(false);
    bridge.quiet().await?;
    let log = bridge.world.intercom.webhooks().log();
    let id = log.last().map(|(_, told)| told.id.clone()).context("no webhook")?;

    bridge.world.intercom.webhooks().hold();
    bridge
        .teammate()
        .replies(&talk.conversation, "<p>Told late</p>", &[])
        .await;
    bridge.advance(Duration::from_secs(3 * 3600));
    bridge.world.intercom.webhooks().release(Order::AsWritten).await;
    bridge.quiet().await?;
    bridge.restart().await?;
    assert!(bridge.world.intercom.webhooks().again(&id).await.is_good());
    bridge.advance(Duration::from_secs(7 * 24 * 3600));
    assert!(bridge.world.intercom.webhooks().again(&id).await.is_good());
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Told twice", "Told late"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_3_shuffled_webhooks_send_each_reply_once() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    for (round, order) in [Order::Reversed, Order::AtOnce].into_iter().enumerate() {
        bridge.world.intercom.webhooks().hold();
        for number in 0..6 {
            let html = format!("<p>{round}.{number}</p>");
            bridge.teammate().replies(&talk.conversation, &html, &[]).await;
        }
        bridge.world.intercom.webhooks().twice(true);
        let told = bridge.world.intercom.webhooks().release(order).await;
        assert!(told.iter().all(mantle_world::Delivered::is_good));
        bridge.quiet().await?;
    }
    let mut got = talk.got(&bridge);
    got.sort();
    let all: Vec<String> = (0..12).map(|at| format!("{}.{}", at / 6, at % 6)).collect();
    assert_eq!(got, all);
    bridge.assert_lawful()
}

async fn slow_file_between_texts(on: On, slow: &str) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    on.faults(&bridge)
        .next_on(slow, Fault::Late(Duration::from_millis(300)));
    talk.reply(&bridge, "<p>A</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::document()]).await?;
    talk.reply(&bridge, "<p>C</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["A", "", "C"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 3]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_8_telegram_keeps_the_order_behind_a_slow_upload() -> Result<()> {
    slow_file_between_texts(On::Telegram, "sendDocument").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_8_whatsapp_keeps_the_order_behind_a_slow_upload() -> Result<()> {
    slow_file_between_texts(On::WhatsApp, "media").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_8_sms_keeps_the_order_behind_a_slow_send() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    for _ in 0..2 {
        On::Sms
            .faults(&bridge)
            .next_on("send", Fault::Late(Duration::from_millis(150)));
    }
    talk.reply(&bridge, "<p>A</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::photo()]).await?;
    talk.reply(&bridge, "<p>C</p>", &[]).await?;
    bridge.quiet().await?;
    bridge.world.settled().await;
    assert_eq!(talk.got(&bridge), ["A", "", "C"]);
    assert_eq!(bridge.world.twilio.sent()[1].files[0].bytes, samples::photo().bytes);
    bridge.assert_lawful()
}

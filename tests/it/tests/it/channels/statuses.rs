//! CH-7, CH-9, AP-2: how channels and messages fare.

use super::*;

pub(super) async fn check(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    let path = format!("/api/v1/channels/{}/check", channel.id);
    let (status, body) = bridge.api(Method::POST, &path, None).await?;
    ensure!(status == 200, "{status} {body}");
    Ok(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_7_statuses_have_cause_time_and_next_step_and_recover() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7);
    customer.writes("hello").await;
    bridge.quiet().await?;
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    assert_eq!(told["status"], "connected");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    assert!(
        told["last_inbound_at"].is_string() && told["last_outbound_at"].is_null(),
        "{told}"
    );

    // Unreachable: offline, and nobody needs new credentials.
    bridge.advance(Duration::from_secs(60));
    let faults = bridge.world.telegram.faults();
    faults.always(Fault::Reset);
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "offline", "{told}");
    assert!(!text(&told, "status_cause")?.is_empty());
    assert!(text(&told, "next_step")?.contains("tries again by itself"), "{told}");
    assert!(
        text(&told, "status_since")?.starts_with("2026-11-20T14:01:00"),
        "{told}"
    );
    // What customers write still arrives.
    customer.writes("are you there?").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 2);
    faults.clear();
    assert_eq!(check(&bridge, &channel).await?["status"], "connected");

    // Refused: disconnected.
    faults.always(Fault::Refuse(401));
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "disconnected", "{told}");
    assert!(text(&told, "status_cause")?.contains("token"), "{told}");
    assert!(text(&told, "next_step")?.contains("credentials"), "{told}");
    faults.clear();
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "connected", "{told}");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_7_a_refused_send_disconnects_and_the_reply_waits() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7);
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    bridge.world.telegram.faults().always(Fault::Refuse(401));
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    assert_eq!(bridge.at_rest().await?, 1, "the reply waits for the channel");
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    assert_eq!(told["status"], "disconnected", "{told}");

    bridge.world.telegram.faults().clear();
    assert_eq!(check(&bridge, &channel).await?["status"], "connected");
    bridge.quiet().await?;
    assert_eq!(customer.received().len(), 1);
    assert_eq!(bridge.only_conversation()?.notes().len(), 0);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_9_the_list_has_name_provider_status_and_times() -> Result<()> {
    let (bridge, connected) = Bridge::connected().await?;
    let _ = bridge.world.telegram.bot(SECOND_BOT);
    let path = format!("/api/v1/workspaces/{}/channels", connected.workspace);
    let nameless = json!({"plugin": "telegram", "fields": {"bot_token": SECOND_BOT}});
    let (status, answer) = bridge.api(Method::POST, &path, Some(&nameless)).await?;
    assert_eq!(status, 201, "{answer}");
    let list = channels(&bridge, &connected.workspace).await?;
    let shown: Vec<_> = list
        .iter()
        .map(|one| (one["plugin"].as_str(), one["name"].as_str(), one["status"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("telegram"), Some("telegram line"), Some("connected")),
            (Some("whatsapp"), Some("whatsapp line"), Some("connected")),
            (Some("twilio-sms"), Some("twilio-sms line"), Some("connected")),
            (Some("telegram"), Some("@shop_987654321_bot"), Some("connected")),
        ]
    );
    for one in &list {
        assert!(text(one, "created_at")?.starts_with("2026-11-20T14:00"), "{one}");
        assert!(text(one, "updated_at")?.starts_with("2026-11-20T14:00"), "{one}");
    }
    bridge.assert_lawful()
}

/// The newest reply of the channel as the API tells it.
async fn newest_reply(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let rows = list["messages"].as_array().context("no list")?;
    let row = rows.iter().find(|row| row["kind"] == "reply").context("no reply")?;
    bridge.get(&format!("/api/v1/messages/{}", text(row, "id")?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ap_2_statuses_only_move_forward() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(newest_reply(&bridge, &channel).await?["state"], "accepted");
    let id = customer.received()[0].id.clone();
    for (report, state) in [
        ("sent", "sent"),
        ("read", "read"),
        ("delivered", "read"),
        ("sent", "read"),
    ] {
        bridge.advance(Duration::from_secs(5));
        assert!(number.status(&id, report, None).await.is_good());
        bridge.quiet().await?;
        let told = newest_reply(&bridge, &channel).await?;
        assert_eq!(told["state"], state, "after {report}: {told}");
    }
    let told = newest_reply(&bridge, &channel).await?;
    for report in ["sent", "delivered", "read"] {
        let wanted = format!("provider reports: {report}");
        let hops = told["hops"].as_array().context("no hops")?;
        assert!(
            hops.iter().any(|hop| hop["what"] == wanted.as_str()),
            "{wanted}: {told}"
        );
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ap_2_a_receipt_before_the_answer_of_the_send_is_kept() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    // The answer comes a byte at a time; the receipts overtake it.
    let slow = Fault::Slow(Duration::from_millis(4));
    bridge.world.whatsapp.faults().next_on("messages", slow);
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    let id = bridge
        .until("the send", || customer.received().first().map(|sent| sent.id.clone()))
        .await?;
    assert!(number.status(&id, "delivered", None).await.is_good());
    assert!(number.status(&id, "read", None).await.is_good());
    bridge.quiet().await?;
    let told = newest_reply(&bridge, &channel).await?;
    assert_eq!(told["state"], "read", "{told}");
    assert_eq!(customer.received().len(), 1);
    bridge.assert_lawful()
}

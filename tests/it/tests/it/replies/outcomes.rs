//! OUT-9, OUT-10: limits, outages and answers that never came.

use super::*;

/// A limit holds the person's messages for as long as it says, and nobody else's.
async fn limited(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    let neighbour = on.talk(&bridge, 5_002).await?;
    on.faults(&bridge)
        .next_on(on.sending(), Fault::Limit(Some("17".to_owned())));
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    bridge.at_rest().await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    neighbour.reply(&bridge, "<p>To another</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert_eq!(neighbour.got(&bridge), ["To another"]);
    pass(&bridge, 1, Duration::from_millis(16_900)).await?;
    assert_eq!(talk.got(&bridge), [""; 0], "before its time");
    pass(&bridge, 1, Duration::from_millis(100)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 3]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_telegram_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_whatsapp_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_sms_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::Sms).await
}

/// An outage that surely applied nothing is waited for.
async fn outage(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    for _ in 0..3 {
        on.faults(&bridge).next_on(on.sending(), Fault::Refuse(503));
    }
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert_eq!(states(&bridge).await?, ["sending", "queued"]);
    pass(&bridge, 4, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_telegram_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_whatsapp_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_sms_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::Sms).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_a_provider_that_cannot_be_reached_is_waited_for() -> Result<()> {
    let mut bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge.cut_off("https://api.telegram.org");
    bridge.restart().await?;
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(states(&bridge).await?, ["sending", "queued"]);
    bridge.reconnect();
    bridge.restart().await?;
    pass(&bridge, 2, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

/// Taken, but the answer never came.
pub(super) async fn lost_answer(on: On, fault: Fault) -> Result<(Bridge, Talk)> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    on.faults(&bridge).next_on(on.sending(), fault);
    talk.reply(&bridge, "<p>Are you there?</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["unknown"]);
    let note = talk.only_note(&bridge)?;
    assert!(note.contains("may not have been delivered"), "{note}");
    assert!(note.contains("“Are you there?”"), "{note}");
    pass(&bridge, 3, Duration::from_secs(3600)).await?;
    talk.reply(&bridge, "<p>Next</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(
        talk.got(&bridge),
        ["Are you there?", "Next"],
        "it is not sent again blindly"
    );
    assert_eq!(talk.notes(&bridge)?.len(), 1);
    bridge.assert_lawful()?;
    Ok((bridge, talk))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_a_lost_answer_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::ResetAfter).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_a_fault_after_applying_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::RefuseAfter(500)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_an_answer_that_is_none_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::Garbage).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_whatsapp_a_lost_answer_is_settled_by_a_receipt() -> Result<()> {
    let (bridge, _) = lost_answer(On::WhatsApp, Fault::ResetAfter).await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let first = number.sent()[0].id.clone();
    assert!(number.status(&first, "delivered", None).await.is_good());
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_sms_a_lost_answer_is_settled_by_a_receipt() -> Result<()> {
    let (bridge, _) = lost_answer(On::Sms, Fault::ResetAfter).await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    let first = account.sent()[0].sid.clone();
    assert!(account.status(&first, "delivered", None).await.is_good());
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    bridge.assert_lawful()
}

//! OUT-9, OUT-10: limits, outages and answers that never came.

use super::*;

/// A limit holds messages for as long as it says: those of the person, where it may be the person's own, else all that
/// go out with the credential.
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
    let may_be_the_persons = on == On::Telegram;
    assert_eq!(neighbour.got(&bridge).is_empty(), !may_be_the_persons);
    pass(&bridge, 1, Duration::from_millis(16_900)).await?;
    assert_eq!(talk.got(&bridge), [""; 0], "before its time");
    pass(&bridge, 1, Duration::from_millis(100)).await?;
    assert_eq!(
        talk.got(&bridge).first().map(String::as_str),
        Some("First"),
        "at its time"
    );
    // Those who waited beside it come a little later, so that not all come at once.
    pass(&bridge, 1, Duration::from_secs(4)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(neighbour.got(&bridge), ["To another"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 3]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_9_telegram_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_9_whatsapp_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_9_sms_waits_as_long_as_a_limit_says() -> Result<()> {
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
pub async fn out_9_telegram_is_waited_for_when_unavailable() -> Result<()> {
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
pub async fn out_9_a_provider_that_cannot_be_reached_is_waited_for() -> Result<()> {
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

//! A backlog after an outage (F8), and what an outage of the host may have cost (OP-2).

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, text};
use mantle_world::{Fault, Order};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Replies that gathered in one conversation. The provider takes one a second for one person.
const WAITING: u64 = 60;

async fn backlog(bridge: &Bridge, channel: &str) -> Result<Value> {
    Ok(bridge.get(&format!("/api/v1/channels/{channel}")).await?["backlog"].clone())
}

async fn gauge(bridge: &Bridge, name: &str) -> Result<Option<u64>> {
    let (_, told) = bridge.api(Method::GET, "/metrics", None).await?;
    let told = told.as_str().context("metrics are text")?;
    let line = told.lines().find(|line| line.starts_with(name));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
}

async fn check(bridge: &Bridge, channel: &str) -> Result<String> {
    let (_, told) = bridge
        .api(Method::POST, &format!("/api/v1/channels/{channel}/check"), None)
        .await?;
    text(&told, "status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_backlog_drains_at_the_providers_rate_shows_its_end_and_delays_nobody_else() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let telegram = &channels.telegram.id;
    let customer = bridge.telegram_customer(7_001);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    bridge.world.telegram.faults().always(Fault::Refuse(401));
    assert_eq!(check(&bridge, telegram).await?, "disconnected");
    for number in 1..=WAITING {
        let html = format!("<p>reply {number}</p>");
        bridge.teammate().replies(&conversation, &html, &[]).await;
    }
    bridge.at_rest().await?;
    bridge.advance(SECOND * 10);
    let told = backlog(&bridge, telegram).await?;
    assert_eq!(
        (&told["outbound"], &told["empty_in_seconds"]),
        (&WAITING.into(), &Value::Null),
        "{told}"
    );
    assert_eq!(backlog(&bridge, &channels.whatsapp.id).await?["outbound"], 0);

    bridge.world.telegram.faults().clear();
    assert_eq!(check(&bridge, telegram).await?, "connected");
    bridge.at_rest().await?;
    backlog(&bridge, telegram).await?;
    for _ in 0..WAITING / 2 {
        bridge.advance(SECOND);
        bridge.at_rest().await?;
    }
    // Half of it has gone, one a second, and the other half needs as long.
    let told = backlog(&bridge, telegram).await?;
    let (left, end) = (told["outbound"].as_u64(), told["empty_in_seconds"].as_u64());
    let (left, end) = (
        left.context("a number")?,
        end.with_context(|| format!("no end: {told}"))?,
    );
    let gone = customer.received().len() as u64;
    assert_eq!(left, WAITING - gone, "{told}");
    assert!((WAITING / 3..=WAITING / 2 + 2).contains(&left), "{told}");
    assert!(left.abs_diff(end) <= left / 5 + 1, "one a second: {told}");
    assert_eq!(
        gauge(
            &bridge,
            &format!("mantle_events_waiting{{channel=\"{telegram}\",direction=\"out\"}}")
        )
        .await?,
        Some(left)
    );
    assert!(gauge(&bridge, "mantle_backlog_empty_seconds{").await?.is_some());

    others_get_through(&bridge).await?;
    assert_eq!(
        backlog(&bridge, telegram).await?["outbound"],
        left,
        "nothing else has moved"
    );

    for _ in 0..WAITING {
        bridge.advance(SECOND);
        bridge.at_rest().await?;
    }
    let received: Vec<_> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(
        received,
        (1..=WAITING)
            .map(|number| format!("reply {number}"))
            .collect::<Vec<_>>()
    );
    let told = backlog(&bridge, telegram).await?;
    assert_eq!(
        (&told["outbound"], &told["empty_in_seconds"]),
        (&0.into(), &Value::Null),
        "{told}"
    );
    bridge.assert_lawful()
}

/// On this channel and on another one, both ways and at once: the clock stands still.
async fn others_get_through(bridge: &Bridge) -> Result<()> {
    let other = bridge.telegram_customer(7_002);
    let on_whatsapp = bridge.whatsapp_customer("353888888999");
    other.writes("And I?").await;
    on_whatsapp.writes("And I?").await;
    let answers = bridge
        .until("their conversations", || {
            let all = bridge.workspace().conversations();
            let theirs: Vec<_> = all.into_iter().filter(|known| known.source.body == "And I?").collect();
            (theirs.len() == 2).then_some(theirs)
        })
        .await?;
    bridge.at_rest().await?;
    for theirs in answers {
        bridge.teammate().replies(&theirs.id, "<p>You too</p>", &[]).await;
    }
    bridge.at_rest().await?;
    assert_eq!((other.received().len(), on_whatsapp.received().len()), (1, 1));
    Ok(())
}

async fn missing(bridge: &Bridge, channel: &str) -> Result<Option<String>> {
    let told = bridge.get(&format!("/api/v1/channels/{channel}")).await?;
    let notices = told["notices"].as_array().cloned().unwrap_or_default();
    let found = notices
        .iter()
        .find(|notice| notice["code"] == "messages-may-be-missing");
    found.map(|notice| text(notice, "message")).transpose()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn op_2_after_two_hours_off_what_is_retried_is_taken_once_and_what_is_not_is_told() -> Result<()> {
    let (mut bridge, channels) = Bridge::connected().await?;
    let (telegram, sms) = (bridge.telegram_customer(7_001), bridge.sms_customer("+15005550123"));
    telegram.writes("before").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    bridge.stop().await;
    bridge.advance(Duration::from_secs(60));
    bridge.world.telegram.webhooks().hold();
    telegram.writes("while it was off").await;
    sms.writes("nobody will ever see this").await;
    bridge.world.intercom.webhooks().lose(1);
    bridge
        .teammate()
        .replies(&conversation, "<p>Answered meanwhile</p>", &[])
        .await;
    bridge.advance(HOUR * 2);
    bridge.restart().await?;

    // The provider tries again, more than once. The inbox is asked by the host itself.
    let tried = bridge.world.telegram.webhooks().release(Order::AsWritten).await;
    assert_eq!(tried.len(), 1);
    assert!(bridge.world.telegram.webhooks().again(&tried[0].id).await.is_good());
    bridge
        .until("the reply", || (!telegram.received().is_empty()).then_some(()))
        .await?;
    bridge.quiet().await?;
    let words: Vec<_> = bridge
        .only_conversation()?
        .from_customer()
        .into_iter()
        .map(|part| part.body)
        .collect();
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[1].ends_with("while it was off"), "{words:?}");
    let received: Vec<_> = telegram.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["Answered meanwhile"]);

    // What could not be recovered is said on the channel, with the times, and only there.
    let told = missing(&bridge, &channels.sms.id).await?.context("no notice")?;
    for words in [
        "No host was at work from 2026-11-20 14:00 UTC to 2026-11-20 16:01 UTC",
        "SMS",
        "45 s",
        "may be missing",
    ] {
        assert!(told.contains(words), "no “{words}” in “{told}”");
    }
    assert_eq!(missing(&bridge, &channels.telegram.id).await?, None);
    assert_eq!(missing(&bridge, &channels.whatsapp.id).await?, None);
    // A new start later does not forget it; a week later nobody needs it.
    bridge.restart().await?;
    assert_eq!(missing(&bridge, &channels.sms.id).await?, Some(told));
    bridge.advance(HOUR * 24 * 7);
    assert_eq!(missing(&bridge, &channels.sms.id).await?, None);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn op_2_a_mere_restart_is_no_outage() -> Result<()> {
    let (mut bridge, channels) = Bridge::connected().await?;
    bridge.stop().await;
    bridge.advance(SECOND * 30);
    bridge.restart().await?;
    assert_eq!(missing(&bridge, &channels.sms.id).await?, None);
    bridge.assert_lawful()
}

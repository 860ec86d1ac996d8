//! Replies whose webhook is lost are found by asking (OUT-3, C16).

use std::time::Duration;

use anyhow::{Context, Result};
use mantle_it::Bridge;
use mantle_world::{Fault, Order, telegram};
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);
/// So many replies were written while our route was down.
const REPLIES: usize = 50;

fn received(customer: &telegram::Customer) -> Vec<String> {
    customer.received().into_iter().map(|sent| sent.text).collect()
}

fn numbered() -> Vec<String> {
    (1..=REPLIES).map(|number| format!("reply {number}")).collect()
}

/// Moves the clock until nothing is left to do, at most so often.
async fn pass(bridge: &Bridge, steps: u32, step: Duration) -> Result<()> {
    for _ in 0..steps {
        bridge.advance(step);
        bridge.at_rest().await?;
    }
    Ok(())
}

/// One person is sent one message a second on this channel.
async fn one_a_second(bridge: &Bridge) -> Result<()> {
    pass(bridge, u32::try_from(REPLIES)? + 5, Duration::from_secs(1)).await
}

async fn found(bridge: &Bridge) -> Result<u64> {
    let (_, text) = bridge.api(http::Method::GET, "/metrics", None).await?;
    let text = text.as_str().context("metrics are text")?;
    let line = text.lines().find(|line| line.starts_with("mantle_gap_found_total{"));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0))
}

async fn a_conversation(bridge: &Bridge, customer: &telegram::Customer) -> Result<String> {
    customer.writes("Anybody there?").await;
    bridge.quiet().await?;
    let all = bridge.workspace().conversations();
    Ok(all.into_iter().last().context("no conversation")?.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c16_out_3_replies_written_while_the_route_was_down_are_found_in_order_and_once() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    bridge.world.intercom.webhooks().hold();
    for text in numbered() {
        bridge
            .teammate()
            .replies(&conversation, &format!("<p>{text}</p>"), &[])
            .await;
        bridge.clock.advance(Duration::from_secs(24));
        bridge.advance(Duration::ZERO);
    }
    pass(&bridge, 5, MINUTE).await?;
    one_a_second(&bridge).await?;
    assert_eq!(received(&customer), numbered());
    assert_eq!(found(&bridge).await?, REPLIES as u64);
    let workspace = bridge.get("/api/v1/workspaces").await?;
    assert!(
        workspace.to_string().contains("Webhooks of the inbox do not arrive"),
        "{workspace}"
    );

    let late = bridge.world.intercom.webhooks().release(Order::AtOnce).await;
    assert_eq!(late.len(), REPLIES);
    assert!(late.iter().all(mantle_world::Delivered::is_good));
    pass(&bridge, 3, MINUTE).await?;
    assert_eq!(received(&customer), numbered(), "told late, they are not sent again");
    assert_eq!(found(&bridge).await?, REPLIES as u64);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c16_op_2_replies_written_while_the_host_was_off_are_found_on_start() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    bridge.stop().await;
    bridge.world.intercom.webhooks().lose(u32::try_from(REPLIES)?);
    for text in numbered() {
        bridge
            .teammate()
            .replies(&conversation, &format!("<p>{text}</p>"), &[])
            .await;
    }
    bridge.advance(MINUTE * 20);
    bridge.restart().await?;
    // The host looks by itself as soon as it has started.
    bridge
        .until("the first reply", || (!received(&customer).is_empty()).then_some(()))
        .await?;
    one_a_second(&bridge).await?;
    assert_eq!(bridge.at_rest().await?, 0);
    assert_eq!(received(&customer), numbered());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c16_out_3_a_lost_reply_is_found_within_five_minutes_in_an_idle_workspace() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    pass(&bridge, 20, MINUTE).await?;
    bridge.world.intercom.webhooks().lose(1);
    bridge.teammate().replies(&conversation, "<p>Yes</p>", &[]).await;
    assert!(received(&customer).is_empty());
    pass(&bridge, 10, MINUTE / 2).await?;
    assert_eq!(received(&customer), ["Yes"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_when_the_inbox_is_back_it_is_asked_at_once() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    pass(&bridge, 20, MINUTE).await?;
    bridge.world.intercom.webhooks().lose(1);
    bridge.teammate().replies(&conversation, "<p>Yes</p>", &[]).await;
    // The sweep just ran; the next one is minutes away.
    let asked = |bridge: &Bridge| {
        let all = bridge.world.intercom.calls();
        all.iter().filter(|call| call.operation == "conversations").count()
    };
    bridge.world.intercom.faults().next_on("reply", Fault::Refuse(502));
    let before = asked(&bridge);
    customer.writes("Hello?").await;
    bridge.at_rest().await?;
    bridge.advance(Duration::from_secs(11));
    assert_eq!(bridge.at_rest().await?, 0);
    bridge
        .until("the inbox is asked", || (asked(&bridge) > before).then_some(()))
        .await?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_out_2_out_18_notes_bots_switched_off_and_foreign_conversations_stay_where_they_are() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    let stranger = bridge
        .workspace()
        .add_contact(&serde_json::json!({"role": "user", "email": "x@mail.example"}));
    let foreign = bridge.workspace().begin_conversation(&stranger, "Not by us").await;
    bridge.world.intercom.webhooks().lose(4);
    bridge.teammate().notes(&conversation, "<p>secret</p>").await;
    bridge
        .teammate()
        .replies(&foreign, "<p>for somebody else</p>", &[])
        .await;
    bridge.teammate().snoozes(&conversation).await;
    bridge.teammate().closes(&conversation, "<p>Bye</p>").await;
    pass(&bridge, 6, MINUTE).await?;
    assert_eq!(received(&customer), ["Bye"], "the last words of a close are a reply");
    assert_eq!(bridge.world.telegram.sent().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_what_was_written_before_the_host_knew_the_workspace_is_not_sent() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    bridge.teammate().replies(&conversation, "<p>long ago</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(received(&customer), ["long ago"]);

    bridge.stop().await;
    std::fs::remove_dir_all(bridge.folder().join("data"))?;
    bridge.advance(MINUTE);
    bridge.restart().await?;
    let workspace = bridge.connect_workspace().await?;
    let body = serde_json::json!({"plugin": "telegram", "name": "again", "fields": mantle_it::telegram_fields(),
        "take_over": true});
    let path = format!("/api/v1/workspaces/{workspace}/channels");
    let (status, answer) = bridge.api(http::Method::POST, &path, Some(&body)).await?;
    assert_eq!(status, 201, "{answer}");
    pass(&bridge, 6, MINUTE).await?;
    customer.writes("Again").await;
    pass(&bridge, 6, MINUTE).await?;
    assert_eq!(received(&customer), ["long ago"], "nothing is sent twice");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c16_a_workspace_whose_webhooks_arrive_is_asked_in_vain_and_counts_nothing() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let conversation = a_conversation(&bridge, &customer).await?;
    for text in ["one", "two", "three"] {
        bridge
            .teammate()
            .replies(&conversation, &format!("<p>{text}</p>"), &[])
            .await;
        bridge.quiet().await?;
        pass(&bridge, 3, MINUTE).await?;
    }
    assert_eq!(received(&customer), ["one", "two", "three"]);
    assert_eq!(found(&bridge).await?, 0);
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let deliveries: Vec<&Value> = list["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["direction"] == "out")
        .map(|row| &row["deliveries"])
        .collect();
    assert_eq!(deliveries.len(), 3, "{list}");
    assert!(deliveries.iter().all(|count| **count == 1), "{list}");
    bridge.assert_lawful()
}

//! The inbox is away, and the customers write on (IN-12).

use std::time::Duration;

use anyhow::Result;
use mantle_it::{Bridge, text};
use mantle_world::Fault;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

async fn an_hour_of(fault: Fault) -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let (known, stranger) = (
        bridge.telegram_customer(5_550_001_234),
        bridge.sms_customer("+353888888222"),
    );
    known.writes("before").await;
    bridge.quiet().await?;
    bridge.world.intercom.faults().always(fault);
    for step in 0..12 {
        let words = format!("during {step}");
        assert!(known.writes(&words).await.delivered.is_good(), "{words}");
        assert!(stranger.writes(&words).await.delivered.is_good(), "{words}");
        bridge.at_rest().await?;
        bridge.advance(MINUTE * 5);
    }
    assert_eq!(bridge.at_rest().await?, 24, "all are stored and none is given up");
    let shown = bridge
        .get(&format!("/api/v1/workspaces/{}", channels.workspace))
        .await?;
    assert_eq!(shown["status"], "waiting", "{shown}");
    assert!(!text(&shown, "status_cause")?.is_empty(), "{shown}");
    let since = text(&shown, "status_since")?;
    assert!(since.starts_with("2026-11-20T14:0"), "since the first minutes: {since}");
    for channel in [&channels.telegram, &channels.sms, &channels.whatsapp] {
        let shown = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
        assert_eq!(shown["status"], "connected", "{shown}");
    }

    bridge.world.intercom.faults().clear();
    let mut waited = Duration::ZERO;
    while bridge.at_rest().await? > 0 {
        waited += MINUTE;
        assert!(waited <= MINUTE * 90, "work resumes within the longest wait");
        bridge.advance(MINUTE);
    }
    let during: Vec<String> = (0..12).map(|step| format!("during {step}")).collect();
    let mut conversations = bridge.workspace().conversations();
    assert_eq!((conversations.len(), bridge.workspace().contacts().len()), (2, 2));
    conversations.sort_by_key(|known| known.source.body != "before");
    let shown = bridge
        .get(&format!("/api/v1/workspaces/{}", channels.workspace))
        .await?;
    assert_eq!(
        (&shown["status"], &shown["status_cause"]),
        (&json!("active"), &Value::Null),
        "{shown}"
    );
    // A message that comes an hour late says so in a line above its words.
    let written = |place: usize| -> Vec<String> {
        let parts: Vec<_> = conversations[place].from_customer();
        parts
            .into_iter()
            .map(|part| part.body.lines().last().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(written(0)[0], "before");
    assert_eq!(written(0)[1..], during, "in order, once each");
    assert_eq!(written(1), during, "in order, once each");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_12_an_hour_without_the_inbox_loses_nothing() -> Result<()> {
    an_hour_of(Fault::Refuse(503)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_12_an_hour_of_rate_limits_loses_nothing() -> Result<()> {
    an_hour_of(Fault::Limit(Some("60".to_owned()))).await
}

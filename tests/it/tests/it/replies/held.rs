//! OUT-17: replies of a channel that is away are held up to the channel's limit, then they have failed.

use super::*;

const TEN_MINUTES: u32 = 600;
const SECOND: Duration = Duration::from_secs(1);

/// The path of the only channel.
async fn channel(bridge: &Bridge) -> Result<String> {
    let list = bridge.get("/api/v1/workspaces").await?;
    let workspace = mantle_it::text(&list["workspaces"][0], "id")?;
    let list = bridge.get(&format!("/api/v1/workspaces/{workspace}/channels")).await?;
    Ok(format!(
        "/api/v1/channels/{}",
        mantle_it::text(&list["channels"][0], "id")?
    ))
}

async fn hold_for(bridge: &Bridge, seconds: &Value) -> Result<(u16, Value)> {
    let edit = json!({"settings": {"hold_replies_seconds": seconds}});
    bridge.api(Method::PATCH, &channel(bridge).await?, Some(&edit)).await
}

async fn check(bridge: &Bridge) -> Result<String> {
    let path = format!("{}/check", channel(bridge).await?);
    let (status, body) = bridge.api(Method::POST, &path, None).await?;
    ensure!(status == 200, "{status} {body}");
    mantle_it::text(&body, "status")
}

async fn pass_by(bridge: &Bridge, seconds: u32) -> Result<()> {
    bridge.advance(SECOND * seconds);
    bridge.at_rest().await.map(drop)
}

/// While the fault lasts the channel has this status; what is held goes out in order when it is over, what was held
/// for too long does not.
async fn held(on: On, (fault, status): (Fault, &str), (ending, reason): (&str, &str)) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    let (code, told) = hold_for(&bridge, &json!(TEN_MINUTES)).await?;
    assert_eq!(
        (code, &told["settings"]["hold_replies_seconds"]),
        (200, &json!(TEN_MINUTES)),
        "{told}"
    );
    on.faults(&bridge).always(fault);
    assert_eq!(check(&bridge).await?, status);

    talk.reply(&bridge, "<p>One</p>", &[]).await?;
    bridge.at_rest().await?;
    pass_by(&bridge, 400).await?;
    talk.reply(&bridge, "<p>Two</p>", &[]).await?;
    pass_by(&bridge, 199).await?;
    assert!(talk.notes(&bridge)?.is_empty(), "held for {TEN_MINUTES} s, not less");
    assert_eq!(states(&bridge).await?.len(), 2);
    pass_by(&bridge, 1).await?;
    let note = talk.only_note(&bridge)?;
    let headline = match ending {
        "failed" => "Not delivered",
        _ => "This message may not have been delivered",
    };
    for words in [headline, "“One”", reason, "held for 10 minutes", "Send it again"] {
        assert!(note.contains(words), "no “{words}” in {note}");
    }
    assert_eq!(states(&bridge).await?[0], ending);
    talk.reply(&bridge, "<p>Three</p>", &[]).await?;
    pass_by(&bridge, 100).await?;

    on.faults(&bridge).clear();
    assert_eq!(check(&bridge).await?, "connected");
    bridge.quiet().await?;
    assert_eq!(
        talk.got(&bridge),
        ["Two", "Three"],
        "in order, without the one that was too old"
    );
    assert_eq!(talk.notes(&bridge)?.len(), 1);
    assert_eq!(states(&bridge).await?, [ending, "accepted", "accepted"]);
    bridge.assert_lawful()
}

const REFUSED: (Fault, &str) = (Fault::Refuse(401), "disconnected");
const AWAY: (Fault, &str) = (Fault::Refuse(503), "offline");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_telegram_replies_of_a_disconnected_channel_are_held_to_its_limit() -> Result<()> {
    held(On::Telegram, REFUSED, ("failed", "The channel is disconnected")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_whatsapp_replies_of_a_disconnected_channel_are_held_to_its_limit() -> Result<()> {
    held(On::WhatsApp, REFUSED, ("failed", "The channel is disconnected")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_sms_replies_of_a_disconnected_channel_are_held_to_its_limit() -> Result<()> {
    held(On::Sms, REFUSED, ("failed", "The channel is disconnected")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_telegram_replies_of_an_offline_channel_are_held_to_its_limit() -> Result<()> {
    held(On::Telegram, AWAY, ("failed", "The provider cannot be reached")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_whatsapp_replies_of_an_offline_channel_are_held_to_its_limit() -> Result<()> {
    held(On::WhatsApp, AWAY, ("failed", "The provider cannot be reached")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_sms_replies_of_an_offline_channel_are_held_to_its_limit() -> Result<()> {
    // Twilio's 503 does not prove that nothing was sent, and its list cannot be asked either.
    held(On::Sms, AWAY, ("unknown", "The provider cannot be reached")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_17_the_limit_is_half_an_hour_a_minute_to_a_day_and_described() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let shown = async || Ok::<_, anyhow::Error>(bridge.get(&channel(&bridge).await?).await?["settings"].clone());
    assert_eq!(shown().await?["hold_replies_seconds"], 1800);
    for wrong in [0, 59, 86_401] {
        let (status, told) = hold_for(&bridge, &json!(wrong)).await?;
        assert_eq!(
            (status, &told["error"]["field"]),
            (422, &json!("settings.hold_replies_seconds")),
            "{told}"
        );
        assert_eq!(shown().await?["hold_replies_seconds"], 1800, "the old value is kept");
    }
    for good in [60, 86_400] {
        let (status, told) = hold_for(&bridge, &json!(good)).await?;
        assert_eq!(
            (status, &told["settings"]["hold_replies_seconds"]),
            (200, &json!(good)),
            "{told}"
        );
    }
    // Another setting leaves it alone.
    let edit = json!({"settings": {"signature": "name"}});
    let (status, _) = bridge.api(Method::PATCH, &channel(&bridge).await?, Some(&edit)).await?;
    assert_eq!((status, &shown().await?["hold_replies_seconds"]), (200, &json!(86_400)));
    let document = bridge.get("/api/v1/openapi.json").await?;
    for schema in ["ChannelSettingsBody", "ChannelSettingsEdit"] {
        let properties = &document["components"]["schemas"][schema]["properties"];
        assert!(properties["hold_replies_seconds"].is_object(), "{properties}");
    }
    Ok(())
}

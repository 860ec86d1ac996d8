//! CH-7, XT-1: a channel whose connector is not loaded.

use super::*;

const ENTRY: &str = "[plugins.telegram]\n";

/// Puts the file in place and has the host take it up.
async fn reload(bridge: &Bridge, text: &str) -> Result<()> {
    std::fs::write(bridge.folder().join("plugins.toml"), text)?;
    bridge.host().reload().await;
    Ok(())
}

async fn assert_away(bridge: &Bridge, channel: &Channel, (cause, step, since): (&str, &str, &str)) -> Result<()> {
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    ensure!(told["status"] == "offline", "{told}");
    let why = text(&told, "status_cause")?;
    ensure!(why.starts_with("The connector `telegram` is not loaded: "), "{why}");
    ensure!(why.contains(cause), "no “{cause}” in “{why}”");
    let next = text(&told, "next_step")?;
    ensure!(next.contains(step) && next.contains("comes back by itself"), "{next}");
    ensure!(text(&told, "status_since")?.starts_with(since), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_7_a_channel_whose_connector_is_away_says_so_and_comes_back_by_itself() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7);
    let whole = std::fs::read_to_string(bridge.folder().join("plugins.toml"))?;
    bridge.advance(Duration::from_secs(60));

    reload(&bridge, &whole.replace(ENTRY, &format!("{ENTRY}enabled = false\n"))).await?;
    let since = "2026-11-20T14:01:00";
    assert_away(&bridge, &channel, ("`enabled = false`", "`enabled = true`", since)).await?;
    assert!(customer.writes("while it was away").await.delivered.is_good());

    // Other reasons, the same absence.
    bridge.advance(Duration::from_secs(60));
    let missing = format!("{ENTRY}component = \"gone.wasm\"\ngrants = \"asked\"\n");
    let start = whole.find(ENTRY).context("no entry")?;
    let rest = start + ENTRY.len();
    let end = whole[rest..].find('[').map_or(whole.len(), |at| rest + at);
    reload(&bridge, &format!("{}{missing}{}", &whole[..start], &whole[end..])).await?;
    assert_away(&bridge, &channel, ("gone.wasm", "`mantle check`", since)).await?;
    reload(&bridge, &format!("{}{}", &whole[..start], &whole[end..])).await?;
    assert_away(&bridge, &channel, ("no entry", "plugins.toml", since)).await?;

    reload(&bridge, &whole).await?;
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    assert_eq!(told["status"], "connected", "{told}");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    // What was kept is read when its time comes.
    bridge.advance(Duration::from_secs(60));
    bridge.host().flow.settle().await?;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "while it was away");
    bridge.assert_lawful()
}

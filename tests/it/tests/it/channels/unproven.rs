//! CH-3, CH-4, CH-7 of a connector that cannot ask the provider whose account it is.

use super::accounts::second_workspace;
use super::statuses::check;
use super::*;
use crate::sandboxed::{entry, hook};

const KEY: &str = "guest-key-0123456789abcdef";

/// A host that knows the guest `echo`, and two workspaces.
async fn two_workspaces() -> Result<(Bridge, String, String)> {
    let bridge = Bridge::start_with(&entry("echo").await?).await?;
    let one = bridge.connect_workspace().await?;
    let other = second_workspace(&bridge).await?;
    Ok((bridge, one, other))
}

async fn shown(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    bridge.get(&format!("/api/v1/channels/{}", channel.id)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_ch_7_an_account_that_nobody_can_ask_about_waits_for_the_first_genuine_hook() -> Result<()> {
    let (bridge, workspace, _) = two_workspaces().await?;
    let channel = bridge.connect(&workspace, "echo", json!({"key": KEY})).await?;
    let told = &channel.body;
    assert_eq!(told["status"], "pending verification", "{told}");
    assert!(text(told, "status_cause")?.contains("Nothing has come"), "{told}");
    let (step, address) = (text(told, "next_step")?, text(told, "hook_url")?);
    assert!(step.contains(&address) && step.contains("at the provider"), "{step}");

    // Asking again proves nothing either.
    assert_eq!(check(&bridge, &channel).await?["status"], "pending verification");
    bridge.advance(Duration::from_secs(60));
    assert_eq!(hook(&bridge, &channel, "hello").await?, 200);
    bridge.quiet().await?;
    let told = shown(&bridge, &channel).await?;
    assert_eq!(told["status"], "connected", "{told}");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    assert!(
        text(&told, "status_since")?.starts_with("2026-11-20T14:01:00"),
        "{told}"
    );
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "hello");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_without_an_identity_the_filled_in_values_are_the_account() -> Result<()> {
    let (bridge, one, other) = two_workspaces().await?;
    let first = bridge.connect(&one, "echo", json!({"key": KEY})).await?;
    for workspace in [&one, &other] {
        let (status, answer) = bridge.try_connect(workspace, "echo", &json!({"key": KEY})).await?;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("taken")), "{answer}");
        let message = text(&answer["error"], "message")?;
        assert!(message.contains(&text(&first.body, "name")?), "says where: {message}");
    }
    let second = bridge
        .connect(&other, "echo", json!({"key": "another-key-0123456789ab"}))
        .await?;
    let path = format!("/api/v1/channels/{}", second.id);
    let edit = json!({"fields": {"key": KEY}});
    let (status, answer) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 409, "no detour over an edit: {answer}");

    // A genuine hook of the one says nothing of the other.
    assert_eq!(hook(&bridge, &first, "hello").await?, 200);
    bridge.quiet().await?;
    assert_eq!(shown(&bridge, &first).await?["status"], "connected");
    assert_eq!(shown(&bridge, &second).await?["status"], "pending verification");

    // What is archived is free for others.
    let path = format!("/api/v1/channels/{}", first.id);
    assert_eq!(bridge.api(Method::DELETE, &path, None).await?.0, 204);
    bridge.connect(&other, "echo", json!({"key": KEY})).await?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_of_two_that_race_without_an_identity_exactly_one_wins() -> Result<()> {
    let (bridge, one, other) = two_workspaces().await?;
    for (first, second, key) in [
        (&one, &one, "key-of-the-first-race-01"),
        (&one, &other, "key-of-the-second-race-2"),
    ] {
        let fields = json!({"key": key});
        let (first, second) = tokio::join!(
            bridge.try_connect(first, "echo", &fields),
            bridge.try_connect(second, "echo", &fields)
        );
        let mut statuses = [first?.0, second?.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{key}");
    }
    assert_eq!(
        channels(&bridge, &one).await?.len() + channels(&bridge, &other).await?.len(),
        2
    );
    bridge.assert_lawful()
}

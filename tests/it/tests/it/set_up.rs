//! Wrong credentials that show only later, and the way back.

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, telegram_fields, text};
use mantle_world::{Fault, whatsapp};
use serde_json::{Value, json};

const NEW_SECRET: &str = "5d1e0c3b7a9f4e2186d0b5c7f3a8e914";

/// The notice about hooks that were made with another secret.
async fn misfit(bridge: &Bridge, channel: &str) -> Result<Option<Value>> {
    let body = bridge.get(&format!("/api/v1/channels/{channel}")).await?;
    let notices = body["notices"].as_array().context("no notices")?;
    Ok(notices.iter().find(|notice| notice["code"] == "hook-misfit").cloned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_hooks_signed_with_another_app_secret_are_told_on_the_channel() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    assert!(customer.writes("before").await.delivered.is_good());
    assert_eq!(misfit(&bridge, &channel.id).await?, None);

    bridge
        .world
        .whatsapp
        .number(whatsapp::PHONE_NUMBER_ID)
        .reset_app_secret(NEW_SECRET);
    for _ in 0..2 {
        assert_eq!(customer.writes("signed anew").await.delivered.status, Some(401));
    }
    let notice = misfit(&bridge, &channel.id).await?.context("nothing is told")?;
    let message = text(&notice, "message")?;
    for words in ["2 hooks were refused", "`app_secret`", "edit that field (App secret)"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(notice["level"], "warning");

    let edit = json!({"fields": {"app_secret": NEW_SECRET}});
    let path = format!("/api/v1/channels/{}", channel.id);
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{body}");
    assert!(customer.writes("after").await.delivered.is_good());
    assert_eq!(misfit(&bridge, &channel.id).await?, None);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_a_handshake_with_another_verify_token_is_told_on_the_channel() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let url = text(&channel.body, "hook_url")?;
    let asked = format!("{url}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=other");
    let client = bridge.world.scene().client();
    assert_eq!(
        client.call(Method::GET, &asked, &[], bytes::Bytes::new()).await?.status,
        401
    );
    let notice = misfit(&bridge, &channel.id).await?.context("nothing is told")?;
    assert!(text(&notice, "message")?.contains("`verify_token`"), "{notice}");
    bridge.assert_lawful()
}

/// Refused while the channel is wired, by a connector that names no field: still the credentials' fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_a_token_refused_while_wiring_is_no_fault_of_the_gateway() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let faults = bridge.world.telegram.faults();
    faults.always_on("setWebhook", Fault::Refuse(401));
    let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["error"]["field"], "bot_token", "{answer}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_7_a_check_tells_a_refused_token_and_the_way_back() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let path = format!("/api/v1/workspaces/{workspace}");
    let check = async || bridge.api(Method::POST, &format!("{path}/check"), None).await;
    let (status, body) = check().await?;
    assert_eq!((status, body["status"].as_str()), (200, Some("active")), "{body}");

    bridge.workspace().revoke_token();
    let (status, body) = check().await?;
    assert_eq!((status, body["status"].as_str()), (200, Some("disconnected")), "{body}");
    let cause = text(&body, "status_cause")?;
    assert!(cause.contains("Developer Hub: Configure, Authentication"), "{cause}");
    assert_eq!(bridge.get(&path).await?["status"], "disconnected");

    let edit = json!({"access_token": bridge.workspace().token()});
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!((status, body["status"].as_str()), (200, Some("active")), "{body}");
    let (status, body) = check().await?;
    assert_eq!((status, body["status"].as_str()), (200, Some("active")), "{body}");
    bridge.assert_lawful()
}

/// An inbox that does not answer says nothing about the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_7_an_inbox_that_is_away_disconnects_nothing() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let path = format!("/api/v1/workspaces/{workspace}");
    bridge.world.intercom.faults().always(Fault::Refuse(503));
    let (status, body) = bridge.api(Method::POST, &format!("{path}/check"), None).await?;
    assert_eq!(status, 502, "{body}");
    bridge.world.intercom.faults().clear();
    assert_eq!(bridge.get(&path).await?["status"], "active");
    bridge.assert_lawful()
}

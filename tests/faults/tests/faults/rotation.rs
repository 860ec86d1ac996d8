//! F9: secrets are replaced while hooks that are proven with them come in.
//!
//! The key that seals secrets at rest is one and stays: there is no rotation of it yet.

use std::time::Instant;

use anyhow::{Result, ensure};
use http::Method;
use mantle_world::intercom;
use serde_json::json;

use crate::link::Passage;
use crate::process::PATIENCE;
use crate::setup::database;
use crate::stage::{BOT_TOKEN, Setup, Stage};
use crate::stopping::assert_no_request_failed;

const CUSTOMERS: std::ops::Range<i64> = 5_550_009_000..5_550_009_006;

/// Each time the provider is given a fresh secret, and proves its hooks with the old one until it has it. The other host
/// hears of it later than the provider: here, where notifications are lost, up to two seconds later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f9_a_hook_secret_that_is_renewed_under_load_refuses_no_hook() -> Result<()> {
    let Some((mut stage, links)) = Stage::linked().await? else {
        return Ok(());
    };
    for link in &links {
        link.is(Passage::Deaf);
    }
    let talk = stage.keep_saying(CUSTOMERS);
    let path = format!("/api/v1/channels/{}", stage.channel);
    for host in [0, 1, 0, 1] {
        stage.more_acked(20).await?;
        let edit = json!({"fields": {"bot_token": BOT_TOKEN}});
        let (status, told) = stage.call_at(host, Method::PATCH, &path, Some(&edit)).await?;
        ensure!(status == 200, "{told}");
    }
    stage.more_acked(20).await?;
    talk.ends().await?;
    let calls = stage.world.telegram.calls();
    let renewed = calls.iter().filter(|call| call.method == "setWebhook").count();
    ensure!(renewed == 5, "the provider was given {renewed} secrets");
    assert_no_request_failed(stage.world.telegram.webhooks())?;
    stage.assert_promises().await
}

/// The client secret of the inbox's app stands in the configuration of every host; the one before it passes as well for
/// what is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f9_the_inboxs_client_secret_is_replaced_under_load_and_no_reply_is_refused() -> Result<()> {
    const NEW: &str = "ic-test-client-secret-0002";
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(1..7, &["before".to_owned()]).await?;
    stage.quiet().await?;
    let inbox = stage.world.intercom.workspace(intercom::WORKSPACE);
    let (teammate, conversations) = (inbox.admin(intercom::ADMIN), inbox.conversations());
    let old = stage.world.intercom.client_secret();
    // One to each customer: Telegram wants a second between two messages to one.
    let replies = async || {
        for conversation in &conversations {
            teammate.replies(&conversation.id, "<p>once more</p>", &[]).await;
        }
    };
    replies().await;
    stage.reconfigure(&old, NEW)?;
    let begun = Instant::now();
    for host in 0..2 {
        while !stage.seats[host]
            .log
            .text()
            .contains("The configuration was read again")
        {
            ensure!(begun.elapsed() < PATIENCE, "host {host} does not follow its file");
            replies().await;
        }
    }
    replies().await;
    stage.world.intercom.set_client_secret(NEW);
    replies().await;
    assert_no_request_failed(stage.world.intercom.webhooks())?;
    stage.assert_promises().await?;
    let sent = stage.world.telegram.bot(BOT_TOKEN).sent().len();
    let told = stage.world.intercom.webhooks().log();
    let replied = told
        .iter()
        .filter(|(post, _)| String::from_utf8_lossy(&post.body).contains("conversation.admin.replied"));
    ensure!(sent == replied.count(), "{sent} replies went out");
    Ok(())
}

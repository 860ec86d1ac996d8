//! A1 to A6: the process dies between two promises.

use anyhow::Result;
use mantle_world::intercom;

use crate::stage::{BOT_TOKEN, Setup, Stage};

/// Senders at once.
const CUSTOMERS: std::ops::Range<i64> = 5_550_000_000..5_550_000_064;
/// Each message has about this many bytes.
const TEXT_BYTES: usize = 1024;

/// Two messages of 1 KiB: one that opens a conversation and one that follows.
fn texts() -> Vec<String> {
    let filler = "lorem ipsum ".repeat(TEXT_BYTES / 12);
    (0..2)
        .map(|place| format!("message {place} {}", filler.trim_end()))
        .collect()
}

/// 64 senders write; the host dies when `rule` says so, comes back, and every promise is kept.
async fn dies_at(rule: &str, bad_end: impl AsyncFn(&mut Stage) -> Result<()>) -> Result<()> {
    let mut stage = Stage::telegram(Setup::default()).await?;
    stage.arm(rule).await?;
    let writing = stage.all_say(CUSTOMERS, &texts());
    let status = stage.ended().await?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{status}"
    );
    bad_end(&mut stage).await?;
    stage.assert_stored().await?;
    stage.start().await?;
    writing.await?;
    stage.assert_promises().await
}

async fn nothing_more(_: &mut Stage) -> Result<()> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_dies_with_the_body_read_and_nothing_stored() -> Result<()> {
    dies_at("hook-read=kill@1", async |stage| {
        assert!(stage.said().iter().all(|saying| !saying.acked), "no 2xx was sent");
        assert!(
            stage.on_disk().await?.payloads().await?.is_empty(),
            "nothing was stored"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_dies_with_the_hook_stored_and_its_sender_not_told() -> Result<()> {
    dies_at("hook-kept=kill@1", async |stage| {
        assert!(stage.said().iter().all(|saying| !saying.acked), "no 2xx was sent");
        assert!(
            !stage.on_disk().await?.payloads().await?.is_empty(),
            "it was stored all the same"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_dies_with_the_write_announced_and_not_sent() -> Result<()> {
    dies_at("intent-kept=kill@100", nothing_more).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_dies_with_the_write_applied_and_its_answer_unread() -> Result<()> {
    dies_at("answer-begun=kill@100", nothing_more).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_dies_with_the_answer_read_and_its_outcome_not_stored() -> Result<()> {
    dies_at("answer-read=kill@100", nothing_more).await
}

/// Many results come to the writer in one group: intents, outcomes and hooks of 64 lanes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_dies_inside_a_group_of_results() -> Result<()> {
    dies_at("job-run=kill@300", nothing_more).await
}

/// Nothing of a migration is there when it is interrupted, and the next start runs it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_dies_in_a_migration() -> Result<()> {
    let (stage, ended) = Stage::stillborn("migration-run=kill").await?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&ended.status),
        Some(9),
        "{}",
        ended.said
    );
    let mut stage = stage.revived().await?;
    stage.all_say(0..4, &["after the migration".to_owned()]).await?;
    stage.assert_promises().await
}

/// A teammate answers and the host dies on the way to Telegram, which knows no key and cannot be asked: the reply
/// arrives at most once, and if nobody knows whether it did, the team is told so and decides.
async fn reply_meets(rule: &str, arrives: usize, is_asked: bool) -> Result<()> {
    let mut stage = Stage::telegram(Setup::default()).await?;
    stage.all_say(1..2, &["question".to_owned()]).await?;
    stage.quiet().await?;
    let workspace = stage.world.intercom.workspace(intercom::WORKSPACE);
    let conversation = workspace.conversations().remove(0).id;
    stage.arm(rule).await?;
    let (teammate, told) = (workspace.admin(intercom::ADMIN), conversation.clone());
    let answering = tokio::spawn(async move { teammate.replies(&told, "<p>the answer</p>", &[]).await });
    let status = stage.ended().await?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{status}"
    );
    stage.start().await?;
    answering.await?;
    stage.assert_promises().await?;
    let sent = stage.world.telegram.bot(BOT_TOKEN).sent();
    assert_eq!(sent.iter().filter(|sent| sent.text == "the answer").count(), arrives);
    let notes = workspace.conversation(&conversation).unwrap().notes();
    let asked = notes
        .iter()
        .any(|note| note.body.contains("may not have been delivered"));
    assert_eq!(asked, is_asked, "{notes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_reply_read_and_not_stored_goes_out_once() -> Result<()> {
    reply_meets("hook-read=kill", 1, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_reply_stored_and_not_answered_goes_out_once() -> Result<()> {
    reply_meets("hook-kept=kill", 1, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_a_reply_announced_and_not_sent_is_asked_about() -> Result<()> {
    reply_meets("intent-kept=kill", 0, true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_reply_sent_and_not_written_down_is_asked_about() -> Result<()> {
    reply_meets("answer-read=kill", 1, true).await
}

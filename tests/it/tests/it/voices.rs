//! In whose name we write, and that what we write is never sent (OUT-4 to OUT-7).

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, text};
use mantle_world::{Fault, intercom, samples, whatsapp};
use serde_json::{Value, json};

const WA_ID: &str = "353888888999";
const SECOND: &str = "991270";

/// A note for the team: the customer has blocked the bot, so a reply of this teammate cannot go out.
async fn note_for(bridge: &Bridge, conversation: &str, words: &str) -> Result<String> {
    let before = notes(bridge, conversation).len();
    bridge
        .teammate()
        .replies(conversation, &format!("<p>{words}</p>"), &[])
        .await;
    bridge.quiet().await?;
    let notes = notes(bridge, conversation);
    assert_eq!(notes.len(), before + 1, "one note per message: {notes:?}");
    Ok(notes.last().cloned().unwrap_or_default())
}

/// Who wrote each note.
fn notes(bridge: &Bridge, conversation: &str) -> Vec<String> {
    let found = bridge.workspace().conversation(conversation);
    let notes = found.map(|found| found.notes()).unwrap_or_default();
    notes.into_iter().map(|note| note.author.id).collect()
}

/// A conversation whose customer can no longer be reached.
async fn unreachable() -> Result<(Bridge, String, String)> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .connect(&workspace, "telegram", mantle_it::telegram_fields())
        .await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    customer.blocks().await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    Ok((bridge, workspace, conversation))
}

async fn never_sent(echo_first: bool, fault: Option<Fault>) -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    bridge.world.intercom.echo_first(echo_first);
    let customer = bridge.whatsapp_customer(WA_ID);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    if let Some(fault) = fault {
        bridge.world.intercom.faults().next_on("reply", fault);
    }
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    assert!(number.echo(WA_ID, "Typed in the app").await.is_good());
    while bridge.at_rest().await? > 0 {
        bridge.advance(Duration::from_secs(2));
    }
    bridge.world.settled().await;
    customer.writes("Thanks").await;
    while bridge.at_rest().await? > 0 {
        bridge.advance(Duration::from_secs(2));
    }
    bridge.quiet().await?;
    let shown = bridge
        .workspace()
        .conversation(&conversation)
        .context("the conversation is there")?;
    let typed: Vec<_> = shown
        .parts
        .iter()
        .filter(|part| part.author.kind == "admin" && part.part_type == "comment")
        .collect();
    assert_eq!(typed.len(), 1, "{typed:#?}");
    assert!(typed[0].body.contains("Typed in the app"));
    assert_eq!(shown.from_customer().len(), 2);
    assert!(bridge.world.whatsapp.sent().is_empty(), "nothing of ours goes out");

    // And somebody's own words with the same text still do.
    bridge
        .teammate()
        .replies(&conversation, "<p>Typed in the app</p>", &[])
        .await;
    bridge.quiet().await?;
    assert_eq!(bridge.world.whatsapp.sent().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_4_what_we_wrote_is_never_sent() -> Result<()> {
    never_sent(false, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_4_what_we_wrote_is_never_sent_though_its_webhook_comes_first() -> Result<()> {
    never_sent(true, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_4_what_we_wrote_is_never_sent_though_its_write_was_never_answered() -> Result<()> {
    never_sent(true, Some(Fault::ResetAfter)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_4_our_notes_are_never_sent_though_their_webhooks_come_first() -> Result<()> {
    let (bridge, _, conversation) = unreachable().await?;
    bridge.world.intercom.echo_first(true);
    note_for(&bridge, &conversation, "Are you there?").await?;
    assert!(bridge.world.telegram.sent().is_empty());
    assert_eq!(notes(&bridge, &conversation).len(), 1, "a note begets no note");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_5_a_teammates_reply_stays_theirs_and_notes_come_from_the_assignee() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let second = bridge.workspace().add_admin(SECOND, "Ben Okafor", true);
    bridge.advance(Duration::from_secs(120));
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let id = bridge.only_conversation()?.id;
    let reply = second.replies(&id, "<p>Ben here</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(customer.received().len(), 1);
    let shown = bridge.only_conversation()?;
    let part = shown.parts.iter().find(|part| part.id == reply.part).unwrap();
    assert_eq!(part.author.id, SECOND);
    assert_eq!(shown.parts.len(), 1, "we wrote nothing of our own: {:#?}", shown.parts);

    customer.blocks().await;
    second.assigns(&id, Some(SECOND)).await;
    bridge.quiet().await?;
    assert_eq!(note_for(&bridge, &id, "assigned to Ben").await?, SECOND);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_5_the_customer_reads_the_teammates_name_where_the_channel_says_so() -> Result<()> {
    /// Of one message, in UTF-16 units: the manifest has the source.
    const LIMIT: usize = 4096;
    let (bridge, channel) = Bridge::with_telegram().await?;
    let second = bridge.workspace().add_admin(SECOND, "Ben Okafor", true);
    bridge.advance(Duration::from_secs(120));
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let id = bridge.only_conversation()?.id;
    let path = format!("/api/v1/channels/{}", channel.id);
    let edit = json!({"settings": {"groups": "group"}});
    assert_eq!(bridge.api(Method::PATCH, &path, Some(&edit)).await?.0, 200);
    second.replies(&id, "<p>unsigned</p>", &[]).await;
    bridge.quiet().await?;

    let edit = json!({"settings": {"signature": "name"}});
    let (status, answer) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    let expected = json!({"groups": "group", "hold_replies_seconds": 1800, "signature": "name", "version": null});
    assert_eq!(
        (status, &answer["settings"]),
        (200, &expected),
        "what was left out stays"
    );
    second.replies(&id, "<p>Hi <b>you</b></p>", &[]).await;
    bridge.teammate().replies(&id, "<p>And I</p>", &[]).await;
    bridge.workspace().bot().replies(&id, "<p>I am a bot</p>", &[]).await;
    second.replies(&id, "<p>Look</p>", &[samples::photo()]).await;
    second.replies(&id, "", &[samples::photo()]).await;
    // It fits without the name, and not with it.
    let words = "word ".repeat(LIMIT / 5);
    second.replies(&id, &format!("<p>{}</p>", words.trim_end()), &[]).await;
    bridge.quiet().await?;
    let received: Vec<String> = customer.received().into_iter().map(|sent| sent.text).collect();
    let expected = [
        "unsigned",
        "Hi you\n— Ben Okafor",
        "And I\n— Dana Ops",
        "I am a bot",
        "Look\n— Ben Okafor",
        "",
    ];
    assert_eq!(received[..6], expected);
    let long = &received[6..];
    assert_eq!(long.len(), 2, "{long:?}");
    assert!(long.iter().all(|piece| piece.encode_utf16().count() <= LIMIT));
    assert!(long[1].ends_with("— Ben Okafor"), "{}", long[1]);

    let (status, answer) = bridge
        .api(Method::PATCH, &path, Some(&json!({"settings": {"signature": "motto"}})))
        .await?;
    assert_eq!(status, 422, "{answer}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_6_the_default_operator_speaks_where_nobody_is_assigned() -> Result<()> {
    let (bridge, workspace, id) = unreachable().await?;
    assert_eq!(
        note_for(&bridge, &id, "nobody").await?,
        intercom::ADMIN,
        "who connected it"
    );
    bridge.workspace().add_admin(SECOND, "Ben Okafor", true);
    bridge.advance(Duration::from_secs(120));
    set_operator(&bridge, &workspace, json!(SECOND)).await?;
    assert_eq!(note_for(&bridge, &id, "still nobody").await?, SECOND);
    bridge.teammate().assigns_team(&id, "5017690").await;
    assert_eq!(note_for(&bridge, &id, "a team alone").await?, SECOND);
    assert_eq!(
        bridge.get(&format!("/api/v1/workspaces/{workspace}")).await?["warning"],
        Value::Null
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_6_an_operator_who_is_not_there_is_refused_with_the_field() -> Result<()> {
    let (bridge, workspace, _) = unreachable().await?;
    let path = format!("/api/v1/workspaces/{workspace}");
    let before = bridge.get(&path).await?;
    let body = json!({"settings": {"default_operator": "no-such-teammate", "parts_max": 300}});
    let (status, answer) = bridge.api(Method::PATCH, &path, Some(&body)).await?;
    let error = &answer["error"];
    assert_eq!(
        (status, error["code"].as_str(), error["field"].as_str()),
        (422, Some("no_operator"), Some("settings.default_operator")),
        "{answer}"
    );
    let message = text(error, "message")?;
    assert!(
        message.contains("`no-such-teammate`") && message.contains(intercom::ADMIN),
        "{message}"
    );
    // Nothing of the call was done.
    assert_eq!(bridge.get(&path).await?["settings"], before["settings"]);
    bridge.assert_lawful()
}

async fn set_operator(bridge: &Bridge, workspace: &str, id: Value) -> Result<()> {
    let body = json!({"settings": {"default_operator": id}});
    let path = format!("/api/v1/workspaces/{workspace}");
    let (status, answer) = bridge.api(Method::PATCH, &path, Some(&body)).await?;
    assert_eq!(status, 200, "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_7_an_operator_who_left_is_stood_in_for_and_the_workspace_warns() -> Result<()> {
    let (bridge, workspace, id) = unreachable().await?;
    bridge.workspace().add_admin(SECOND, "Ben Okafor", true);
    bridge.advance(Duration::from_secs(120));
    set_operator(&bridge, &workspace, json!(SECOND)).await?;
    assert_eq!(note_for(&bridge, &id, "Ben is here").await?, SECOND);

    bridge.workspace().remove_admin(SECOND);
    assert_eq!(note_for(&bridge, &id, "Ben has left").await?, intercom::ADMIN);
    let path = format!("/api/v1/workspaces/{workspace}");
    let warning = text(&bridge.get(&path).await?, "warning")?;
    assert!(warning.contains("operator"), "{warning}");
    set_operator(&bridge, &workspace, json!(intercom::ADMIN)).await?;
    assert_eq!(
        bridge.get(&path).await?["warning"],
        Value::Null,
        "another one is chosen"
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_7_an_operator_without_a_seat_is_stood_in_for() -> Result<()> {
    let (bridge, workspace, id) = unreachable().await?;
    bridge.workspace().add_admin(SECOND, "Ben Okafor", false);
    bridge.advance(Duration::from_secs(120));
    set_operator(&bridge, &workspace, json!(SECOND)).await?;
    assert_eq!(note_for(&bridge, &id, "no seat").await?, intercom::ADMIN);
    let shown = bridge.get(&format!("/api/v1/workspaces/{workspace}")).await?;
    text(&shown, "warning")?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_a_note_whose_write_was_never_answered_is_not_written_twice() -> Result<()> {
    let (bridge, _, id) = unreachable().await?;
    bridge.world.intercom.faults().next_on("reply", Fault::ResetAfter);
    bridge
        .teammate()
        .replies(&id, "<p>Are you <b>there</b>?</p>", &[])
        .await;
    while bridge.at_rest().await? > 0 {
        bridge.advance(Duration::from_secs(5));
    }
    assert_eq!(notes(&bridge, &id).len(), 1);
    bridge.teammate().replies(&id, "<p>Are you there now?</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(notes(&bridge, &id).len(), 2, "another reply has its own note");
    bridge.assert_lawful()
}

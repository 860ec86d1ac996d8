//! The window for free answers: what opens it, what measures it, what the team reads when it is closed.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, Channel, START, text};
use mantle_model::clock::{Clock, Time};
use mantle_world::intercom::Conversation;
use mantle_world::whatsapp::{Customer, PHONE_NUMBER_ID};
use serde_json::{Value, json};

const CUSTOMER: &str = "4915155501234";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 24 hours after the tests' clock begins.
const CLOSES: &str = "2026-11-21 14:00 UTC";
const NEXT_STEP: &str = "Send an approved template instead, or wait until the customer writes again.";

/// A customer who has written once, at the beginning of the clock.
async fn opened() -> Result<(Bridge, Channel, Customer, Conversation)> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(CUSTOMER);
    assert!(customer.writes("Is it in stock?").await.delivered.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    Ok((bridge, channel, customer, conversation))
}

async fn reply(bridge: &Bridge, conversation: &Conversation, words: &str) -> Result<()> {
    let html = format!("<p>{words}</p>");
    bridge.teammate().replies(&conversation.id, &html, &[]).await;
    bridge.quiet().await
}

/// The newest reply as the API tells it.
async fn newest_reply(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let rows = list["messages"].as_array().context("no list")?;
    let row = rows.iter().find(|row| row["kind"] == "reply").context("no reply")?;
    bridge.get(&format!("/api/v1/messages/{}", text(row, "id")?)).await
}

fn sends(bridge: &Bridge) -> usize {
    let calls = bridge.world.whatsapp.calls();
    calls.iter().filter(|call| call.operation == "messages").count()
}

fn assert_is_refused(conversation: &Conversation, closes: &str) {
    let notes = conversation.notes();
    assert_eq!(notes.len(), 1, "one note per message: {notes:?}");
    let note = &notes[0].body;
    assert!(note.contains("Not delivered (WhatsApp)"), "{note}");
    assert!(note.contains(&format!("ended at {closes}")), "the closing time: {note}");
    assert!(note.contains("window_closed"), "the code: {note}");
    assert!(note.contains(NEXT_STEP), "the next step: {note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_1_a_reply_23_h_59_after_the_question_is_sent() -> Result<()> {
    let (bridge, channel, customer, conversation) = opened().await?;
    bridge.advance(DAY - MINUTE);
    reply(&bridge, &conversation, "It is").await?;
    let received = customer.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].text, "It is");
    assert_eq!(newest_reply(&bridge, &channel).await?["state"], "accepted");
    assert_eq!(bridge.only_conversation()?.notes().len(), 0);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_1_a_reply_24_h_and_a_second_after_the_question_is_not() -> Result<()> {
    let (bridge, channel, customer, conversation) = opened().await?;
    let before = sends(&bridge);
    bridge.advance(DAY + SECOND);
    reply(&bridge, &conversation, "It is").await?;
    assert_eq!(sends(&bridge), before, "the provider is not asked");
    assert!(customer.received().is_empty());
    assert_is_refused(&bridge.only_conversation()?, CLOSES);
    let told = newest_reply(&bridge, &channel).await?;
    assert_eq!(told["state"], "failed");
    let reason = text(&told, "reason")?;
    assert!(reason.contains("window") || reason.contains("24 hours"), "{told}");
    assert!(told.to_string().contains("window_closed"), "{told}");

    // The customer's next message opens it again.
    customer.writes("Hello?").await;
    bridge.quiet().await?;
    reply(&bridge, &conversation, "Sorry, it is").await?;
    assert_eq!(customer.received().len(), 1);
    assert_eq!(customer.received()[0].text, "Sorry, it is");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_2_the_providers_refusal_closes_the_window_here_too() -> Result<()> {
    let (bridge, channel, customer, conversation) = opened().await?;
    let number = bridge.world.whatsapp.number(PHONE_NUMBER_ID);
    number.fails_for(CUSTOMER, 131_047);
    bridge.advance(HOUR);
    reply(&bridge, &conversation, "It is").await?;
    bridge
        .until("the note", || {
            bridge
                .only_conversation()
                .ok()
                .filter(|found| !found.notes().is_empty())
        })
        .await?;
    bridge.quiet().await?;
    let noted = bridge.only_conversation()?;
    let note = &noted.notes()[0].body;
    assert_eq!(noted.notes().len(), 1);
    assert!(note.contains("Not delivered (WhatsApp)"), "{note}");
    assert!(
        note.contains("24 hours for free answers") && note.contains(CLOSES),
        "the same words: {note}"
    );
    assert!(note.contains("131047"), "the provider's code: {note}");
    assert!(note.contains(NEXT_STEP), "the same next step: {note}");
    let told = newest_reply(&bridge, &channel).await?;
    assert_eq!(told["state"], "failed");

    // From now on the local check knows.
    let before = sends(&bridge);
    reply(&bridge, &conversation, "Really").await?;
    assert_eq!(sends(&bridge), before, "the provider is not asked again");
    assert_eq!(bridge.only_conversation()?.notes().len(), 2);

    // Until the customer writes.
    customer.writes("And?").await;
    bridge.quiet().await?;
    reply(&bridge, &conversation, "Yes").await?;
    assert_eq!(sends(&bridge), before + 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_the_providers_time_measures_not_the_arrival() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(CUSTOMER);
    // Written 23 h 59 min ago and delivered only now.
    let mut late = customer.compose("text", json!({"text": {"body": "Is it in stock?"}}));
    late["timestamp"] = json!((START.unix_ms() / 1000 - 86_340).to_string());
    assert!(customer.batch(&[late]).await.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    let before = sends(&bridge);
    bridge.advance(MINUTE + SECOND);
    reply(&bridge, &conversation, "It is").await?;
    assert_eq!(sends(&bridge), before);
    assert_is_refused(&bridge.only_conversation()?, "2026-11-20 14:01 UTC");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_an_old_message_that_comes_late_does_not_move_the_window_back() -> Result<()> {
    let (bridge, _, customer, conversation) = opened().await?;
    let mut late = customer.compose("text", json!({"text": {"body": "the one before"}}));
    late["timestamp"] = json!((START.unix_ms() / 1000 - 20 * 3600).to_string());
    assert!(customer.batch(&[late]).await.is_good());
    bridge.quiet().await?;
    bridge.advance(DAY - MINUTE);
    reply(&bridge, &conversation, "It is").await?;
    assert_eq!(customer.received().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_clock_ahead_of_ours_opens_nothing_in_the_future() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(CUSTOMER);
    let mut early = customer.compose("text", json!({"text": {"body": "from tomorrow"}}));
    early["timestamp"] = json!((START.unix_ms() / 1000 + 86_400).to_string());
    assert!(customer.batch(&[early]).await.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    let before = sends(&bridge);
    bridge.advance(DAY + SECOND);
    reply(&bridge, &conversation, "It is").await?;
    assert_eq!(sends(&bridge), before);
    assert_is_refused(&bridge.only_conversation()?, CLOSES);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_restart_keeps_the_window() -> Result<()> {
    let (mut bridge, _, customer, conversation) = opened().await?;
    bridge.advance(DAY - MINUTE);
    bridge.restart().await?;
    reply(&bridge, &conversation, "still open").await?;
    assert_eq!(customer.received().len(), 1);
    let before = sends(&bridge);
    bridge.advance(MINUTE + SECOND);
    bridge.restart().await?;
    reply(&bridge, &conversation, "too late").await?;
    assert_eq!(sends(&bridge), before);
    assert_is_refused(&bridge.only_conversation()?, CLOSES);
    bridge.assert_lawful()
}

/// A minute before the window closes a reply goes out, a second after it none does.
async fn measured_as_before(bridge: &Bridge, customer: &Customer, conversation: &Conversation) -> Result<()> {
    let at = |passed: Duration| passed.saturating_sub(bridge.clock.now().since(START));
    let got = customer.received().len();
    bridge.advance(at(DAY - MINUTE));
    reply(bridge, conversation, "It is").await?;
    assert_eq!(customer.received().len(), got + 1, "the window is still open");
    bridge.advance(at(DAY + SECOND));
    let before = sends(bridge);
    reply(bridge, conversation, "Still there?").await?;
    assert_eq!(sends(bridge), before, "the provider is not asked");
    let shown = bridge.workspace().conversation(&conversation.id).context("gone")?;
    let notes: Vec<String> = shown.notes().into_iter().map(|note| note.body).collect();
    let refusals: Vec<_> = notes.iter().filter(|note| note.contains("window_closed")).collect();
    assert_eq!(refusals.len(), 1, "{notes:?}");
    assert!(refusals[0].contains(&format!("ended at {CLOSES}")), "{notes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_new_conversation_keeps_the_window() -> Result<()> {
    let (bridge, _, customer, old) = opened().await?;
    bridge.advance(HOUR);
    bridge.workspace().delete_conversation(&old.id).await;
    // Written together with the first message and told an hour later: a new conversation, and nothing newer in it.
    let mut late = customer.compose("text", json!({"text": {"body": "In blue?"}}));
    late["timestamp"] = json!((START.unix_ms() / 1000).to_string());
    assert!(customer.batch(&[late]).await.is_good());
    while bridge.at_rest().await? > 0 {
        bridge.advance(SECOND);
    }
    let new = bridge.only_conversation()?;
    assert_ne!(new.id, old.id);
    measured_as_before(&bridge, &customer, &new).await?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_message_in_the_new_conversation_opens_the_window_for_the_old_one_too() -> Result<()> {
    let (bridge, channel, customer, old) = opened().await?;
    let workspace = text(&channel.body, "workspace_id")?;
    let edit = json!({"settings": {"parts_max": 2}});
    let path = format!("/api/v1/workspaces/{workspace}");
    let (status, answer) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{answer}");
    bridge.advance(HOUR);
    for words in ["Hello?", "Anybody?"] {
        customer.writes(words).await;
        bridge.quiet().await?;
    }
    assert_eq!(bridge.workspace().conversations().len(), 2, "it went on in a new one");
    bridge.advance(DAY - MINUTE);
    reply(&bridge, &old, "It is").await?;
    assert_eq!(
        customer.received().len(),
        1,
        "25 h after the words in the old conversation"
    );
    bridge.assert_lawful()
}

async fn merged(told: bool) -> Result<()> {
    let (bridge, _, customer, conversation) = opened().await?;
    bridge.advance(HOUR);
    let user = bridge
        .workspace()
        .add_contact(&json!({"role": "user", "email": "jana@mail.example", "name": "Jana"}));
    if !told {
        bridge.world.intercom.webhooks().lose(1);
    }
    bridge.workspace().merge_contacts(&conversation.contact, &user).await;
    measured_as_before(&bridge, &customer, &conversation).await?;

    // The survivor's words open it again.
    customer.writes("Hello?").await;
    bridge.quiet().await?;
    let survivor = bridge.only_conversation()?.from_customer()[1].author.id.clone();
    assert_eq!(survivor, user);
    let got = customer.received().len();
    reply(&bridge, &conversation, "Hello").await?;
    assert_eq!(customer.received().len(), got + 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_merge_keeps_the_window() -> Result<()> {
    merged(true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_a_merge_that_nobody_tells_keeps_the_window() -> Result<()> {
    merged(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_receipts_echoes_and_our_own_sends_do_not_open_it() -> Result<()> {
    let (bridge, _, customer, conversation) = opened().await?;
    let number = bridge.world.whatsapp.number(PHONE_NUMBER_ID);
    bridge.advance(DAY - MINUTE);
    // Our own send, a minute before the end.
    reply(&bridge, &conversation, "It is").await?;
    let ours = customer.received()[0].id.clone();
    bridge.advance(MINUTE + SECOND);
    for report in ["sent", "delivered", "read"] {
        assert!(number.status(&ours, report, None).await.is_good());
    }
    // What somebody of the shop typed in the phone app.
    assert!(number.echo(CUSTOMER, "From the phone").await.is_good());
    bridge.quiet().await?;
    let before = sends(&bridge);
    reply(&bridge, &conversation, "One more").await?;
    assert_eq!(sends(&bridge), before, "nothing of that opens the window");
    assert_is_refused(&bridge.only_conversation()?, CLOSES);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_3_one_persons_message_opens_nothing_for_another() -> Result<()> {
    let (bridge, _, _, conversation) = opened().await?;
    bridge.advance(DAY + SECOND);
    bridge.whatsapp_customer("4915155509999").writes("Me too").await;
    bridge.quiet().await?;
    let before = sends(&bridge);
    reply(&bridge, &conversation, "It is").await?;
    assert_eq!(sends(&bridge), before);
    let found = bridge.workspace().conversations();
    let first = found.iter().find(|found| found.id == conversation.id).context("gone")?;
    assert_is_refused(first, CLOSES);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wi_10_a_channel_without_a_window_has_none() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("Is it in stock?").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    bridge.advance(DAY * 40);
    reply(&bridge, &conversation, "It is now").await?;
    assert_eq!(customer.received().len(), 1);
    bridge.assert_lawful()
}

/// The texts above depend on it.
#[test]
fn the_clock_begins_at_two_in_the_afternoon() {
    assert_eq!(START, Time::from_unix_seconds(1_795_183_200));
    assert!(START.to_string().starts_with("2026-11-20T14:00:00"), "{START}");
}

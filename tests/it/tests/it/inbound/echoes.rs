//! What the provider tells of the team's own messages, and of who can be reached.

use std::time::Duration;

use anyhow::{Context, Result};
use mantle_it::Bridge;
use mantle_world::intercom::{self, Conversation};
use mantle_world::{Fault, twilio, whatsapp};
use serde_json::{Value, json};

use super::{ledger, texts};

/// The team's parts that the customer would see: comments of teammates.
fn comments(conversation: &Conversation) -> Vec<(String, String)> {
    let shown = conversation.parts.iter().filter(|part| part.part_type == "comment");
    let team = shown.filter(|part| part.author.kind == "admin");
    team.map(|part| (part.author.id.clone(), part.body.clone())).collect()
}

async fn outgoing(bridge: &Bridge) -> Result<Value> {
    let rows = ledger(bridge).await?;
    let mut out: Vec<_> = rows.into_iter().filter(|row| row["direction"] == "out").collect();
    assert_eq!(out.len(), 1, "{out:#?}");
    out.pop().context("the reply's row")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_16_what_is_told_of_our_message_before_the_send_returns_makes_no_part() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    // The answer trickles in; the provider has long delivered the message and tells so.
    let trickle = Fault::Slow(Duration::from_millis(5));
    bridge.world.whatsapp.faults().next_on("messages", trickle);
    bridge
        .teammate()
        .replies(&conversation, "<p>Good morning</p>", &[])
        .await;
    let sent = bridge.until("the message is out", || number.sent().pop()).await?;
    assert!(number.status(&sent.id, "delivered", None).await.is_good());
    let echo = json!({"from": number.setup().display_phone_number, "to": "4915155501234", "id": sent.id,
        "timestamp": bridge.world.scene().now().to_string(), "type": "text", "text": {"body": "Good morning"}});
    let mut change = number.change(json!({"message_echoes": [echo]}));
    change["field"] = json!("smb_message_echoes");
    assert!(number.deliver("echo", vec![change.clone()]).await.is_good());
    // Until the send has ended, nobody can tell whose the echo is.
    bridge.at_most(1).await?;
    bridge.calm().await?;
    assert!(number.deliver("echo again", vec![change]).await.is_good());
    bridge.calm().await?;

    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Hello"]);
    let teammates = vec![(intercom::ADMIN.to_owned(), "<p>Good morning</p>".to_owned())];
    assert_eq!(comments(&conversation), teammates);
    assert!(conversation.notes().is_empty(), "{:#?}", conversation.notes());
    let row = outgoing(&bridge).await?;
    assert_eq!(row["state"], "delivered", "{row:#?}");
    assert_eq!(number.sent().len(), 1);
    bridge.assert_lawful()
}

/// The answer takes seconds, and by the host's clock minutes: an echo is not the native app's while we still send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_16_an_echo_during_a_send_that_takes_long_is_never_the_native_apps() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    bridge.whatsapp_customer("4915155501234").writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    let trickle = Fault::Slow(Duration::from_millis(20));
    bridge.world.whatsapp.faults().next_on("messages", trickle);
    bridge
        .teammate()
        .replies(&conversation, "<p>Good morning</p>", &[])
        .await;
    let sent = bridge.until("the message is out", || number.sent().pop()).await?;
    let echo = json!({"from": number.setup().display_phone_number, "to": "4915155501234", "id": sent.id,
        "timestamp": bridge.world.scene().now().to_string(), "type": "text", "text": {"body": "Good morning"}});
    let mut change = number.change(json!({"message_echoes": [echo]}));
    change["field"] = json!("smb_message_echoes");
    assert!(number.deliver("echo", vec![change]).await.is_good());
    let mut looks = 0;
    while outgoing(&bridge).await?["state"] == "sending" {
        bridge.advance(Duration::from_secs(61));
        bridge.host().flow.settle().await?;
        looks += 1;
    }
    assert!(
        looks > 3,
        "the send took long, and the echo was looked at {looks} times meanwhile"
    );
    bridge.calm().await?;
    let teammates = vec![(intercom::ADMIN.to_owned(), "<p>Good morning</p>".to_owned())];
    assert_eq!(comments(&bridge.only_conversation()?), teammates);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_16_a_lost_answer_is_settled_by_what_the_provider_tells() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    bridge.sms_customer("+15005550123").writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    bridge.world.twilio.faults().next_on("send", Fault::ResetAfter);
    bridge
        .teammate()
        .replies(&conversation, "<p>Good morning</p>", &[])
        .await;
    let sent = bridge.until("the message is out", || account.sent().pop()).await?;
    bridge.at_rest().await?;
    assert!(account.status(&sent.sid, "delivered", None).await.is_good());
    bridge.at_rest().await?;
    bridge.advance(Duration::from_secs(600));
    bridge.quiet().await?;
    let row = outgoing(&bridge).await?;
    assert_eq!(row["state"], "delivered", "{row:#?}");
    let id = row["id"].as_str().unwrap_or_default();
    let trace = bridge.get(&format!("/api/v1/messages/{id}")).await?;
    assert!(
        trace.to_string().contains(&sent.sid),
        "the ledger has the provider's id: {trace:#}"
    );
    assert_eq!(account.sent().len(), 1, "it was sent once");
    assert_eq!(texts(&bridge.only_conversation()?), ["Hello"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_17_an_answer_typed_in_the_app_is_one_part_of_the_team_and_never_goes_out() -> Result<()> {
    let (mut bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    bridge.whatsapp_customer("4915155501234").writes("Hello").await;
    bridge.calm().await?;
    let told = number.echo("4915155501234", "Answered from the phone").await;
    assert!(told.is_good());
    bridge.calm().await?;
    assert!(bridge.world.whatsapp.webhooks().again(&told.id).await.is_good());
    bridge.restart().await?;
    assert!(bridge.world.whatsapp.webhooks().again(&told.id).await.is_good());
    bridge.calm().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Hello"]);
    let written = comments(&conversation);
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(written[0].0, intercom::ADMIN, "by the default operator");
    assert!(written[0].1.contains("Answered from the phone"), "{written:?}");
    assert!(written[0].1.contains("sent from WhatsApp Business app"), "{written:?}");
    assert!(number.sent().is_empty(), "{:?}", number.sent());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_17_the_team_may_write_first_in_the_app() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    assert!(number.echo("4915155501234", "Your parcel is here").await.is_good());
    bridge.calm().await?;
    let conversation = bridge.only_conversation()?;
    let written = comments(&conversation);
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(written[0].1.contains("Your parcel is here"), "{written:?}");
    bridge.whatsapp_customer("4915155501234").writes("Thanks").await;
    bridge.calm().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation).last().map(String::as_str), Some("Thanks"));
    assert!(number.sent().is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_18_blocking_the_bot_makes_no_conversation_and_fails_the_next_reply_at_once() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    assert!(bridge.telegram_customer(51).blocks().await.is_good());
    bridge.quiet().await?;
    assert!(bridge.workspace().conversations().is_empty() && bridge.workspace().contacts().is_empty());

    let customer = bridge.telegram_customer(52);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    assert!(customer.blocks().await.is_good());
    bridge.quiet().await?;
    bridge
        .teammate()
        .replies(&conversation, "<p>Are you there?</p>", &[])
        .await;
    bridge.quiet().await?;
    let calls = bridge.world.telegram.calls();
    assert!(
        calls.iter().all(|call| call.method != "sendMessage"),
        "nothing was tried: {calls:?}"
    );
    let notes = bridge.only_conversation()?.notes();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    for words in [
        "Not delivered (Telegram).",
        "“Are you there?”",
        "has blocked this channel",
    ] {
        assert!(notes[0].body.contains(words), "{}", notes[0].body);
    }
    let row = outgoing(&bridge).await?;
    assert_eq!(row["state"], "failed", "{row:#?}");
    assert_eq!(
        row["reason"],
        "The customer has blocked this channel or left it. (blocked)"
    );

    assert!(customer.unblocks().await.is_good());
    bridge.quiet().await?;
    bridge
        .teammate()
        .replies(&conversation, "<p>Welcome back</p>", &[])
        .await;
    bridge.quiet().await?;
    let received: Vec<_> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["Welcome back"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_18_stop_is_shown_and_fails_the_next_reply_at_once() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let customer = bridge.sms_customer("+15005550123");
    customer.writes("Hello").await;
    assert!(customer.writes("Stop").await.delivered.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Hello", "Stop"]);
    bridge
        .teammate()
        .replies(&conversation.id, "<p>Please stay</p>", &[])
        .await;
    bridge.quiet().await?;
    let calls = bridge.world.twilio.calls();
    assert!(
        calls.iter().all(|call| call.operation != "send"),
        "nothing was tried: {calls:?}"
    );
    let notes = bridge.only_conversation()?.notes();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    for words in [
        "Not delivered (SMS).",
        "“Please stay”",
        "has asked not to get messages here",
    ] {
        assert!(notes[0].body.contains(words), "{}", notes[0].body);
    }
    let reason = &outgoing(&bridge).await?["reason"];
    assert_eq!(reason, "The customer has asked not to get messages here. (opted-out)");

    assert!(customer.writes("START").await.delivered.is_good());
    bridge.quiet().await?;
    bridge
        .teammate()
        .replies(&conversation.id, "<p>Welcome back</p>", &[])
        .await;
    bridge.quiet().await?;
    let received: Vec<_> = customer.received().into_iter().map(|sent| sent.body).collect();
    assert_eq!(received, ["Welcome back"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_18_stop_as_the_first_word_ever_is_shown() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let customer = bridge.sms_customer("+15005550124");
    assert!(customer.writes("STOP").await.delivered.is_good());
    assert!(customer.writes("STOP 12345").await.delivered.is_good());
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["STOP", "STOP 12345"]);
    bridge.assert_lawful()
}

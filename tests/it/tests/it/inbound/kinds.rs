//! Every kind of message that a channel has, as the team reads it.

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, text};
use mantle_store::keyed::Keyed;
use mantle_world::intercom::Part;
use mantle_world::{File, samples, telegram, whatsapp};
use serde_json::{Value, json};

use super::{newest, row, texts};

const QUESTION: &str = "Do you still have the blue one in size forty-two, please?";
const QUOTED: &str = "Do you still have the blue one in size…";
const MAP: &str = "https://www.google.com/maps/search/?api=1&query=53.35,-6.26";
const VCARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Builder;Bob;;;\r\nFN:Bob Builder\r\nORG:Build Ltd;\r\n\
    TEL;TYPE=CELL:+353 1 234 5678\r\nEMAIL:bob@build.example\r\nEND:VCARD\r\n";

/// The newest part says this, and has so many files.
fn shows(bridge: &Bridge, words: &str, files: usize) -> Result<Part> {
    let part = newest(bridge)?;
    assert_eq!(part.body, words);
    assert_eq!(part.files.len(), files, "{words}");
    Ok(part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_13_a_kind_that_nobody_knows_is_named_on_every_channel() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let line = |kind: &str| format!("[Unsupported message: {kind}. Ask the customer to send it another way.]");
    let telegram = bridge.telegram_customer(61);
    assert!(
        telegram
            .message(json!({"mind_link": {"strength": 3}}))
            .await
            .delivered
            .is_good()
    );
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), [line("mind link")]);
    let whatsapp = bridge.whatsapp_customer("4915155501234");
    assert!(whatsapp.sends_unsupported("poll_creation").await.delivered.is_good());
    assert!(
        whatsapp
            .message("hologram", json!({"hologram": {}}))
            .await
            .delivered
            .is_good()
    );
    let nothing = json!({"errors": [{"code": 131_051, "title": "Message type unknown"}]});
    assert!(whatsapp.message("unsupported", nothing).await.delivered.is_good());
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    assert_eq!(
        texts(&conversations[1]),
        [line("poll creation"), line("hologram"), line("unknown kind")]
    );
    assert!(bridge.sms_customer("+15005550123").writes("").await.delivered.is_good());
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    assert_eq!(texts(&conversations[2]), [line("empty message")]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_telegram_shows_what_messages_say_of_each_other() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(62);
    let asked = customer.writes(QUESTION).await.message_id;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;

    assert!(customer.reacts(asked, Some("👍")).await.is_good());
    bridge.quiet().await?;
    shows(&bridge, &format!("[Reacted 👍 to “{QUOTED}”]"), 0)?;
    assert!(customer.reacts(asked, None).await.is_good());
    bridge.quiet().await?;
    shows(&bridge, &format!("[Took back the reaction to “{QUOTED}”]"), 0)?;
    assert!(customer.answers(asked, "Never mind").await.delivered.is_good());
    bridge.quiet().await?;
    shows(&bridge, &format!("> {QUOTED}\nNever mind"), 0)?;
    bridge.advance(std::time::Duration::from_secs(5));
    assert!(customer.edits(asked, "Do you have the green one?").await.is_good());
    bridge.quiet().await?;
    shows(&bridge, "[Edited] Do you have the green one?", 0)?;

    bridge
        .teammate()
        .replies(&conversation, "<p>We do, in green</p>", &[])
        .await;
    let sent = bridge.until("the reply", || customer.received().pop()).await?;
    bridge.quiet().await?;
    assert!(customer.answers(sent.message_id, "Great").await.delivered.is_good());
    bridge.quiet().await?;
    shows(&bridge, "> We do, in green\nGreat", 0)?;
    assert!(customer.reacts(sent.message_id, Some("🎉")).await.is_good());
    bridge.quiet().await?;
    shows(&bridge, "[Reacted 🎉 to “We do, in green”]", 0)?;

    let story = json!({"text": "Nice", "reply_to_story": {"chat": {"id": 62, "type": "private"}, "id": 3}});
    assert!(customer.message(story).await.delivered.is_good());
    bridge.quiet().await?;
    shows(&bridge, "> a story\nNice", 0)?;
    let row = row(&bridge, &format!("62:{asked}")).await?;
    assert_eq!(row["state"], "posted", "the first wording stays in the ledger");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_telegram_shows_places_cards_and_files() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(63);
    customer.writes("Hello").await;
    customer.sends_location(53.35, -6.26).await;
    bridge.quiet().await?;
    shows(&bridge, &format!("Location\n{MAP}"), 0)?;
    customer.sends_venue("Spire", "O'Connell Street", (53.35, -6.26)).await;
    bridge.quiet().await?;
    shows(&bridge, &format!("Spire\nO'Connell Street\n{MAP}"), 0)?;
    customer.shares_contact("+353 1 234 5678", "Bob", false).await;
    bridge.quiet().await?;
    shows(&bridge, "[Contact] Bob\n+35312345678", 0)?;
    customer.sends_sticker(&samples::picture(), "🎉").await;
    bridge.quiet().await?;
    let part = shows(&bridge, "[Sticker 🎉]", 1)?;
    assert_eq!(part.files[0].bytes, samples::picture().bytes);
    assert_eq!(part.files[0].content_type, "image/png");
    customer.sends_voice(&samples::voice(), 7).await;
    bridge.quiet().await?;
    let part = shows(&bridge, "[Voice message, 0:07]", 1)?;
    assert_eq!(part.files[0].bytes, samples::voice().bytes);
    assert!(
        part.files[0].content_type.contains("ogg"),
        "{}",
        part.files[0].content_type
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_telegram_shows_taps_and_where_a_customer_came_from() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(64);
    assert!(customer.starts("summer").await.delivered.is_good());
    bridge.quiet().await?;
    shows(&bridge, "[Came by the link with the mark “summer”]\n/start summer", 0)?;
    assert!(customer.starts("winter").await.delivered.is_good());
    bridge.quiet().await?;
    let contacts = bridge.workspace().contacts();
    let origin = &contacts[0]["custom_attributes"]["mantle_origin"];
    assert_eq!(
        origin, "Came by the link with the mark “summer”",
        "the first touch stays"
    );
    let below = json!({"message_id": 30, "date": bridge.world.scene().now(), "chat": {"id": 64, "type": "private"},
        "text": "Shall we?", "reply_markup": {"inline_keyboard": [[
            {"text": "No", "callback_data": "N_0"}, {"text": "Yes, please", "callback_data": "Y_1"}]]}});
    let tap = json!({"id": "4300", "from": {"id": 64, "is_bot": false, "first_name": "Jana"},
        "message": below, "chat_instance": "-3", "data": "Y_1"});
    let bot = bridge.world.telegram.bot(telegram::TOKEN);
    assert!(bot.update("callback_query", tap).await.is_good());
    bridge.quiet().await?;
    shows(&bridge, "> Shall we?\nYes, please", 0)?;
    assert!(
        payload(&bridge, "callback:4300").await?.contains("Y_1"),
        "the payload is in the ledger"
    );
    bridge.assert_lawful()
}

/// What the ledger keeps of a message, as text.
async fn payload(bridge: &Bridge, remote_id: &str) -> Result<String> {
    use mantle_store::ledger::Ledger;
    let id = text(&row(bridge, remote_id).await?, "id")?.parse()?;
    let trace = bridge.host().store.trace(id).await?.context("a trace")?;
    Ok(String::from_utf8_lossy(&trace.payload).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_a_deleted_telegram_message_is_a_note() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let bot = bridge.world.telegram.bot(telegram::TOKEN);
    let chat = json!({"id": 65, "type": "private", "first_name": "Jana"});
    let message = json!({"business_connection_id": "bc1", "message_id": 8, "date": bridge.world.scene().now(),
        "from": {"id": 65, "is_bot": false, "first_name": "Jana"}, "chat": chat, "text": "Oops"});
    assert!(bot.update("business_message", message).await.is_good());
    bridge.quiet().await?;
    let gone = json!({"business_connection_id": "bc1", "chat": chat, "message_ids": [8]});
    assert!(bot.update("deleted_business_messages", gone).await.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Oops"]);
    let notes = conversation.notes();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(notes[0].body.contains("deleted by the customer"), "{}", notes[0].body);
    assert!(notes[0].body.contains("“Oops”"), "{}", notes[0].body);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_whatsapp_shows_what_messages_say_of_each_other() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    let asked = customer.writes(QUESTION).await.id;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    customer.reacts(&asked, Some("👍")).await;
    bridge.quiet().await?;
    shows(&bridge, &format!("[Reacted 👍 to “{QUOTED}”]"), 0)?;
    customer.reacts(&asked, None).await;
    bridge.quiet().await?;
    shows(&bridge, &format!("[Took back the reaction to “{QUOTED}”]"), 0)?;
    customer.answers(&asked, "Never mind").await;
    bridge.quiet().await?;
    shows(&bridge, &format!("> {QUOTED}\nNever mind"), 0)?;
    customer.edits(&asked, "Do you have the green one?").await;
    bridge.quiet().await?;
    shows(&bridge, "[Edited] Do you have the green one?", 0)?;

    bridge
        .teammate()
        .replies(&conversation, "<p>We do, in green</p>", &[])
        .await;
    let sent = bridge.until("the reply", || number.sent().pop()).await?;
    bridge.quiet().await?;
    customer.answers(&sent.id, "Great").await;
    bridge.quiet().await?;
    shows(&bridge, "> We do, in green\nGreat", 0)?;
    customer.reacts(&sent.id, Some("🎉")).await;
    bridge.quiet().await?;
    shows(&bridge, "[Reacted 🎉 to “We do, in green”]", 0)?;
    customer.reacts("wamid.UNKNOWN", Some("🎉")).await;
    bridge.quiet().await?;
    shows(&bridge, "[Reacted 🎉 to an earlier message]", 0)?;
    let tapped = customer.taps(&sent.id, "GREEN_42", "The green one").await.id;
    bridge.quiet().await?;
    shows(&bridge, "> We do, in green\nThe green one", 0)?;
    assert!(
        payload(&bridge, &tapped).await?.contains("GREEN_42"),
        "the payload is in the ledger"
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_whatsapp_shows_places_cards_and_files() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.comes_from_ad("Hello").await;
    bridge.quiet().await?;
    shows(
        &bridge,
        "[Came from the ad “Summer sale”: All blue ones https://fb.me/ad1]\nHello",
        0,
    )?;
    let origin = |bridge: &Bridge| bridge.workspace().contacts()[0]["custom_attributes"]["mantle_origin"].clone();
    let first = "Came from the ad “Summer sale”: All blue ones https://fb.me/ad1";
    assert_eq!(origin(&bridge), first);
    customer.sends_location(53.35, -6.26, "Spire", "O'Connell Street").await;
    bridge.quiet().await?;
    shows(&bridge, &format!("Spire\nO'Connell Street\n{MAP}"), 0)?;
    customer.shares_contact("Bob Builder", "+353 1 234 5678").await;
    bridge.quiet().await?;
    shows(&bridge, "[Contact] Bob Builder\n+353 1 234 5678", 0)?;
    customer.sends_sticker(&samples::picture()).await;
    bridge.quiet().await?;
    let part = shows(&bridge, "[Sticker]", 1)?;
    assert_eq!(part.files[0].bytes, samples::picture().bytes);
    assert_eq!(part.files[0].content_type, "image/png");
    customer.sends_voice(&samples::voice()).await;
    bridge.quiet().await?;
    // One second: read from the file, as the provider tells no duration.
    let part = shows(&bridge, "[Voice message, 0:01]", 1)?;
    assert_eq!(part.files[0].bytes, samples::voice().bytes);
    assert!(
        part.files[0].content_type.contains("ogg"),
        "{}",
        part.files[0].content_type
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_a_deleted_whatsapp_message_is_a_note_and_our_copy_is_erased() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("Look").await;
    let picture = customer.sends_image(&samples::photo(), Some("my passport")).await.id;
    bridge.quiet().await?;
    let id = text(&row(&bridge, &picture).await?, "id")?;
    let trace = bridge.get(&format!("/api/v1/messages/{id}")).await?;
    let fetched = |hop: &&Value| hop["what"] == "media:0 done";
    let hop = trace["hops"].as_array().into_iter().flatten().find(fetched);
    let file = text(hop.context("the file was fetched")?, "id")?.parse()?;
    assert!(bridge.host().store.media(file).await?.is_some());

    assert!(customer.deletes(&picture).await.delivered.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Look", "my passport"]);
    let notes = conversation.notes();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(notes[0].body.contains("deleted by the customer"), "{}", notes[0].body);
    assert!(notes[0].body.contains("“my passport”"), "{}", notes[0].body);
    assert!(
        bridge.host().store.media(file).await?.is_none(),
        "our copy is still there"
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_14_a_card_by_text_message_shows_names_and_numbers() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let customer = bridge.sms_customer("+15005550123");
    customer.writes("Here he is").await;
    let card = File::new("", "text/vcard", VCARD.as_bytes());
    assert!(customer.sends("", &[card]).await.delivered.is_good());
    bridge.quiet().await?;
    let part = shows(
        &bridge,
        "[Contact] Bob Builder\nBuild Ltd\n+353 1 234 5678\nbob@build.example",
        1,
    )?;
    assert_eq!(part.files[0].name, "contact.vcf");
    assert_eq!(part.files[0].bytes, VCARD.as_bytes());
    let (status, _) = bridge.api(Method::GET, "/readyz", None).await?;
    assert_eq!(status, 200);
    bridge.assert_lawful()
}

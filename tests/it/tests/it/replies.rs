//! Replies of the team: one send on the right channel, in order, whatever provider and inbox do meanwhile.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, telegram_fields};
use mantle_world::intercom::{Conversation, Part};
use mantle_world::telegram::{self, Sent};
use mantle_world::{Fault, Faults, File, Order, samples, twilio, whatsapp};
use serde_json::{Value, json};

/// The three kinds of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Telegram,
    WhatsApp,
    Sms,
}

/// One customer who wrote on a channel, and the conversation that came of it.
pub(crate) struct Talk {
    pub on: On,
    pub who: u32,
    pub conversation: String,
}

impl On {
    pub(crate) async fn bridge(self) -> Result<Bridge> {
        Ok(match self {
            Self::Telegram => Bridge::with_telegram().await?.0,
            Self::WhatsApp => Bridge::with_whatsapp().await?.0,
            Self::Sms => {
                let bridge = Bridge::start().await?;
                let workspace = bridge.connect_workspace().await?;
                bridge.connect(&workspace, "twilio-sms", bridge.sms_fields()).await?;
                bridge
            }
        })
    }

    pub(crate) fn faults(self, bridge: &Bridge) -> &Faults {
        match self {
            Self::Telegram => bridge.world.telegram.faults(),
            Self::WhatsApp => bridge.world.whatsapp.faults(),
            Self::Sms => bridge.world.twilio.faults(),
        }
    }

    /// The provider's operation that sends a text.
    fn sending(self) -> &'static str {
        match self {
            Self::Telegram => "sendMessage",
            Self::WhatsApp => "messages",
            Self::Sms => "send",
        }
    }

    fn phone(who: u32) -> String {
        format!("4915155{who:06}")
    }

    /// The customer writes.
    pub(crate) async fn write(self, bridge: &Bridge, who: u32, text: &str) -> Result<()> {
        let delivered = match self {
            Self::Telegram => bridge.telegram_customer(who.into()).writes(text).await.delivered,
            Self::WhatsApp => bridge.whatsapp_customer(&Self::phone(who)).writes(text).await.delivered,
            Self::Sms => {
                let phone = format!("+{}", Self::phone(who));
                bridge.sms_customer(&phone).writes(text).await.delivered
            }
        };
        ensure!(delivered.is_good(), "{self:?}: {delivered:?}");
        Ok(())
    }

    /// The customer writes for the first time.
    pub(crate) async fn talk(self, bridge: &Bridge, who: u32) -> Result<Talk> {
        self.write(bridge, who, "Hello").await?;
        bridge.quiet().await?;
        let newest = bridge.workspace().conversations().pop().context("no conversation")?;
        Ok(Talk {
            on: self,
            who,
            conversation: newest.id,
        })
    }
}

impl Talk {
    /// The texts and captions on the customer's phone, oldest first.
    pub(crate) fn got(&self, bridge: &Bridge) -> Vec<String> {
        let phone = On::phone(self.who);
        match self.on {
            On::Telegram => {
                let sent = bridge.telegram_customer(self.who.into()).received();
                sent.into_iter().map(|sent| sent.text).collect()
            }
            On::WhatsApp => {
                let sent = bridge.whatsapp_customer(&phone).received();
                sent.into_iter().map(|sent| sent.text).collect()
            }
            On::Sms => {
                let sent = bridge.world.twilio.sent().into_iter();
                let mine = sent.filter(|sent| sent.to == format!("+{phone}"));
                mine.map(|sent| sent.body).collect()
            }
        }
    }

    pub(crate) async fn reply(&self, bridge: &Bridge, html: &str, files: &[File]) -> Result<()> {
        let replied = bridge.teammate().replies(&self.conversation, html, files).await;
        let told = replied.delivered.context("nobody was told")?;
        ensure!(told.is_good(), "{told:?}");
        Ok(())
    }

    pub(crate) fn seen(&self, bridge: &Bridge) -> Result<Conversation> {
        let found = bridge.workspace().conversation(&self.conversation);
        found.context("the conversation is gone")
    }

    pub(crate) fn notes(&self, bridge: &Bridge) -> Result<Vec<String>> {
        let notes: Vec<Part> = self.seen(bridge)?.notes();
        Ok(notes.into_iter().map(|note| note.body).collect())
    }

    pub(crate) fn only_note(&self, bridge: &Bridge) -> Result<String> {
        let mut notes = self.notes(bridge)?;
        ensure!(notes.len() == 1, "there are {} notes: {notes:?}", notes.len());
        notes.pop().context("no note")
    }
}

/// The replies as the API lists them, oldest first.
pub(crate) async fn listed(bridge: &Bridge) -> Result<Vec<Value>> {
    let body = bridge.get("/api/v1/messages?limit=200").await?;
    let all = body["messages"].as_array().cloned().unwrap_or_default();
    Ok(all
        .into_iter()
        .rev()
        .filter(|row| row["direction"] == "out" && row["kind"] == "reply")
        .collect())
}

async fn states(bridge: &Bridge) -> Result<Vec<String>> {
    let rows = listed(bridge).await?;
    Ok(rows
        .iter()
        .map(|row| row["state"].as_str().unwrap_or_default().to_owned())
        .collect())
}

async fn last_trace(bridge: &Bridge) -> Result<Value> {
    let rows = listed(bridge).await?;
    let id = rows.last().and_then(|row| row["id"].as_str()).context("no reply")?;
    bridge.get(&format!("/api/v1/messages/{id}")).await
}

async fn replay_last(bridge: &Bridge) -> Result<(u16, Value)> {
    let trace = last_trace(bridge).await?;
    let id = trace["id"].as_str().context("no id")?;
    let path = format!("/api/v1/messages/{id}/replay");
    bridge.api(Method::POST, &path, Some(&json!({}))).await
}

/// Lets so much time pass in steps, with everything done that is due at each.
pub(crate) async fn pass(bridge: &Bridge, steps: u32, step: Duration) -> Result<()> {
    for _ in 0..steps {
        bridge.advance(step);
        bridge.at_rest().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_1_one_send_on_the_channel_of_the_conversation() -> Result<()> {
    const OTHER_BOT: &str = "987654321:BBF0bCdEfGhIjKlMnOpQrStUvWxYz012345";
    let (bridge, channels) = Bridge::connected().await?;
    let _ = bridge.world.telegram.bot(OTHER_BOT);
    let fields = json!({"bot_token": OTHER_BOT});
    assert_ne!(fields, telegram_fields());
    bridge.connect(&channels.workspace, "telegram", fields).await?;

    let telegram = On::Telegram.talk(&bridge, 5_001).await?;
    let neighbour = On::Telegram.talk(&bridge, 5_002).await?;
    let whatsapp = On::WhatsApp.talk(&bridge, 5_001).await?;
    let sms = On::Sms.talk(&bridge, 5_001).await?;
    let at_other_bot = bridge.world.telegram.bot(OTHER_BOT).customer(5_001);
    assert!(at_other_bot.writes("Hello, other bot").await.delivered.is_good());
    bridge.quiet().await?;
    let other = bridge.workspace().conversations().pop().context("no conversation")?;

    telegram.reply(&bridge, "<p>To Telegram</p>", &[]).await?;
    whatsapp.reply(&bridge, "<p>To WhatsApp</p>", &[]).await?;
    sms.reply(&bridge, "<p>To the phone</p>", &[]).await?;
    bridge
        .teammate()
        .replies(&other.id, "<p>From the other bot</p>", &[])
        .await;
    bridge.quiet().await?;

    assert_eq!(telegram.got(&bridge), ["To Telegram"]);
    assert_eq!(whatsapp.got(&bridge), ["To WhatsApp"]);
    assert_eq!(sms.got(&bridge), ["To the phone"]);
    assert!(neighbour.got(&bridge).is_empty());
    let of_bot = |token: &str| {
        let sent = bridge.world.telegram.bot(token).sent();
        sent.into_iter().map(|sent| (sent.chat, sent.text)).collect::<Vec<_>>()
    };
    assert_eq!(of_bot(telegram::TOKEN), [(5_001, "To Telegram".to_owned())]);
    assert_eq!(of_bot(OTHER_BOT), [(5_001, "From the other bot".to_owned())]);
    assert_eq!(bridge.world.twilio.sent()[0].from, twilio::NUMBER);
    let path = format!("/{}/messages", whatsapp::PHONE_NUMBER_ID);
    let calls = bridge.world.whatsapp.calls();
    let sends = calls
        .iter()
        .filter(|call| call.operation == "messages" && call.body["type"] == "text");
    assert!(sends.clone().all(|call| call.path.ends_with(&path)));
    assert_eq!(sends.count(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_2_nothing_but_words_for_the_customer_is_sent() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let (teammate, id) = (bridge.teammate(), talk.conversation.as_str());
    teammate.notes(id, "<p>Between us</p>").await;
    teammate.assigns(id, Some(teammate.id())).await;
    teammate.assigns_team(id, "77").await;
    teammate.assigns(id, None).await;
    teammate.snoozes(id).await;
    teammate.reopens(id).await;
    teammate.closes(id, "").await;
    let tag = json!({"type": "tag", "id": "5", "name": "vip"});
    let item = json!({"type": "conversation", "id": id, "tags_added": {"type": "tag.list", "tags": [tag]}});
    bridge.workspace().notify("conversation_part.tag.created", item).await;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert!(talk.notes(&bridge)?.iter().all(|note| note == "<p>Between us</p>"));

    // What is said while closing is said to the customer.
    teammate.closes(id, "<p>Good bye</p>").await;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Good bye"]);
    assert_eq!(talk.seen(&bridge)?.state, "closed", "out_15: it stays closed");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_3_a_webhook_told_twice_or_late_sends_once() -> Result<()> {
    let mut bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge.world.intercom.webhooks().twice(true);
    talk.reply(&bridge, "<p>Told twice</p>", &[]).await?;
    bridge.world.intercom.webhooks().twice(false);
    bridge.quiet().await?;
    let log = bridge.world.intercom.webhooks().log();
    let id = log.last().map(|(_, told)| told.id.clone()).context("no webhook")?;

    bridge.world.intercom.webhooks().hold();
    bridge
        .teammate()
        .replies(&talk.conversation, "<p>Told late</p>", &[])
        .await;
    bridge.advance(Duration::from_secs(3 * 3600));
    bridge.world.intercom.webhooks().release(Order::AsWritten).await;
    bridge.quiet().await?;
    bridge.restart().await?;
    assert!(bridge.world.intercom.webhooks().again(&id).await.is_good());
    bridge.advance(Duration::from_secs(7 * 24 * 3600));
    assert!(bridge.world.intercom.webhooks().again(&id).await.is_good());
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Told twice", "Told late"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_3_shuffled_webhooks_send_each_reply_once() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    for (round, order) in [Order::Reversed, Order::AtOnce].into_iter().enumerate() {
        bridge.world.intercom.webhooks().hold();
        for number in 0..6 {
            let html = format!("<p>{round}.{number}</p>");
            bridge.teammate().replies(&talk.conversation, &html, &[]).await;
        }
        bridge.world.intercom.webhooks().twice(true);
        let told = bridge.world.intercom.webhooks().release(order).await;
        assert!(told.iter().all(mantle_world::Delivered::is_good));
        bridge.quiet().await?;
    }
    let mut got = talk.got(&bridge);
    got.sort();
    let all: Vec<String> = (0..12).map(|at| format!("{}.{}", at / 6, at % 6)).collect();
    assert_eq!(got, all);
    bridge.assert_lawful()
}

async fn slow_file_between_texts(on: On, slow: &str) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    on.faults(&bridge)
        .next_on(slow, Fault::Late(Duration::from_millis(300)));
    talk.reply(&bridge, "<p>A</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::document()]).await?;
    talk.reply(&bridge, "<p>C</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["A", "", "C"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 3]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_8_telegram_keeps_the_order_behind_a_slow_upload() -> Result<()> {
    slow_file_between_texts(On::Telegram, "sendDocument").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_8_whatsapp_keeps_the_order_behind_a_slow_upload() -> Result<()> {
    slow_file_between_texts(On::WhatsApp, "media").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_8_sms_keeps_the_order_behind_a_slow_send() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    for _ in 0..2 {
        On::Sms
            .faults(&bridge)
            .next_on("send", Fault::Late(Duration::from_millis(150)));
    }
    talk.reply(&bridge, "<p>A</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::photo()]).await?;
    talk.reply(&bridge, "<p>C</p>", &[]).await?;
    bridge.quiet().await?;
    bridge.world.settled().await;
    assert_eq!(talk.got(&bridge), ["A", "", "C"]);
    assert_eq!(bridge.world.twilio.sent()[1].files[0].bytes, samples::photo().bytes);
    bridge.assert_lawful()
}

/// A limit holds the person's messages for as long as it says, and nobody else's.
async fn limited(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    let neighbour = on.talk(&bridge, 5_002).await?;
    on.faults(&bridge)
        .next_on(on.sending(), Fault::Limit(Some("17".to_owned())));
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    bridge.at_rest().await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    neighbour.reply(&bridge, "<p>To another</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert_eq!(neighbour.got(&bridge), ["To another"]);
    pass(&bridge, 1, Duration::from_millis(16_900)).await?;
    assert_eq!(talk.got(&bridge), [""; 0], "before its time");
    pass(&bridge, 1, Duration::from_millis(100)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 3]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_telegram_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_whatsapp_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_sms_waits_as_long_as_a_limit_says() -> Result<()> {
    limited(On::Sms).await
}

/// An outage that surely applied nothing is waited for.
async fn outage(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    for _ in 0..3 {
        on.faults(&bridge).next_on(on.sending(), Fault::Refuse(503));
    }
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(talk.got(&bridge), [""; 0]);
    assert_eq!(states(&bridge).await?, ["sending", "queued"]);
    pass(&bridge, 4, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_telegram_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_whatsapp_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_sms_is_waited_for_when_unavailable() -> Result<()> {
    outage(On::Sms).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_a_provider_that_cannot_be_reached_is_waited_for() -> Result<()> {
    let mut bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge.cut_off("https://api.telegram.org");
    bridge.restart().await?;
    talk.reply(&bridge, "<p>First</p>", &[]).await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(states(&bridge).await?, ["sending", "queued"]);
    bridge.reconnect();
    bridge.restart().await?;
    pass(&bridge, 2, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

/// Taken, but the answer never came.
async fn lost_answer(on: On, fault: Fault) -> Result<(Bridge, Talk)> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    on.faults(&bridge).next_on(on.sending(), fault);
    talk.reply(&bridge, "<p>Are you there?</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["unknown"]);
    let note = talk.only_note(&bridge)?;
    assert!(note.contains("may not have been delivered"), "{note}");
    assert!(note.contains("“Are you there?”"), "{note}");
    pass(&bridge, 3, Duration::from_secs(3600)).await?;
    talk.reply(&bridge, "<p>Next</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(
        talk.got(&bridge),
        ["Are you there?", "Next"],
        "it is not sent again blindly"
    );
    assert_eq!(talk.notes(&bridge)?.len(), 1);
    bridge.assert_lawful()?;
    Ok((bridge, talk))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_a_lost_answer_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::ResetAfter).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_a_fault_after_applying_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::RefuseAfter(500)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_telegram_an_answer_that_is_none_is_unknown() -> Result<()> {
    lost_answer(On::Telegram, Fault::Garbage).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_whatsapp_a_lost_answer_is_settled_by_a_receipt() -> Result<()> {
    let (bridge, _) = lost_answer(On::WhatsApp, Fault::ResetAfter).await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let first = number.sent()[0].id.clone();
    assert!(number.status(&first, "delivered", None).await.is_good());
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_sms_a_lost_answer_is_settled_by_a_receipt() -> Result<()> {
    let (bridge, _) = lost_answer(On::Sms, Fault::ResetAfter).await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    let first = account.sent()[0].sid.clone();
    assert!(account.status(&first, "delivered", None).await.is_good());
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_a_refusal_is_one_note_that_says_why() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge
        .world
        .telegram
        .faults()
        .next_on("sendMessage", Fault::Refuse(400));
    talk.reply(
        &bridge,
        "<p>Your parcel &amp; the invoice are on their way to you</p>",
        &[],
    )
    .await?;
    bridge.quiet().await?;
    let note = talk.only_note(&bridge)?;
    assert_eq!(
        note,
        "<p><b>Not delivered (Telegram).</b><br>“Your parcel &amp; the invoice are on their…”<br>Reason: Telegram: \
         Bad Request: refused on purpose (code 400).<br>Change the message and send it again.</p>"
    );
    assert_eq!(states(&bridge).await?, ["failed"]);
    let trace = last_trace(&bridge).await?;
    assert!(
        trace["reason"].as_str().is_some_and(|reason| reason.contains("400")),
        "{trace}"
    );

    bridge
        .world
        .telegram
        .faults()
        .next_on("sendDocument", Fault::Refuse(400));
    talk.reply(&bridge, "", &[samples::document()]).await?;
    bridge.quiet().await?;
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2);
    assert!(
        notes[1].contains("invoice.pdf") && notes[1].contains("400"),
        "{}",
        notes[1]
    );
    assert_eq!(talk.got(&bridge), [""; 0]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_whatsapp_a_failure_told_minutes_later_is_one_note() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, "<p>Your parcel has left</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::document()]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    bridge.advance(Duration::from_secs(600));
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    for sent in number.sent() {
        for _ in 0..2 {
            assert!(number.status(&sent.id, "failed", Some(131_026)).await.is_good());
        }
    }
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["failed"; 2]);
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("“Your parcel has left”"), "{}", notes[0]);
    assert!(notes[1].contains("invoice.pdf"), "{}", notes[1]);
    for note in &notes {
        assert!(note.starts_with("<p><b>Not delivered (WhatsApp).</b>"), "{note}");
        assert!(note.contains("(code 131026)") && note.contains("Reason: "), "{note}");
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_sms_a_failure_told_by_callback_is_one_note() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    account.fails_for(&format!("+{}", On::phone(5_001)), 30_003);
    talk.reply(&bridge, "<p>Your parcel has left</p>", &[]).await?;
    bridge
        .until("the note", || {
            talk.notes(&bridge).ok().filter(|notes| !notes.is_empty())
        })
        .await?;
    bridge.world.settled().await;
    bridge.quiet().await?;
    let note = talk.only_note(&bridge)?;
    assert!(
        note.starts_with("<p><b>Not delivered (SMS).</b><br>“Your parcel has left”"),
        "{note}"
    );
    assert!(note.contains("(code 30003)"), "{note}");
    assert_eq!(states(&bridge).await?, ["failed"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_12_resend_is_a_new_attempt_beside_the_old_one() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    bridge.world.whatsapp.faults().next_on("messages", Fault::Refuse(400));
    talk.reply(&bridge, "<p>Once more</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["failed"]);
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 202, "{body}");
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Once more"]);
    assert_eq!(states(&bridge).await?, ["accepted"], "one message in the list");
    let trace = last_trace(&bridge).await?;
    let hops: Vec<(String, bool)> = trace["hops"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|hop| {
            (
                hop["what"].as_str().unwrap_or_default().to_owned(),
                hop["detail"] == "replay 1",
            )
        })
        .collect();
    assert!(hops.contains(&("send:0 failed".to_owned(), false)), "{trace:#}");
    assert!(hops.contains(&("send:0 done".to_owned(), true)), "{trace:#}");

    // What has arrived is not sent again.
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 409, "{body}");
    assert_eq!(talk.got(&bridge).len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_12_an_unknown_outcome_can_be_resent_by_a_person() -> Result<()> {
    let (bridge, talk) = lost_answer(On::Telegram, Fault::ResetAfter).await?;
    let rows = listed(&bridge).await?;
    let id = rows[0]["id"].as_str().context("no id")?;
    let (status, body) = bridge
        .api(Method::POST, &format!("/api/v1/messages/{id}/replay"), None)
        .await?;
    assert_eq!(status, 202, "{body}");
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?", "Next", "Are you there?"]);
    assert!(states(&bridge).await?.iter().all(|state| state == "accepted"));
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_long_text_is_split_where_it_reads_best() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let sentence = "This is one whole sentence of the letter. ";
    let paragraph = sentence.repeat(60).trim_end().to_owned();
    let html: String = (0..4).map(|_| format!("<p>{paragraph}</p>")).collect();
    talk.reply(&bridge, &html, &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), vec![paragraph.clone(); 4], "between paragraphs");

    // One paragraph above the limit: between sentences.
    talk.reply(&bridge, &format!("<p>{}</p>", sentence.repeat(120)), &[])
        .await?;
    bridge.quiet().await?;
    let got = talk.got(&bridge)[4..].to_vec();
    assert_eq!(got.join(" "), sentence.repeat(120).trim_end());
    assert!(
        got.iter()
            .all(|piece| piece.ends_with('.') && piece.encode_utf16().count() <= 4096)
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_split_never_tears_a_word_or_an_emoji() -> Result<()> {
    const FAMILY: &str = "👩‍👩‍👧‍👦";
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let words = "wonderful ".repeat(400);
    talk.reply(&bridge, &format!("<p>{words}</p>"), &[]).await?;
    bridge.quiet().await?;
    let got = talk.got(&bridge);
    assert!(got.len() >= 3 && got.iter().all(|piece| piece.chars().count() <= 1600));
    assert_eq!(got.join(" "), words.trim_end());

    talk.reply(&bridge, &format!("<p>{}</p>", FAMILY.repeat(500)), &[])
        .await?;
    bridge.quiet().await?;
    let pieces = talk.got(&bridge)[got.len()..].to_vec();
    assert_eq!(pieces.concat(), FAMILY.repeat(500));
    for piece in &pieces {
        assert!(
            piece.chars().count() <= 1600 && piece.replace(FAMILY, "").is_empty(),
            "{piece}"
        );
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_part_that_fails_stops_the_rest() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let faults = bridge.world.telegram.faults();
    faults.next_on("sendMessage", Fault::Late(Duration::ZERO));
    faults.next_on("sendMessage", Fault::Refuse(400));
    let paragraph = |letter: &str| format!("<p>{}</p>", letter.repeat(3_000));
    let html = ["a", "b", "c"].map(paragraph).concat();
    talk.reply(&bridge, &html, &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["a".repeat(3_000)]);
    let note = talk.only_note(&bridge)?;
    assert!(
        note.contains("Part 2 of 3 failed. Nothing after it was sent."),
        "{note}"
    );
    assert_eq!(states(&bridge).await?, ["failed"]);

    // The resend is for what did not arrive.
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 202, "{body}");
    bridge.quiet().await?;
    let all = ["a", "b", "c"].map(|letter| letter.repeat(3_000));
    assert_eq!(talk.got(&bridge), all);
    assert_eq!(states(&bridge).await?, ["accepted"]);
    bridge.assert_lawful()
}

const RICH: &str = "<h2>Your order</h2><p>Dear <b>Jana</b>, it is <i>nearly</i> there &lt;3</p>\
    <ul><li>one</li><li>two</li></ul><p>See <a href=\"https://shop.example/t/7?a=1&amp;b=2\">the tracking</a>, \
    ask <span class=\"mention\">@Dana</span></p>";

fn entities(sent: &Sent) -> Vec<(String, String)> {
    let units: Vec<u16> = sent.text.encode_utf16().collect();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or_default()).unwrap_or_default();
    let list = sent.parameters["entities"].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|entity| {
            let (start, length) = (number(&entity["offset"]), number(&entity["length"]));
            let words = String::from_utf16_lossy(&units[start..start + length]);
            let url = entity["url"].as_str().map(|url| format!(" {url}")).unwrap_or_default();
            (format!("{}{url}", entity["type"].as_str().unwrap_or_default()), words)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_entities_on_telegram() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let sent = bridge.world.telegram.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].text,
        "Your order\nDear Jana, it is nearly there <3\n• one\n• two\nSee the tracking, ask @Dana"
    );
    let expected = [
        ("bold", "Your order"),
        ("bold", "Jana"),
        ("italic", "nearly"),
        ("text_link https://shop.example/t/7?a=1&b=2", "the tracking"),
    ];
    assert_eq!(
        entities(&sent[0]),
        expected.map(|(kind, words)| (kind.to_owned(), words.to_owned()))
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_marks_on_whatsapp() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let expected = "*Your order*\nDear *Jana*, it is _nearly_ there <3\n• one\n• two\n\
        See the tracking (https://shop.example/t/7?a=1&b=2), ask @Dana";
    assert_eq!(talk.got(&bridge), [expected]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_readable_text_on_sms() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let expected = "Your order\nDear Jana, it is nearly there <3\n• one\n• two\n\
        See the tracking (https://shop.example/t/7?a=1&b=2), ask @Dana";
    assert_eq!(talk.got(&bridge), [expected]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_cards_are_readable_and_nothing_empty_is_sent() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let card = "<div class=\"intercom-interblocks-article-card\"><a href=\"https://help.example/a/9\"><h3>Returns</h3>\
        <p>How to send it back</p></a></div>";
    let button = "<div class=\"intercom-h2b-button\"><a href=\"https://shop.example/pay\">Pay now</a></div>";
    talk.reply(&bridge, card, &[]).await?;
    talk.reply(&bridge, button, &[]).await?;
    for empty in ["<p></p>", "<p> &nbsp;<br></p>", "<script>alert(1)</script>", ""] {
        talk.reply(&bridge, empty, &[]).await?;
    }
    bridge.quiet().await?;
    let got = talk.got(&bridge);
    assert_eq!(got.len(), 2, "{got:?}");
    for words in ["Returns", "How to send it back", "https://help.example/a/9"] {
        assert!(got[0].contains(words), "{}", got[0]);
    }
    assert_eq!(got[1], "Pay now (https://shop.example/pay)");
    assert!(
        got.iter().all(|text| !text.contains('<') && !text.contains("class=")),
        "{got:?}"
    );
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_18_a_foreign_conversation_costs_no_call() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    On::Telegram.talk(&bridge, 5_001).await?;
    let before = (bridge.world.intercom.calls().len(), bridge.world.telegram.calls().len());
    let author = json!({"type": "admin", "id": bridge.teammate().id(), "name": "Dana Ops"});
    let part = json!({"type": "conversation_part", "id": "77001", "part_type": "comment", "body": "Not for us",
        "created_at": bridge.world.scene().now(), "author": author, "attachments": []});
    let item = json!({"type": "conversation", "id": "215469999999999", "created_at": bridge.world.scene().now(),
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": [part], "total_count": 1}});
    let told = bridge.workspace().notify("conversation.admin.replied", item).await;
    assert!(told.is_some_and(|told| told.is_good()));
    bridge.quiet().await?;
    pass(&bridge, 2, Duration::from_secs(120)).await?;
    assert_eq!(
        (bridge.world.intercom.calls().len(), bridge.world.telegram.calls().len()),
        before
    );
    assert!(listed(&bridge).await?.is_empty());
    bridge.assert_lawful()
}

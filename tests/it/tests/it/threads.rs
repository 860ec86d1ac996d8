//! Which conversation a message joins (TH).

use std::time::Duration;

use anyhow::Result;
use mantle_it::Bridge;
use mantle_world::Fault;
use mantle_world::intercom::Conversation;
use serde_json::{Value, json};

const PHONE: &str = "+353888888999";
const WA_ID: &str = "353888888999";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);

async fn set(bridge: &Bridge, settings: Value) -> Result<(u16, Value)> {
    let list = bridge.get("/api/v1/workspaces").await?;
    let id = mantle_it::text(&list["workspaces"][0], "id")?;
    let path = format!("/api/v1/workspaces/{id}");
    let body = json!({"settings": settings});
    bridge.api(http::Method::PATCH, &path, Some(&body)).await
}

/// A bridge on which a customer who writes an hour after a closing begins a new conversation.
async fn with_buffer() -> Result<Bridge> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let (status, told) = set(&bridge, json!({"new_conversation_after_seconds": 3600})).await?;
    assert_eq!(status, 200, "{told}");
    Ok(bridge)
}

/// All conversations, the oldest first, by what the customer wrote in them.
fn written(bridge: &Bridge) -> Vec<(String, Vec<String>)> {
    let mut all = bridge.workspace().conversations();
    all.sort_by_key(|known| known.id.parse::<u64>().unwrap_or_default());
    let words = |known: &Conversation| known.from_customer().into_iter().map(|part| part.body).collect();
    all.iter().map(|known| (known.id.clone(), words(known))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_1_a_closed_conversation_is_reopened_after_a_minute_and_after_a_year() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let id = bridge.only_conversation()?.id;
    for (wait, words) in [(MINUTE, "a minute later"), (YEAR, "a year later")] {
        bridge.teammate().closes(&id, "").await;
        assert_eq!(bridge.only_conversation()?.state, "closed");
        bridge.advance(wait);
        assert!(customer.writes(words).await.delivered.is_good());
        bridge.quiet().await?;
        let conversation = bridge.only_conversation()?;
        assert_eq!(
            (conversation.id.as_str(), conversation.state.as_str()),
            (id.as_str(), "open")
        );
        assert_eq!(
            conversation.from_customer().last().map(|part| part.body.clone()),
            Some(words.into())
        );
    }
    assert_eq!(bridge.workspace().contacts().len(), 1);

    bridge.teammate().replies(&id, "<p>Welcome back</p>", &[]).await;
    bridge.quiet().await?;
    let received: Vec<String> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["Welcome back"], "closing sent nothing");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_2_th_3_a_message_the_buffer_after_a_closing_begins_a_new_conversation_and_one_before_does_not() -> Result<()>
{
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let old = bridge.only_conversation()?.id;
    bridge.advance(HOUR * 30);
    bridge.teammate().closes(&old, "").await;
    bridge.advance(HOUR - SECOND);
    customer.writes("a second too early").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(
        (conversation.id.as_str(), conversation.state.as_str()),
        (old.as_str(), "open")
    );

    bridge.teammate().closes(&old, "").await;
    bridge.advance(HOUR);
    assert!(customer.writes("an hour later").await.delivered.is_good());
    bridge.quiet().await?;
    customer.writes("and more").await;
    bridge.quiet().await?;
    let all = written(&bridge);
    let words: Vec<_> = all.iter().map(|(_, words)| words.join("|")).collect();
    assert_eq!(
        words,
        ["first|a second too early", "an hour later|and more"],
        "byte for byte"
    );
    let new = all[1].0.clone();
    assert_eq!(bridge.workspace().contacts().len(), 1, "the same contact");

    // The thread has moved: answers there reach the customer. The old one stays closed and still leads to them.
    bridge.teammate().replies(&new, "<p>Welcome back</p>", &[]).await;
    bridge.quiet().await?;
    let received: Vec<String> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["Welcome back"]);
    let state = |id: &str| {
        let all = bridge.workspace().conversations();
        all.into_iter().find(|known| known.id == id).map(|known| known.state)
    };
    assert_eq!(state(&old).as_deref(), Some("closed"));
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_3_the_providers_time_of_the_message_counts_not_that_of_its_arrival() -> Result<()> {
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let id = bridge.only_conversation()?.id;
    bridge.advance(HOUR * 2);
    bridge.teammate().closes(&id, "").await;
    bridge.advance(MINUTE * 30);
    bridge.world.telegram.webhooks().hold();
    customer.writes("written in time").await;
    bridge.advance(HOUR);
    bridge
        .world
        .telegram
        .webhooks()
        .release(mantle_world::Order::AtOnce)
        .await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 2);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_4_an_open_conversation_is_continued_unless_silence_is_measured() -> Result<()> {
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let old = bridge.only_conversation()?.id;
    bridge.advance(HOUR * 5);
    customer.writes("hours later").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.id, old, "it is open");

    let (status, told) = set(&bridge, json!({"new_conversation_measure": "since_last_message"})).await?;
    assert_eq!(
        (status, &told["settings"]["new_conversation_measure"]),
        (200, &json!("since_last_message"))
    );
    bridge.advance(HOUR * 5);
    bridge
        .teammate()
        .replies(&old, "<p>Are you still there?</p>", &[])
        .await;
    bridge.teammate().notes(&old, "<p>not heard by anybody</p>").await;
    bridge.advance(HOUR - SECOND);
    customer.writes("I am").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.id, old, "the teammate's words count");
    bridge.advance(HOUR);
    customer.writes("silence is over").await;
    bridge.quiet().await?;
    let words: Vec<_> = written(&bridge).into_iter().map(|(_, words)| words.join("|")).collect();
    assert_eq!(words, ["first|hours later|I am", "silence is over"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_5_a_buffer_outside_an_hour_to_two_weeks_is_refused_and_the_old_one_kept() -> Result<()> {
    let bridge = with_buffer().await?;
    let field = "settings.new_conversation_after_seconds";
    for wrong in [json!(0), json!(3_599), json!(1_209_601), json!(u32::MAX)] {
        let (status, told) = set(
            &bridge,
            json!({"new_conversation_after_seconds": wrong, "parts_max": 77}),
        )
        .await?;
        assert_eq!((status, &told["error"]["field"]), (422, &json!(field)), "{told}");
        let list = bridge.get("/api/v1/workspaces").await?;
        let kept = &list["workspaces"][0]["settings"];
        assert_eq!(kept["new_conversation_after_seconds"], 3600, "{kept}");
        assert_eq!(kept["parts_max"], 450, "nothing of the call was taken: {kept}");
    }
    for wrong in [json!(-1), json!("a day"), json!(3600.5)] {
        let (status, told) = set(&bridge, json!({"new_conversation_after_seconds": wrong})).await?;
        assert!((400..500).contains(&status), "{status} {told}");
    }
    for good in [json!(3_600), json!(1_209_600), Value::Null] {
        let (status, told) = set(&bridge, json!({"new_conversation_after_seconds": good})).await?;
        assert_eq!(
            (status, &told["settings"]["new_conversation_after_seconds"]),
            (200, &good),
            "{told}"
        );
    }
    Ok(())
}

/// Whoever has no administrator's key saves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_5_nobody_but_an_administrator_sets_the_buffer() -> Result<()> {
    let bridge = with_buffer().await?;
    let list = bridge.get("/api/v1/workspaces").await?;
    let id = mantle_it::text(&list["workspaces"][0], "id")?;
    let url = format!("http://{}/api/v1/workspaces/{id}", bridge.host().addr);
    let client = bridge.world.scene().client();
    for key in [
        None,
        Some("Bearer "),
        Some("Bearer somebody-else"),
        Some("Basic YWRtaW46YWRtaW4="),
    ] {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(key.map(|key| ("authorization".to_owned(), key.to_owned())));
        let body = json!({"settings": {"new_conversation_after_seconds": 7200}}).to_string();
        let reply = client
            .call(http::Method::PATCH, &url, &headers, body.into_bytes().into())
            .await?;
        assert!([401, 403].contains(&reply.status), "{key:?}: {}", reply.text());
    }
    let list = bridge.get("/api/v1/workspaces").await?;
    let kept = &list["workspaces"][0]["settings"]["new_conversation_after_seconds"];
    assert_eq!(kept, 3600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_6_messages_at_once_past_the_buffer_are_one_new_conversation() -> Result<()> {
    const ROUNDS: usize = 5;
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    for round in 1..=ROUNDS {
        let (newest, _) = written(&bridge).pop().unwrap();
        bridge.teammate().closes(&newest, "").await;
        bridge.advance(HOUR);
        let (one, other) = tokio::join!(customer.writes("one"), customer.writes("other"));
        assert!(one.delivered.is_good() && other.delivered.is_good());
        bridge.quiet().await?;
        let all = written(&bridge);
        assert_eq!(all.len(), 1 + round, "one new conversation: {all:?}");
        let mut words = all[round].1.clone();
        words.sort_unstable();
        assert_eq!(words, ["one", "other"], "with two parts");
    }
    assert_eq!(bridge.workspace().contacts().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_6_a_lost_answer_to_the_opening_makes_no_second_conversation_though_it_is_reopened() -> Result<()> {
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let old = bridge.only_conversation()?.id;
    bridge.teammate().closes(&old, "").await;
    bridge.advance(HOUR);
    bridge.world.intercom.faults().next_on("create", Fault::ResetAfter);
    customer.writes("later").await;
    bridge.at_rest().await?;
    // What decided it the first time is not so any more; the message must not be written in both.
    bridge.teammate().reopens(&old).await;
    bridge.calm().await?;
    let words: Vec<_> = written(&bridge).into_iter().map(|(_, words)| words.join("|")).collect();
    assert_eq!(words, ["first", "later"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_7_a_reply_in_the_old_conversation_arrives_moves_nothing_and_a_note_says_so() -> Result<()> {
    let bridge = with_buffer().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let old = bridge.only_conversation()?.id;
    bridge.teammate().closes(&old, "").await;
    bridge.advance(HOUR);
    customer.writes("second").await;
    bridge.quiet().await?;
    let new = written(&bridge).pop().unwrap().0;
    for words in ["<p>About the first matter</p>", "<p>One thing more</p>"] {
        bridge.teammate().replies(&old, words, &[]).await;
        bridge.quiet().await?;
    }
    let received: Vec<String> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["About the first matter", "One thing more"]);
    let known = bridge.workspace().conversation(&old).unwrap();
    let notes = known.notes();
    assert_eq!(notes.len(), 1, "once: {notes:#?}");
    assert!(
        notes[0].body.contains("newer conversation") && notes[0].body.contains(&new),
        "{}",
        notes[0].body
    );
    customer.writes("third").await;
    bridge.quiet().await?;
    assert_eq!(
        written(&bridge),
        [
            (old, vec!["first".to_owned()]),
            (new, vec!["second".to_owned(), "third".to_owned()])
        ]
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_8_a_deleted_conversation_is_tried_three_times_and_then_a_new_one_begins() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("before").await;
    bridge.quiet().await?;
    let old = bridge.only_conversation()?;
    bridge.workspace().delete_conversation(&old.id).await;
    assert!(customer.writes("after").await.delivered.is_good());
    assert!(customer.writes("and at once more").await.delivered.is_good());
    let path = format!("/conversations/{}/reply", old.id);
    let tries = || {
        let calls = bridge.world.intercom.calls();
        calls
            .iter()
            .filter(|call| call.path == path && call.status == 404)
            .count()
    };
    let mut passed = Duration::ZERO;
    while bridge.at_rest().await? > 0 {
        assert!(
            bridge.workspace().conversations().is_empty(),
            "not before it was tried again"
        );
        let step = Duration::from_secs(1);
        passed += step;
        assert!(passed <= Duration::from_secs(30), "a new one within 30 s");
        bridge.advance(step);
    }
    assert_eq!(tries(), 3, "tried three times");
    let new = bridge.only_conversation()?;
    assert_ne!(new.id, old.id);
    assert_eq!(new.contact, old.contact, "the same contact");
    assert_eq!(bridge.workspace().contacts().len(), 1);
    assert_eq!(new.from_customer().len(), 2, "one new conversation for both");
    assert_eq!(new.from_customer()[1].body, "and at once more");
    let body = &new.source.body;
    assert!(body.contains("previous conversation is no longer available"), "{body}");
    assert!(body.ends_with("\nafter"), "preceded by it: {body}");

    // The ledger links old and new.
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let first_after = list["messages"][1]["id"].as_str().unwrap_or_default().to_owned();
    let trace = bridge.get(&format!("/api/v1/messages/{first_after}")).await?;
    assert_eq!(trace["state"], "posted");
    let hops = trace["hops"].as_array().cloned().unwrap_or_default();
    let linked = format!("{} → {}", old.id, new.id);
    assert!(
        hops.iter().any(|hop| hop["detail"] == linked.as_str()),
        "{linked} in {trace:#}"
    );

    // The new one is the thread from now on, both ways.
    customer.writes("and more").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 3);
    bridge.teammate().replies(&new.id, "<p>Here I am</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(customer.received().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_11_a_snoozed_conversation_is_continued() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(WA_ID);
    customer.writes("first").await;
    bridge.quiet().await?;
    let id = bridge.only_conversation()?.id;
    bridge.teammate().snoozes(&id).await;
    bridge.advance(MINUTE * 90);
    customer.writes("second").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(
        (conversation.id.as_str(), conversation.state.as_str()),
        (id.as_str(), "open")
    );
    assert_eq!(conversation.from_customer().len(), 2);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_13_two_channels_are_two_conversations_of_one_contact_and_never_cross() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    let (whatsapp, sms) = (bridge.whatsapp_customer(WA_ID), bridge.sms_customer(PHONE));
    whatsapp.writes("by WhatsApp").await;
    bridge.quiet().await?;
    sms.writes("by SMS").await;
    bridge.quiet().await?;
    let find = |words: &str| {
        let all = bridge.workspace().conversations();
        assert_eq!(all.len(), 2, "{all:#?}");
        all.into_iter().find(|known| known.source.body == words).unwrap()
    };
    let (first, second) = (find("by WhatsApp"), find("by SMS"));
    assert_eq!(bridge.workspace().contacts().len(), 1);
    assert_eq!(first.contact, second.contact);

    bridge.teammate().replies(&first.id, "<p>to WhatsApp</p>", &[]).await;
    bridge.teammate().replies(&second.id, "<p>to SMS</p>", &[]).await;
    bridge.quiet().await?;
    let by_whatsapp: Vec<String> = bridge.world.whatsapp.sent().into_iter().map(|sent| sent.text).collect();
    let by_sms: Vec<String> = bridge.world.twilio.sent().into_iter().map(|sent| sent.body).collect();
    assert_eq!(
        (by_whatsapp, by_sms),
        (vec!["to WhatsApp".into()], vec!["to SMS".to_owned()])
    );

    whatsapp.writes("more by WhatsApp").await;
    sms.writes("more by SMS").await;
    bridge.quiet().await?;
    for (opening, more) in [("by WhatsApp", "more by WhatsApp"), ("by SMS", "more by SMS")] {
        let written = find(opening).from_customer();
        assert_eq!(written.len(), 2);
        assert_eq!(written[1].body, more);
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_16_the_conversation_shows_channel_and_customer() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    bridge.telegram_customer(5_550_001_234).writes("t").await;
    bridge.whatsapp_customer(WA_ID).writes("w").await;
    bridge.sms_customer("+353888888222").writes("s").await;
    bridge.quiet().await?;
    let all = bridge.workspace().conversations();
    for (words, channel, customer) in [
        ("t", "Telegram", "@janak"),
        ("w", "WhatsApp", PHONE),
        ("s", "SMS", "+353888888222"),
    ] {
        let found = all.iter().find(|known| known.source.body == words).unwrap();
        let title = found.title.clone().unwrap_or_default();
        assert!(title.contains(channel) && title.contains(customer), "{title}");
        let attribute = found.custom_attributes.get("Channel").and_then(|value| value.as_str());
        assert!(
            attribute.is_some_and(|shown| shown.contains(channel)),
            "{:?}",
            found.custom_attributes
        );
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn th_16_a_tag_shows_the_channel_where_the_workspace_wants_it() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .connect(&workspace, "telegram", mantle_it::telegram_fields())
        .await?;
    let path = format!("/api/v1/workspaces/{workspace}");
    let settings = json!({"settings": {"tag_conversations": true}});
    assert_eq!(bridge.api(http::Method::PATCH, &path, Some(&settings)).await?.0, 200);
    bridge.telegram_customer(5_550_001_234).writes("first").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.tags, ["Telegram"]);
    bridge.assert_lawful()
}

//! Which conversation a message joins (TH).

use std::time::Duration;

use anyhow::Result;
use mantle_it::Bridge;
use serde_json::json;

const PHONE: &str = "+353888888999";
const WA_ID: &str = "353888888999";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

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

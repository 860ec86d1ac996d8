//! What cannot be read, cannot be believed, or belongs nowhere here.

use anyhow::{Context, Result};
use http::Method;
use mantle_flow::inbound::UNJUDGED_BYTES_MAX;
use mantle_it::{Bridge, Channel, Channels, text};
use mantle_store::intake::Intake;
use mantle_world::{signature, telegram, twilio, whatsapp};
use serde_json::{Value, json};

use crate::logs;

use super::{counted, ledger, post, row, texts};

const REJECTED: &str = "mantle_webhook_rejected_total";
const UNROUTED: &str = "mantle_unrouted_total";
const TELEGRAM_SECRET: &str = "x-telegram-bot-api-secret-token";
const META_SIGNATURE: &str = "x-hub-signature-256";
const TWILIO_SIGNATURE: &str = "x-twilio-signature";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_7_good_items_survive_a_bad_one() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let first = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let second = bridge.world.whatsapp.number("110987654321099");
    let mut fields = bridge.whatsapp_fields();
    fields["phone_number_id"] = json!("110987654321099");
    let other = bridge.connect(&channels.workspace, "whatsapp", fields).await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    let neighbour = second.customer("4915155509999");
    customer.writes("before").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    bridge.teammate().replies(&conversation, "<p>Hello</p>", &[]).await;
    let sent = bridge.until("the reply", || first.sent().pop()).await?;
    bridge.quiet().await?;

    let composed = |words: &str| customer.compose("text", json!({"text": {"body": words}}));
    let (one, two) = (composed("one"), composed("two"));
    let mut broken = composed("never");
    broken["id"] = json!({"not": "an id"});
    let elsewhere = neighbour.compose("text", json!({"text": {"body": "at the other number"}}));
    let status = json!({"id": sent.id, "status": "read", "timestamp": bridge.world.scene().now().to_string(),
        "recipient_id": "4915155501234"});
    let changes = vec![
        customer.change(&[one.clone(), broken, two]),
        first.change(json!({"statuses": [{"status": "delivered"}, status]})),
        json!("no change at all"),
        neighbour.change(std::slice::from_ref(&elsewhere)),
    ];
    let delivered = first.deliver("mixed", changes).await;
    assert_eq!(delivered.status, Some(200), "{delivered:?}");
    bridge.quiet().await?;

    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 2);
    assert_eq!(texts(&conversations[0]), ["before", "one", "two"]);
    assert_eq!(texts(&conversations[1]), ["at the other number"]);
    let beside = row(&bridge, elsewhere["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(beside["channel_id"], other.id.as_str());
    let reply = ledger(&bridge).await?.into_iter().find(|row| row["direction"] == "out");
    assert_eq!(reply.context("the reply's row")?["state"], "read");

    let good = row(&bridge, one["id"].as_str().unwrap_or_default()).await?;
    let trace = bridge.get(&format!("/api/v1/messages/{}", text(&good, "id")?)).await?;
    let receipt = text(&trace, "receipt_id")?;
    let kept = bridge.get(&format!("/api/v1/receipts/{receipt}")).await?;
    assert_eq!(kept["state"], "parked", "{kept}");
    let problem = text(&kept, "problem")?;
    for place in [
        "changes[0].value.messages[1]",
        "changes[1].value.statuses[0]",
        "changes[2]",
    ] {
        assert!(problem.contains(place), "{problem}");
    }
    let raw: Value = serde_json::from_str(&text(&kept, "body")?)?;
    assert_eq!(
        raw["entry"][0]["changes"][0]["value"]["messages"][1]["text"]["body"],
        "never"
    );
    assert_eq!(
        counted(&bridge, "mantle_receipts_total", &[("result", "parked")]).await?,
        1
    );

    assert_people_see(&bridge, &channels, &receipt).await?;
    assert_eq!(
        header(&kept, META_SIGNATURE),
        Some("(masked)"),
        "nobody can play it again"
    );
    assert_eq!(header(&kept, "content-type"), Some("application/json"));

    // Read again, the good items stay single and the bad ones wait on.
    let path = format!("/api/v1/messages/{receipt}/replay");
    let (status, answer) = bridge.api(Method::POST, &path, Some(&json!({}))).await?;
    assert_eq!(status, 202, "{answer}");
    bridge.host().flow.settle().await?;
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    assert_eq!(texts(&conversations[0]), ["before", "one", "two"]);
    assert_eq!(texts(&conversations[1]), ["at the other number"]);
    assert_eq!(waiting(&bridge, "parked").await?.len(), 1);
    bridge.assert_lawful()
}

/// In the list of what waits for a person, and on the channel with the command.
async fn assert_people_see(bridge: &Bridge, channels: &Channels, receipt: &str) -> Result<()> {
    let parked = waiting(bridge, "parked").await?;
    assert_eq!(parked.len(), 1, "{parked:#?}");
    assert_eq!(
        (&parked[0]["id"], &parked[0]["kind"]),
        (&json!(receipt), &json!("hook"))
    );
    let shown = bridge
        .get(&format!("/api/v1/channels/{}", channels.whatsapp.id))
        .await?;
    let notices = shown["notices"].as_array().context("no notices")?;
    let notice = notices.iter().find(|notice| notice["code"] == "hooks-parked");
    let notice = text(notice.context("no notice")?, "message")?;
    assert!(notice.starts_with("1 of the provider's calls"), "{notice}");
    assert!(
        notice.contains(&format!("`mantle dead list --channel {}`", channels.whatsapp.id)),
        "{notice}"
    );
    let beside = bridge.get(&format!("/api/v1/channels/{}", channels.sms.id)).await?;
    assert!(!beside["notices"].to_string().contains("hooks-parked"), "{beside}");
    Ok(())
}

/// A header of a receipt as the API shows it.
fn header<'a>(receipt: &'a Value, name: &str) -> Option<&'a str> {
    let mut headers = receipt["headers"].as_array()?.iter();
    let found = headers.find(|header| {
        let known = header["name"].as_str();
        known.is_some_and(|known| known.eq_ignore_ascii_case(name))
    });
    found?["value"].as_str()
}

/// What of this state waits for a person or for another try.
async fn waiting(bridge: &Bridge, state: &str) -> Result<Vec<Value>> {
    let list = bridge.get(&format!("/api/v1/messages?state={state}")).await?;
    Ok(list["messages"].as_array().context("no list")?.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_7_a_body_that_nobody_can_read_is_kept_and_answered() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let bot = bridge.world.telegram.bot(telegram::TOKEN);
    for body in [
        "{\"update_id\": 7, \"message\":",
        "[]",
        "{\"update_id\": 8, \"message\": \"words\"}",
    ] {
        let delivered = bot.deliver_raw("broken", body).await;
        assert_eq!(delivered.status, Some(200), "{body}");
    }
    let kept = [("origin", channel.id.as_str()), ("result", "unparsed")];
    assert_eq!(counted(&bridge, "mantle_receipts_total", &kept).await?, 3);
    let waiting = waiting(&bridge, "received").await?;
    assert_eq!(waiting.len(), 3, "{waiting:#?}");
    let newest = bridge
        .get(&format!("/api/v1/receipts/{}", text(&waiting[0], "id")?))
        .await?;
    assert_eq!(newest["body"], "{\"update_id\": 8, \"message\": \"words\"}");
    assert!(newest["next_attempt_at"].is_string(), "{newest}");
    bridge.telegram_customer(91).writes("and on").await;
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["and on"]);
    bridge.assert_lawful()
}

fn hook_url(channel: &Channel) -> Result<String> {
    text(&channel.body, "hook_url")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_9_a_bad_or_missing_signature_leaves_no_trace_but_a_count() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let update = json!({"update_id": 1, "message": {"message_id": 1, "date": bridge.world.scene().now(),
        "from": {"id": 1, "is_bot": false, "first_name": "Eve"}, "chat": {"id": 1, "type": "private"}, "text": "forged"}});
    let customer = bridge.whatsapp_customer("4915155501234");
    let message = customer.compose("text", json!({"text": {"body": "forged"}}));
    let meta = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [customer.change(&[message])]}]});
    let meta = meta.to_string();
    let by_another = signature::meta("another secret", meta.as_bytes());
    let form = "MessageSid=SM1&From=%2B15005550123&To=%2B15005550010&Body=forged&NumMedia=0";
    let attempts: [(&Channel, String, &str, &[&str]); 3] = [
        (&channels.telegram, update.to_string(), TELEGRAM_SECRET, &["guess", ""]),
        (
            &channels.whatsapp,
            meta,
            META_SIGNATURE,
            &[&by_another, "sha256=00", "sha1=00", ""],
        ),
        (
            &channels.sms,
            form.to_owned(),
            TWILIO_SIGNATURE,
            &["AAAA", "not base64!", ""],
        ),
    ];
    for (channel, body, header, signatures) in attempts {
        let url = hook_url(channel)?;
        let labels = [("channel", channel.id.as_str())];
        for (before, signature) in (0..).zip(signatures) {
            assert_eq!(counted(&bridge, REJECTED, &labels).await?, before);
            let status = post(&bridge, &url, &[FORM, (header, signature)], body.clone()).await?;
            assert!(
                [401, 403].contains(&status),
                "{header}: {signature} is answered {status}"
            );
        }
        let status = post(&bridge, &url, &[FORM], body.clone()).await?;
        assert!([401, 403].contains(&status), "no {header} is answered {status}");
        assert_eq!(counted(&bridge, REJECTED, &labels).await?, signatures.len() as u64 + 1);
    }
    bridge.quiet().await?;
    assert_eq!(ledger(&bridge).await?, Vec::<Value>::new());
    assert_eq!(counted(&bridge, "mantle_receipts_total", &[]).await?, 0);
    assert!(bridge.workspace().conversations().is_empty() && bridge.workspace().contacts().is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_9_after_a_rotation_of_the_app_secret_both_pass() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let old = number.setup().app_secret;
    number.reset_app_secret("5d1e0c3b7a9f4e2186d0b5c7f3a8e914");
    let edit = json!({"fields": {"app_secret": "5d1e0c3b7a9f4e2186d0b5c7f3a8e914"}});
    let path = format!("/api/v1/channels/{}", channel.id);
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{body}");
    let customer = bridge.whatsapp_customer("4915155501234");
    let message = customer.compose("text", json!({"text": {"body": "signed with the old one"}}));
    let envelope = json!({"object": "whatsapp_business_account",
        "entry": [{"id": whatsapp::BUSINESS_ACCOUNT_ID, "changes": [customer.change(&[message])]}]});
    let signed = |secret: &str| {
        (
            envelope.to_string(),
            signature::meta(secret, envelope.to_string().as_bytes()),
        )
    };
    let (body, signature) = signed(&old);
    assert!(number.deliver_signed("old", body, &signature).await.is_good());
    assert!(customer.writes("signed with the new one").await.delivered.is_good());
    let (body, signature) = signed("neither of them");
    assert_eq!(
        number.deliver_signed("forged", body, &signature).await.status,
        Some(401)
    );
    bridge.quiet().await?;
    assert_eq!(
        texts(&bridge.only_conversation()?),
        ["signed with the old one", "signed with the new one"]
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_9_ch_8_the_hook_secret_is_renewed_and_the_old_one_passes_for_a_day() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(94);
    customer.writes("before").await;
    bridge.quiet().await?;
    let (before, _) = bridge.world.telegram.webhooks().log().pop().context("a delivery")?;
    let edit = json!({"fields": mantle_it::telegram_fields()});
    let path = format!("/api/v1/channels/{}", channel.id);
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{body}");
    assert!(customer.writes("after").await.delivered.is_good());
    let (after, _) = bridge.world.telegram.webhooks().log().pop().context("a delivery")?;
    let secret = |headers: &[(String, String)]| {
        let found = headers.iter().find(|(name, _)| name == TELEGRAM_SECRET);
        found.map(|(_, value)| value.clone())
    };
    assert_ne!(
        secret(&before.headers),
        secret(&after.headers),
        "the webhook has a new secret"
    );

    let again = async |told: &mantle_world::Post| {
        let client = bridge.world.scene().client();
        let url = told
            .url
            .replace(mantle_it::PUBLIC_URL, &format!("http://{}", bridge.host().addr));
        let answer = client
            .call(Method::POST, &url, &told.headers, told.body.clone())
            .await?;
        anyhow::Ok(answer.status)
    };
    bridge.advance(std::time::Duration::from_secs(24 * 3600 - 1));
    assert_eq!((again(&before).await?, again(&after).await?), (200, 200));
    bridge.advance(std::time::Duration::from_secs(1));
    assert_eq!((again(&before).await?, again(&after).await?), (401, 200));
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["before", "after"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_9_after_a_rotation_of_the_auth_token_both_pass() -> Result<()> {
    const NEW: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let (bridge, channels) = Bridge::connected().await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    account.rotate_token(NEW);
    let path = format!("/api/v1/channels/{}", channels.sms.id);
    let edit = json!({"fields": {"auth_token": NEW}});
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{body}");
    let customer = bridge.sms_customer("+15005550123");
    assert!(customer.writes("signed with the new one").await.delivered.is_good());
    account.rotate_token(twilio::AUTH_TOKEN);
    assert!(customer.writes("signed with the old one").await.delivered.is_good());
    account.rotate_token("neither of them");
    assert_eq!(customer.writes("forged").await.delivered.status, Some(401));
    bridge.quiet().await?;
    assert_eq!(
        texts(&bridge.only_conversation()?),
        ["signed with the new one", "signed with the old one"]
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_10_a_hook_for_no_channel_is_answered_and_counted() -> Result<()> {
    let lines = logs::capture();
    let (bridge, channel) = Bridge::with_telegram().await?;
    bridge.telegram_customer(92).writes("before").await;
    bridge.quiet().await?;
    let url = hook_url(&channel)?;
    let (known, _) = bridge.world.telegram.webhooks().log().pop().context("a delivery")?;
    let secret = known.headers.iter().find(|(name, _)| name == TELEGRAM_SECRET);
    let secret = secret.context("the secret")?.1.clone();
    let headers = [(TELEGRAM_SECRET, secret.as_str())];
    let body = json!({"update_id": 1, "message": {"message_id": 999, "date": bridge.world.scene().now(),
        "from": {"id": 93, "is_bot": false, "first_name": "Ada"}, "chat": {"id": 93, "type": "private"}, "text": "lost"}});

    let labels = [("plugin", "telegram")];
    let strangers = ["chn_00000000000zz", "nonsense", "..%2f..%2fetc"];
    let long = "x".repeat(500);
    let (cut, rest) = long.split_at(100);
    assert_eq!(
        post(&bridge, &url.replace(&channel.id, &long), &headers, "{}").await?,
        200
    );
    assert!(lines.text().contains(&format!("/hooks/telegram/{cut}")));
    assert!(
        !lines.text().contains(&format!("/hooks/telegram/{cut}{rest}")),
        "the line is cut"
    );
    for (before, stranger) in (1..).zip(strangers) {
        assert_eq!(counted(&bridge, UNROUTED, &labels).await?, before);
        let url = url.replace(&channel.id, stranger);
        assert_eq!(
            post(&bridge, &url, &headers, body.to_string()).await?,
            200,
            "{stranger}"
        );
        let told = format!("A hook named a channel that is not here: /hooks/telegram/{stranger}");
        assert!(lines.text().contains(&told), "{told}");
    }
    let (status, _) = bridge
        .api(Method::DELETE, &format!("/api/v1/channels/{}", channel.id), None)
        .await?;
    assert_eq!(status, 204);
    assert_eq!(post(&bridge, &url, &headers, body.to_string()).await?, 200);
    assert!(
        lines
            .text()
            .contains(&format!("is not here: /hooks/telegram/{}", channel.id))
    );
    assert_eq!(counted(&bridge, UNROUTED, &labels).await?, 5);
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["before"]);
    assert_eq!(ledger(&bridge).await?.len(), 1);

    // Made-up connectors are counted under one name: labels must not grow with what strangers call.
    for made_up in ["smoke-signals", "carrier-pigeon"] {
        let url = url.replace("/telegram/", &format!("/{made_up}/"));
        assert!((200..300).contains(&post(&bridge, &url, &[], "x").await?));
    }
    assert_eq!(counted(&bridge, UNROUTED, &[("plugin", "unknown")]).await?, 2);
    assert_eq!(counted(&bridge, UNROUTED, &[("plugin", "smoke-signals")]).await?, 0);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_10_events_of_another_number_reach_no_inbox() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let stranger = bridge
        .world
        .whatsapp
        .number("110000000000000")
        .customer("4915155509999");
    let message = stranger.compose("text", json!({"text": {"body": "for somebody else"}}));
    let delivered = number.deliver("foreign", vec![stranger.change(&[message])]).await;
    assert_eq!(delivered.status, Some(200));
    bridge.quiet().await?;
    assert_eq!(counted(&bridge, UNROUTED, &[("plugin", "whatsapp")]).await?, 1);
    assert_eq!(ledger(&bridge).await?, Vec::<Value>::new());
    assert!(bridge.workspace().conversations().is_empty() && bridge.workspace().contacts().is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_15_group_messages_are_refused_with_a_count_and_a_hint() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let member = bridge.telegram_customer(94).in_group(-1_001_234, "Team");
    for words in ["hello all", "anybody?"] {
        assert!(member.writes(words).await.delivered.is_good());
    }
    let customer = bridge.whatsapp_customer("4915155501234");
    let in_group = json!({"text": {"body": "hello group"}, "group_id": "Y2FwaV9ncm91cDox"});
    assert!(customer.message("text", in_group).await.delivered.is_good());
    bridge.quiet().await?;
    assert!(bridge.workspace().conversations().is_empty() && bridge.workspace().contacts().is_empty());
    for (channel, refused) in [(&channels.telegram, 2), (&channels.whatsapp, 1), (&channels.sms, 0)] {
        let shown = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
        assert_eq!(shown["refused_groups"], refused, "{shown:#}");
        let hints: Vec<_> = shown["notices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|notice| notice["code"] == "groups-refused")
            .collect();
        assert_eq!(hints.len(), usize::from(refused > 0), "{shown:#}");
        for hint in hints {
            assert_eq!(hint["level"], "info");
            assert!(
                hint["message"]
                    .as_str()
                    .is_some_and(|words| words.contains("`settings.groups`")),
                "{hint}"
            );
        }
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_15_where_groups_are_wanted_each_is_one_conversation_of_named_authors() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let path = format!("/api/v1/channels/{}", channel.id);
    let edit = json!({"settings": {"groups": "group"}});
    let (status, body) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
    assert_eq!(status, 200, "{body}");
    let jana = bridge.telegram_customer(94).in_group(-1_001_234, "Team");
    let otto = bridge
        .telegram_customer(95)
        .named("Otto", None, None)
        .in_group(-1_001_234, "Team");
    jana.writes("hello all").await;
    otto.writes("hello Jana").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(texts(&conversation), ["Jana K: hello all", "Otto: hello Jana"]);
    bridge.teammate().replies(&conversation.id, "<p>Welcome</p>", &[]).await;
    bridge.quiet().await?;
    let received = jana.received();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!((received[0].chat, received[0].text.as_str()), (-1_001_234, "Welcome"));
    assert_eq!(bridge.get(&path).await?["refused_groups"], 0);
    bridge.assert_lawful()
}

/// Nobody can judge a hook while its connector is away: what came first is kept, and there is an end to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_9_a_hook_that_nobody_can_judge_is_kept_within_a_bound() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let url = hook_url(&channel)?;
    let file = bridge.folder().join("plugins.toml");
    let present = std::fs::read_to_string(&file)?;
    let away = present.replacen("[plugins.telegram]\n", "[plugins.telegram]\nenabled = false\n", 1);
    std::fs::write(&file, &away)?;
    bridge.host().reload().await;

    assert!(bridge.telegram_customer(94).writes("genuine").await.delivered.is_good());
    let large = |number: u64| format!("{number:04}{}", " ".repeat((4 << 20) - 4));
    let fill = UNJUDGED_BYTES_MAX / (4 << 20);
    for number in 0..fill {
        assert_eq!(post(&bridge, &url, &[], large(number)).await?, 200, "{number}");
    }
    assert_eq!(post(&bridge, &url, &[], "one more").await?, 503);
    assert_eq!(
        counted(&bridge, "mantle_receipts_total", &[("result", "refused")]).await?,
        1
    );
    let waiting = bridge.host().store.unread(channel.id.parse()?).await?;
    assert_eq!(waiting.receipts, fill + 1);

    std::fs::write(&file, &present)?;
    bridge.host().reload().await;
    bridge.advance(std::time::Duration::from_secs(60));
    bridge
        .until("the genuine one", || bridge.workspace().conversations().pop())
        .await?;
    bridge.quiet().await?;
    assert_eq!(texts(&bridge.only_conversation()?), ["genuine"]);
    assert_eq!(post(&bridge, &url, &[], "forged").await?, 401);
    bridge.assert_lawful()
}

//! Connecting accounts, telling them apart, how they fare, and that their secrets stay secret.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{ADMIN_TOKEN, Bridge, Channel, VERIFY_TOKEN, telegram_fields, text};
use mantle_world::{Fault, samples, telegram, twilio, whatsapp};
use serde_json::{Value, json};

use crate::logs;

/// A bot of the shape of tokens that nobody made.
const NO_BOT: &str = "987000111:AAHnobodyMadeThisBotAtAll0123456789";
/// A second bot of the same shop.
const SECOND_BOT: &str = "987654321:AAGsecondBotOfTheShop0123456789abcde";
/// A token that stands nowhere else: the usual one is the manifest's example as well.
const CANARY_BOT: &str = "555666777:AAKcanaryThatMustNotBeSeen0123456789ab";

async fn channels(bridge: &Bridge, workspace: &str) -> Result<Vec<Value>> {
    let list = bridge.get(&format!("/api/v1/workspaces/{workspace}/channels")).await?;
    Ok(list["channels"].as_array().context("no list")?.clone())
}

/// These credentials are refused at this field, in words that have the provider's reason, and leave no trace.
async fn assert_refused(bridge: &Bridge, workspace: &str, plugin: &str, asked: (&Value, &str, &str)) -> Result<()> {
    let (fields, field, reason) = asked;
    let (status, answer) = bridge.try_connect(workspace, plugin, fields).await?;
    ensure!(status == 422, "{plugin} {field}: {status} {answer}");
    let error = &answer["error"];
    ensure!(error["field"] == field, "{plugin}: not `{field}` in {error}");
    let message = text(error, "message")?;
    ensure!(
        message.contains(reason),
        "{plugin} {field}: no “{reason}” in “{message}”"
    );
    ensure!(error["reference"].is_string(), "no reference: {error}");
    let saved = channels(bridge, workspace).await?;
    ensure!(saved.is_empty(), "something was saved: {saved:?}");
    Ok(())
}

fn with(mut fields: Value, name: &str, value: &str) -> Value {
    fields[name] = json!(value);
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_telegram_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let check = async |token: &str, reason: &str| {
        let fields = json!({"bot_token": token});
        assert_refused(&bridge, &workspace, "telegram", (&fields, "bot_token", reason)).await
    };
    check(NO_BOT, "Unauthorized").await?;
    check("not a token", "").await?;
    check("", "").await?;
    bridge.world.telegram.bot(telegram::TOKEN).revoke();
    check(telegram::TOKEN, "Unauthorized").await?;
    assert_eq!(bridge.world.telegram.bot(telegram::TOKEN).webhook(), None);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_whatsapp_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let good = bridge.whatsapp_fields();
    for (field, value, reason) in [
        ("access_token", "EAAGwrong0000000000000000000000", "access token"),
        ("phone_number_id", "999999999999999", "does not exist"),
        ("phone_number_id", "+49 30 555010", ""),
        ("business_account_id", "999999999999999", "does not exist"),
        ("business_account_id", "shop", ""),
        ("app_secret", "00000000000000000000000000000000", "appsecret_proof"),
        ("app_secret", "", ""),
        ("verify_token", "", ""),
    ] {
        let fields = with(good.clone(), field, value);
        assert_refused(&bridge, &workspace, "whatsapp", (&fields, field, reason)).await?;
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_twilio_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let good = bridge.sms_fields();
    for (field, value, reason) in [
        ("auth_token", "00000000000000000000000000000000", "does not accept"),
        (
            "auth_token",
            "00000000000000000000000000000000",
            "Twilio says: Authenticate",
        ),
        ("account_sid", "AC99999999999999999999999999999999", "invalid username"),
        ("account_sid", "shop", ""),
        ("from", "+15005550999", "no such number"),
        (
            "from",
            "MG00112233445566778899aabbccddeeff",
            "no such number or messaging service",
        ),
        ("from", "555 0010", ""),
    ] {
        let fields = with(good.clone(), field, value);
        assert_refused(&bridge, &workspace, "twilio-sms", (&fields, field, reason)).await?;
    }
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    assert_eq!(account.webhook(twilio::NUMBER), None, "nothing was set at the provider");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_a_provider_that_is_away_is_not_a_wrong_credential() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge.world.telegram.faults().always(Fault::Refuse(503));
    let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
    assert_eq!(status, 502, "{answer}");
    assert!(channels(&bridge, &workspace).await?.is_empty());
    bridge.world.telegram.faults().clear();
    bridge.connect(&workspace, "telegram", telegram_fields()).await?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_what_fails_while_wiring_leaves_nothing_and_can_be_done_again() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .world
        .telegram
        .faults()
        .always_on("setWebhook", Fault::Refuse(400));
    let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
    assert_ne!(status, 201, "{answer}");
    assert!(channels(&bridge, &workspace).await?.is_empty());
    bridge.world.telegram.faults().clear();
    bridge.connect(&workspace, "telegram", telegram_fields()).await?;
    assert_eq!(channels(&bridge, &workspace).await?.len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_an_account_that_is_a_channel_already_is_refused_with_its_place() -> Result<()> {
    let (bridge, connected) = Bridge::connected().await?;
    let _ = bridge.world.intercom.workspace("other999");
    let other = json!({"platform": "intercom", "access_token": bridge.world.intercom.workspace("other999").token()});
    let (status, other) = bridge.api(Method::POST, "/api/v1/workspaces", Some(&other)).await?;
    assert_eq!(status, 201, "{other}");
    let other = text(&other, "id")?;
    let sms = json!({"account_sid": twilio::ACCOUNT_SID, "auth_token": twilio::AUTH_TOKEN, "from": twilio::NUMBER});
    for (plugin, fields, channel) in [
        ("telegram", telegram_fields(), &connected.telegram),
        ("whatsapp", bridge.whatsapp_fields(), &connected.whatsapp),
        ("twilio-sms", sms, &connected.sms),
    ] {
        for workspace in [&connected.workspace, &other] {
            let (status, answer) = bridge.try_connect(workspace, plugin, &fields).await?;
            assert_eq!(status, 409, "{plugin}: {answer}");
            assert_eq!(answer["error"]["code"], "taken", "{answer}");
            let message = text(&answer["error"], "message")?;
            let name = text(&channel.body, "name")?;
            assert!(
                message.contains(&name) && message.contains("Shop"),
                "says where: {message}"
            );
        }
    }
    assert_eq!(channels(&bridge, &connected.workspace).await?.len(), 3);
    assert!(channels(&bridge, &other).await?.is_empty());

    // The one that was there goes on as before.
    bridge.telegram_customer(7).writes("still here").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "still here");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_of_two_that_race_exactly_one_wins() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let (telegram, whatsapp, sms) = (telegram_fields(), bridge.whatsapp_fields(), bridge.sms_fields());
    for (plugin, fields) in [("telegram", &telegram), ("whatsapp", &whatsapp), ("twilio-sms", &sms)] {
        let (one, two) = tokio::join!(
            bridge.try_connect(&workspace, plugin, fields),
            bridge.try_connect(&workspace, plugin, fields)
        );
        let (one, two) = (one?, two?);
        let mut statuses = [one.0, two.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{plugin}: {one:?} {two:?}");
        let winner = if one.0 == 201 { one.1 } else { two.1 };
        let all = channels(&bridge, &workspace).await?;
        let mine: Vec<_> = all.iter().filter(|channel| channel["plugin"] == plugin).collect();
        assert_eq!(mine.len(), 1, "{mine:?}");
        assert_eq!(mine[0]["id"], winner["id"]);
        assert_eq!(mine[0]["status"], "connected");
    }
    // The provider's webhooks are the winners'.
    bridge.telegram_customer(7).writes("to the bot").await;
    bridge.whatsapp_customer("4915155501234").writes("to the number").await;
    bridge.sms_customer("+15005550006").writes("to the line").await;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 3);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_5_a_foreign_webhook_is_shown_and_taken_over_only_when_confirmed() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let bot = bridge.world.telegram.bot(telegram::TOKEN);
    // Of another system, and of one whose address begins like ours.
    for foreign in [
        "https://crm.example/hook/1",
        "https://bridge.test.example/hooks/telegram/chn_1",
    ] {
        bot.foreign_webhook(foreign);
        let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
        assert_eq!(status, 409, "{answer}");
        assert_eq!(answer["error"]["code"], "foreign_webhook", "{answer}");
        assert!(text(&answer["error"], "message")?.contains(foreign), "{answer}");
        assert_eq!(bot.webhook().as_deref(), Some(foreign), "nobody has touched it");
        assert!(channels(&bridge, &workspace).await?.is_empty());
    }
    let body = json!({"plugin": "telegram", "name": "Bot", "fields": telegram_fields(), "take_over": true});
    let path = format!("/api/v1/workspaces/{workspace}/channels");
    let (status, answer) = bridge.api(Method::POST, &path, Some(&body)).await?;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(bot.webhook(), Some(text(&answer, "hook_url")?));
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_6_two_bots_are_independent() -> Result<()> {
    let (bridge, first) = Bridge::with_telegram().await?;
    let workspace = text(&first.body, "workspace_id")?;
    let bot = bridge.world.telegram.bot(SECOND_BOT);
    let second = bridge
        .connect(&workspace, "telegram", json!({"bot_token": SECOND_BOT}))
        .await?;
    assert_ne!(first.id, second.id);

    // The same person writes to both.
    let (to_first, to_second) = (bridge.telegram_customer(7), bot.customer(7));
    to_first.writes("to the first").await;
    bridge.quiet().await?;
    to_second.writes("to the second").await;
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 2);
    for found in &conversations {
        let answer = format!("<p>re: {}</p>", found.from_customer()[0].body);
        bridge.teammate().replies(&found.id, &answer, &[]).await;
    }
    bridge.quiet().await?;
    let texts = |customer: &telegram::Customer| {
        customer
            .received()
            .into_iter()
            .map(|sent| sent.text)
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&to_first), ["re: to the first"]);
    assert_eq!(texts(&to_second), ["re: to the second"]);

    // One loses its token; the other does not notice.
    bot.revoke();
    let checked = check(&bridge, &second).await?;
    assert_eq!(checked["status"], "disconnected");
    assert_eq!(check(&bridge, &first).await?["status"], "connected");
    to_first.writes("still here").await;
    bridge.quiet().await?;
    let settled = bridge.workspace().conversations();
    assert!(settled.iter().any(|found| found.from_customer().len() == 2));
    bridge.assert_lawful()
}

async fn check(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    let path = format!("/api/v1/channels/{}/check", channel.id);
    let (status, body) = bridge.api(Method::POST, &path, None).await?;
    ensure!(status == 200, "{status} {body}");
    Ok(body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_7_statuses_have_cause_time_and_next_step_and_recover() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7);
    customer.writes("hello").await;
    bridge.quiet().await?;
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    assert_eq!(told["status"], "connected");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    assert!(
        told["last_inbound_at"].is_string() && told["last_outbound_at"].is_null(),
        "{told}"
    );

    // Unreachable: offline, and nobody needs new credentials.
    bridge.advance(Duration::from_secs(60));
    let faults = bridge.world.telegram.faults();
    faults.always(Fault::Reset);
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "offline", "{told}");
    assert!(!text(&told, "status_cause")?.is_empty());
    assert!(text(&told, "next_step")?.contains("tries again by itself"), "{told}");
    assert!(
        text(&told, "status_since")?.starts_with("2026-11-20T14:01:00"),
        "{told}"
    );
    // What customers write still arrives.
    customer.writes("are you there?").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 2);
    faults.clear();
    assert_eq!(check(&bridge, &channel).await?["status"], "connected");

    // Refused: disconnected.
    faults.always(Fault::Refuse(401));
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "disconnected", "{told}");
    assert!(text(&told, "status_cause")?.contains("token"), "{told}");
    assert!(text(&told, "next_step")?.contains("credentials"), "{told}");
    faults.clear();
    let told = check(&bridge, &channel).await?;
    assert_eq!(told["status"], "connected", "{told}");
    assert!(told["status_cause"].is_null() && told["next_step"].is_null(), "{told}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_7_a_refused_send_disconnects_and_the_reply_waits() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7);
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    bridge.world.telegram.faults().always(Fault::Refuse(401));
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    assert_eq!(bridge.at_rest().await?, 1, "the reply waits for the channel");
    let told = bridge.get(&format!("/api/v1/channels/{}", channel.id)).await?;
    assert_eq!(told["status"], "disconnected", "{told}");

    bridge.world.telegram.faults().clear();
    assert_eq!(check(&bridge, &channel).await?["status"], "connected");
    bridge.quiet().await?;
    assert_eq!(customer.received().len(), 1);
    assert_eq!(bridge.only_conversation()?.notes().len(), 0);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_9_the_list_has_name_provider_status_and_times() -> Result<()> {
    let (bridge, connected) = Bridge::connected().await?;
    let _ = bridge.world.telegram.bot(SECOND_BOT);
    let path = format!("/api/v1/workspaces/{}/channels", connected.workspace);
    let nameless = json!({"plugin": "telegram", "fields": {"bot_token": SECOND_BOT}});
    let (status, answer) = bridge.api(Method::POST, &path, Some(&nameless)).await?;
    assert_eq!(status, 201, "{answer}");
    let list = channels(&bridge, &connected.workspace).await?;
    let shown: Vec<_> = list
        .iter()
        .map(|one| (one["plugin"].as_str(), one["name"].as_str(), one["status"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("telegram"), Some("telegram line"), Some("connected")),
            (Some("whatsapp"), Some("whatsapp line"), Some("connected")),
            (Some("twilio-sms"), Some("twilio-sms line"), Some("connected")),
            (Some("telegram"), Some("@shop_987654321_bot"), Some("connected")),
        ]
    );
    for one in &list {
        assert!(text(one, "created_at")?.starts_with("2026-11-20T14:00"), "{one}");
        assert!(text(one, "updated_at")?.starts_with("2026-11-20T14:00"), "{one}");
    }
    bridge.assert_lawful()
}

/// The newest reply of the channel as the API tells it.
async fn newest_reply(bridge: &Bridge, channel: &Channel) -> Result<Value> {
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let rows = list["messages"].as_array().context("no list")?;
    let row = rows.iter().find(|row| row["kind"] == "reply").context("no reply")?;
    bridge.get(&format!("/api/v1/messages/{}", text(row, "id")?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ap_2_statuses_only_move_forward() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(newest_reply(&bridge, &channel).await?["state"], "accepted");
    let id = customer.received()[0].id.clone();
    for (report, state) in [
        ("sent", "sent"),
        ("read", "read"),
        ("delivered", "read"),
        ("sent", "read"),
    ] {
        bridge.advance(Duration::from_secs(5));
        assert!(number.status(&id, report, None).await.is_good());
        bridge.quiet().await?;
        let told = newest_reply(&bridge, &channel).await?;
        assert_eq!(told["state"], state, "after {report}: {told}");
    }
    let told = newest_reply(&bridge, &channel).await?;
    for report in ["sent", "delivered", "read"] {
        let wanted = format!("provider reports: {report}");
        let hops = told["hops"].as_array().context("no hops")?;
        assert!(
            hops.iter().any(|hop| hop["what"] == wanted.as_str()),
            "{wanted}: {told}"
        );
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ap_2_a_receipt_before_the_answer_of_the_send_is_kept() -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let customer = bridge.whatsapp_customer("4915155501234");
    customer.writes("hello").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    // The answer comes a byte at a time; the receipts overtake it.
    let slow = Fault::Slow(Duration::from_millis(4));
    bridge.world.whatsapp.faults().next_on("messages", slow);
    bridge.teammate().replies(&conversation.id, "<p>Hi</p>", &[]).await;
    let id = bridge
        .until("the send", || customer.received().first().map(|sent| sent.id.clone()))
        .await?;
    assert!(number.status(&id, "delivered", None).await.is_good());
    assert!(number.status(&id, "read", None).await.is_good());
    bridge.quiet().await?;
    let told = newest_reply(&bridge, &channel).await?;
    assert_eq!(told["state"], "read", "{told}");
    assert_eq!(customer.received().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_5_connecting_a_workspace_again_keeps_one_row_and_its_channels() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let body = json!({"platform": "intercom", "access_token": bridge.workspace().token()});
    let (one, two) = tokio::join!(
        bridge.api(Method::POST, "/api/v1/workspaces", Some(&body)),
        bridge.api(Method::POST, "/api/v1/workspaces", Some(&body))
    );
    for (status, answer) in [one?, two?] {
        assert!((200..300).contains(&status), "{status} {answer}");
        assert_eq!(answer["id"], channel.body["workspace_id"]);
    }
    let list = bridge.get("/api/v1/workspaces").await?;
    assert_eq!(list["workspaces"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["workspaces"][0]["status"], "active");
    assert_eq!(channels(&bridge, &text(&channel.body, "workspace_id")?).await?.len(), 1);
    bridge.telegram_customer(7).writes("still here").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_what_is_connected_at_once_is_seen_at_once() -> Result<()> {
    // Bots connected in the same instant: none is overlooked when its first message comes.
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let tokens: Vec<String> = (0..6)
        .map(|at| format!("70000000{at}:AAKoneOfManyBotsOfTheShop012345678901"))
        .collect();
    let connecting = tokens.iter().map(|token| {
        let _ = bridge.world.telegram.bot(token);
        let fields = json!({"bot_token": token});
        let (bridge, workspace) = (&bridge, &workspace);
        async move { bridge.connect(workspace, "telegram", fields).await }
    });
    let all = futures_util::future::try_join_all(connecting).await?;
    assert_eq!(channels(&bridge, &workspace).await?.len(), all.len());
    for (id, token) in (1..).zip(&tokens) {
        let customer = bridge.world.telegram.bot(token).customer(id);
        assert!(customer.writes(token).await.delivered.is_good());
    }
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), tokens.len());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_4_of_two_first_connects_one_makes_the_row() -> Result<()> {
    let bridge = Bridge::start().await?;
    let body = json!({"platform": "intercom", "access_token": bridge.workspace().token()});
    let (one, two) = tokio::join!(
        bridge.api(Method::POST, "/api/v1/workspaces", Some(&body)),
        bridge.api(Method::POST, "/api/v1/workspaces", Some(&body))
    );
    let (one, two) = (one?, two?);
    assert_eq!(one.1["id"], two.1["id"], "{one:?} {two:?}");
    let list = bridge.get("/api/v1/workspaces").await?;
    assert_eq!(list["workspaces"].as_array().map(Vec::len), Some(1), "{list}");

    let wrong = json!({"platform": "intercom", "access_token": "dG9rOiwrong"});
    let (status, answer) = bridge.api(Method::POST, "/api/v1/workspaces", Some(&wrong)).await?;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["error"]["field"], "access_token", "{answer}");
    bridge.assert_lawful()
}

/// Everything that a person or a program may get to see, after work on all three channels.
async fn seen_outside(bridge: &Bridge) -> Result<Vec<(String, Vec<u8>)>> {
    let mut seen = Vec::new();
    let mut ask = vec![
        "/metrics".to_owned(),
        "/api/v1/plugins".to_owned(),
        "/api/v1/workspaces".to_owned(),
    ];
    for workspace in bridge.get("/api/v1/workspaces").await?["workspaces"]
        .as_array()
        .context("none")?
    {
        let id = text(workspace, "id")?;
        ask.push(format!("/api/v1/workspaces/{id}"));
        for channel in channels(bridge, &id).await? {
            let id = text(&channel, "id")?;
            ask.push(format!("/api/v1/channels/{id}"));
            let list = bridge.get(&format!("/api/v1/messages?channel={id}&limit=200")).await?;
            for message in list["messages"].as_array().context("none")? {
                ask.push(format!("/api/v1/messages/{}", text(message, "id")?));
            }
        }
    }
    assert!(ask.len() > 15, "too little happened: {ask:?}");
    for path in ask {
        let (_, body) = bridge.api(Method::GET, &path, None).await?;
        let shown = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        seen.push((path, shown.into_bytes()));
    }
    Ok(seen)
}

/// The files of the data folder with their bytes. What was compiled, and the key that opens the secrets, are not data.
fn files(folder: &std::path::Path, into: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "compiled") {
            continue;
        }
        if path.is_dir() {
            files(&path, into)?;
        } else {
            into.push((path.display().to_string(), std::fs::read(&path)?));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pv_4_no_secret_stands_in_clear_anywhere() -> Result<()> {
    let logs = logs::capture();
    let mut bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let bot = json!({"bot_token": CANARY_BOT});
    let _ = bridge.world.telegram.bot(CANARY_BOT);
    let telegram = bridge.connect(&workspace, "telegram", bot).await?;
    bridge.connect(&workspace, "whatsapp", bridge.whatsapp_fields()).await?;
    bridge.connect(&workspace, "twilio-sms", bridge.sms_fields()).await?;
    let secrets = busy_day(&bridge, &telegram).await?;
    let mut places = seen_outside(&bridge).await?;
    files(&bridge.folder().join("data"), &mut places)?;
    // Once more at rest: what was in memory is in the files now.
    bridge.stop().await;
    files(&bridge.folder().join("data"), &mut places)?;
    let database = |(name, bytes): &&(String, Vec<u8>)| name.contains("mantle.db") && bytes.len() > 10_000;
    assert!(
        places.iter().filter(database).count() > 1,
        "the database was not looked at"
    );
    let lines = logs.text();
    assert!(lines.contains("mantle_"), "no log was looked at");
    places.push(("the log".to_owned(), lines.into_bytes()));
    // Bytes that are no text become marks; every secret is text.
    let places: Vec<_> = places
        .iter()
        .map(|(place, bytes)| (place, String::from_utf8_lossy(bytes)))
        .collect();
    let mut found = Vec::new();
    for (what, secret) in &secrets {
        assert!(secret.len() >= 12, "{what} is too short to be searched for");
        let from = places.iter().filter(|(_, text)| text.contains(secret.as_str()));
        found.extend(from.map(|(place, _)| format!("{what} in {place}")));
    }
    assert_eq!(found, Vec::<String>::new());
    bridge.assert_lawful()
}

/// Messages, files, faults and refusals on all channels. Answers with all secrets: name, value.
async fn busy_day(bridge: &Bridge, telegram_channel: &Channel) -> Result<Vec<(&'static str, String)>> {
    let customers = (
        bridge.world.telegram.bot(CANARY_BOT).customer(7),
        bridge.whatsapp_customer("4915155501234"),
        bridge.sms_customer("+15005550006"),
    );
    customers.0.sends_photo(&samples::photo(), Some("photo")).await;
    customers.1.sends_document(&samples::document(), None).await;
    customers.2.sends("picture", &[samples::picture()]).await;
    bridge.quiet().await?;
    for conversation in bridge.workspace().conversations() {
        bridge
            .teammate()
            .replies(&conversation.id, "<p>Hi</p>", &[samples::photo()])
            .await;
    }
    bridge.quiet().await?;
    // Answers that tell what they were asked, and refusals: error paths have the most to say.
    for faults in [
        bridge.world.telegram.faults(),
        bridge.world.whatsapp.faults(),
        bridge.world.twilio.faults(),
    ] {
        faults.next(Fault::Garbage);
        faults.next(Fault::Refuse(400));
    }
    bridge.world.intercom.faults().next(Fault::Garbage);
    customers.0.writes("one more").await;
    customers.1.writes("one more").await;
    customers.2.writes("one more").await;
    bridge.at_rest().await?;
    for conversation in bridge.workspace().conversations() {
        bridge.teammate().replies(&conversation.id, "<p>Yes</p>", &[]).await;
    }
    bridge.at_rest().await?;
    bridge.world.telegram.faults().always(Fault::Refuse(401));
    check(bridge, telegram_channel).await?;
    bridge.world.telegram.faults().clear();
    let workspace = text(&telegram_channel.body, "workspace_id")?;
    let wrong = json!({"bot_token": NO_BOT});
    assert_eq!(bridge.try_connect(&workspace, "telegram", &wrong).await?.0, 422);

    let setup = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID).setup();
    let calls = bridge.world.telegram.calls();
    let webhook = calls
        .iter()
        .find(|call| call.method == "setWebhook")
        .context("no setWebhook")?;
    let basic = format!("{}:{}", twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    Ok(vec![
        ("Telegram's bot token", CANARY_BOT.to_owned()),
        (
            "its second half",
            CANARY_BOT.split(':').nth(1).context("no colon")?.to_owned(),
        ),
        ("a refused bot token", NO_BOT.to_owned()),
        ("Telegram's secret token", text(&webhook.parameters, "secret_token")?),
        ("WhatsApp's access token", setup.access_token),
        ("WhatsApp's app secret", setup.app_secret),
        ("WhatsApp's verify token", VERIFY_TOKEN.to_owned()),
        ("Twilio's auth token", twilio::AUTH_TOKEN.to_owned()),
        ("Twilio's Basic credentials", basic_text(&basic)),
        ("Intercom's access token", bridge.workspace().token()),
        ("Intercom's client secret", bridge.world.intercom.client_secret()),
        ("the operator's key", ADMIN_TOKEN.to_owned()),
    ])
}

fn basic_text(pair: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(pair)
}

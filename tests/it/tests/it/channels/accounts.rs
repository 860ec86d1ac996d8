//! CH-4 to CH-6, WS-4, WS-5: each account is connected once.

use super::statuses::check;
use super::*;

/// Connects another Intercom workspace; answers with its id.
pub(super) async fn second_workspace(bridge: &Bridge) -> Result<String> {
    let token = bridge.world.intercom.workspace("other999").token();
    let body = json!({"platform": "intercom", "access_token": token});
    let (status, answer) = bridge.api(Method::POST, "/api/v1/workspaces", Some(&body)).await?;
    ensure!(status == 201, "{status}: {answer}");
    text(&answer, "id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_4_an_account_that_is_a_channel_already_is_refused_with_its_place() -> Result<()> {
    let (bridge, connected) = Bridge::connected().await?;
    let other = second_workspace(&bridge).await?;
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
async fn ch_4_of_two_workspaces_that_race_exactly_one_wins() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let other = second_workspace(&bridge).await?;
    let (telegram, whatsapp, sms) = (telegram_fields(), bridge.whatsapp_fields(), bridge.sms_fields());
    for (plugin, fields) in [("telegram", &telegram), ("whatsapp", &whatsapp), ("twilio-sms", &sms)] {
        let (one, two) = tokio::join!(
            bridge.try_connect(&workspace, plugin, fields),
            bridge.try_connect(&other, plugin, fields)
        );
        let (one, two) = (one?, two?);
        let mut statuses = [one.0, two.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{plugin}: {one:?} {two:?}");
        let (winner, loser) = if one.0 == 201 { (one.1, two.1) } else { (two.1, one.1) };
        assert_eq!(loser["error"]["code"], "taken", "{loser}");
        let mut all = channels(&bridge, &workspace).await?;
        all.extend(channels(&bridge, &other).await?);
        let mine: Vec<_> = all.iter().filter(|channel| channel["plugin"] == plugin).collect();
        assert_eq!(mine.len(), 1, "{mine:?}");
        assert_eq!(
            (&mine[0]["id"], &mine[0]["status"]),
            (&winner["id"], &json!("connected"))
        );
    }
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
        let message = text(&answer["error"], "message")?;
        for words in [foreign, "`take_over`", "`--take-over`"] {
            assert!(message.contains(words), "{answer}");
        }
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

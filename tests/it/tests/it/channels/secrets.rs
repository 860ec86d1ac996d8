//! PV-4: secrets stay secret.

use mantle_it::database::has_no_file;

use super::statuses::check;
use super::*;

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
    if has_no_file("pv_4_no_secret_stands_in_clear_anywhere") {
        return Ok(());
    }
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

//! PV-4: secrets stay secret.

use std::sync::{Arc, Mutex, PoisonError};

use mantle_it::database::has_no_file;

use super::statuses::check;
use super::*;
use crate::sandboxed;

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
    assert!(places.len() > 15, "too little happened");
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

/// What the provider of the guests gives for the token in use.
const RENEWED: &str = "renewed-CanaryThatMustNotBeSeen0123456789";

/// A provider that gives the same new token whenever it is asked, and the lines that send a guest's calls there.
async fn renewing(asked: Arc<Mutex<Vec<String>>>) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(5).any(|end| end == b"\r\n\r\nx") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let body = format!("{{\"access_token\":\"{RENEWED}\",\"echo\":\"{RENEWED}\"}}");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    Ok(format!("\"https://api.granted.example\" = \"http://{address}\"\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pv_4_a_renewed_secret_is_used_from_then_on_and_stands_in_clear_nowhere() -> Result<()> {
    if has_no_file("pv_4_a_renewed_secret_is_used_from_then_on_and_stands_in_clear_nowhere") {
        return Ok(());
    }
    let logs = logs::capture();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let redirect = renewing(Arc::clone(&asked)).await?;
    let mut bridge = Bridge::start_with(&format!("{redirect}{}", sandboxed::entry("hostile").await?)).await?;
    let workspace = bridge.connect_workspace().await?;
    let channel = bridge
        .connect(&workspace, "hostile", json!({"key": "guest-key-0123456789abcdef"}))
        .await?;
    assert_eq!(sandboxed::hook(&bridge, &channel, "hello").await?, 200);
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?.id;
    let reply = async |bridge: &Bridge, words: &str| {
        bridge
            .teammate()
            .replies(&conversation, &format!("<p>{words}</p>"), &[])
            .await;
        bridge.quiet().await?;
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = asked.drain(..).map(|request| token(&request)).collect::<Vec<_>>();
        anyhow::Ok(tokens)
    };
    // By what was filled in; then, in the same call, by what came of it.
    let used = reply(&bridge, "renew token /access_token").await?;
    assert_eq!(used, ["guest-key-0123456789abcdef", RENEWED]);
    // By this host from then on. It is told to itself, so a call right behind may still know the one before.
    let mut later = Vec::new();
    for _ in 0..5 {
        later = reply(&bridge, "say token https://api.granted.example/v1/ x").await?;
        if later == [RENEWED] {
            break;
        }
    }
    assert_eq!(later, [RENEWED]);
    bridge.restart().await?;
    let after = reply(&bridge, "say token https://api.granted.example/v1/ x").await?;
    assert_eq!(after, [RENEWED], "it was kept");
    // What was filled in stays its first value; another one filled in has nothing to do with what was renewed.
    for (key, used) in [
        ("guest-key-0123456789abcdef", RENEWED),
        ("other-key-0123456789abcdef", "other-key-0123456789abcdef"),
    ] {
        let (path, edit) = (
            format!("/api/v1/channels/{}", channel.id),
            json!({"fields": {"key": key}}),
        );
        let (status, answer) = bridge.api(Method::PATCH, &path, Some(&edit)).await?;
        assert_eq!(status, 200, "{answer}");
        let tokens = reply(&bridge, "say token https://api.granted.example/v1/ x").await?;
        assert_eq!(tokens, [used]);
    }
    let mut places = seen_outside(&bridge).await?;
    bridge.stop().await;
    files(&bridge.folder().join("data"), &mut places)?;
    places.push(("the log".to_owned(), logs.text().into_bytes()));
    let shown = places
        .iter()
        .any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("[secret]"));
    assert!(shown, "what the guest told of its answer was not looked at");
    for (place, bytes) in &places {
        assert!(!String::from_utf8_lossy(bytes).contains("renewed-Canary"), "{place}");
    }
    bridge.assert_lawful()
}

/// The bearer token of a request.
fn token(request: &str) -> String {
    let line = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer "));
    line.unwrap_or_default().to_owned()
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

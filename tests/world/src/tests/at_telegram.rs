//! Telegram: updates in, calls out.

use super::*;

#[tokio::test]
async fn telegram_tells_the_secret_and_takes_messages() {
    let trial = Trial::start().await;
    let bot = trial.world.telegram.bot(TOKEN);
    let set = json!({"url": hook("telegram"), "secret_token": "s3cr3t_Token-1", "allowed_updates": ["message"]});
    assert_eq!(trial.telegram("setWebhook", set).await["ok"], true);
    let jana = bot.customer(5_550_001_234);
    assert!(jana.writes("Hello 👋").await.delivered.is_good());
    let heard = trial.heard();
    assert_eq!(heard[0].header("x-telegram-bot-api-secret-token"), "s3cr3t_Token-1");
    assert_eq!(heard[0].json().unwrap()["message"]["text"], "Hello 👋");
    assert!(
        jana.reacts(41, Some("👍")).await.status.is_none(),
        "a kind that was not asked for"
    );

    let sent = trial
        .telegram("sendMessage", json!({"chat_id": 5_550_001_234_i64, "text": "Hi Jana"}))
        .await;
    assert_eq!(sent["result"]["text"], "Hi Jana");
    assert_eq!(jana.received()[0].text, "Hi Jana");
    let too_long = trial
        .telegram(
            "sendMessage",
            json!({"chat_id": 5_550_001_234_i64, "text": "x".repeat(4097)}),
        )
        .await;
    assert_eq!(too_long["description"], "Bad Request: message is too long");
    let stranger = trial.telegram("sendMessage", json!({"chat_id": 7, "text": "x"})).await;
    assert_eq!(stranger["description"], "Bad Request: chat not found");
    jana.blocks().await;
    let blocked = trial
        .telegram("sendMessage", json!({"chat_id": 5_550_001_234_i64, "text": "x"}))
        .await;
    assert_eq!(blocked["error_code"], 403);
    assert_eq!(trial.world.violations(), Vec::new());
}

#[tokio::test]
async fn telegram_files_go_both_ways_and_unknown_parameters_are_noted() {
    let trial = Trial::start().await;
    let bot = trial.world.telegram.bot(TOKEN);
    trial.telegram("setWebhook", json!({"url": hook("telegram")})).await;
    bot.customer(5).sends_photo(&samples::photo(), None).await;
    let id = trial.heard()[0].json().unwrap()["message"]["photo"][1]["file_id"].clone();
    let path = trial.telegram("getFile", json!({"file_id": id})).await["result"]["file_path"].clone();
    let url = format!("https://api.telegram.org/file/bot{TOKEN}/{}", path.as_str().unwrap());
    assert_eq!(
        trial.call(Method::GET, &url, &[], "").await.unwrap().body,
        samples::photo().bytes
    );

    let mut body = b"--B\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n5\r\n--B\r\nContent-Disposition: form-data; name=\"voice\"; filename=\"v.ogg\"\r\nContent-Type: audio/ogg\r\n\r\n".to_vec();
    body.extend_from_slice(&samples::voice().bytes);
    body.extend_from_slice(b"\r\n--B--\r\n");
    let url = format!("https://api.telegram.org/bot{TOKEN}/sendVoice");
    trial
        .call(
            Method::POST,
            &url,
            &[("content-type", "multipart/form-data; boundary=B")],
            body,
        )
        .await
        .unwrap();
    let (kind, file) = bot.sent()[0].file.clone().unwrap();
    assert_eq!((kind.as_str(), file.bytes), ("voice", samples::voice().bytes));
    assert_eq!(trial.world.violations(), Vec::new());

    trial
        .telegram("sendMessage", json!({"chat_id": 5, "text": "x", "colour": "red"}))
        .await;
    if trial.world.unchecked().is_empty() {
        assert_eq!(trial.world.violations()[0].problem, "sendMessage: there is no `colour`");
    }
}

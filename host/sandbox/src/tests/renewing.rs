//! Secrets that a provider renews: kept by the host, used at once, never seen by a guest.

use mantle_model::secret::Secret;

use super::stage::{KEY, Log, Provider, Stage, channel, text};
use crate::{ChannelContext, Plugin};

const NEW: &str = "renewed-0123456789-zyxw/vuts";

async fn send(hostile: &Plugin, channel: &ChannelContext, words: &str) -> String {
    hostile.send(channel, &text(words)).await.unwrap().id
}

/// Says this with status and headers of its own.
async fn provider(status: u16, body: &str) -> Provider {
    let bytes = body.len();
    Provider::saying(format!(
        "HTTP/1.1 {status} Said\r\nx-token: {NEW}\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n{body}"
    ))
    .await
}

#[tokio::test]
async fn pv_4_d13_a_renewed_secret_is_used_at_once_and_never_seen() {
    let escaped = NEW.replace('/', "\\/");
    let body = format!("{{\"access_token\":\"{escaped}\",\"echo\":[\"{NEW}\",7.50],\"expires_in\":60}}");
    let provider = provider(200, &body).await;
    let stage = Stage::with_provider(&provider);
    let log = Log::capture();
    let hostile = stage.load("hostile").await;
    let told = send(&hostile, &channel(), "renew token /access_token").await;
    assert!(!told.contains("renewed-0123456789"), "{told}");
    // The first answer was read for it, the second one only searched.
    assert_eq!(told.matches("\"access_token\":\"[secret]\"").count(), 2, "{told}");
    assert_eq!(told.matches("[\"[secret]\",7.5").count(), 2, "{told}");
    assert_eq!(told.matches("(\"x-token\", \"[secret]\")").count(), 2, "{told}");
    let asked = provider.requests();
    assert!(
        asked[0].contains(&format!("authorization: Bearer {KEY}\r\n")),
        "{asked:?}"
    );
    assert!(
        asked[1].contains(&format!("authorization: Bearer {NEW}\r\n")),
        "{asked:?}"
    );
    let kept = stage.shelf.renewed.lock().unwrap().clone();
    assert_eq!(kept, [(format!("{}/token", channel().channel), NEW.to_owned())]);
    assert!(stage.shelf.values.lock().unwrap().is_empty());
    assert!(!log.text().contains("renewed-0123456789"), "{}", log.text());
}

#[tokio::test]
async fn pv_4_only_what_the_manifest_declares_is_kept() {
    let provider = provider(200, &format!("{{\"access_token\":\"{NEW}\"}}")).await;
    let stage = Stage::with_provider(&provider);
    let hostile = stage.load("hostile").await;
    for words in [
        "renew key /access_token",
        "renew token /echo",
        "renew token ",
        "renew nobody /access_token",
    ] {
        let told = send(&hostile, &channel(), words).await;
        assert!(told.contains("the manifest has no [[renewed]]"), "{words}: {told}");
        assert!(told.contains("(sent: false)"), "{words}: {told}");
    }
    assert!(
        provider
            .requests()
            .iter()
            .all(|request| request.starts_with("POST /v1/again"))
    );
    assert!(stage.shelf.renewed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn pv_4_an_answer_that_may_hold_the_secret_elsewhere_is_not_shown() {
    let refused = "\"error\": \"access_token\"";
    for (status, body, shown) in [
        (200, format!("access_token={NEW}"), "which is no JSON (sent: true)"),
        (200, "{\"access_token\":\"short\"}".to_owned(), "has less than 16"),
        (
            200,
            format!("{{\"access_token\":\"{} {NEW}\"}}", "ab"),
            "others than ASCII",
        ),
        // Nothing was renewed: what the provider says instead is for the guest.
        (200, format!("{{{refused}}}"), refused),
        (200, "{\"access_token\":\"\"}".to_owned(), "{\"access_token\":\"\"}"),
        (200, "{\"access_token\":null}".to_owned(), "{\"access_token\":null}"),
        (
            400,
            "{\"access_token\":\"not renewed at all\"}".to_owned(),
            "not renewed at all",
        ),
        // The one in use lives on.
        (
            200,
            format!("{{\"access_token\":\"{KEY}\"}}"),
            "{\"access_token\":\"[secret]\"}",
        ),
    ] {
        let provider = Provider::saying(format!(
            "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let stage = Stage::with_provider(&provider);
        let hostile = stage.load("hostile").await;
        let told = send(&hostile, &channel(), "renew token /access_token").await;
        let first = told.split(" | ").next().unwrap();
        assert!(first.contains(shown), "{body}: {told}");
        assert!(!first.contains(NEW) || shown == refused, "{body}: {told}");
        assert!(stage.shelf.renewed.lock().unwrap().is_empty(), "{body}");
        let again = &provider.requests()[1];
        assert!(again.contains(&format!("authorization: Bearer {KEY}\r\n")), "{again}");
    }
}

#[tokio::test]
async fn pv_4_the_renewed_one_comes_before_the_one_that_was_filled_in() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let hostile = stage.load("hostile").await;
    let mut channel = channel();
    channel.secrets.add("token", Secret::new(NEW.to_owned()));
    send(&hostile, &channel, "say token https://api.granted.example/v1/ x").await;
    assert!(provider.requests()[0].contains(&format!("Bearer {NEW}")));
}

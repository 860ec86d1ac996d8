//! A guest that behaves gets what it was promised.

use mantle_model::inbound::{Content, EventBody};

use super::stage::{KEY, Log, Provider, Stage, channel, hook, text};
use crate::CallError;

#[tokio::test]
async fn a_hook_becomes_events() {
    let stage = Stage::new();
    let echo = stage.load("echo").await;
    let inbound = echo.receive(&channel(), &hook("Grüße 👋")).await.unwrap();
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message")
    };
    assert_eq!(message.content, [Content::Text("Grüße 👋".to_owned())]);
    assert_eq!(inbound.answer, None);
    let empty = echo.receive(&channel(), &hook("")).await;
    assert_eq!(empty, Err(CallError::Malformed("The hook is empty.".to_owned())));
}

#[tokio::test]
async fn the_credential_goes_in_outside_the_guest_and_does_not_come_back() {
    let provider = Provider::answering(&format!("you said {KEY}")).await;
    let stage = Stage::with_provider(&provider);
    let log = Log::capture();
    let echo = stage.load("echo").await;
    let sent = echo.send(&channel(), &text("hello")).await.unwrap();
    assert_eq!(sent.id, "you said [secret]");
    let requests = provider.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].starts_with("POST /v1/echo HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(
        requests[0].contains(&format!("authorization: Bearer {KEY}\r\n")),
        "{}",
        requests[0]
    );
    assert!(requests[0].ends_with("\r\n\r\nhello"), "{}", requests[0]);
    let values = stage.shelf.values.lock().unwrap().clone();
    assert_eq!(values.values().next().unwrap(), b"hello");
    let lines = log.text();
    assert!(
        lines.contains("mantle::guest: sending\\nat 1795000000000 plugin=\"echo\""),
        "{lines}"
    );
    assert!(!lines.contains(KEY));
}

#[tokio::test]
async fn abilities_are_exports() {
    let stage = Stage::new();
    let echo = stage.load("echo").await;
    assert_eq!(echo.abilities(), crate::Abilities::default());
    assert_eq!(
        echo.identify(&channel()).await,
        Err(CallError::Unsupported("lifecycle"))
    );
    assert_eq!(
        echo.fetch_media(&channel(), "a").await,
        Err(CallError::Unsupported("inbound-media"))
    );
}

//! D8, D9 and D11: what a guest reaches for. D10 is judged where addresses are dialled, in `egress`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mantle_model::failure::{Cause, Failure};

use super::stage::{Log, Provider, Stage, channel, text};
use crate::limits::{CALLS_PER_PLUGIN, CALLS_WAITING_MAX, HTTP_CALLS_MAX};
use crate::{CallError, Crowd};

/// What the rules allow, so that it is seen what denies.
#[derive(PartialEq, Eq)]
enum Allowed {
    WhatTheManifestSays,
    /// Only the address itself can deny.
    EveryHost,
}

/// Tries every address in one call or more, and wants each refused unsent, with a line for the operator.
async fn all_denied(addresses: &[&str], allowed: Allowed) {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let mut hostile = stage.load("hostile").await;
    if allowed == Allowed::EveryHost {
        let parts = Arc::get_mut(&mut Arc::get_mut(&mut hostile).unwrap().parts).unwrap();
        for rule in &mut parts.policy.rules {
            rule.host = "*".to_owned();
        }
    }
    for some in addresses.chunks(HTTP_CALLS_MAX as usize) {
        let log = Log::capture();
        let words = format!("each {}", some.join(" "));
        let sent = hostile.send(&channel(), &text(&words)).await.unwrap();
        let told = sent.id.split(' ').collect::<Vec<_>>();
        for (address, told) in some.iter().zip(&told) {
            assert_eq!(*told, "Denied", "{address}");
        }
        assert_eq!(told.len(), some.len());
        let lines = log.text();
        let audited = lines
            .lines()
            .filter(|line| line.contains("mantle::audit: Denied the connector hostile a call to "));
        assert_eq!(audited.count(), some.len(), "a line for each: {lines}");
    }
    assert!(provider.requests().is_empty());
    // What all these are not.
    let good = hostile
        .send(&channel(), &text("each https://api.granted.example/v1/a"))
        .await
        .unwrap();
    assert_eq!(good.id, "200");
}

#[tokio::test]
async fn d8_what_was_not_declared_is_denied_and_told() {
    all_denied(
        &[
            "https://evil.example/v1/",
            "https://granted.example/v1/",
            "https://x.api.granted.example/v1/",
            "https://api.granted.example.evil.example/v1/",
            "https://api.granted.example:8443/v1/",
            "https://api.granted.example:80/v1/",
            "http://api.granted.example/v1/",
            "ftp://api.granted.example/v1/",
            "gopher://api.granted.example/v1/",
            "file:///etc/passwd",
            "https://api.granted.example@evil.example/v1/",
            "https://api.granted.example:pw@evil.example/v1/",
            "https://evil.example@api.granted.example/v1/",
            "https://evil.example\\@api.granted.example/v1/",
            "https://api.granted.example./v1/",
            "https://api.granted.example。/v1/",
            "https://аpi.granted.example/v1/",
            "https://api.grantéd.example/v1/",
            "https://api.granted.example%00.evil.example/v1/",
            "https://api.granted.example%2eevil.example/v1/",
            "https://api.granted.example/v1/%00",
            "https://api.granted.example/v1/%0d%0aevil:1",
            "https://api.granted.example/other",
            "https://api.granted.example/v1/../other",
            "https://api.granted.example/v1/%2e%2e/other",
            "https://api.granted.example/v1/..%2fother",
            "https://api.granted.example\\v1\\",
            "https://api.granted.example/V1/",
        ],
        Allowed::WhatTheManifestSays,
    )
    .await;
}

#[tokio::test]
async fn d9_an_address_that_nobody_may_reach_is_denied_in_every_spelling() {
    all_denied(
        &[
            "https://169.254.169.254/v1/",
            "https://2852039166/v1/",
            "https://0xa9fea9fe/v1/",
            "https://0251.0376.0251.0376/v1/",
            "https://169.254.43518/v1/",
            "https://[::ffff:169.254.169.254]/v1/",
            "https://[::ffff:a9fe:a9fe]/v1/",
            "https://[64:ff9b::169.254.169.254]/v1/",
            "https://[2002:a9fe:a9fe::]/v1/",
            "https://[fd00:ec2::254]/v1/",
            "https://127.0.0.1/v1/",
            "https://127.1/v1/",
            "https://2130706433/v1/",
            "https://0/v1/",
            "https://localhost/v1/",
            "https://localhost./v1/",
            "https://[::1]/v1/",
            "https://[::]/v1/",
            "https://10.0.0.1/v1/",
            "https://①②⑦.⓪.⓪.①/v1/",
        ],
        Allowed::EveryHost,
    )
    .await;
}

fn cause(error: CallError) -> Cause {
    match error {
        CallError::Provider(Failure::Transient(cause)) => cause,
        other => panic!("not a transient failure: {other:?}"),
    }
}

#[tokio::test]
async fn d11_one_call_has_so_many_calls_and_headers() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let hostile = stage.load("hostile").await;
    let send = async |words: &str| hostile.send(&channel(), &text(words)).await;
    assert_eq!(send("greedy 1000").await.unwrap().id, HTTP_CALLS_MAX.to_string());
    let before = provider.requests().len();
    // As many as once crashed hosts (CVE-2026-27572).
    for count in [101, 33_000] {
        let refused = cause(send(&format!("headers {count}")).await.unwrap_err());
        assert_eq!(refused.code, "invalid", "{refused:?}");
        assert!(refused.message.contains("headers"), "{refused:?}");
    }
    for line in [
        "host=evil.example",
        "Content-Length=0",
        "transfer-encoding=chunked",
        "Connection=x-a",
        "te=trailers",
        "trailer=x-a",
        "upgrade=h2c",
        "expect=100-continue",
        "proxy-authorization=x",
        "proxy-connection=close",
        "keep-alive=1",
        "Authorization=Bearer mine",
        "x-a=a\r\nhost: evil.example",
        "x a=b",
    ] {
        let refused = cause(send(&format!("header {line}")).await.unwrap_err());
        assert_eq!(refused.code, "invalid", "{line}: {refused:?}");
    }
    assert_eq!(provider.requests().len(), before, "nothing of it left");
    assert!(send("headers 100").await.is_ok());
}

#[tokio::test]
async fn d11_c6_an_answer_has_an_end_while_it_is_read() {
    let huge = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned() + &"a".repeat(3 << 20);
    let provider = Provider::saying(huge).await;
    let stage = Stage::with_provider(&provider);
    let hostile = stage.load("hostile").await;
    let ended = hostile
        .send(&channel(), &text("say - https://api.granted.example/v1/ x"))
        .await;
    let refused = cause(ended.unwrap_err());
    assert_eq!(refused.code, "toolarge", "{refused:?}");
    assert!(refused.message.ends_with("(sent: true)"), "{refused:?}");
}

#[tokio::test]
async fn d11_c9_a_redirect_is_an_answer_like_any_other() {
    let inside = Provider::answering("inside").await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/v1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        inside.address
    );
    let provider = Provider::saying(moved).await;
    let stage = Stage::with_provider(&provider);
    let hostile = stage.load("hostile").await;
    let sent = hostile
        .send(&channel(), &text("say key https://api.granted.example/v1/ x"))
        .await
        .unwrap();
    assert_eq!(sent.id, "302 ");
    assert!(inside.requests().is_empty());
}

#[tokio::test]
async fn d11_ten_thousand_calls_are_some_and_the_others_are_unharmed() {
    let silent = Provider::silent().await;
    let good = Provider::answering("fine").await;
    let stage = Stage::with_providers(&[
        ("https://other.granted.example", &silent),
        ("https://api.granted.example", &good),
    ]);
    let (hostile, echo) = (stage.load("hostile").await, stage.load("echo").await);
    let (channel, hold, hello) = (
        channel(),
        text("say - https://other.granted.example/v1/ x"),
        text("hello"),
    );
    let flood = join_all((0..10_000).map(|_| hostile.send(&channel, &hold)));
    let other = async {
        // Behind all of them: they are polled first.
        tokio::task::yield_now().await;
        while silent.requests().len() < CALLS_PER_PLUGIN {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let sent = echo.send(&channel, &hello).await.unwrap();
        (sent.id, silent.requests().len())
    };
    // Dropped with all its calls once the other one is done: what it waits for never comes.
    let (answered, held) = tokio::select! {
        _ = flood => panic!("the flood ended first"),
        done = other => done,
    };
    assert_eq!((answered.as_str(), held), ("fine", CALLS_PER_PLUGIN));

    let (hold, crowd) = (&hold, CALLS_PER_PLUGIN + CALLS_WAITING_MAX + 10);
    let calls = (0..crowd)
        .map(|_| async { tokio::time::timeout(Duration::from_millis(500), hostile.send(&channel, hold)).await });
    let ended = join_all(calls).await;
    let at_once = ended
        .iter()
        .filter(|ended| matches!(ended, Ok(Err(CallError::Busy(Crowd::Plugin)))));
    assert_eq!(at_once.count(), 10, "those that have no place to wait are told at once");
    assert!(echo.send(&channel, &hello).await.is_ok(), "and all is free again");
}

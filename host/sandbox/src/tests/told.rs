//! D6, D7, D12, D13 and the arithmetic with secrets: what a guest says, and what it is told.

use mantle_model::inbound::{Content, EventBody};
use mantle_model::secret::Secret;

use super::stage::{KEY, Log, Provider, Stage, channel, entry, hook, text};
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_BURST, LOG_LINES_MAX, LOG_LINES_PER_SECOND};
use crate::{CallError, ChannelContext, Inbound, Plugin};

async fn receive(plugin: &Plugin, words: &str) -> Result<Inbound, CallError> {
    plugin.receive(&channel(), &hook(words)).await
}

async fn said(plugin: &Plugin, channel: &ChannelContext, words: &str) -> String {
    let inbound = plugin.receive(channel, &hook(words)).await.unwrap();
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message")
    };
    match message.content.as_slice() {
        [Content::Text(text)] => text.clone(),
        other => panic!("not a text: {other:?}"),
    }
}

#[tokio::test]
async fn d6_a_line_stays_one_line_and_nobody_else_s() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    let log = Log::capture();
    receive(&hostile, "log-forged").await.unwrap();
    let text = log.text();
    let lines = text.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 5, "{text}");
    for line in lines {
        assert!(line.contains(" INFO mantle::guest: "), "whose line is it? {line}");
        assert!(line.contains("plugin=\"hostile\""), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.contains(['\u{2028}', '\u{202e}']), "{line:?}");
    }
    drop(log);

    let log = Log::capture_json();
    receive(&hostile, "log-forged").await.unwrap();
    let text = log.text();
    assert_eq!(text.lines().count(), 5, "{text}");
    for line in text.lines() {
        // Of a key that stands there twice the last one counts.
        let record = serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert_eq!(record["level"].as_str(), Some("INFO"), "{line}");
        assert_eq!(record["target"].as_str(), Some("mantle::guest"), "{line}");
        assert!(record.get("forged").is_none(), "{line}");
    }
}

#[tokio::test]
async fn d6_long_lines_are_cut_and_floods_are_dropped_and_counted() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    let log = Log::capture();
    receive(&hostile, "log-long 4000000").await.unwrap();
    let long = log.text().matches('y').count();
    assert_eq!(long, LOG_LINE_BYTES_MAX, "cut at the limit");
    drop(log);

    // A call has its lines; all calls together have the plugin's.
    let log = Log::capture();
    let calls = LOG_LINES_BURST / u64::from(LOG_LINES_MAX) + 2;
    for _ in 0..calls {
        receive(&hostile, &format!("log {LOG_LINES_MAX}")).await.unwrap();
    }
    let taken = log.text().matches("mantle::guest: line ").count();
    // One was the long line.
    assert_eq!(taken as u64, LOG_LINES_BURST - 1);
    let dropped = calls * u64::from(LOG_LINES_MAX) - (LOG_LINES_BURST - 1);
    stage
        .clock
        .advance(std::time::Duration::from_millis(1_000 / LOG_LINES_PER_SECOND));
    receive(&hostile, "log 1").await.unwrap();
    let told = format!("{dropped} lines of hostile were dropped: it logged more than {LOG_LINES_PER_SECOND} a second");
    assert!(
        log.text().contains(&told),
        "{}",
        log.text().lines().next_back().unwrap_or_default()
    );
    // The others have theirs.
    let echo = stage.load("echo").await;
    let before = log.text().lines().count();
    let _ = echo.send(&channel(), &text("hello")).await;
    assert!(
        log.text()
            .lines()
            .skip(before)
            .any(|line| line.contains("plugin=\"echo\""))
    );
}

#[tokio::test]
async fn d6_d13_names_in_a_crash_are_one_line_without_secrets() {
    let stage = Stage::new();
    let log = Log::capture();
    let body = "(call $f) (i32.const 0)";
    let named = super::wat::module(
        &format!("(func $f (@name \"a\\nERROR mantle::audit \\1b[31m {KEY}\") unreachable)"),
        body,
    );
    let plugin = super::wat::load(&stage, &named).await;
    let Err(CallError::Trapped(words)) = receive(&plugin, "").await else {
        panic!("it did not crash")
    };
    assert!(words.contains("a\\nERROR"), "the name is told: {words}");
    assert!(words.contains("[secret]") && !words.contains(KEY), "{words}");
    let lines = log.text();
    assert!(!lines.contains(KEY) && !lines.contains('\u{1b}'), "{lines}");
    assert!(!lines.lines().any(|line| line.starts_with("ERROR")), "{lines}");
}

#[tokio::test]
async fn d7_garbage_is_rejected_whole() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    let many = receive(&hostile, "events 2001").await;
    let problem = "2001 events from one hook, at most 2000 are taken";
    assert_eq!(many, Err(CallError::Garbage(problem.to_owned())));
    // So many do not even cross.
    let many = receive(&hostile, "events 10000").await;
    let Err(CallError::Trapped(problem)) = many else {
        panic!("{many:?}")
    };
    assert!(problem.contains("fuel"), "{problem}");
    assert_eq!(receive(&hostile, "events 2000").await.unwrap().events.len(), 2_000);
    // The good ones before it are not taken either.
    let late = receive(&hostile, "late 7").await;
    assert_eq!(
        late,
        Err(CallError::Garbage("events[7].message.id: is empty".to_owned()))
    );
}

#[tokio::test]
async fn d12_nothing_of_the_machine_is_there() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    assert_eq!(
        said(&hostile, &channel(), "surroundings").await,
        "env 0 args 0 opened 0 listed 0 written false connected 0 bound false resolved false stdin 0"
    );
}

#[tokio::test]
async fn d12_a_secret_that_is_another_s_is_one_that_is_not() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    // Another plugin of the host has the second name.
    let mut other = entry("echo");
    other
        .secrets
        .add("key", Secret::new("of-another-plugin-0123".to_owned()));
    let _other = stage.sandbox.load(other).await.unwrap();
    let unknown = "Err(\"unknown-secret\")";
    // The one of the channel, then every other name; fields of the form have none of them.
    let expected = format!("Ok(32) {} {}", [unknown; 5].join(" "), ["None"; 6].join(" "));
    assert_eq!(said(&hostile, &channel(), "secrets").await, expected);
}

#[tokio::test]
async fn d13_a_secret_goes_to_the_host_it_is_bound_to_and_nowhere_else() {
    let provider = Provider::answering("{}").await;
    let other = Provider::answering("{}").await;
    let stage = Stage::with_providers(&[
        ("https://api.granted.example", &provider),
        ("https://other.granted.example", &other),
    ]);
    let log = Log::capture();
    let hostile = stage.load("hostile").await;
    let send = async |words: &str| hostile.send(&channel(), &text(words)).await;
    // By name to the host that is granted, but not with this credential.
    for credential in ["key", "key-in-path", "nobody-has-it"] {
        let words = format!("say {credential} https://other.granted.example/v1/{{key}} x");
        let denied = format!("{:?}", send(&words).await.unwrap_err());
        assert!(
            denied.contains("\"denied\"") && denied.contains("sent: false"),
            "{denied}"
        );
    }
    assert!(other.requests().is_empty());
    // As text, in every spelling that a template might have: nothing is filled in but the path's own placeholder.
    let marks = "{{secret:key}} {key} ${key} {{key}} %7Bkey%7D <key>";
    send(&format!(
        "say - https://other.granted.example/v1/%7Bkey%7D/{{key}} {marks}"
    ))
    .await
    .unwrap();
    send(&format!("say key https://api.granted.example/v1/{{key}} {marks}"))
        .await
        .unwrap();
    send(&format!(
        "say key-in-path https://api.granted.example/v1/{{key}} {marks}"
    ))
    .await
    .unwrap();
    let twice = send(&format!(
        "say key-in-path https://api.granted.example/v1/{{key}}/{{key}} {marks}"
    ))
    .await;
    assert!(format!("{twice:?}").contains("more than once"), "{twice:?}");
    let (there, here) = (other.requests(), provider.requests());
    assert_eq!((there.len(), here.len()), (1, 2));
    assert!(
        there[0].starts_with("POST /v1/%7Bkey%7D/{key} HTTP/1.1")
            || there[0].starts_with("POST /v1/%7Bkey%7D/%7Bkey%7D HTTP/1.1"),
        "{}",
        there[0]
    );
    assert!(!there[0].contains(KEY), "{}", there[0]);
    assert!(here[1].starts_with(&format!("POST /v1/{KEY} HTTP/1.1")), "{}", here[1]);
    for request in there.iter().chain(&here) {
        assert!(request.ends_with(marks), "{request}");
        assert_eq!(
            request.matches(KEY).count(),
            usize::from(here.contains(request)),
            "{request}"
        );
    }
    // Into the log: the name of a secret is a word like any other.
    send("log {{secret:key}} {key}").await.unwrap();
    let lines = log.text();
    assert!(
        lines.contains("{{secret:key}} {key}") && !lines.contains(KEY),
        "{lines}"
    );
}

#[tokio::test]
async fn d13_what_a_provider_tells_of_a_secret_stays_outside_logs_and_errors() {
    let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("user:{KEY}"));
    let said = format!("{KEY} {pair}");
    let provider = Provider::saying(format!(
        "HTTP/1.1 200 OK\r\nx-echo: {said}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
        said.len()
    ))
    .await;
    let stage = Stage::with_provider(&provider);
    let log = Log::capture();
    let hostile = stage.load("hostile").await;
    let sent = hostile
        .send(&channel(), &text("say key https://api.granted.example/v1/ x"))
        .await
        .unwrap();
    assert!(
        sent.id.starts_with("200 [secret] ") && !sent.id.contains(&pair[10..30]),
        "{}",
        sent.id
    );
    // Words of the guest that hold a secret, wherever it may have them from.
    for words in [
        format!("say - https://api.granted.example/v1/{KEY} x"),
        format!("say - https://api.granted.example/v1/ {KEY}"),
        format!("say - https://api.granted.example/v1/ {pair}"),
        format!("header x-a={KEY}"),
        format!("header {KEY}=a"),
        format!("log {KEY} {pair}"),
        format!("fail {KEY}"),
    ] {
        let told = format!("{:?}", hostile.send(&channel(), &text(&words)).await);
        assert!(!told.contains(KEY) && !told.contains(&pair[10..30]), "{told}");
    }
    assert_eq!(provider.requests().len(), 1, "nothing of it left");
    let lines = log.text();
    assert!(lines.contains("holds a secret in plain sight"), "{lines}");
    assert!(!lines.contains(KEY) && !lines.contains(&pair[10..30]), "{lines}");
}

//! What a stranger may do to the front, and what is answered.

use std::time::{Duration, Instant};

use mantle_model::ids::MediaId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stand_in::{HOOKS_MAX, TOKEN, start};
use crate::limits::{API_BYTES_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HEADERS_MAX, HOOK_BYTES_MAX};

#[tokio::test]
async fn e_7_bodies_heads_and_headers_have_a_limit() {
    let host = start(Some(TOKEN)).await;
    // The length alone is enough to be refused: nothing of the gigabyte is read.
    let lying = "POST /hooks/telegram/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
    assert_eq!(host.raw(lying.as_bytes()).await.status, 413);
    // A chunked body does not say how long it is.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20));
    let mut endless = b"POST /hooks/telegram/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=HOOK_BYTES_MAX >> 20 {
        endless.extend_from_slice(chunk.as_bytes());
    }
    assert_eq!(host.raw(&endless).await.status, 413);
    let many = "x: y\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(host.ask("POST /hooks/telegram/x", &many, "").await.status, 431);
    let long = format!("x: {}\r\n", "y".repeat(HEAD_BYTES_MAX));
    assert_eq!(host.ask("POST /hooks/telegram/x", &long, "").await.status, 431);
    let large = format!("{{\"platform\":\"{}\"}}", "x".repeat(API_BYTES_MAX));
    let reply = host.call("POST /api/v1/workspaces", &large).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["code"].as_str()),
        (413, Some("body_too_large"))
    );
    assert!(host.desk.hooks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn e_5_a_head_that_comes_slowly_is_closed() {
    let host = start(Some(TOKEN)).await;
    let begun = Instant::now();
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    stream
        .write_all(b"POST /hooks/telegram/x HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        begun.elapsed() < HEAD_TIME_MAX + Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // Others are served meanwhile and afterwards.
    assert_eq!(host.ask("GET /livez", "", "").await.status, 200);
}

#[tokio::test]
async fn e_6_two_readings_of_one_body_are_impossible() {
    let host = start(Some(TOKEN)).await;
    let check = |request: &'static str| host.raw(request.as_bytes());
    let twice = "POST /hooks/a/x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    assert_eq!(check(twice).await.status, 400);
    let odd = "POST /hooks/a/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n";
    assert_eq!(check(odd).await.status, 400);
    // Both: read as chunked, and whatever follows on the connection is never taken for a request.
    let both = "POST /hooks/a/x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                0\r\n\r\nPOST /hooks/smuggled/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let reply = check(both).await;
    assert_eq!(reply.header("connection"), Some("close"));
    let hooks = host.desk.hooks.lock().unwrap();
    let plugins: Vec<&str> = hooks.iter().map(|(plugin, ..)| plugin.as_str()).collect();
    assert_eq!(plugins, ["a"]);
}

#[tokio::test]
async fn hooks_arrive_byte_for_byte_and_are_answered_as_told() {
    let host = start(Some(TOKEN)).await;
    let line = "POST /hooks/twilio-sms/chn_1?a=%2F&b=c%20d";
    let reply = host
        .ask(line, "X-Sign: \u{e9}t\u{e9}\r\nx-sign: two\r\n", "From=%2B1")
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/xml"));
    assert_eq!(reply.body, "<Response></Response>");
    assert_eq!(reply.header("retry-after"), Some("2"));
    assert_eq!(host.ask("HEAD /inbox/intercom", "", "").await.status, 200);
    assert_eq!(host.ask("POST /inbox/intercom", "", "{}").await.status, 200);
    assert_eq!(host.ask("GET /inbox/intercom", "", "").await.status, 405);
    let hubspot = host.ask("POST /inbox/hubspot", "", "{}").await;
    assert_eq!(hubspot.status, 404);
    assert!(hubspot.body.contains("HubSpot is not part of this build"));

    let hooks = host.desk.hooks.lock().unwrap();
    let (plugin, channel, hook) = &hooks[0];
    assert_eq!((plugin.as_str(), channel.as_deref()), ("twilio-sms", Some("chn_1")));
    assert_eq!(hook.method, "POST");
    assert_eq!(hook.path_and_query, "/hooks/twilio-sms/chn_1?a=%2F&b=c%20d");
    assert_eq!(hook.body, b"From=%2B1");
    let signs: Vec<&str> = hook
        .headers
        .iter()
        .filter(|(name, _)| name == "x-sign")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(signs, ["\u{e9}t\u{e9}", "two"]);
    assert_eq!(hooks.len(), 2, "a HEAD is no webhook");
}

#[tokio::test]
async fn f1_a_flood_is_refused_in_the_order_of_what_it_loses() {
    let host = start(Some(TOKEN)).await;
    host.desk.held.send_replace(true);
    let mut arrived = host.desk.arrived.subscribe();
    let (mut waiting, mut refused) = (Vec::new(), Vec::new());
    // Each kind comes until it is refused, then the next one; nobody is answered meanwhile.
    let kinds = ["nobody/x", "patient/x?status=1", "patient/x", "brief/x", "once/x"];
    for _ in 0..HOOKS_MAX * 10 {
        let taken = *arrived.borrow_and_update();
        let Some(kind) = kinds.get(refused.len()) else { break };
        let mut stream = TcpStream::connect(host.address).await.unwrap();
        let head = format!("POST /hooks/{kind} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The refusal comes without a byte of the body; a hook that is let in is read first.
        let mut answer = [0; 12];
        stream.write_all(b"x").await.unwrap();
        tokio::select! {
            read = stream.read_exact(&mut answer) => {
                read.unwrap();
                refused.push((taken, String::from_utf8_lossy(&answer[9..]).into_owned()));
            }
            changed = arrived.changed() => {
                changed.unwrap();
                waiting.push(stream);
            }
        }
    }
    let refused: Vec<(usize, &str)> = refused.iter().map(|(at, status)| (*at, status.as_str())).collect();
    assert_eq!(refused, [(8, "503"), (8, "429"), (12, "429"), (16, "503"), (20, "503")]);
    assert_eq!(*host.desk.shed.lock().unwrap(), ["x overload"; 5]);
    assert_eq!(
        host.ask("POST /inbox/intercom", "", "{}").await.status,
        503,
        "never 429"
    );

    // Once the hooks under way are through, everybody is welcome again.
    host.desk.held.send_replace(false);
    for mut stream in waiting {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], b"200");
    }
    assert_eq!(host.ask("POST /hooks/nobody/x", "", "").await.status, 200);
}

#[tokio::test]
async fn p7_a_refused_hook_is_not_read() {
    let host = start(Some(TOKEN)).await;
    host.desk.held.send_replace(true);
    let mut arrived = host.desk.arrived.subscribe();
    let mut waiting = Vec::new();
    for taken in 1..=HOOKS_MAX {
        let mut stream = TcpStream::connect(host.address).await.unwrap();
        let hook = b"POST /hooks/once/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(hook).await.unwrap();
        arrived.wait_for(|hooks| *hooks == taken).await.unwrap();
        waiting.push(stream);
    }
    // The answer is there although the body never comes.
    let head = "POST /hooks/once/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let reply = host.raw(head.as_bytes()).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("10")));
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test]
async fn files_are_served_behind_good_links_and_never_run() {
    let host = start(Some(TOKEN)).await;
    let path = host.front.links.link(MediaId(5));
    let reply = host.ask(&format!("GET {path}"), "", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "<p>x"));
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        reply.header("content-security-policy"),
        Some("default-src 'none'; sandbox")
    );
    let disposition = reply.header("content-disposition").unwrap_or_default().to_owned();
    assert!(
        disposition.starts_with("attachment; filename=\"invoice.html\""),
        "{disposition}"
    );
    let head = host.ask(&format!("HEAD {path}"), "", "").await;
    assert_eq!(
        (head.status, head.header("content-length"), head.body.as_str()),
        (200, Some("4"), "")
    );
    let gone = host.front.links.link(MediaId(6));
    assert_eq!(host.ask(&format!("GET {gone}"), "", "").await.status, 404);
    assert_eq!(host.ask(&format!("GET {path}A"), "", "").await.status, 404);
    host.store.clock.advance(crate::limits::MEDIA_LINK_LIFE);
    assert_eq!(host.ask(&format!("GET {path}"), "", "").await.status, 410);
}

#[tokio::test]
async fn health_tells_whether_messages_can_be_kept() {
    let host = start(Some(TOKEN)).await;
    assert_eq!(host.ask("GET /livez", "", "").await.status, 200);
    assert_eq!(
        host.ask("GET /readyz", "", "").await.status,
        503,
        "nothing was written yet"
    );
    host.front.pulse.beat(beat(Ok(())));
    let ready = host.ask("GET /readyz", "", "").await;
    assert_eq!((ready.status, ready.json()["ready"].as_bool()), (200, Some(true)));
    host.front.pulse.beat(beat(Err("The disk is full.".to_owned())));
    let full = host.ask("GET /readyz", "", "").await;
    assert_eq!(
        (full.status, full.json()["store"].as_str().map(str::to_owned)),
        (503, Some("The disk is full.".into()))
    );

    let metrics = host.ask("GET /metrics", "", "").await;
    assert!(
        metrics.body.contains("route=\"/livez\",status=\"200\""),
        "{}",
        metrics.body
    );
    let page = host.ask("GET /", "", "").await;
    assert!(page.body.contains("<h1>Mantle</h1>"));
    assert!(
        page.header("content-security-policy")
            .unwrap_or_default()
            .contains("style-src 'sha256-")
    );
    assert_eq!(host.ask("GET /nothing", "", "").await.status, 404);
}

fn beat(written: Result<(), String>) -> crate::Beat {
    crate::Beat {
        written,
        worked: Instant::now(),
        disk_free: None,
    }
}

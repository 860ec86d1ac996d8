//! The page behind the link in a note.

use std::time::Duration;

use mantle_model::ids::{LaneId, MessageId};

use super::stand_in::{Reply, Running, start};
use crate::limits::RESEND_LINK_LIFE;

fn path(running: &Running, seq: i64) -> String {
    running.front.resends.link(MessageId { lane: LaneId(5), seq })
}

async fn opened(running: &Running, seq: i64) -> Reply {
    running.ask(&format!("GET {}", path(running, seq)), "", "").await
}

async fn pressed(running: &Running, seq: i64) -> Reply {
    running.ask(&format!("POST {}", path(running, seq)), "", "").await
}

#[tokio::test]
async fn out_10_the_link_asks_before_it_sends() {
    let running = start(None).await;
    for (seq, risk) in [(1, "not been delivered so far"), (2, "the customer gets it twice")] {
        let page = opened(&running, seq).await;
        assert_eq!(page.status, 200);
        assert!(page.body.contains("<form method=\"post\">"), "{}", page.body);
        assert!(page.body.contains(risk), "{}", page.body);
        assert!(
            page.body.contains("“Is &lt;b&gt;it&lt;/b&gt; there?” (SMS)"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("<script"), "{}", page.body);
        let done = pressed(&running, seq).await;
        assert_eq!(done.status, 200);
        assert!(done.body.contains("It is on its way"), "{}", done.body);
    }
}

#[tokio::test]
async fn out_12_a_link_that_has_done_its_work_says_so() {
    let running = start(None).await;
    for (seq, words) in [(3, "It was already sent again"), (4, "There is nothing to send")] {
        let page = opened(&running, seq).await;
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains(words) && !page.body.contains("<form"),
            "{}",
            page.body
        );
        let second = pressed(&running, seq).await;
        assert_eq!(second.status, 409);
        assert!(second.body.contains(words), "{}", second.body);
    }
    let gone = opened(&running, 9).await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("not there any more"), "{}", gone.body);
}

#[tokio::test]
async fn out_10_a_link_is_good_for_its_message_and_its_time() {
    let running = start(None).await;
    let good = path(&running, 1);
    // A file's address is made with another key.
    let token = running
        .front
        .links
        .link(mantle_model::ids::MediaId(5))
        .replace("/media/", "/resend/");
    for bad in [
        token,
        "/resend/x".to_owned(),
        format!("{good}A"),
        good.replacen('A', "B", 1),
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(
                running.ask(&format!("{method} {bad}"), "", "").await.status,
                404,
                "{bad}"
            );
        }
    }
    running.store.clock.advance(RESEND_LINK_LIFE - Duration::from_millis(1));
    assert_eq!(running.ask(&format!("GET {good}"), "", "").await.status, 200);
    running.store.clock.advance(Duration::from_millis(1));
    for method in ["GET", "POST"] {
        let page = running.ask(&format!("{method} {good}"), "", "").await;
        assert_eq!(page.status, 410);
        assert!(page.body.contains("expired"), "{}", page.body);
    }
}

#[tokio::test]
async fn out_10_the_page_is_locked_down() {
    let running = start(None).await;
    let page = opened(&running, 1).await;
    let policy = page.header("content-security-policy").unwrap_or_default().to_owned();
    for rule in [
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-robots-tag", "noindex, nofollow"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
}

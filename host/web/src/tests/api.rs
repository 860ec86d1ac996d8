//! Keys, errors, repeated calls.

use std::sync::atomic::Ordering;

use super::stand_in::{TOKEN, start};

#[tokio::test]
async fn only_who_has_the_key_goes_on() {
    let host = start(Some(TOKEN)).await;
    let wrong = [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer the-key-of-the-test\r\n",
        "authorization: Basic the-key-of-the-tests\r\n",
        "authorization: the-key-of-the-tests\r\n",
    ];
    for headers in wrong {
        let reply = host.ask("GET /api/v1/workspaces", headers, "").await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some("Bearer")),
            "{headers}"
        );
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "unauthorized");
        assert!(
            error["reference"]
                .as_str()
                .is_some_and(|reference| reference.starts_with("ref_"))
        );
    }
    // Nobody learns without the key which addresses there are.
    assert_eq!(host.ask("GET /api/v1/nothing", "", "").await.status, 401);
    assert_eq!(host.call("GET /api/v1/workspaces", "").await.status, 200);
    assert_eq!(host.ask("GET /api/v1/openapi.json", "", "").await.status, 200);

    let closed = start(None).await;
    let reply = closed
        .ask("GET /api/v1/workspaces", "authorization: Bearer \r\n", "")
        .await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("MANTLE_ADMIN_TOKEN"));
}

#[tokio::test]
async fn errors_name_the_field_and_the_fix() {
    let host = start(Some(TOKEN)).await;
    let check = async |line: &str, body: &str, status: u16, code: &str, field: Option<&str>| {
        let reply = host.call(line, body).await;
        let json = reply.json();
        let error = &json["error"];
        assert_eq!(reply.status, status, "{line} {body}: {error}");
        assert_eq!(
            (error["code"].as_str(), error["field"].as_str()),
            (Some(code), field),
            "{line} {body}: {error}"
        );
        assert!(
            error["message"].as_str().is_some_and(|message| message.ends_with('.')),
            "{error}"
        );
    };
    let connect = "POST /api/v1/workspaces";
    check(connect, "{", 400, "not_json", None).await;
    check(connect, "{} {}", 422, "invalid", Some("platform")).await;
    check(
        connect,
        "{\"platform\":\"intercom\"}",
        422,
        "invalid",
        Some("access_token"),
    )
    .await;
    check(
        connect,
        "{\"platform\":\"intercom\",\"access_token\":7}",
        422,
        "invalid",
        Some("access_token"),
    )
    .await;
    check(
        connect,
        "{\"platform\":\"zendesk\",\"access_token\":\"x\"}",
        422,
        "invalid",
        Some("platform"),
    )
    .await;
    check(
        connect,
        "{\"plattform\":\"intercom\"}",
        422,
        "invalid",
        Some("plattform"),
    )
    .await;
    check(
        connect,
        "{\"platform\":\"intercom\",\"access_token\":\"wrong\"}",
        422,
        "unauthorized",
        Some("access_token"),
    )
    .await;
    check("GET /api/v1/workspaces/wsp_1", "", 404, "not_found", None).await;
    check("GET /api/v1/workspaces/wsp_0000000000009", "", 404, "not_found", None).await;
    check("GET /api/v1/channels/chn_0000000000009", "", 404, "not_found", None).await;
    check("GET /api/v1/messages/msg_0000000000009_1", "", 404, "not_found", None).await;
    check("GET /api/v1/messages?state=lost", "", 422, "invalid", Some("state")).await;
    check("GET /api/v1/messages?from=yesterday", "", 422, "invalid", Some("from")).await;
    check("GET /api/v1/messages?limit=1000", "", 422, "invalid", Some("limit")).await;
    check("GET /api/v1/nothing", "", 404, "unknown_route", None).await;
    check("PUT /api/v1/workspaces", "", 405, "method_not_allowed", None).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(host.call(connect, &deep).await.status >= 400);
    let form = host
        .ask(
            connect,
            &format!("authorization: Bearer {TOKEN}\r\ncontent-type: text/plain\r\n"),
            "{}",
        )
        .await;
    assert_eq!(form.status, 415);
}

#[tokio::test]
async fn a_repeated_call_is_done_once() {
    let host = start(Some(TOKEN)).await;
    let body = "{\"platform\":\"intercom\",\"access_token\":\"one\"}";
    let headers = format!("authorization: Bearer {TOKEN}\r\nidempotency-key: first\r\n");
    let first = host.ask("POST /api/v1/workspaces", &headers, body).await;
    let again = host.ask("POST /api/v1/workspaces", &headers, body).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(host.desk.connects.load(Ordering::SeqCst), 1);

    let other = host
        .ask("POST /api/v1/workspaces", &headers, &body.replace("one", "two"))
        .await;
    assert_eq!(
        (other.status, other.json()["error"]["code"].as_str()),
        (422, Some("idempotency_key_reused"))
    );
    let elsewhere = host
        .ask("POST /api/v1/messages/msg_0000000000009_1/replay", &headers, body)
        .await;
    assert_eq!(elsewhere.status, 422);
    assert_eq!(host.desk.connects.load(Ordering::SeqCst), 1);

    // What failed may be corrected and made again under the same key.
    let headers = format!("authorization: Bearer {TOKEN}\r\nidempotency-key: second\r\n");
    let failed = host
        .ask("POST /api/v1/workspaces", &headers, &body.replace("one", "wrong"))
        .await;
    let corrected = host
        .ask("POST /api/v1/workspaces", &headers, &body.replace("one", "two"))
        .await;
    assert_eq!((failed.status, corrected.status), (422, 201));
    let empty = format!("authorization: Bearer {TOKEN}\r\nidempotency-key: \r\n");
    assert_eq!(host.ask("POST /api/v1/workspaces", &empty, body).await.status, 400);
}

#[tokio::test]
async fn pv_4_no_answer_holds_a_secret() {
    let host = start(Some(TOKEN)).await;
    let workspace = host
        .call(
            "POST /api/v1/workspaces",
            "{\"platform\":\"intercom\",\"access_token\":\"canary-token\"}",
        )
        .await;
    let id = workspace.json()["id"].as_str().unwrap_or_default().to_owned();
    let channel = host
        .call(
            &format!("POST /api/v1/workspaces/{id}/channels"),
            "{\"plugin\":\"telegram\",\"name\":\"\",\"fields\":{\"bot_token\":\"canary-bot\"}}",
        )
        .await;
    assert_eq!(channel.status, 201, "{}", channel.body);
    let json = channel.json();
    // A channel without a name goes by the provider's; the status is the product's word.
    assert_eq!(json["name"], "@shop_bot");
    assert_eq!(json["status"], "pending verification");
    assert_eq!(json["secrets"], serde_json::json!(["bot_token"]));
    let id = json["id"].as_str().unwrap_or_default();
    for line in [
        "GET /api/v1/workspaces".to_owned(),
        "GET /api/v1/plugins".to_owned(),
        format!("GET /api/v1/channels/{id}"),
        format!("POST /api/v1/channels/{id}/check"),
        format!("GET /api/v1/messages?channel={id}"),
        "GET /metrics".to_owned(),
        "GET /readyz".to_owned(),
    ] {
        let reply = host.call(&line, "").await;
        for canary in ["canary-", TOKEN] {
            assert!(!reply.body.contains(canary), "{line}: {}", reply.body);
        }
    }
    assert!(!channel.body.contains("canary-") && !workspace.body.contains("token\":\"canary"));
}

//! The OpenAPI document is true: every route is in it and nothing else, and answers are what it says.

use std::collections::BTreeSet;

use axum::routing::MethodFilter;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::stand_in::{Reply, TOKEN, start};

#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let host = start(Some(TOKEN)).await;
    let document = host.ask("GET /api/v1/openapi.json", "", "").await.json();
    let mut told = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            told.insert((method.clone(), path.clone()));
        }
    }
    let word = |method: MethodFilter| {
        [
            (MethodFilter::GET, "get"),
            (MethodFilter::POST, "post"),
            (MethodFilter::PATCH, "patch"),
            (MethodFilter::DELETE, "delete"),
        ]
        .into_iter()
        .find(|(known, _)| *known == method)
        .map(|(_, word)| word.to_owned())
        .unwrap()
    };
    let served: BTreeSet<_> = crate::api::routes()
        .into_iter()
        .map(|route| (word(route.method), format!("/api/v1{}", route.path)))
        .collect();
    assert_eq!(told, served);
    assert!(document["components"]["securitySchemes"]["key"].is_object());
}

struct Contract(Value);

impl Contract {
    /// The answer fits what the document says of this call and status.
    fn check(&self, call: &str, path: &str, reply: &Reply) {
        let response = &self.0["paths"][path][call]["responses"][reply.status.to_string()];
        assert!(
            response.is_object(),
            "{call} {path} does not tell of {}: {}",
            reply.status,
            reply.body
        );
        let schema = &response["content"]["application/json"]["schema"];
        if schema.is_null() {
            assert_eq!(reply.body, "", "{call} {path}");
            return;
        }
        let whole = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator: Validator = jsonschema::validator_for(&whole).unwrap();
        let body = reply.json();
        let problems: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(
            problems.is_empty(),
            "{call} {path} {}: {problems:?} in {body}",
            reply.status
        );
    }
}

#[tokio::test]
async fn answers_about_workspaces_fit_the_document() {
    let host = start(Some(TOKEN)).await;
    let contract = Contract(host.ask("GET /api/v1/openapi.json", "", "").await.json());
    let token = "{\"platform\":\"intercom\",\"access_token\":\"one\"}";
    let workspace = host.call("POST /api/v1/workspaces", token).await;
    contract.check("post", "/api/v1/workspaces", &workspace);
    let workspace = workspace.json()["id"].as_str().unwrap().to_owned();
    let wrong = host
        .call("POST /api/v1/workspaces", &token.replace("one", "wrong"))
        .await;
    contract.check("post", "/api/v1/workspaces", &wrong);
    contract.check(
        "get",
        "/api/v1/workspaces",
        &host.call("GET /api/v1/workspaces", "").await,
    );
    let one = format!("/api/v1/workspaces/{workspace}");
    contract.check(
        "get",
        "/api/v1/workspaces/{id}",
        &host.call(&format!("GET {one}"), "").await,
    );
    let settings = "{\"settings\":{\"default_operator\":\"814860\",\"parts_max\":400}}";
    let edited = host.call(&format!("PATCH {one}"), settings).await;
    contract.check("patch", "/api/v1/workspaces/{id}", &edited);
    assert_eq!(edited.json()["settings"]["default_operator"], "814860");
    let edited = host
        .call(&format!("PATCH {one}"), "{\"settings\":{\"default_operator\":null}}")
        .await;
    assert_eq!(
        (
            &edited.json()["settings"]["default_operator"],
            &edited.json()["settings"]["parts_max"]
        ),
        (&Value::Null, &json!(400))
    );
    let refused = host
        .call(&format!("PATCH {one}"), "{\"settings\":{\"parts_max\":501}}")
        .await;
    contract.check("patch", "/api/v1/workspaces/{id}", &refused);

    let checked = host.call(&format!("POST {one}/check"), "").await;
    contract.check("post", "/api/v1/workspaces/{id}/check", &checked);
    contract.check(
        "delete",
        "/api/v1/workspaces/{id}",
        &host.call(&format!("DELETE {one}"), "").await,
    );
    contract.check(
        "get",
        "/api/v1/workspaces/{id}",
        &host.call(&format!("GET {one}"), "").await,
    );
}

#[tokio::test]
async fn answers_about_channels_messages_and_plugins_fit_the_document() {
    let host = start(Some(TOKEN)).await;
    let contract = Contract(host.ask("GET /api/v1/openapi.json", "", "").await.json());
    let token = "{\"platform\":\"intercom\",\"access_token\":\"one\"}";
    let workspace = host.call("POST /api/v1/workspaces", token).await;
    let one = format!("/api/v1/workspaces/{}", workspace.json()["id"].as_str().unwrap());
    let draft = "{\"plugin\":\"telegram\",\"name\":\"Support bot\",\"fields\":{\"bot_token\":\"t\"}}";
    let channels = format!("{one}/channels");
    let channel = host.call(&format!("POST {channels}"), draft).await;
    contract.check("post", "/api/v1/workspaces/{id}/channels", &channel);
    let taken = host.call(&format!("POST {channels}"), draft).await;
    assert_eq!(taken.status, 409);
    contract.check("post", "/api/v1/workspaces/{id}/channels", &taken);
    contract.check(
        "get",
        "/api/v1/workspaces/{id}/channels",
        &host.call(&format!("GET {channels}"), "").await,
    );
    let channel = format!("/api/v1/channels/{}", channel.json()["id"].as_str().unwrap());
    contract.check(
        "get",
        "/api/v1/channels/{id}",
        &host.call(&format!("GET {channel}"), "").await,
    );
    let edited = host
        .call(
            &format!("PATCH {channel}"),
            "{\"name\":\"Shop\",\"settings\":{\"groups\":\"group\"}}",
        )
        .await;
    contract.check("patch", "/api/v1/channels/{id}", &edited);
    assert_eq!(
        (&edited.json()["name"], &edited.json()["settings"]["groups"]),
        (&json!("Shop"), &json!("group"))
    );
    let checked = host.call(&format!("POST {channel}/check"), "").await;
    contract.check("post", "/api/v1/channels/{id}/check", &checked);
    assert_eq!(checked.json()["status"], "connected");
    contract.check(
        "get",
        "/api/v1/channels/{id}/templates",
        &host.call(&format!("GET {channel}/templates"), "").await,
    );
    contract.check(
        "get",
        "/api/v1/messages",
        &host.call("GET /api/v1/messages?state=dead", "").await,
    );
    let none = host.call("GET /api/v1/messages/msg_0000000000009_1", "").await;
    contract.check("get", "/api/v1/messages/{id}", &none);
    let replay = host.call("POST /api/v1/messages/msg_0000000000009_1/replay", "").await;
    contract.check("post", "/api/v1/messages/{id}/replay", &replay);
    let none = host.call("GET /api/v1/receipts/rcp_0000000000009", "").await;
    contract.check("get", "/api/v1/receipts/{id}", &none);
    contract.check("get", "/api/v1/plugins", &host.call("GET /api/v1/plugins", "").await);
    contract.check(
        "delete",
        "/api/v1/channels/{id}",
        &host.call(&format!("DELETE {channel}"), "").await,
    );
    assert_eq!(host.call(&format!("GET {channel}"), "").await.status, 404);
}

/// The document's calls with ids that name nothing, as a line for the client.
fn calls(document: &Value) -> Vec<(String, String, String, bool)> {
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let line = format!("{} {}", method.to_uppercase(), path.replace("{id}", "nothing"));
            calls.push((method.clone(), path.clone(), line, call["requestBody"].is_object()));
        }
    }
    assert_eq!(calls.len(), crate::api::routes().len());
    calls
}

#[tokio::test]
async fn what_the_gate_answers_is_told_of_every_call() {
    let host = start(Some(TOKEN)).await;
    let closed = start(None).await;
    let document = host.ask("GET /api/v1/openapi.json", "", "").await.json();
    let contract = Contract(document.clone());
    let key = format!("authorization: Bearer {TOKEN}\r\n");
    let large = "x".repeat(crate::limits::API_BYTES_MAX + 1);
    for (method, path, line, takes_body) in calls(&document) {
        let check = |reply: &Reply, status: u16| {
            assert_eq!(reply.status, status, "{line}: {}", reply.body);
            contract.check(&method, &path, reply);
        };
        check(&host.ask(&line, "", "").await, 401);
        check(&closed.ask(&line, "", "").await, 503);
        check(&host.ask(&line, &key, &large).await, 413);
        if takes_body {
            let json = format!("{key}content-type: application/json\r\n");
            check(&host.ask(&line, &json, "{").await, 400);
            check(&host.ask(&line, &json, "[7]").await, 422);
            let text = format!("{key}content-type: text/plain\r\n");
            check(&host.ask(&line, &text, "{}").await, 415);
        }
        if method == "post" {
            let repeated = format!("{key}idempotency-key: {}\r\n", "k".repeat(256));
            check(&host.ask(&line, &repeated, "").await, 400);
        }
        for status in ["408", "500"] {
            assert!(
                document["paths"][&path][&method]["responses"][status].is_object(),
                "{line} {status}"
            );
        }
    }
}

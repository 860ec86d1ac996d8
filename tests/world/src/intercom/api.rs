//! The way of a call through Intercom's API: token, version, contract, route, rate headers.

use http::Method;
use serde_json::{Value, json};

use super::threads::Told;
use super::{CallSeen, Intercom, Region, WorkspaceState, people, threads};
use crate::scene::{lock, random_hex};
use crate::wire::{Call, Reply};

/// Calls in ten seconds.
const RATE_LIMIT: u32 = 1667;
/// Bytes of one request: 25 MB of files and their base64.
const REQUEST_MAX: usize = 36 << 20;

/// A call of a workspace that is known by its token.
pub(super) struct Asked {
    pub call: Call,
    pub body: Value,
    pub now_ms: i64,
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
    let request = format!("b2c1f0a4-0000-4000-8000-{}", random_hex(12));
    Reply::json(
        status,
        &json!({"type": "error.list", "request_id": request, "errors": [{"code": code, "message": message, "field": null}]}),
    )
}

pub(super) fn operation(call: &Call) -> &'static str {
    let pieces = call.pieces();
    let names: Vec<&str> = pieces.iter().map(String::as_str).collect();
    match (call.method.as_str(), names.as_slice()) {
        (_, ["me"]) => "me",
        (_, ["admins" | "teams", ..]) => "admins",
        (_, ["contacts", "search"]) => "search",
        (_, ["contacts", ..]) => "contact",
        (_, ["data_attributes", ..] | ["conversations", "attributes", ..]) => "attributes",
        ("POST", ["conversations"]) => "create",
        (_, ["conversations"] | ["conversations", "search" | "deleted"]) => "conversations",
        (_, ["conversations", _, "reply"]) => "reply",
        (_, ["conversations", _, "parts"]) => "parts",
        (_, ["tags", ..] | ["conversations", _, "tags", ..]) => "tags",
        (_, ["conversations", ..]) => "conversation",
        (_, ["messages"]) => "messages",
        _ => "other",
    }
}

pub(super) async fn answer(intercom: &Intercom, region: Region, call: Call) -> Reply {
    let operation = operation(&call);
    let seen = CallSeen {
        operation: operation.to_owned(),
        method: call.method.to_string(),
        path: call.path.clone(),
        body: call.json().unwrap_or(Value::Null),
        status: 0,
    };
    let reply = admit(intercom, region, call, operation).await;
    let mut state = lock(&intercom.0.state);
    state.calls.push(CallSeen {
        status: reply.status,
        ..seen
    });
    drop(state);
    intercom.0.scene.ring();
    let reset = intercom.0.scene.now() / 10 * 10 + 10;
    reply
        .with("x-ratelimit-limit", RATE_LIMIT.to_string())
        .with("x-ratelimit-remaining", (RATE_LIMIT - 1).to_string())
        .with("x-ratelimit-reset", reset.to_string())
}

/// Token, version, types: what every call must have.
async fn admit(intercom: &Intercom, region: Region, call: Call, operation: &'static str) -> Reply {
    let token = call
        .header("authorization")
        .strip_prefix("Bearer ")
        .unwrap_or("")
        .to_owned();
    let workspace = {
        let state = lock(&intercom.0.state);
        state
            .workspaces
            .values()
            .find(|known| known.token == token)
            .map(|known| (known.id.clone(), known.region))
    };
    let workspace = match workspace {
        Some((id, home)) if home == region => id,
        Some(_) => return error(401, "token_unauthorized", "Not authorized to access resource"),
        None => return error(401, "unauthorized", "Access Token Invalid"),
    };
    const VERSIONS: [&str; 17] = [
        "1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.11", "2.12", "2.13", "2.14",
        "2.15", "2.16",
    ];
    let version = call.header("intercom-version");
    if !version.is_empty() && version != "Unstable" && !VERSIONS.contains(&version) {
        return error(
            400,
            "intercom_version_invalid",
            "The requested version could not be found",
        );
    }
    let accept = call.header("accept");
    if !accept.is_empty() && !accept.contains("json") && !accept.contains("*/*") {
        return error(
            406,
            "media_type_not_acceptable",
            "The Accept header should send a media type of application/json",
        );
    }
    if call.body.len() > REQUEST_MAX {
        return error(413, "parameter_invalid", "Request Entity Too Large");
    }
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        if !call.header("content-type").starts_with("application/json") {
            intercom
                .0
                .scene
                .violation("intercom", operation, "a body must be application/json");
        }
        match call.json() {
            Ok(body) => body,
            Err(problem) => return error(400, "bad_request", &problem),
        }
    };
    let asked = Asked {
        call,
        body,
        now_ms: intercom.0.scene.now_ms(),
    };
    check(intercom, &asked);
    let (reply, told) = intercom
        .with_workspace(&workspace, |state| route(state, &asked))
        .unwrap_or_default();
    if let Some((topic, item)) = told {
        intercom.echo(&workspace, topic, item).await;
    }
    reply
}

/// The path as the contract writes it.
fn template(names: &[&str]) -> String {
    let written: Vec<&str> = match names {
        ["contacts", "search" | "merge"] | ["conversations", "search" | "redact" | "attributes"] => names.to_vec(),
        ["contacts", _, rest @ ..] => ["contacts", "{contact_id}"].iter().chain(rest).copied().collect(),
        ["conversations", _, rest @ ..] => ["conversations", "{conversation_id}"]
            .iter()
            .chain(rest)
            .copied()
            .collect(),
        other => other.to_vec(),
    };
    format!("/{}", written.join("/"))
}

fn check(intercom: &Intercom, asked: &Asked) {
    if !matches!(asked.call.method, Method::POST | Method::PUT) {
        return;
    }
    let pieces = asked.call.pieces();
    let names: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let path = template(&names);
    let method = asked.call.method.as_str().to_lowercase();
    for problem in intercom.0.scene.contracts().intercom(&method, &path, &asked.body) {
        intercom
            .0
            .scene
            .violation("intercom", &format!("{} {path}", asked.call.method), problem);
    }
}

fn route(state: &mut WorkspaceState, asked: &Asked) -> (Reply, Told) {
    let pieces = asked.call.pieces();
    let names: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let names = names.as_slice();
    let quiet = |reply: Reply| (reply, None);
    match (asked.call.method.as_str(), names) {
        ("POST", ["conversations"]) => threads::create(state, asked),
        ("POST", ["conversations", id, "reply"]) => threads::reply(state, id, asked),
        ("POST", ["conversations", id, "parts"]) => threads::act(state, id, asked),
        ("POST", ["messages"]) => threads::message(state, asked),
        ("GET", ["me"]) => quiet(me(state)),
        ("GET", ["admins", rest @ ..]) => quiet(admins(state, rest.first().copied())),
        ("GET", ["teams"]) => quiet(Reply::json(200, &json!({"type": "team.list", "teams": []}))),
        ("POST", ["contacts"]) => quiet(people::create(state, asked)),
        ("POST", ["contacts", "search"]) => quiet(people::search(state, asked)),
        ("POST", ["contacts", "merge"]) => quiet(people::merge_call(state, asked)),
        ("GET", ["contacts", "find_by_external_id", external]) => quiet(people::by_external_id(state, external)),
        ("GET", ["contacts", id]) => quiet(people::get(state, id)),
        ("PUT", ["contacts", id]) => quiet(people::update(state, id, asked)),
        ("POST", ["contacts", id, "archive"]) => quiet(people::archive(state, id, true)),
        ("POST", ["contacts", id, "unarchive"]) => quiet(people::archive(state, id, false)),
        (method, ["data_attributes", rest @ ..]) => {
            quiet(people::attributes(state, method, rest.first().copied(), asked))
        }
        ("GET", ["conversations", "attributes"]) => {
            let list = json!({"type": "list", "data": state.conversation_attributes});
            quiet(Reply::json(200, &list))
        }
        ("POST", ["conversations", "attributes"]) => {
            quiet(people::define(&mut state.conversation_attributes, &asked.body, ""))
        }
        ("POST", ["conversations", "search"]) | ("GET", ["conversations"]) => quiet(threads::search(state, asked)),
        ("POST", ["conversations", "redact"]) => quiet(threads::redact(state, asked)),
        ("GET", ["conversations", "deleted"]) => quiet(deleted(state)),
        (_, ["tags", ..] | ["conversations", _, "tags", ..]) => quiet(threads::tags(state, names, asked)),
        ("GET", ["conversations", id]) => quiet(threads::get(state, id, asked)),
        ("PUT", ["conversations", id]) => quiet(threads::update(state, id, asked)),
        ("DELETE", ["conversations", id]) => {
            let gone = state
                .conversations
                .get_mut(*id)
                .map(|known| known.deleted = true)
                .is_some();
            let body = json!({"id": id, "object": "conversation", "deleted": true});
            quiet(if gone {
                Reply::json(200, &body)
            } else {
                error(404, "conversation_not_found", "Conversation not found")
            })
        }
        ("POST", ["auth", "uninstall"]) => {
            state.token = format!("uninstalled-{}", random_hex(12));
            quiet(Reply::empty(200))
        }
        _ => quiet(error(404, "not_found", "The requested resource was not found")),
    }
}

fn deleted(state: &WorkspaceState) -> Reply {
    let ids: Vec<Value> = state
        .conversations
        .values()
        .filter(|known| known.deleted)
        .map(|known| json!({"id": known.id}))
        .collect();
    Reply::json(
        200,
        &json!({"type": "conversation.list", "conversations": ids, "total_count": ids.len()}),
    )
}

fn me(state: &WorkspaceState) -> Reply {
    let Some(admin) = state.admins.first() else {
        return error(404, "admin_not_found", "Admin not found");
    };
    Reply::json(
        200,
        &json!({"type": "admin", "id": admin.id, "name": admin.name, "email": admin.email, "email_verified": true,
            "has_inbox_seat": admin.has_inbox_seat, "app": {"type": "app", "id_code": state.id, "name": state.name,
            "created_at": 1_609_459_200, "timezone": "Europe/Dublin", "region": state.region.name(), "identity_verification": false}}),
    )
}

fn admins(state: &WorkspaceState, id: Option<&str>) -> Reply {
    let shown = |admin: &super::Admin| {
        json!({"type": "admin", "id": admin.id, "name": admin.name, "email": admin.email, "job_title": null, "away_mode_enabled": false,
            "away_mode_reassign": false, "has_inbox_seat": admin.has_inbox_seat, "team_ids": []})
    };
    match id {
        None => {
            let list: Vec<Value> = state.admins.iter().map(shown).collect();
            Reply::json(200, &json!({"type": "admin.list", "admins": list}))
        }
        Some(id) => match state.admins.iter().find(|admin| admin.id == id) {
            Some(admin) => Reply::json(200, &shown(admin)),
            None => error(404, "admin_not_found", "Admin not found"),
        },
    }
}

//! What the Graph API does with a call.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::media::{look_up, upload};
use super::send::messages;
use super::{CallSeen, NumberState, WhatsApp};
use crate::scene::{lock, random_hex};
use crate::signature;
use crate::wire::{Call, Reply};

/// Meta takes no longer address.
const OVERRIDE_URL_MAX: usize = 200;

pub(super) fn title(code: i64) -> &'static str {
    match code {
        100 => "Invalid parameter",
        190 => "Invalid OAuth access token",
        130_429 => "Rate limit hit",
        131_000 => "Something went wrong",
        131_026 => "Message undeliverable",
        131_047 => "Re-engagement message",
        131_051 => "Message type unknown",
        131_053 => "Media upload error",
        131_056 => "(Business Account, Consumer Account) pair rate limit hit",
        132_001 => "Template name does not exist in the translation",
        133_010 => "Phone number not registered",
        _ => "An error occurred",
    }
}

pub(super) fn error(status: u16, code: i64, details: &str) -> Reply {
    let body = json!({"error": {"message": format!("(#{code}) {}", title(code)), "type": "OAuthException", "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details}, "fbtrace_id": random_hex(20)}});
    Reply::json(status, &body)
}

pub(super) fn operation(call: &Call) -> String {
    let pieces = call.pieces();
    let last = pieces.last().map_or("", String::as_str);
    match last {
        "messages" | "media" => last,
        "message_templates" => "templates",
        "subscribed_apps" => "subscribe",
        _ if call.method == Method::DELETE => "media",
        _ if call.method == Method::GET && call.parameter("fields").is_none() && last.starts_with('1') => "media",
        _ => "number",
    }
    .to_owned()
}

pub(super) async fn answer(whatsapp: &WhatsApp, call: Call) -> Reply {
    let operation = operation(&call);
    let reply = route(whatsapp, &call, &operation)
        .await
        .with("facebook-api-version", "v26.0");
    lock(&whatsapp.0.state).calls.push(CallSeen {
        operation,
        method: call.method.to_string(),
        path: call.path.clone(),
        body: call.json().unwrap_or(Value::Null),
        status: reply.status,
    });
    whatsapp.0.scene.ring();
    reply
}

async fn route(whatsapp: &WhatsApp, call: &Call, operation: &str) -> Reply {
    let pieces = call.pieces();
    let version = pieces.first().map_or("", String::as_str);
    let version_is_good = version
        .strip_prefix('v')
        .is_some_and(|number| number.parse::<f32>().is_ok_and(|number| number >= 20.0));
    if !version_is_good {
        whatsapp.0.scene.violation(
            "whatsapp",
            operation,
            format!("`{}` has no supported version", call.path),
        );
        return error(400, 2500, "Unknown path components");
    }
    let node = pieces.get(1).map_or("", String::as_str);
    let edge = pieces.get(2).map_or("", String::as_str);
    let bearer = call
        .header("authorization")
        .strip_prefix("Bearer ")
        .unwrap_or("")
        .to_owned();
    let Some(owner) = owner(whatsapp, node, &bearer) else {
        return if bearer.is_empty() || !knows_token(whatsapp, &bearer) {
            error(
                401,
                190,
                "The access token could not be decrypted or is no longer valid",
            )
        } else {
            error(
                400,
                100,
                "Object does not exist, cannot be loaded due to missing permissions",
            )
        };
    };
    if let Some(proof) = call.parameter("appsecret_proof") {
        let secret = whatsapp
            .with_number(&owner, |number| number.setup.app_secret.clone())
            .unwrap_or_default();
        if proof != signature::meta_proof(&secret, &bearer) {
            return error(400, 100, "Invalid appsecret_proof provided in the API argument");
        }
    }
    edge_of(whatsapp, &owner, (node, edge), call, operation).await
}

async fn edge_of(whatsapp: &WhatsApp, owner: &str, (node, edge): (&str, &str), call: &Call, operation: &str) -> Reply {
    match (call.method.as_str(), edge) {
        ("POST", "messages") => messages(whatsapp, owner, call).await,
        ("POST", "media") => upload(whatsapp, owner, call),
        ("GET", "message_templates") => templates(whatsapp, owner, call),
        (_, "subscribed_apps") => subscribed_apps(whatsapp, owner, call).await,
        ("POST", "") if node == owner => configure(whatsapp, owner, call).await,
        ("GET", "") if node == "debug_token" => whatsapp
            .with_number(owner, |number| debug_token(number))
            .unwrap_or_default(),
        ("GET", "phone_numbers") => {
            let state = lock(&whatsapp.0.state);
            let of_account = state
                .numbers
                .values()
                .filter(|number| number.setup.business_account_id == node);
            Reply::json(200, &json!({"data": of_account.map(describe).collect::<Vec<_>>()}))
        }
        ("GET", "") if node == owner => Reply::json(
            200,
            &whatsapp
                .with_number(owner, |number| describe(number))
                .unwrap_or_default(),
        ),
        ("GET", "") => look_up(whatsapp, owner, node, call),
        ("DELETE", "") => {
            let gone = whatsapp
                .with_number(owner, |number| number.media.remove(node).is_some())
                .unwrap_or_default();
            if gone {
                Reply::json(200, &json!({"success": true}))
            } else {
                error(400, 100, "Unsupported delete request")
            }
        }
        _ => {
            whatsapp.0.scene.violation(
                "whatsapp",
                operation,
                format!("{} {} is not an edge", call.method, call.path),
            );
            error(400, 2500, "Unknown path components")
        }
    }
}

pub(super) fn knows_token(whatsapp: &WhatsApp, bearer: &str) -> bool {
    lock(&whatsapp.0.state)
        .numbers
        .values()
        .any(|number| number.setup.access_token == bearer)
}

/// The number whose token may see the node: a number, its account, or a file of it.
fn owner(whatsapp: &WhatsApp, node: &str, bearer: &str) -> Option<String> {
    let state = lock(&whatsapp.0.state);
    let sees = |number: &&NumberState| {
        let known = number.setup.phone_number_id == node
            || number.setup.business_account_id == node
            || number.media.contains_key(node)
            || node == "debug_token";
        number.setup.access_token == bearer && known
    };
    state
        .numbers
        .values()
        .find(sees)
        .map(|number| number.setup.phone_number_id.clone())
}

fn describe(number: &NumberState) -> Value {
    let setup = &number.setup;
    json!({"id": setup.phone_number_id, "display_phone_number": format!("+{}", setup.display_phone_number),
        "verified_name": setup.verified_name, "status": number.status, "quality_rating": "GREEN", "platform_type": "CLOUD_API",
        "code_verification_status": "VERIFIED", "name_status": "APPROVED", "throughput": {"level": "STANDARD"},
        "webhook_configuration": {"phone_number": number.number_hook.as_ref().map(|(url, _)| url),
            "whatsapp_business_account": number.account_hook.as_ref().map(|(url, _)| url),
            "application": number.app_hook.as_ref().map(|(url, _)| url)},
        "health_status": {"can_send_message": if number.status == "CONNECTED" { "AVAILABLE" } else { "BLOCKED" },
            "entities": [{"entity_type": "PHONE_NUMBER", "id": setup.phone_number_id, "can_send_message": "AVAILABLE"}]}})
}

fn debug_token(number: &NumberState) -> Reply {
    Reply::json(
        200,
        &json!({"data": {"is_valid": true, "app_id": number.setup.app_id, "type": "SYSTEM_USER", "expires_at": 0,
            "data_access_expires_at": 0, "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"]}}),
    )
}

impl WhatsApp {
    /// Asks the address to repeat a challenge, as Meta does before it takes a webhook.
    pub(super) async fn handshake(&self, url: &str, verify_token: &str) -> Result<(), String> {
        let challenge = (1_000_000 + self.0.scene.next_id() * 7919).to_string();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", &challenge)
            .append_pair("hub.verify_token", verify_token)
            .finish();
        let joint = if url.contains('?') { '&' } else { '?' };
        let answer = self
            .0
            .scene
            .client()
            .call(Method::GET, &format!("{url}{joint}{query}"), &[], Bytes::new())
            .await;
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 && answer.text() == challenge {
            return Ok(());
        }
        Err(format!(
            "answered {} with `{}` instead of the challenge alone",
            answer.status,
            answer.text()
        ))
    }
}

fn hook_of(body: &Value) -> Option<(String, String)> {
    let url = body["override_callback_uri"].as_str().filter(|url| !url.is_empty())?;
    Some((url.to_owned(), body["verify_token"].as_str().unwrap_or("").to_owned()))
}

async fn subscribed_apps(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
    let hook = hook_of(&call.json().unwrap_or_default());
    if call.method == Method::GET {
        let listed = whatsapp.with_number(owner, |number| {
            if !number.subscribed {
                return json!([]);
            }
            let mut entry = json!({"whatsapp_business_api_data": {"id": number.setup.app_id, "name": "Mantle", "link": "https://bridge.test/"}});
            if let Some((url, _)) = &number.account_hook {
                entry["override_callback_uri"] = json!(url);
            }
            json!([entry])
        });
        return Reply::json(200, &json!({"data": listed}));
    }
    if call.method == Method::DELETE {
        whatsapp.with_number(owner, |number| {
            number.subscribed = false;
            number.account_hook = None;
        });
        return Reply::json(200, &json!({"success": true}));
    }
    if let Some((url, token)) = &hook
        && let Some(refused) = try_hook(whatsapp, url, token).await
    {
        return refused;
    }
    whatsapp.with_number(owner, |number| {
        number.subscribed = true;
        number.account_hook = hook;
    });
    Reply::json(200, &json!({"success": true}))
}

async fn try_hook(whatsapp: &WhatsApp, url: &str, token: &str) -> Option<Reply> {
    if url.len() > OVERRIDE_URL_MAX || !url.starts_with("https://") {
        return Some(error(
            400,
            100,
            "override_callback_uri must be an https address of at most 200 characters",
        ));
    }
    let problem = whatsapp.handshake(url, token).await.err()?;
    Some(error(400, 2200, &format!("Callback verification failed: {problem}")))
}

async fn configure(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
    let body = match call.json() {
        Ok(body) => body,
        Err(problem) => return error(400, 100, &problem),
    };
    let Some(configuration) = body.get("webhook_configuration") else {
        return error(400, 100, "nothing that can be changed was given");
    };
    let hook = hook_of(configuration);
    if let Some((url, token)) = &hook
        && let Some(refused) = try_hook(whatsapp, url, token).await
    {
        return refused;
    }
    whatsapp.with_number(owner, |number| number.number_hook = hook);
    Reply::json(200, &json!({"success": true}))
}

fn templates(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
    let limit = call
        .parameter("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(25);
    let after: usize = call
        .parameter("after")
        .and_then(|cursor| cursor.trim_start_matches('c').parse().ok())
        .unwrap_or(0);
    let fits = |template: &&Value| {
        ["status", "name", "language"].iter().all(|name| {
            call.parameter(name)
                .is_none_or(|wanted| template[*name] == wanted.as_str())
        })
    };
    let all: Vec<Value> = whatsapp
        .with_number(owner, |number| number.templates.iter().filter(fits).cloned().collect())
        .unwrap_or_default();
    let page: Vec<Value> = all.iter().skip(after).take(limit).cloned().collect();
    let mut body = json!({"data": page, "paging": {"cursors": {"before": format!("c{after}"), "after": format!("c{}", after + page.len())}}});
    if after + page.len() < all.len() {
        body["paging"]["next"] = json!("https://graph.facebook.com/next");
    }
    Reply::json(200, &body)
}

//! What the Graph API does with a call.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CallSeen, NumberState, Sent, WhatsApp, wamid};
use crate::multipart::{self, File};
use crate::scene::{lock, random_hex};
use crate::signature;
use crate::wire::{Call, Reply};

/// Characters.
const TEXT_MAX: usize = 4096;
const CAPTION_MAX: usize = 1024;
const OPAQUE_MAX: usize = 512;
const OVERRIDE_URL_MAX: usize = 200;
/// How long after a customer's last message anything but a template may be sent.
const WINDOW_MS: i64 = 24 * 3600 * 1000;
/// How long the address of a file is good.
const TICKET_MS: i64 = 5 * 60 * 1000;

/// Kind, accepted types (empty: any), and size limit in bytes.
const MEDIA: [(&str, &[&str], usize); 5] = [
    ("image", &["image/jpeg", "image/png"], 5 << 20),
    ("video", &["video/mp4", "video/3gpp"], 16 << 20),
    (
        "audio",
        &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"],
        16 << 20,
    ),
    ("document", &[], 100 << 20),
    ("sticker", &["image/webp"], 500 << 10),
];

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
    match (call.method.as_str(), edge) {
        ("POST", "messages") => messages(whatsapp, &owner, call).await,
        ("POST", "media") => upload(whatsapp, &owner, call),
        ("GET", "message_templates") => templates(whatsapp, &owner, call),
        (_, "subscribed_apps") => subscribed_apps(whatsapp, &owner, call).await,
        ("POST", "") if node == owner => configure(whatsapp, &owner, call).await,
        ("GET", "") if node == "debug_token" => whatsapp
            .with_number(&owner, |number| debug_token(number))
            .unwrap_or_default(),
        ("GET", "phone_numbers") => {
            let list = whatsapp
                .with_number(&owner, |number| describe(number))
                .unwrap_or_default();
            Reply::json(200, &json!({"data": [list]}))
        }
        ("GET", "") if node == owner => Reply::json(
            200,
            &whatsapp
                .with_number(&owner, |number| describe(number))
                .unwrap_or_default(),
        ),
        ("GET", "") => media(whatsapp, &owner, node, call),
        ("DELETE", "") => {
            let gone = whatsapp
                .with_number(&owner, |number| number.media.remove(node).is_some())
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

fn knows_token(whatsapp: &WhatsApp, bearer: &str) -> bool {
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

fn upload(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
    let fields = match multipart::read(call.header("content-type"), &call.body) {
        Ok(fields) => fields,
        Err(problem) => {
            whatsapp.0.scene.violation("whatsapp", "media", &problem);
            return error(400, 100, &problem);
        }
    };
    let text = |name: &str| {
        fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| String::from_utf8_lossy(&field.bytes).into_owned())
    };
    if text("messaging_product").as_deref() != Some("whatsapp") {
        return error(400, 100, "The parameter messaging_product is required.");
    }
    let Some(file) = fields.iter().find(|field| field.file_name.is_some()) else {
        return error(400, 100, "The parameter file is required.");
    };
    let kind = text("type").unwrap_or_else(|| file.content_type.clone());
    let base = kind.split(';').next().unwrap_or("").trim().to_owned();
    if file.content_type.split(';').next().unwrap_or("").trim() != base {
        let problem = format!("`type` says {base}, the part says {}", file.content_type);
        whatsapp.0.scene.violation("whatsapp", "media", problem);
    }
    let too_large = MEDIA
        .iter()
        .filter(|(_, types, _)| types.contains(&base.as_str()))
        .map(|(_, _, limit)| *limit)
        .max();
    if file.bytes.is_empty() || file.bytes.len() > too_large.unwrap_or(100 << 20) {
        return error(400, 131_053, "Media file size too big or empty");
    }
    let file = File::new(file.file_name.as_deref().unwrap_or(""), &kind, file.bytes.clone());
    let id = whatsapp
        .with_number(owner, |number| number.keep(file))
        .unwrap_or_default();
    Reply::json(200, &json!({"id": id}))
}

fn media(whatsapp: &WhatsApp, owner: &str, id: &str, call: &Call) -> Reply {
    if call.parameter("phone_number_id").is_some_and(|number| number != owner) {
        return error(400, 100, "The media belongs to another number");
    }
    let now = whatsapp.0.scene.now_ms();
    let ticket = random_hex(16);
    let found = whatsapp.with_number(owner, |number| {
        let media = number.media.get_mut(id)?;
        media.tickets.push((ticket.clone(), now + TICKET_MS));
        Some(media.file.clone())
    });
    let Some(file) = found.flatten() else {
        return error(400, 100, "Unsupported get request");
    };
    Reply::json(
        200,
        &json!({"messaging_product": "whatsapp", "id": id, "mime_type": file.content_type, "file_size": file.bytes.len(),
            "sha256": hex::encode(Sha256::digest(&file.bytes)),
            "url": format!("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={id}&ext={ticket}")}),
    )
}

/// `https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=…&ext=…`
pub(super) fn download(whatsapp: &WhatsApp, call: &Call) -> Reply {
    let bearer = call.header("authorization").strip_prefix("Bearer ").unwrap_or("");
    if !knows_token(whatsapp, bearer) {
        return Reply::empty(401);
    }
    let (id, ticket) = (
        call.parameter("mid").unwrap_or_default(),
        call.parameter("ext").unwrap_or_default(),
    );
    let now = whatsapp.0.scene.now_ms();
    let state = lock(&whatsapp.0.state);
    let media = state
        .numbers
        .values()
        .filter(|number| number.setup.access_token == bearer)
        .find_map(|number| number.media.get(&id));
    match media {
        Some(media)
            if media
                .tickets
                .iter()
                .any(|(known, until)| *known == ticket && *until > now) =>
        {
            Reply::typed(200, &media.file.content_type, media.file.bytes.clone())
        }
        _ => Reply::empty(404),
    }
}

async fn messages(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
    let body = match call.json() {
        Ok(body) if call.header("content-type").starts_with("application/json") => body,
        Ok(_) => return error(400, 100, "the content type must be application/json"),
        Err(problem) => return error(400, 100, &problem),
    };
    if body["messaging_product"] != "whatsapp" {
        return error(400, 100, "The parameter messaging_product is required.");
    }
    if body["status"] == "read" {
        let Some(id) = body["message_id"].as_str() else {
            return error(400, 131_009, "message_id is required");
        };
        whatsapp.with_number(owner, |number| number.read.push(id.to_owned()));
        return Reply::json(200, &json!({"success": true}));
    }
    for problem in whatsapp.0.scene.contracts().whatsapp_message(&body) {
        whatsapp.0.scene.violation("whatsapp", "messages", problem);
    }
    let kind = body["type"].as_str().unwrap_or("text").to_owned();
    if let Err((code, details)) = check(&kind, &body) {
        return error(400, code, &details);
    }
    let file = match file_of(whatsapp, owner, &kind, &body).await {
        Ok(file) => file,
        Err((code, details)) => return error(400, code, &details),
    };
    accept(whatsapp, owner, kind, body, file)
}

fn check(kind: &str, body: &Value) -> Result<(), (i64, String)> {
    let too_long = |text: &Value, limit: usize| text.as_str().is_some_and(|text| text.chars().count() > limit);
    if body["to"].as_str().is_none() && body["recipient"].as_str().is_none() {
        return Err((131_008, "The parameter to is required.".to_owned()));
    }
    if kind == "text" {
        let text = body["text"]["body"].as_str().unwrap_or("");
        if text.is_empty() || too_long(&body["text"]["body"], TEXT_MAX) {
            return Err((
                100,
                "Param text['body'] must be between 1 and 4096 characters long.".to_owned(),
            ));
        }
    }
    if too_long(&body[kind]["caption"], CAPTION_MAX) {
        return Err((100, "Param caption must be at most 1024 characters long.".to_owned()));
    }
    if too_long(&body["biz_opaque_callback_data"], OPAQUE_MAX) {
        return Err((
            100,
            "Param biz_opaque_callback_data must be at most 512 characters long.".to_owned(),
        ));
    }
    if kind == "audio" && body["audio"].get("caption").is_some() {
        return Err((100, "Unexpected key \"caption\" on param \"audio\".".to_owned()));
    }
    if kind == "reaction" && body.get("context").is_some() {
        return Err((131_009, "A reaction cannot have a context".to_owned()));
    }
    if MEDIA.iter().any(|(known, ..)| *known == kind)
        && body[kind].get("id").is_some() == body[kind].get("link").is_some()
    {
        return Err((131_009, "Exactly one of id and link is required".to_owned()));
    }
    Ok(())
}

async fn file_of(whatsapp: &WhatsApp, owner: &str, kind: &str, body: &Value) -> Result<Option<File>, (i64, String)> {
    let Some((_, types, limit)) = MEDIA.iter().find(|(known, ..)| *known == kind) else {
        return Ok(None);
    };
    let content = &body[kind];
    let mut file = if let Some(id) = content["id"].as_str() {
        let known = whatsapp.with_number(owner, |number| number.media.get(id).map(|media| media.file.clone()));
        known
            .flatten()
            .ok_or((131_009, format!("Media id {id} does not exist")))?
    } else {
        let link = content["link"].as_str().unwrap_or("");
        let answer = whatsapp
            .0
            .scene
            .client()
            .call(Method::GET, link, &[], Bytes::new())
            .await;
        let answer = answer
            .ok()
            .filter(Reply::is_good)
            .ok_or((131_053, "the link could not be fetched".to_owned()))?;
        File::new("", answer.header("content-type"), answer.body.clone())
    };
    let base = file.content_type.split(';').next().unwrap_or("").trim().to_owned();
    if !types.is_empty() && !types.contains(&base.as_str()) {
        return Err((131_053, format!("{base} is not accepted as {kind}")));
    }
    if file.bytes.len() > *limit {
        return Err((
            131_053,
            format!("{} bytes are more than {kind} may have", file.bytes.len()),
        ));
    }
    if let Some(name) = content["filename"].as_str() {
        name.clone_into(&mut file.name);
    }
    Ok(Some(file))
}

/// Takes the message; what fails, fails later, as a status.
fn accept(whatsapp: &WhatsApp, owner: &str, kind: String, body: Value, file: Option<File>) -> Reply {
    let scene = whatsapp.0.scene.clone();
    let now = scene.now_ms();
    let by_phone = body["to"].as_str().map(|to| to.trim_start_matches('+').to_owned());
    let to = by_phone
        .clone()
        .unwrap_or_else(|| body["recipient"].as_str().unwrap_or("").to_owned());
    let id = wamid();
    let text = body["text"]["body"]
        .as_str()
        .or(body[&kind]["caption"].as_str())
        .unwrap_or("")
        .to_owned();
    let sent = Sent {
        id: id.clone(),
        to: to.clone(),
        kind: kind.clone(),
        text,
        file,
        body: body.clone(),
        at_ms: now,
    };
    let fate = whatsapp.with_number(owner, |number| {
        let open = number.last_inbound.get(&to).is_some_and(|last| now - last < WINDOW_MS);
        let unknown_template = kind == "template"
            && !number.templates.iter().any(|known| {
                known["name"] == body["template"]["name"] && known["language"] == body["template"]["language"]["code"]
            });
        if unknown_template {
            return Err(132_001);
        }
        number.sent.push(sent);
        let failure = number.unreachable.get(&to).copied();
        let closed = (kind != "template" && !open).then_some(131_047);
        Ok((failure.or(closed), number.statuses_by_itself))
    });
    let (failure, statuses) = match fate {
        Some(Ok(fate)) => fate,
        Some(Err(code)) => return error(404, code, "template name does not exist in the translation"),
        None => return error(400, 100, "unknown number"),
    };
    if failure.is_some() || statuses {
        let (number, message) = (whatsapp.number(owner), id.clone());
        scene.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(code) = failure {
                number.status(&message, "failed", Some(code)).await;
            } else {
                number.status(&message, "sent", None).await;
                number.status(&message, "delivered", None).await;
            }
        });
    }
    let contact = by_phone.map_or_else(
        || json!({"input": to, "user_id": to}),
        |digits| json!({"input": body["to"], "wa_id": digits}),
    );
    Reply::json(
        200,
        &json!({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": id}]}),
    )
}

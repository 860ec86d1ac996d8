//! What the Bot API does with a call.

use std::collections::HashMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::send::{delete, edit, send, send_group};
use super::{BotState, CallSeen, DOWNLOAD_BYTES_MAX, Telegram, Webhook};
use crate::multipart::{self, File};
use crate::scene::lock;
use crate::wire::{Call, Reply};

/// Method, parameter with the file, and whether a caption is allowed.
const FILE_METHODS: [(&str, &str); 8] = [
    ("sendPhoto", "photo"),
    ("sendDocument", "document"),
    ("sendVideo", "video"),
    ("sendAudio", "audio"),
    ("sendVoice", "voice"),
    ("sendVideoNote", "video_note"),
    ("sendAnimation", "animation"),
    ("sendSticker", "sticker"),
];

/// A call, read.
pub(super) struct Asked {
    token: String,
    pub(super) method: String,
    pub(super) parameters: Map<String, Value>,
    uploads: HashMap<String, File>,
}

pub(super) type Outcome = Result<Value, (u16, String)>;

pub(super) fn bad(text: &str) -> (u16, String) {
    (400, format!("Bad Request: {text}"))
}

pub(super) async fn answer(telegram: &Telegram, call: Call) -> Reply {
    let pieces = call.pieces();
    if pieces.first().is_some_and(|piece| piece == "file") {
        return download(telegram, &call, &pieces);
    }
    let Some(token) = pieces.first().and_then(|piece| piece.strip_prefix("bot")) else {
        return failed(404, "Not Found");
    };
    let named = pieces.get(1).map_or("", String::as_str);
    let contract = telegram.0.scene.contracts().telegram();
    let method = match contract {
        Some(contract) => contract.method(named).map(str::to_owned),
        None => Some(named.to_owned()),
    };
    let Some(method) = method else {
        return failed(404, "Not Found: method not found");
    };
    let asked = match read(telegram, token, &method, &call) {
        Ok(asked) => asked,
        Err(problem) => {
            telegram.0.scene.violation("telegram", &method, &problem);
            return failed(400, &format!("Bad Request: {problem}"));
        }
    };
    if let Some(contract) = contract {
        let uploads: Vec<String> = asked.uploads.keys().cloned().collect();
        for problem in contract.check(&method, &asked.parameters, &uploads) {
            telegram.0.scene.violation("telegram", &method, problem);
        }
    }
    let outcome = run(telegram, &asked).await;
    let reply = match outcome {
        Ok(result) => Reply::json(200, &json!({"ok": true, "result": result})),
        Err((code, text)) => failed(code, &text),
    };
    lock(&telegram.0.state).calls.push(CallSeen {
        method: asked.method,
        parameters: Value::Object(asked.parameters),
        status: reply.status,
    });
    telegram.0.scene.ring();
    reply
}

fn failed(code: u16, text: &str) -> Reply {
    Reply::json(code, &json!({"ok": false, "error_code": code, "description": text}))
}

/// Parameters may come in the query, as JSON, as a form or as multipart.
fn read(telegram: &Telegram, token: &str, method: &str, call: &Call) -> Result<Asked, String> {
    let mut asked = Asked {
        token: token.to_owned(),
        method: method.to_owned(),
        parameters: Map::new(),
        uploads: HashMap::new(),
    };
    let typed = |name: &str, text: String| {
        let types = telegram
            .0
            .scene
            .contracts()
            .telegram()
            .and_then(|contract| contract.types(method, name));
        from_text(types.as_deref(), text)
    };
    for (name, value) in form_urlencoded::parse(call.query.as_bytes()) {
        asked
            .parameters
            .insert(name.clone().into_owned(), typed(&name, value.into_owned()));
    }
    let kind = call.header("content-type");
    if call.method != Method::GET && call.method != Method::POST {
        return Err("only GET and POST are taken".to_owned());
    }
    if kind.starts_with("application/json") {
        if !call.body.is_empty() {
            let Value::Object(fields) = call.json()? else {
                return Err("the body is not an object".to_owned());
            };
            asked.parameters.extend(fields);
        }
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        for (name, value) in call.form() {
            let value = typed(&name, value);
            asked.parameters.insert(name, value);
        }
    } else if kind.starts_with("multipart/form-data") {
        for field in multipart::read(kind, &call.body)? {
            if let Some(name) = field.file_name {
                asked
                    .uploads
                    .insert(field.name, File::new(&name, &field.content_type, field.bytes));
            } else {
                let text =
                    String::from_utf8(field.bytes.to_vec()).map_err(|_| format!("`{}` is not UTF-8", field.name))?;
                let value = typed(&field.name, text);
                asked.parameters.insert(field.name, value);
            }
        }
    } else if !call.body.is_empty() {
        return Err(format!("a body of type `{kind}` is not understood"));
    }
    Ok(asked)
}

/// A parameter that came as text, as the type that the contract wants.
fn from_text(types: Option<&[&str]>, text: String) -> Value {
    let plain = match types {
        Some(types) => types.contains(&"String") && !types.contains(&"Integer"),
        None => !text.starts_with(['[', '{']) && text != "true" && text != "false" && text.parse::<i64>().is_err(),
    };
    if plain {
        return Value::String(text);
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

async fn run(telegram: &Telegram, asked: &Asked) -> Outcome {
    let known = telegram.with_bot(&asked.token, |bot| bot.revoked);
    if known != Some(false) {
        return Err((401, "Unauthorized".to_owned()));
    }
    let fetched = fetch_file(telegram, asked).await?;
    let scene = telegram.0.scene.clone();
    let (now, now_ms) = (scene.now(), scene.now_ms());
    let done = telegram.with_bot(&asked.token, |bot| match asked.method.as_str() {
        "getMe" => Ok(bot.me()),
        "setWebhook" => set_webhook(bot, asked),
        "deleteWebhook" => {
            bot.webhook = None;
            Ok(json!(true))
        }
        "getWebhookInfo" => Ok(webhook_info(bot)),
        "getFile" => get_file(bot, asked),
        "getChat" => Ok(chat_of(bot, asked)?.clone()),
        "getUserProfilePhotos" => Ok(json!({"total_count": 0, "photos": []})),
        "sendChatAction" => {
            const ACTIONS: [&str; 4] = ["typing", "upload_photo", "upload_document", "record_voice"];
            let known = ACTIONS.contains(&asked.text("action")) || asked.text("action").contains('_');
            chat_of(bot, asked)?;
            if known {
                Ok(json!(true))
            } else {
                Err(bad("wrong parameter action in request"))
            }
        }
        "answerCallbackQuery" | "readBusinessMessage" | "logOut" | "close" => Ok(json!(true)),
        "setMessageReaction" => {
            let message = asked
                .parameters
                .get("message_id")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            let chat = chat_id(asked);
            chat_of(bot, asked)?;
            let reaction = asked.parameters.get("reaction").cloned().unwrap_or_else(|| json!([]));
            bot.reactions.push((chat, message, reaction));
            Ok(json!(true))
        }
        "editMessageText" | "editMessageCaption" => edit(bot, asked, now),
        "deleteMessage" | "deleteMessages" => delete(bot, asked),
        "sendMediaGroup" => send_group(bot, asked, fetched, (now, now_ms)),
        other if other.starts_with("send") => send(bot, asked, fetched.into_iter().next(), (now, now_ms)),
        other => {
            scene.violation("telegram", other, "this stand-in does not play the method");
            Err(bad("the method is not played by the stand-in"))
        }
    });
    done.unwrap_or(Err((401, "Unauthorized".to_owned())))
}

impl Asked {
    pub(super) fn text(&self, name: &str) -> &str {
        self.parameters.get(name).and_then(Value::as_str).unwrap_or("")
    }
}

fn set_webhook(bot: &mut BotState, asked: &Asked) -> Outcome {
    const PORTS: [u16; 4] = [443, 80, 88, 8443];
    let url = asked.text("url").to_owned();
    if url.is_empty() {
        bot.webhook = None;
        return Ok(json!(true));
    }
    let parsed = url::Url::parse(&url).map_err(|_| bad("bad webhook: Invalid URL"))?;
    if parsed.scheme() != "https" {
        return Err(bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    if !PORTS.contains(&parsed.port_or_known_default().unwrap_or(0)) {
        return Err(bad(
            "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ));
    }
    let secret = asked
        .parameters
        .get("secret_token")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(secret) = &secret {
        let allowed = secret
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
        if !allowed || secret.is_empty() || secret.len() > 256 {
            return Err(bad("secret token contains unallowed characters"));
        }
    }
    let list = asked.parameters.get("allowed_updates").and_then(Value::as_array);
    let named = list.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let before = bot.webhook.take().and_then(|webhook| webhook.allowed);
    let max_connections = asked
        .parameters
        .get("max_connections")
        .and_then(Value::as_i64)
        .unwrap_or(40);
    if !(1..=100).contains(&max_connections) {
        return Err(bad("max_connections must be between 1 and 100"));
    }
    bot.webhook = Some(Webhook {
        url,
        secret,
        allowed: named.or(before),
        max_connections,
    });
    Ok(json!(true))
}

fn webhook_info(bot: &BotState) -> Value {
    let Some(webhook) = &bot.webhook else {
        return json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0});
    };
    let mut info = json!({"url": webhook.url, "has_custom_certificate": false, "pending_update_count": 0,
        "max_connections": webhook.max_connections, "ip_address": "203.0.113.5"});
    if let Some(allowed) = &webhook.allowed {
        info["allowed_updates"] = json!(allowed);
    }
    if let Some((at, text)) = &bot.last_error {
        info["last_error_date"] = json!(at);
        info["last_error_message"] = json!(text);
    }
    info
}

fn get_file(bot: &BotState, asked: &Asked) -> Outcome {
    let id = asked.text("file_id");
    let file = bot.files.get(id).ok_or_else(|| bad("invalid file_id"))?;
    if file.bytes.len() > DOWNLOAD_BYTES_MAX {
        return Err(bad("file is too big"));
    }
    Ok(
        json!({"file_id": id, "file_unique_id": format!("u{}", &id[4..16]), "file_size": file.bytes.len(),
        "file_path": format!("documents/{id}")}),
    )
}

/// `/file/bot<token>/documents/<id>`
fn download(telegram: &Telegram, call: &Call, pieces: &[String]) -> Reply {
    if call.headers.contains_key("authorization") {
        telegram
            .0
            .scene
            .violation("telegram", "file", "a download needs no Authorization header");
    }
    let token = pieces.get(1).and_then(|piece| piece.strip_prefix("bot")).unwrap_or("");
    let file = telegram.with_bot(token, |bot| {
        bot.files.get(pieces.get(3).map_or("", String::as_str)).cloned()
    });
    match file.flatten() {
        Some(file) => Reply::typed(200, "application/octet-stream", file.bytes),
        None => failed(404, "Not Found"),
    }
}

pub(super) fn chat_id(asked: &Asked) -> i64 {
    let given = asked.parameters.get("chat_id");
    given
        .and_then(|id| id.as_i64().or_else(|| id.as_str()?.parse().ok()))
        .unwrap_or_default()
}

/// The chat, if the bot may write there.
pub(super) fn chat_of<'a>(bot: &'a BotState, asked: &Asked) -> Result<&'a Value, (u16, String)> {
    let chat = bot.chats.get(&chat_id(asked)).ok_or_else(|| bad("chat not found"))?;
    if chat.blocked {
        return Err((403, "Forbidden: bot was blocked by the user".to_owned()));
    }
    Ok(&chat.profile)
}

/// Fetches or finds the files that the call names, before the bot's state is touched.
async fn fetch_file(telegram: &Telegram, asked: &Asked) -> Result<Vec<(String, File)>, (u16, String)> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    if let Some((_, parameter)) = FILE_METHODS.iter().find(|(method, _)| *method == asked.method) {
        if let Some(file) = asked.uploads.get(*parameter) {
            return Ok(vec![((*parameter).to_owned(), file.clone())]);
        }
        wanted.push(((*parameter).to_owned(), asked.text(parameter).to_owned()));
    }
    if asked.method == "sendMediaGroup" {
        for item in asked
            .parameters
            .get("media")
            .and_then(Value::as_array)
            .unwrap_or(&Vec::new())
        {
            let text = |name: &str| item[name].as_str().unwrap_or("").to_owned();
            wanted.push((text("type"), text("media")));
        }
    }
    let mut files = Vec::new();
    for (kind, place) in wanted {
        let file = if let Some(part) = place.strip_prefix("attach://") {
            asked
                .uploads
                .get(part)
                .cloned()
                .ok_or_else(|| bad("there is no such file part"))?
        } else if place.starts_with("http") {
            fetch(telegram, &place).await?
        } else {
            let known = telegram
                .with_bot(&asked.token, |bot| bot.files.get(&place).cloned())
                .flatten();
            known.ok_or_else(|| bad("wrong file identifier/HTTP URL specified"))?
        };
        files.push((kind, file));
    }
    Ok(files)
}

async fn fetch(telegram: &Telegram, url: &str) -> Result<File, (u16, String)> {
    let answer = telegram
        .0
        .scene
        .client()
        .call(Method::GET, url, &[], bytes::Bytes::new())
        .await;
    let answer = answer
        .ok()
        .filter(Reply::is_good)
        .ok_or_else(|| bad("failed to get HTTP URL content"))?;
    let name = url.rsplit('/').next().unwrap_or("file");
    Ok(File::new(name, answer.header("content-type"), answer.body.clone()))
}

//! Sending: what is checked at once, and what fails later as a status.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::graph::error;
use super::media::MEDIA;
use super::{Sent, WhatsApp, wamid};
use crate::multipart::File;
use crate::wire::{Call, Reply};

/// Characters.
const TEXT_MAX: usize = 4096;
const CAPTION_MAX: usize = 1024;
const OPAQUE_MAX: usize = 512;
/// How long after a customer's last message anything but a template may be sent.
const WINDOW_MS: i64 = 24 * 3600 * 1000;

pub(super) async fn messages(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
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
    accept(whatsapp, owner, &kind, &body, file)
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
fn accept(whatsapp: &WhatsApp, owner: &str, kind: &str, body: &Value, file: Option<File>) -> Reply {
    let scene = whatsapp.0.scene.clone();
    let now = scene.now_ms();
    let by_phone = body["to"].as_str().map(|to| to.trim_start_matches('+').to_owned());
    let to = by_phone
        .clone()
        .unwrap_or_else(|| body["recipient"].as_str().unwrap_or("").to_owned());
    let id = wamid();
    let text = body["text"]["body"]
        .as_str()
        .or(body[kind]["caption"].as_str())
        .unwrap_or("")
        .to_owned();
    let sent = Sent {
        id: id.clone(),
        to: to.clone(),
        kind: kind.to_owned(),
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

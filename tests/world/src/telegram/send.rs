//! What the bot puts into a chat, changes there and takes away.

use serde_json::{Value, json};

use super::calls::{Asked, Outcome, bad, chat_id, chat_of};
use super::{BotState, Sent};
use crate::multipart::File;

/// UTF-16 units.
const TEXT_MAX: usize = 4096;
const CAPTION_MAX: usize = 1024;
/// Bytes.
const PHOTO_BYTES_MAX: usize = 10 << 20;
const UPLOAD_BYTES_MAX: usize = 50 << 20;

fn check_text(asked: &Asked, name: &str, entities: &str, limit: usize) -> Result<(), (u16, String)> {
    let text = asked.text(name);
    let length = text.encode_utf16().count();
    if length > limit {
        return Err(bad(if name == "text" {
            "message is too long"
        } else {
            "message caption is too long"
        }));
    }
    let both = asked.parameters.contains_key(entities) && asked.parameters.contains_key("parse_mode");
    if both {
        return Err(bad("parse_mode and entities exclude each other"));
    }
    for entity in asked
        .parameters
        .get(entities)
        .and_then(Value::as_array)
        .unwrap_or(&Vec::new())
    {
        let number = |name: &str| {
            entity[name]
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(0)
        };
        if number("length") == 0 || number("offset") + number("length") > length {
            return Err(bad("can't parse entities: an entity lies outside the text"));
        }
    }
    Ok(())
}

pub(super) fn send(bot: &mut BotState, asked: &Asked, file: Option<(String, File)>, now: (i64, i64)) -> Outcome {
    chat_of(bot, asked)?;
    check_text(asked, "text", "entities", TEXT_MAX)?;
    check_text(asked, "caption", "caption_entities", CAPTION_MAX)?;
    if asked.method == "sendMessage" && asked.text("text").trim().is_empty() {
        return Err(bad("message text is empty"));
    }
    check_reply(bot, asked)?;
    let text = if file.is_some() {
        asked.text("caption")
    } else {
        asked.text("text")
    };
    put(bot, asked, file, text, now)
}

fn check_reply(bot: &BotState, asked: &Asked) -> Result<(), (u16, String)> {
    let Some(reply) = asked.parameters.get("reply_parameters") else {
        return Ok(());
    };
    let target = reply["message_id"].as_i64().unwrap_or_default();
    let known = bot
        .chats
        .get(&chat_id(asked))
        .is_some_and(|chat| chat.messages.contains_key(&target));
    if known || reply["allow_sending_without_reply"] == true {
        return Ok(());
    }
    Err(bad("message to be replied not found"))
}

fn check_size(kind: &str, file: &File) -> Result<(), (u16, String)> {
    let limit = if kind == "photo" {
        PHOTO_BYTES_MAX
    } else {
        UPLOAD_BYTES_MAX
    };
    if file.bytes.is_empty() {
        return Err(bad("file must be non-empty"));
    }
    if file.bytes.len() > limit {
        return Err((413, "Request Entity Too Large".to_owned()));
    }
    let picture = file.bytes.starts_with(b"\xff\xd8\xff")
        || file.bytes.starts_with(b"\x89PNG")
        || file.bytes.starts_with(b"RIFF");
    if kind == "photo" && !picture {
        return Err(bad("IMAGE_PROCESS_FAILED"));
    }
    Ok(())
}

/// Puts one message into the chat and the ledger.
fn put(bot: &mut BotState, asked: &Asked, file: Option<(String, File)>, text: &str, now: (i64, i64)) -> Outcome {
    let chat = chat_id(asked);
    bot.next_message += 1;
    let id = bot.next_message;
    let profile = bot
        .chats
        .get(&chat)
        .map(|chat| chat.profile.clone())
        .unwrap_or_default();
    let mut message = json!({"message_id": id, "from": {"id": bot.id, "is_bot": true, "first_name": bot.name,
        "username": bot.username}, "chat": profile, "date": now.0});
    if let Some((kind, file)) = &file {
        check_size(kind, file)?;
        let file_id = bot.keep(file.clone());
        let mut described = json!({"file_id": file_id, "file_unique_id": format!("u{id}"), "file_size": file.bytes.len(),
            "file_name": file.name, "mime_type": file.content_type});
        match kind.as_str() {
            "photo" => {
                described = json!([{"file_id": file_id, "file_unique_id": format!("u{id}"), "width": 320, "height": 200,
                "file_size": file.bytes.len()}])
            }
            "voice" | "audio" => described["duration"] = json!(1),
            _ => {}
        }
        message[kind.as_str()] = described;
        if !text.is_empty() {
            message["caption"] = json!(text);
        }
    } else if !text.is_empty() {
        message["text"] = json!(text);
        if let Some(entities) = asked.parameters.get("entities") {
            message["entities"] = entities.clone();
        }
    }
    for name in ["latitude", "longitude", "phone_number", "first_name"] {
        if let Some(value) = asked.parameters.get(name) {
            let holder = if name.ends_with("tude") { "location" } else { "contact" };
            message[holder][name] = value.clone();
        }
    }
    if let Some(chat) = bot.chats.get_mut(&chat) {
        chat.messages.insert(id, message.clone());
    }
    let reply_to = asked
        .parameters
        .get("reply_parameters")
        .and_then(|reply| reply["message_id"].as_i64());
    bot.sent.push(Sent {
        bot: bot.id,
        chat,
        message_id: id,
        method: asked.method.clone(),
        text: text.to_owned(),
        file,
        reply_to,
        parameters: Value::Object(asked.parameters.clone()),
        at_ms: now.1,
        edited_from: Vec::new(),
        deleted: false,
    });
    Ok(message)
}

pub(super) fn send_group(bot: &mut BotState, asked: &Asked, files: Vec<(String, File)>, now: (i64, i64)) -> Outcome {
    chat_of(bot, asked)?;
    if !(2..=10).contains(&files.len()) {
        return Err(bad("media group must include 2-10 items"));
    }
    let alone = |kind: &str| kind == "document" || kind == "audio";
    if files.iter().any(|(kind, _)| alone(kind)) && files.iter().any(|(kind, _)| *kind != files[0].0) {
        return Err(bad("documents and audio cannot be mixed with others in a media group"));
    }
    let captions: Vec<String> =
        asked
            .parameters
            .get("media")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |media| {
                media
                    .iter()
                    .map(|item| item["caption"].as_str().unwrap_or("").to_owned())
                    .collect()
            });
    let mut messages = Vec::new();
    for (file, caption) in files.into_iter().zip(captions) {
        messages.push(put(bot, asked, Some(file), &caption, now)?);
    }
    Ok(Value::Array(messages))
}

pub(super) fn edit(bot: &mut BotState, asked: &Asked, now: i64) -> Outcome {
    let (name, entities, limit) = match asked.method.as_str() {
        "editMessageText" => ("text", "entities", TEXT_MAX),
        _ => ("caption", "caption_entities", CAPTION_MAX),
    };
    chat_of(bot, asked)?;
    check_text(asked, name, entities, limit)?;
    let id = asked
        .parameters
        .get("message_id")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let chat = chat_id(asked);
    let sent = bot
        .sent
        .iter_mut()
        .find(|sent| sent.chat == chat && sent.message_id == id && !sent.deleted);
    let sent = sent.ok_or_else(|| bad("message to edit not found"))?;
    if sent.text == asked.text(name) {
        return Err(bad("message is not modified"));
    }
    sent.edited_from
        .push(std::mem::replace(&mut sent.text, asked.text(name).to_owned()));
    let message = bot
        .chats
        .get_mut(&chat)
        .and_then(|chat| chat.messages.get_mut(&id))
        .ok_or_else(|| bad("message to edit not found"))?;
    message[name] = json!(asked.text(name));
    message["edit_date"] = json!(now);
    Ok(message.clone())
}

pub(super) fn delete(bot: &mut BotState, asked: &Asked) -> Outcome {
    chat_of(bot, asked)?;
    let single = asked.parameters.get("message_id").cloned();
    let many = asked.parameters.get("message_ids").and_then(Value::as_array).cloned();
    let ids: Vec<i64> = single
        .into_iter()
        .chain(many.into_iter().flatten())
        .filter_map(|id| id.as_i64())
        .collect();
    let chat = chat_id(asked);
    let mut found = false;
    for sent in bot
        .sent
        .iter_mut()
        .filter(|sent| sent.chat == chat && ids.contains(&sent.message_id))
    {
        sent.deleted = true;
        found = true;
    }
    if found {
        Ok(json!(true))
    } else {
        Err(bad("message to delete not found"))
    }
}

//! Files: upload, look-up, and the host that hands them out.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::WhatsApp;
use super::graph::{error, knows_token};
use crate::multipart::{self, File};
use crate::scene::{lock, random_hex};
use crate::wire::{Call, Reply};

/// How long the address of a file is good.
const TICKET_MS: i64 = 5 * 60 * 1000;

/// Kind, accepted types (empty: any), and size limit in bytes.
pub(super) const MEDIA: [(&str, &[&str], usize); 5] = [
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

pub(super) fn upload(whatsapp: &WhatsApp, owner: &str, call: &Call) -> Reply {
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

pub(super) fn look_up(whatsapp: &WhatsApp, owner: &str, id: &str, call: &Call) -> Reply {
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

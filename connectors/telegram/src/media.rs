//! Files of inbound messages and avatars: `getFile` gives a path that is good for an hour, the path gives the file.

use mantle_sdk::Host;
use mantle_sdk::connector::{Details, Fetched};
use mantle_sdk::http::{DownloadBody, Request};
use mantle_sdk::values::{Alias, AliasKind, CallError, MediaId, RefusalReason};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{self, BOT, Trouble};
use crate::wire::{ChatName, joined};

/// Time to the end of a file of up to 20 MB; the interface's maximum.
const DOWNLOAD_TIMEOUT_MS: u32 = 30_000;
/// Longest side of an avatar worth fetching, in pixels.
const AVATAR_PIXELS_MAX: u32 = 640;

#[derive(Deserialize)]
struct Located {
    file_path: Option<String>,
}

#[derive(Deserialize)]
struct Photos {
    photos: Vec<Vec<PhotoSize>>,
}

#[derive(Deserialize)]
struct PhotoSize {
    file_id: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Named {
    first_name: Option<String>,
    last_name: Option<String>,
}

/// Name and type are those of the message; Telegram tells neither here.
pub fn fetch(file_id: &str, host: &dyn Host) -> Result<Fetched, CallError> {
    Ok(Fetched {
        file: download(file_id, host)?,
        name: None,
        content_type: None,
    })
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let id = aliases.iter().find(|alias| alias.kind == AliasKind::Id);
    let Some(chat) = id.and_then(|alias| ChatName::parse(&alias.value)) else {
        return Ok(None);
    };
    let named: Named = match answer::ask(host, answer::method("getChat").json(&json!({"chat_id": chat.id}))) {
        Ok(named) => named,
        // Nobody by that id, or nobody who ever wrote to this bot.
        Err(Trouble::No(no)) if no.code == 400 => return Ok(None),
        Err(trouble) => return Err(trouble.into()),
    };
    let request = answer::method("getUserProfilePhotos").json(&json!({"user_id": chat.id, "limit": 1}));
    let avatar = match answer::ask::<Photos>(host, request) {
        Ok(found) => fitting(found).map(|file_id| download(&file_id, host)).transpose()?,
        Err(Trouble::No(no)) if no.code == 400 => None,
        Err(trouble) => return Err(trouble.into()),
    };
    Ok(Some(Details {
        name: joined(named.first_name.as_deref(), named.last_name.as_deref()),
        avatar,
    }))
}

/// The largest size within the limit, or the smallest there is. Empty when the person hides their picture.
fn fitting(found: Photos) -> Option<String> {
    let mut sizes = found.photos.into_iter().next()?;
    sizes.sort_by_key(|size| size.width.max(size.height));
    let fitting = sizes
        .iter()
        .rposition(|size| size.width.max(size.height) <= AVATAR_PIXELS_MAX)
        .unwrap_or(0);
    (fitting < sizes.len()).then(|| sizes.swap_remove(fitting).file_id)
}

fn download(file_id: &str, host: &dyn Host) -> Result<MediaId, CallError> {
    let located: Located = answer::ask(host, answer::method("getFile").json(&json!({"file_id": file_id})))?;
    let Some(path) = located.file_path.filter(|path| is_plain(path)) else {
        return Err(CallError::refused(
            RefusalReason::Other,
            "no-path",
            "Telegram names no place for this file.",
        ));
    };
    let request = Request::get(format!("https://api.telegram.org/file/bot{{bot_token}}/{path}"))
        .credential(BOT)
        .timeout_ms(DOWNLOAD_TIMEOUT_MS);
    let response = host.download(request).map_err(CallError::reading)?;
    match (response.status, response.body) {
        (200..=299, DownloadBody::Media(file)) => Ok(file),
        (401, _) => Err(CallError::unauthorized("401", "Telegram refuses the bot's token.")),
        // The hour is over, or the server that had it is being moved: `getFile` finds it again.
        (status, _) => Err(CallError::transient(
            status.to_string(),
            format!("Telegram did not hand the file out (status {status})."),
        )),
    }
}

/// A path of the provider goes into an address of ours: nothing in it may end or leave the path.
fn is_plain(path: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '_' | '-' | '.' | '@' | '~');
    !path.is_empty() && !path.starts_with('/') && !path.contains("..") && path.chars().all(plain)
}

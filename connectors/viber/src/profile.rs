//! A person's picture, and the name once more. Viber answers twice in twelve hours for one person; messages tell names
//! by themselves.

use mantle_sdk::Host;
use mantle_sdk::connector::Details;
use mantle_sdk::http::{DownloadBody, Request};
use mantle_sdk::values::{Alias, AliasKind, CallError, MediaId};
use serde::Deserialize;
use serde_json::json;

use crate::api::{self, Repeat, Trouble};
use crate::errors::{NOT_REGISTERED, NOT_SUBSCRIBED, TOO_MANY};
use crate::media;

#[derive(Deserialize)]
struct Answer {
    user: User,
}

#[derive(Deserialize)]
struct User {
    name: Option<String>,
    avatar: Option<String>,
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let Some(alias) = aliases.iter().find(|alias| alias.kind == AliasKind::Id) else {
        return Ok(None);
    };
    let answer: Answer = match api::call(
        host,
        "get_user_details",
        &json!({ "id": alias.value }),
        Repeat::Harmless,
    ) {
        Ok(answer) => answer,
        // Too many questions about one person say nothing about the bot.
        Err(Trouble::No(no)) if matches!(no.status, NOT_REGISTERED | NOT_SUBSCRIBED | TOO_MANY) => return Ok(None),
        Err(trouble) => return Err(trouble.into()),
    };
    Ok(Some(Details {
        name: answer.user.name.filter(|name| !name.trim().is_empty()),
        avatar: answer.user.avatar.and_then(|address| picture(&address, host)),
    }))
}

/// A picture that cannot be had costs nothing but itself.
fn picture(address: &str, host: &dyn Host) -> Option<MediaId> {
    if !media::may_be_vibers(address) {
        return None;
    }
    let answer = host.download(Request::get(address)).ok()?;
    match answer.body {
        DownloadBody::Media(file) => Some(file),
        DownloadBody::Bytes(_) => None,
    }
}

//! A person's or a group's name and picture. LINE tells them of friends, and of people who have written and not blocked
//! the account since; of nobody else.

use mantle_sdk::Host;
use mantle_sdk::connector::Details;
use mantle_sdk::http::{DownloadBody, Request};
use mantle_sdk::values::{Alias, AliasKind, CallError, MediaId};
use serde::Deserialize;

use crate::api;

/// User, group and room ids are a letter and so many hexadecimal digits.
const ID_DIGITS: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(alias = "groupName")]
    display_name: Option<String>,
    picture_url: Option<String>,
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let path = aliases
        .iter()
        .filter(|alias| alias.kind == AliasKind::Id)
        .find_map(|alias| path(&alias.value));
    let Some(path) = path else { return Ok(None) };
    let profile: Profile = match api::ask(host, api::get(&path)) {
        Ok(profile) => profile,
        Err(CallError::Refused(refusal)) if refusal.code == "404" => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Details {
        name: profile.display_name.filter(|name| !name.trim().is_empty()),
        avatar: profile.picture_url.and_then(|address| picture(&address, host)),
    }))
}

/// None: no id of LINE, or a room, which has neither name nor picture.
fn path(id: &str) -> Option<String> {
    let digits = id.get(1..)?;
    if digits.len() != ID_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match id.as_bytes()[0] {
        b'U' => Some(format!("/profile/{id}")),
        b'C' => Some(format!("/group/{id}/summary")),
        _ => None,
    }
}

/// A picture that cannot be had costs nothing but itself.
fn picture(address: &str, host: &dyn Host) -> Option<MediaId> {
    if address.is_empty() {
        return None;
    }
    let answer = host.download(Request::get(address)).ok()?;
    match answer.body {
        DownloadBody::Media(file) => Some(file),
        DownloadBody::Bytes(_) => None,
    }
}

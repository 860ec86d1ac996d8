//! Who a customer is, as far as Instagram tells: their name and picture. It tells only of those who have written.

use mantle_sdk::Host;
use mantle_sdk::connector::Details;
use mantle_sdk::values::{Alias, AliasKind, CallError};
use serde::Deserialize;

use crate::graph::{Graph, Repeat};
use crate::media;

#[derive(Deserialize)]
struct Told {
    name: Option<String>,
    username: Option<String>,
    profile_pic: Option<String>,
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let id = aliases.iter().find(|alias| alias.kind == AliasKind::Id);
    let is_number = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let Some(person) = id.map(|alias| alias.value.as_str()).filter(|id| is_number(id)) else {
        return Ok(None);
    };
    let graph = Graph::of(host)?;
    let request = graph.get(person).query([("fields", "name,username,profile_pic")]);
    match graph.call::<Told>(request, Repeat::Harmless) {
        Ok(told) => Ok(Some(Details {
            name: filled(told.name).or_else(|| filled(told.username).map(|username| format!("@{username}"))),
            avatar: told.profile_pic.and_then(|url| media::picture(&url, host)),
        })),
        // Refusals are normal: the app lacks the permission, or the person has not consented.
        Err(CallError::Refused(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

fn filled(words: Option<String>) -> Option<String> {
    words
        .map(|words| words.trim().to_owned())
        .filter(|words| !words.is_empty())
}

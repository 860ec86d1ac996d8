//! A person's name and picture. Slack tells them of people of other firms as well, as long as a channel is shared.

use mantle_sdk::Host;
use mantle_sdk::connector::Details;
use mantle_sdk::http::{DownloadBody, Request};
use mantle_sdk::values::{Alias, AliasKind, CallError, MediaId, RefusalReason};
use serde::Deserialize;

use crate::api::{self, Repeat};
use crate::{errors, names};

#[derive(Deserialize)]
struct Told {
    user: User,
}

#[derive(Deserialize)]
struct User {
    name: Option<String>,
    real_name: Option<String>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Profile {
    display_name: Option<String>,
    real_name: Option<String>,
    image_512: Option<String>,
    image_192: Option<String>,
    image_72: Option<String>,
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let user = aliases
        .iter()
        .filter(|alias| alias.kind == AliasKind::Id)
        .find_map(|alias| names::user(&alias.value));
    let Some(user) = user else { return Ok(None) };
    let request = api::get("users.info", [("user", user)]);
    let told: Told = match api::probe(host, request, Repeat::Harmless)? {
        Ok(told) => told,
        Err(told) => match errors::aside(&told.problem, told.error) {
            CallError::Refused(refusal) if refusal.reason == RefusalReason::Unreachable => return Ok(None),
            error => return Err(error),
        },
    };
    let User {
        name,
        real_name,
        profile,
    } = told.user;
    let names = [profile.display_name, profile.real_name, real_name, name];
    let pictures = [profile.image_512, profile.image_192, profile.image_72];
    Ok(Some(Details {
        name: first(names),
        avatar: first(pictures).and_then(|address| picture(&address, host)),
    }))
}

/// Slack leaves out by leaving empty.
fn first(values: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let filled = |value: String| Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    values.into_iter().flatten().find_map(filled)
}

/// A picture that cannot be had costs nothing but itself.
fn picture(address: &str, host: &dyn Host) -> Option<MediaId> {
    let answer = host.download(Request::get(address)).ok()?;
    match answer.body {
        DownloadBody::Media(file) => Some(file),
        DownloadBody::Bytes(_) => None,
    }
}

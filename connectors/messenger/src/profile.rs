//! Who a customer is, as far as Meta tells: their name and picture. Refusals are normal, because the app needs a
//! feature of its own for it; the conversation's list of participants knows the name all the same.

use mantle_sdk::Host;
use mantle_sdk::connector::Details;
use mantle_sdk::values::{Alias, AliasKind, CallError};
use serde::Deserialize;

use crate::graph::{self, Repeat};
use crate::wire::Loose;
use crate::{fields, media};

#[derive(Deserialize)]
struct Told {
    first_name: Option<String>,
    last_name: Option<String>,
    name: Option<String>,
    profile_pic: Option<String>,
}

#[derive(Deserialize)]
struct Conversations {
    #[serde(default)]
    data: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    participants: Option<Participants>,
}

#[derive(Deserialize)]
struct Participants {
    #[serde(default)]
    data: Vec<Participant>,
}

#[derive(Deserialize)]
struct Participant {
    #[serde(default)]
    id: Loose,
    name: Option<String>,
}

pub fn look_up(aliases: &[Alias], host: &dyn Host) -> Result<Option<Details>, CallError> {
    let id = aliases.iter().find(|alias| alias.kind == AliasKind::Id);
    let is_number = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let Some(person) = id.map(|alias| alias.value.as_str()).filter(|id| is_number(id)) else {
        return Ok(None);
    };
    let request = graph::get(person).query([("fields", "first_name,last_name,name,profile_pic")]);
    match graph::call::<Told>(host, request, Repeat::Harmless) {
        Ok(told) => {
            let spelled = [told.first_name, told.last_name]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>();
            let name = filled(told.name).or_else(|| filled(Some(spelled.join(" "))));
            Ok(Some(Details {
                name,
                avatar: told.profile_pic.and_then(|url| media::picture(&url, host)),
            }))
        }
        Err(CallError::Refused(_)) => by_conversation(person, host),
        Err(other) => Err(other),
    }
}

fn by_conversation(person: &str, host: &dyn Host) -> Result<Option<Details>, CallError> {
    let page = fields::page_id(host)?;
    let request = graph::get(&format!("{page}/conversations")).query([
        ("platform", "messenger"),
        ("user_id", person),
        ("fields", "participants"),
    ]);
    let conversations: Conversations = match graph::call(host, request, Repeat::Harmless) {
        Ok(conversations) => conversations,
        Err(CallError::Refused(_)) => return Ok(None),
        Err(other) => return Err(other),
    };
    let participants = conversations.data.into_iter().filter_map(|one| one.participants);
    let mut people = participants.flat_map(|participants| participants.data);
    let name = people
        .find(|one| one.id.as_deref() == Some(person))
        .and_then(|one| filled(one.name));
    Ok(name.map(|name| Details {
        name: Some(name),
        avatar: None,
    }))
}

fn filled(words: Option<String>) -> Option<String> {
    words
        .map(|words| words.trim().to_owned())
        .filter(|words| !words.is_empty())
}

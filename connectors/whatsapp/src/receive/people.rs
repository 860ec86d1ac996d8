//! Who somebody is. Since 2026 a person has a business-scoped id and may hide the phone number; either may be
//! missing, and an id has been seen in the places of the number: the form decides, not the place.

use mantle_sdk::values::{Alias, AliasKind, Person};

use super::Scope;
use crate::phone;
use crate::wire::Contact;

/// The ids that one item of a webhook names.
#[derive(Default)]
pub struct Ids<'a> {
    /// `from`, `to`, `wa_id`: a number without the plus sign, mostly.
    pub number: Option<&'a str>,
    pub user: Option<&'a str>,
    pub parent: Option<&'a str>,
}

impl Ids<'_> {
    pub fn aliases(&self) -> Vec<Alias> {
        let mut aliases = Vec::new();
        add(&mut aliases, AliasKind::Id, self.user.map(str::to_owned));
        add(&mut aliases, AliasKind::ParentId, self.parent.map(str::to_owned));
        if let Some(place) = self.number {
            match phone::of(place) {
                Some(phone) => add(&mut aliases, AliasKind::Phone, Some(phone)),
                None => add(&mut aliases, AliasKind::Id, Some(place.to_owned())),
            }
        }
        aliases
    }
}

/// The person of a message, with what `contacts[]` of the same change adds. None: no id at all.
pub fn person(ids: &Ids, scope: &Scope) -> Option<Person> {
    let mut aliases = ids.aliases();
    let contact = contact_of(ids, &aliases, scope.contacts);
    if let Some(contact) = contact {
        let told = Ids {
            number: contact.wa_id.as_deref(),
            user: contact.user_id.as_deref(),
            parent: contact.parent_user_id.as_deref(),
        };
        for alias in told.aliases() {
            add(&mut aliases, alias.kind, Some(alias.value));
        }
    }
    if aliases.is_empty() {
        return None;
    }
    let profile = contact.map(|contact| &contact.profile);
    let handle = profile
        .and_then(|profile| profile.username.as_deref())
        .map(|name| name.trim_start_matches('@'));
    add(
        &mut aliases,
        AliasKind::Handle,
        handle.filter(|name| !name.is_empty()).map(|name| format!("@{name}")),
    );
    let name = profile
        .and_then(|profile| profile.name.clone())
        .filter(|name| !name.trim().is_empty());
    Some(Person {
        aliases,
        name,
        language: None,
    })
}

/// A contact belongs to a message when an id agrees. Without any id in the message the only contact is meant.
fn contact_of<'a>(ids: &Ids, aliases: &[Alias], contacts: &'a [Contact]) -> Option<&'a Contact> {
    if aliases.is_empty() {
        return match contacts {
            [only] => Some(only),
            _ => None,
        };
    }
    contacts.iter().find(|contact| {
        let agrees = |theirs: &Option<String>, ours: Option<&str>| theirs.is_some() && theirs.as_deref() == ours;
        agrees(&contact.user_id, ids.user)
            || agrees(&contact.wa_id, ids.number)
            || agrees(&contact.user_id, ids.number)
            || agrees(&contact.wa_id, ids.user)
    })
}

fn add(aliases: &mut Vec<Alias>, kind: AliasKind, value: Option<String>) {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
        return;
    };
    if !aliases.iter().any(|alias| alias.kind == kind && alias.value == value) {
        aliases.push(Alias { kind, value });
    }
}

//! Finding, making and refreshing contacts.
//!
//! Contacts that we make are leads, as the product promises. A lead has no key of its own at Intercom, so a
//! repeated creation would double it: the caller makes one at a time per person and looks before repeating.

use http::Method;
use mantle_model::failure::Failure;
use mantle_model::inbound::{AliasKind, Person};
use serde_json::{Map, Value, json};

use super::api::{Api, Call, Content, segment};
use super::connect::{CHANNEL_ATTRIBUTE, ORIGIN_ATTRIBUTE, id_attribute};
use super::phone::spellings;
use super::trouble::Trouble;
use super::wire::{self, Page};
use crate::{Access, ChannelLabel, Contact, ContactMatch, InboxError};

/// Candidates looked at: more people of one number than this are a data problem that a person must solve.
const CANDIDATES_MAX: u8 = 50;
/// Characters of a name: Intercom cuts longer ones.
const NAME_CHARS_MAX: usize = 255;
/// Characters of an attribute's text: Intercom takes no longer ones.
const ATTRIBUTE_CHARS_MAX: usize = 255;

impl Api {
    pub async fn find_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
        prefer_users: bool,
    ) -> Result<ContactMatch, InboxError> {
        let by_attribute = person.alias(AliasKind::Id).map(|id| {
            json!({"field": format!("custom_attributes.{}", id_attribute(&label.attribute)), "operator": "=", "value": id})
        });
        let by_phone: Vec<Value> = person
            .alias(AliasKind::Phone)
            .map(spellings)
            .unwrap_or_default()
            .into_iter()
            .map(|spelling| json!({"field": "phone", "operator": "=", "value": spelling}))
            .collect();
        let all: Vec<Value> = by_phone.iter().cloned().chain(by_attribute).collect();
        if all.is_empty() {
            return Ok(ContactMatch {
                chosen: None,
                others: Vec::new(),
            });
        }
        let found = match self.search_contacts(access, &all).await {
            // The attribute is not there: nobody can have a value of it.
            Err(trouble) if trouble.is_refusal() && all.len() > by_phone.len() => {
                self.ensure_attributes(access, &[id_attribute(&label.attribute)])
                    .await?;
                if by_phone.is_empty() {
                    Vec::new()
                } else {
                    self.search_contacts(access, &by_phone).await?
                }
            }
            other => other?,
        };
        Ok(choose(found, prefer_users))
    }

    async fn search_contacts(&self, access: &Access, filters: &[Value]) -> Result<Vec<wire::Contact>, Trouble> {
        let body = json!({
            "query": {"operator": "OR", "value": filters},
            "pagination": {"per_page": CANDIDATES_MAX},
        });
        let page: Page<wire::Contact> = self
            .ask(access, Call::harmless(Method::POST, "/contacts/search", &body))
            .await?;
        Ok(page.data)
    }

    pub async fn create_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        person: &Person,
    ) -> Result<Contact, InboxError> {
        let mut body = json!({
            "role": "lead",
            "name": name(person),
            "custom_attributes": attributes(label, person),
        });
        if let Some(phone) = person.alias(AliasKind::Phone) {
            body["phone"] = json!(phone);
        }
        let made = match self.post_contact(access, &body).await {
            // An attribute was removed or archived since the channel was set up: make it again, once.
            Err(Trouble::Failure(Failure::Refused(_))) => {
                self.prepare_channel(access, label).await?;
                self.post_contact(access, &body).await
            }
            other => other,
        };
        match made {
            Ok(contact) => Ok(Contact {
                id: contact.id,
                name: contact.name,
            }),
            Err(Trouble::Conflict(cause)) => {
                let Some(id) = conflicting(&cause.message) else {
                    return Err(Trouble::Conflict(cause).into());
                };
                self.existing(access, id, cause.message.contains("archived")).await
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn post_contact(&self, access: &Access, body: &Value) -> Result<wire::Contact, Trouble> {
        self.ask(access, Call::doubling("/contacts", Content::Json(body))).await
    }

    /// The contact that stands in the way of a new one is the one that was meant.
    async fn existing(&self, access: &Access, id: &str, archived: bool) -> Result<Contact, InboxError> {
        if archived {
            let path = format!("/contacts/{}/unarchive", segment(id));
            self.ask::<wire::Done>(access, Call::harmless(Method::POST, path, &json!({})))
                .await?;
        }
        let contact = self.read_contact(access, id).await?;
        Ok(Contact {
            id: contact.id,
            name: contact.name,
        })
    }

    /// The contact as it is now; archived ones are gone.
    pub async fn read_contact(&self, access: &Access, id: &str) -> Result<wire::Contact, InboxError> {
        let path = format!("/contacts/{}", segment(id));
        match self.ask::<wire::Contact>(access, Call::get(path)).await {
            Ok(contact) if contact.archived => Err(InboxError::ContactGone),
            Ok(contact) if contact.id != id => Err(InboxError::ContactMerged { into: contact.id }),
            Ok(contact) => Ok(contact),
            Err(Trouble::NotFound(_)) => Err(InboxError::ContactGone),
            Err(trouble) => Err(trouble.into()),
        }
    }

    pub async fn refresh_contact(
        &self,
        access: &Access,
        label: &ChannelLabel,
        contact: &str,
        person: &Person,
        written_name: Option<&str>,
    ) -> Result<Contact, InboxError> {
        let present = self.read_contact(access, contact).await?;
        let mut changes = Map::new();
        let new_name = person.name.as_deref().map(|_| name(person));
        if let Some(new_name) = new_name
            && written_name.is_some()
            && present.name.as_deref() == written_name
            && present.name.as_deref() != Some(new_name.as_str())
        {
            changes.insert("name".to_owned(), json!(new_name));
        }
        let missing: Map<String, Value> = attributes(label, person)
            .into_iter()
            .filter(|(name, _)| is_unset(&present, name))
            .collect();
        if !missing.is_empty() {
            changes.insert("custom_attributes".to_owned(), Value::Object(missing));
        }
        if changes.is_empty() {
            return Ok(Contact {
                id: present.id,
                name: present.name,
            });
        }
        let path = format!("/contacts/{}", segment(contact));
        let body = Value::Object(changes);
        match self
            .ask::<wire::Contact>(access, Call::harmless(Method::PUT, path, &body))
            .await
        {
            Ok(updated) => Ok(Contact {
                id: updated.id,
                name: updated.name,
            }),
            Err(Trouble::NotFound(_)) => Err(InboxError::ContactGone),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// The first touch counts: what stands there stays.
    pub async fn mark_origin(&self, access: &Access, contact: &str, origin: &str) -> Result<(), InboxError> {
        let present = self.read_contact(access, contact).await?;
        if !is_unset(&present, ORIGIN_ATTRIBUTE) {
            return Ok(());
        }
        let words: String = origin.chars().take(ATTRIBUTE_CHARS_MAX).collect();
        let body = json!({"custom_attributes": {ORIGIN_ATTRIBUTE: words}});
        let path = format!("/contacts/{}", segment(contact));
        let put = || self.ask::<wire::Done>(access, Call::harmless(Method::PUT, path.clone(), &body));
        let marked = match put().await {
            // The attribute was removed or archived, or the workspace was connected before there was one.
            Err(trouble) if trouble.is_refusal() => {
                self.ensure_attributes(access, &[ORIGIN_ATTRIBUTE.to_owned()]).await?;
                put().await
            }
            other => other,
        };
        Ok(marked.map(drop)?)
    }

    pub async fn prepare_channel(&self, access: &Access, label: &ChannelLabel) -> Result<(), Trouble> {
        let names = [CHANNEL_ATTRIBUTE.to_owned(), id_attribute(&label.attribute)];
        self.ensure_attributes(access, &names).await
    }
}

fn is_unset(contact: &wire::Contact, attribute: &str) -> bool {
    let value = contact.custom_attributes.get(attribute);
    value.is_none_or(|value| value.is_null() || value == "")
}

/// Users before leads where that is wished, then the one that changed last, then the smallest id, so that the
/// same question always has the same answer.
fn choose(mut found: Vec<wire::Contact>, prefer_users: bool) -> ContactMatch {
    found.retain(|contact| !contact.archived);
    found.sort_by(|a, b| {
        let lead = |contact: &wire::Contact| prefer_users && contact.role != "user";
        (lead(a), std::cmp::Reverse(a.updated_at), &a.id).cmp(&(lead(b), std::cmp::Reverse(b.updated_at), &b.id))
    });
    let mut found = found.into_iter();
    let chosen = found.next().map(|contact| Contact {
        id: contact.id,
        name: contact.name,
    });
    let others = found.map(|contact| (contact.id.clone(), readable(&contact))).collect();
    ContactMatch { chosen, others }
}

fn readable(contact: &wire::Contact) -> String {
    let words = [&contact.name, &contact.email, &contact.phone];
    let named = words.into_iter().flatten().find(|word| !word.trim().is_empty());
    named.unwrap_or(&contact.id).clone()
}

/// What the contact is called: the person's own name, else what identifies them on the channel.
fn name(person: &Person) -> String {
    let given = person.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    given
        .unwrap_or_else(|| person.label())
        .chars()
        .take(NAME_CHARS_MAX)
        .collect()
}

fn attributes(label: &ChannelLabel, person: &Person) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert(CHANNEL_ATTRIBUTE.to_owned(), json!(label.attribute));
    if let Some(id) = person.alias(AliasKind::Id).or_else(|| person.alias(AliasKind::Phone)) {
        all.insert(id_attribute(&label.attribute), json!(id));
    }
    all
}

/// `A contact matching those details already exists with id=…`
fn conflicting(message: &str) -> Option<&str> {
    let rest = message.split_once("id=")?.1;
    let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let id = rest.get(..end)?;
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(id: &str, role: &str, updated_at: i64) -> wire::Contact {
        wire::Contact {
            id: id.into(),
            role: role.into(),
            updated_at,
            ..Default::default()
        }
    }

    #[test]
    fn ct_3_users_come_first_then_the_newest_then_the_smallest_id() {
        let all = || {
            vec![
                contact("d", "lead", 90),
                contact("c", "user", 20),
                contact("b", "user", 20),
                contact("a", "user", 10),
            ]
        };
        let check = |prefer_users, expected: &str, others: &[&str]| {
            let found = choose(all(), prefer_users);
            assert_eq!(found.chosen.unwrap().id, expected);
            assert_eq!(
                found.others.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
                others
            );
        };
        check(true, "b", &["c", "a", "d"]);
        check(false, "d", &["b", "c", "a"]);
    }

    #[test]
    fn the_id_of_a_conflict_stands_in_its_message() {
        let check = |message: &str, expected| assert_eq!(conflicting(message), expected, "{message}");
        check(
            "A contact matching those details already exists with id=6762f0dd1bb69f9f2193bb83",
            Some("6762f0dd1bb69f9f2193bb83"),
        );
        check(
            "… exists with id=6762f0dd1bb69f9f2193bb83.",
            Some("6762f0dd1bb69f9f2193bb83"),
        );
        check("nothing here", None);
        check("id=", None);
    }
}

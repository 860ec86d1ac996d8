//! Who the sender is in the inbox: known, else found, else made.
//!
//! The inbox's search lags behind its writes, so a person who writes on two channels at once would be made twice:
//! people of one phone number are looked for and made one at a time, and what one channel learnt the others use.

use mantle_inbox::InboxError;
use mantle_model::failure::Failure;
use mantle_model::inbound::{AliasKind, Person, first_alias};
use mantle_store::lanes::{Change, Effect, EffectState};
use mantle_store::people::{ContactLink, Identity};

use super::part::failure_of;
use crate::job::{Job, Stop, digest};
use crate::note;

const STEP: &str = "contact";
/// A contact may be found only later: that it is absent counts this long after it was made.
const ABSENCE_COUNTS_AFTER: std::time::Duration = std::time::Duration::from_secs(60);
/// How soon to look again for a contact whose making has an unknown outcome.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The identity as the inbox sees a person.
pub(super) fn person(identity: &Identity) -> Person {
    Person {
        aliases: identity.aliases.clone(),
        name: identity.name.clone(),
        language: identity.language.clone(),
    }
}

/// The inbox's id of the contact. A known identity costs no search.
pub(super) async fn ensure(job: &Job<'_>, identity: &Identity) -> Result<String, Stop> {
    if let Some(link) = &identity.contact {
        refresh_name(job, identity, link).await?;
        return Ok(link.contact.clone());
    }
    let person = person(identity);
    let key = making_target(job, identity);
    let _alone = job.flow.making_contacts.enter(key.clone()).await;
    let prefer_users = job.workspace.settings.prefer_users;
    let found = job
        .inbox
        .find_contact(&job.access, &job.label, &person, prefer_users)
        .await?;
    if let Some(contact) = found.chosen {
        let mut changes = settled(job, &contact.id);
        changes.push(link(identity, &contact.id, None));
        changes.push(job.hop("contact found", None, Some(contact.id.clone())));
        changes.extend(others_note(job, identity, &found.others));
        job.commit(changes).await?;
        return Ok(contact.id);
    }
    if let Some(contact) = of_another_channel(job, identity).await? {
        let mut changes = settled(job, &contact);
        changes.push(link(identity, &contact, None));
        changes.push(job.hop("contact known from another channel", None, Some(contact.clone())));
        job.commit(changes).await?;
        return Ok(contact);
    }
    let unsettled = |effect: &Effect| job.now().since(effect.announced_at) < ABSENCE_COUNTS_AFTER;
    let own = job.event.effect(STEP).filter(|effect| is_open(effect));
    let elsewhere = job.flow.store().open_effects(&key, Some(job.event.id)).await?;
    if own.into_iter().chain(&elsewhere).any(unsettled) {
        return Err(Stop::Unsettled(LOOK_AGAIN));
    }
    create(job, identity, &person, &key).await
}

/// What the making of this person's contact is announced as: the same on every channel that tells the phone number.
fn making_target(job: &Job<'_>, identity: &Identity) -> String {
    match first_alias(&identity.aliases, AliasKind::Phone) {
        Some(phone) => format!("contact:{}:{phone}", job.workspace.id),
        None => format!("contact:{}", identity.id),
    }
}

/// The contact that the same phone number has through another channel of the workspace.
async fn of_another_channel(job: &Job<'_>, identity: &Identity) -> Result<Option<String>, Stop> {
    let Some(phone) = first_alias(&identity.aliases, AliasKind::Phone) else {
        return Ok(None);
    };
    let directory = job.flow.directory();
    for id in job.flow.store().find_identities(None, phone).await? {
        let other = job.identity_by(id).await?;
        let here = directory
            .channel(other.channel)
            .is_some_and(|channel| channel.workspace == job.workspace.id);
        let same = first_alias(&other.aliases, AliasKind::Phone) == Some(phone);
        if let (true, true, Some(link)) = (here, same, other.contact) {
            return Ok(Some(link.contact));
        }
    }
    Ok(None)
}

async fn create(job: &Job<'_>, identity: &Identity, person: &Person, target: &str) -> Result<String, Stop> {
    let fingerprint = digest(&[&job.label.attribute, person.label()]);
    let effect = job.announce(STEP, target, &fingerprint).await?;
    match job.inbox.create_contact(&job.access, &job.label, person).await {
        Ok(contact) => {
            let written_name = contact.name.clone();
            let changes = vec![
                job.done(effect, Some(contact.id.clone())),
                link(identity, &contact.id, written_name),
                job.hop("contact made", None, Some(contact.id.clone())),
            ];
            job.commit(changes).await?;
            Ok(contact.id)
        }
        Err(error) => {
            job.commit(vec![job.undone(effect, &failure_of(&error))]).await?;
            Err(error.into())
        }
    }
}

/// A provider's new name is written once, and only over a name that is ours. That it fails delays no message.
async fn refresh_name(job: &Job<'_>, identity: &Identity, known: &ContactLink) -> Result<(), Stop> {
    let (Some(name), Some(written)) = (&identity.name, &known.written_name) else {
        return Ok(());
    };
    if name == written {
        return Ok(());
    }
    let person = person(identity);
    let refreshed = job
        .inbox
        .refresh_contact(&job.access, &job.label, &known.contact, &person, Some(written.as_str()))
        .await;
    match refreshed {
        Ok(contact) => {
            // Another name there was given by somebody else, and is theirs from now on.
            let ours = contact.name.filter(|present| present == name);
            job.commit(vec![link(identity, &known.contact, ours)]).await
        }
        Err(error @ (InboxError::ContactGone | InboxError::ContactMerged { .. })) => Err(error.into()),
        Err(error @ InboxError::Failure(Failure::Unauthorized(_))) => Err(error.into()),
        Err(error) => {
            tracing::info!(workspace.id = %job.workspace.id, %error, "A contact's name was not refreshed");
            Ok(())
        }
    }
}

fn link(identity: &Identity, contact: &str, written_name: Option<String>) -> Change {
    Change::Contact(ContactLink {
        identity: identity.id,
        contact: contact.to_owned(),
        written_name,
    })
}

/// Closes an earlier announcement: the contact that it made, or another one, has been found.
fn settled(job: &Job<'_>, contact: &str) -> Vec<Change> {
    let open = job.event.effect(STEP).filter(|effect| is_open(effect));
    open.map(|effect| job.done(effect.clone(), Some(contact.to_owned())))
        .into_iter()
        .collect()
}

fn is_open(effect: &Effect) -> bool {
    matches!(effect.state, EffectState::Intent | EffectState::Ambiguous)
}

/// Several contacts matched: the team may want to merge them.
fn others_note(job: &Job<'_>, identity: &Identity, others: &[(String, String)]) -> Option<Change> {
    if others.is_empty() {
        return None;
    }
    let names: Vec<String> = others.iter().map(|(id, name)| format!("{name} ({id})")).collect();
    let sentence = format!("These match as well: {}.", names.join(", "));
    let html = note::html("Several contacts match this customer.", &[&sentence]);
    Some(job.note(identity.id, None, format!("others:{}", identity.id), html))
}

//! Who the sender is in the inbox: known, else found, else made.
//!
//! The inbox's search lags behind its writes, so a person who writes on two channels at once would be made twice: who
//! goes by one phone number or platform id is looked for and made by one message at a time, and what one learnt the
//! others use.

use std::time::Duration;

use mantle_inbox::InboxError;
use mantle_model::failure::Failure;
use mantle_model::inbound::{AliasKind, Person, first_alias};
use mantle_store::lanes::{Change, Effect, EffectState};
use mantle_store::people::{ContactLink, Identity};

use super::part::failure_of;
use crate::job::{Job, Stop, digest};
use crate::making::{self, Asked, Right};
use crate::note;

const STEP: &str = "contact";
/// Remembers the note about further matches until there is a conversation for it.
const OTHERS_STEP: &str = "others";
/// When a contact whose making has an unknown outcome is looked for. The search shows it seconds to minutes later:
/// only the last look makes its absence count.
const LOOK_AFTER: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];

/// The person's contact.
#[derive(Debug)]
pub(super) struct Ensured {
    /// The inbox's id.
    pub contact: String,
    /// A note to be owed once there is a conversation.
    pub note: Option<Change>,
    /// The inbox or the store was asked: meanwhile others may have gone on with the identity.
    pub asked: bool,
}

impl Ensured {
    fn anew(contact: String, note: Option<Change>) -> Self {
        Self {
            contact,
            note,
            asked: true,
        }
    }
}

/// The identity as the inbox sees a person.
pub(super) fn person(identity: &Identity) -> Person {
    Person {
        aliases: identity.aliases.clone(),
        name: identity.name.clone(),
        language: identity.language.clone(),
    }
}

/// A known identity costs no search.
pub(super) async fn ensure(job: &Job<'_>, identity: &Identity) -> Result<Ensured, Stop> {
    if let Some(link) = &identity.contact {
        let asked = refresh_name(job, identity, link).await?;
        let earlier = job.event.effect(OTHERS_STEP);
        return Ok(Ensured {
            contact: link.contact.clone(),
            note: earlier.map(|effect| others_note(job, identity, effect.fingerprint.clone())),
            asked,
        });
    }
    let person = person(identity);
    let keys = keys(job, identity);
    let right = match making::ask(job, &keys).await? {
        Asked::Ours(right) => right,
        Asked::Made(contact) => {
            let mut changes = settled(job, &contact);
            changes.extend(known(job, identity, &keys, &contact));
            changes.push(job.hop("contact known from another channel", None, Some(contact.clone())));
            job.commit(changes).await?;
            return Ok(Ensured::anew(contact, None));
        }
    };
    let prefer_users = job.workspace.settings.prefer_users;
    let found = job
        .inbox
        .find_contact(&job.access, &job.label, &person, prefer_users)
        .await?;
    let Some(contact) = found.chosen else {
        wait_for_the_lost(job, &right)?;
        let contact = create(job, identity, &person, &keys).await?;
        return Ok(Ensured::anew(contact, None));
    };
    let mut changes = settled(job, &contact.id);
    changes.extend(known(job, identity, &keys, &contact.id));
    changes.push(job.hop("contact found", None, Some(contact.id.clone())));
    let html = others_html(&found.others);
    changes.extend(html.clone().map(|html| remembered(job, html)));
    job.commit(changes).await?;
    let note = html.map(|html| others_note(job, identity, html));
    Ok(Ensured::anew(contact.id, note))
}

/// What the person's contact goes by while it is made: the same on every channel that tells the phone number, and on
/// every channel of one kind that tells the platform's id.
fn keys(job: &Job<'_>, identity: &Identity) -> Vec<String> {
    let phone = first_alias(&identity.aliases, AliasKind::Phone).map(|phone| format!("contact:phone:{phone}"));
    let id = first_alias(&identity.aliases, AliasKind::Id).map(|id| format!("contact:{}:{id}", job.label.attribute));
    let all: Vec<String> = phone.into_iter().chain(id).collect();
    if all.is_empty() {
        vec![format!("contact:{}", identity.id)]
    } else {
        all
    }
}

/// A call that made a contact, perhaps, and whose answer nobody had: not before the search must show it is another made.
fn wait_for_the_lost(job: &Job<'_>, right: &Right) -> Result<(), Stop> {
    let Some(announced_at) = right.announced_at else {
        return Ok(());
    };
    let waited = job.now().since(announced_at);
    match LOOK_AFTER.into_iter().find(|after| *after > waited) {
        Some(next) => Err(Stop::Unsettled(next.saturating_sub(waited))),
        None => Ok(()),
    }
}

async fn create(job: &Job<'_>, identity: &Identity, person: &Person, keys: &[String]) -> Result<String, Stop> {
    let fingerprint = digest(&[&job.label.attribute, person.label()]);
    let announced_at = Some(job.now());
    let making = |announced_at| Change::Making {
        workspace: job.workspace.id,
        keys: keys.to_vec(),
        announced_at,
    };
    let target = identity.id.to_string();
    let effect = job
        .announce_with((STEP, &target, &fingerprint), vec![making(announced_at)])
        .await?;
    match job.inbox.create_contact(&job.access, &job.label, person).await {
        Ok(contact) => {
            let mut changes = vec![job.done(effect, Some(contact.id.clone()))];
            changes.extend(made(job, keys, &contact.id));
            changes.push(link(identity, &contact.id, contact.name.clone()));
            changes.push(job.hop("contact made", None, Some(contact.id.clone())));
            job.commit(changes).await?;
            Ok(contact.id)
        }
        Err(error) => {
            let failure = failure_of(&error);
            let lost = matches!(failure, Failure::Unknown(_));
            let changes = vec![job.undone(effect, &failure), making(announced_at.filter(|_| lost))];
            job.commit(changes).await?;
            Err(Stop::of_a_write(error, LOOK_AFTER[0]))
        }
    }
}

/// The identity has this contact, and so has everybody of the same number or id.
fn known(job: &Job<'_>, identity: &Identity, keys: &[String], contact: &str) -> Vec<Change> {
    let mut changes = made(job, keys, contact);
    changes.push(link(identity, contact, None));
    changes
}

fn made(job: &Job<'_>, keys: &[String], contact: &str) -> Vec<Change> {
    vec![Change::Made {
        workspace: job.workspace.id,
        keys: keys.to_vec(),
        remote_id: Some(contact.to_owned()),
    }]
}

/// A provider's new name is written once, and only over a name that is ours. That it fails delays no message. Tells
/// whether the inbox was asked.
async fn refresh_name(job: &Job<'_>, identity: &Identity, known: &ContactLink) -> Result<bool, Stop> {
    let (Some(name), Some(written)) = (&identity.name, &known.written_name) else {
        return Ok(false);
    };
    if name == written {
        return Ok(false);
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
            job.commit(vec![link(identity, &known.contact, ours)]).await?;
            Ok(true)
        }
        Err(error @ (InboxError::ContactGone | InboxError::ContactMerged { .. })) => Err(error.into()),
        Err(error @ InboxError::Failure(Failure::Unauthorized(_))) => Err(error.into()),
        Err(error) => {
            tracing::info!(workspace.id = %job.workspace.id, %error, "A contact's name was not refreshed");
            Ok(true)
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
fn others_html(others: &[(String, String)]) -> Option<String> {
    if others.is_empty() {
        return None;
    }
    let names: Vec<String> = others.iter().map(|(id, name)| format!("{name} ({id})")).collect();
    let sentence = format!("These match as well: {}.", names.join(", "));
    Some(note::html("Several contacts match this customer.", &[&sentence]))
}

/// The contact is linked before the conversation is there: a crash in between must not lose the note.
fn remembered(job: &Job<'_>, html: String) -> Change {
    job.effect(Effect {
        step: OTHERS_STEP.into(),
        state: EffectState::Done,
        target: String::new(),
        fingerprint: html,
        remote_id: None,
        announced_at: job.now(),
        ended_at: Some(job.now()),
        code: None,
    })
}

fn others_note(job: &Job<'_>, identity: &Identity, html: String) -> Change {
    job.note(identity.id, None, format!("others:{}", identity.id), html)
}

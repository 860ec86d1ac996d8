//! Writing one part into the inbox: announced, made, written down; looked for before it is ever repeated.

use std::time::Duration;

use futures_util::future::try_join_all;
use mantle_inbox::{InboxError, Opened, Part, Trail, Upload};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::outbound::File;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Change, Effect, EffectState};
use mantle_store::ledger::MessageFilter;

use crate::job::{Job, Stop, digest};

/// The inbox's search shows a conversation seconds to minutes later: that an opening is not found counts only this
/// long after it was announced, when the call itself has long ended.
const OPENING_ABSENT_AFTER: Duration = Duration::from_secs(120);
/// A conversation is read without a search: a part that is not there so long after the call ended was not written.
const PART_ABSENT_AFTER: Duration = Duration::from_secs(10);
/// When a write of unknown outcome is looked for.
pub(super) const LOOK_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Equal openings of one contact in one second that are told apart: more than people have channels.
const EQUAL_OPENINGS_MAX: u32 = 16;
/// Messages stored this long before are compared when counting equal ones: those of the same second come together …
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(10 * 60);
/// … and so many of them.
const NEIGHBOURS_MAX: u32 = 50;

/// A part to be written as the customer.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    pub step: &'a str,
    pub contact: &'a str,
    /// None: the part opens a conversation.
    pub conversation: Option<&'a str>,
    pub text: &'a str,
    pub files: &'a [File],
    pub at: Time,
}

/// A part that is in the inbox.
#[derive(Debug)]
pub(super) struct Landed {
    pub conversation: String,
    /// To be committed with what follows from it.
    pub changes: Vec<Change>,
}

/// Target of the effect that opens a conversation: replies in conversations unknown so far wait for these.
pub(crate) fn opening_target(workspace: impl std::fmt::Display) -> String {
    format!("open:{workspace}")
}

/// Writes the part unless an earlier attempt did.
pub(super) async fn write(job: &Job<'_>, draft: &Draft<'_>) -> Result<Landed, Stop> {
    match settle(job, draft).await? {
        Settled::Landed(landed) => return Ok(landed),
        Settled::Free | Settled::NotThere => {}
    }
    let target = draft
        .conversation
        .map_or_else(|| opening_target(job.workspace.id), str::to_owned);
    let effect = job.announce(draft.step, &target, &fingerprint(draft)).await?;
    match call(job, draft).await {
        Ok(opened) => Ok(landed(job, draft, effect, opened)),
        Err(error) => {
            job.commit(vec![job.undone(effect, &failure_of(&error))]).await?;
            Err(Stop::of_a_write(error, LOOK_AFTER[0]))
        }
    }
}

/// What became of an earlier attempt at a part.
pub(super) enum Settled {
    Landed(Landed),
    /// There was none, or it surely failed.
    Free,
    /// Its outcome was unknown, and it surely did not arrive.
    NotThere,
}

/// Looks for the part if an earlier attempt left it in doubt.
pub(super) async fn settle(job: &Job<'_>, draft: &Draft<'_>) -> Result<Settled, Stop> {
    let Some(effect) = job.event.effect(draft.step) else {
        return Ok(Settled::Free);
    };
    match effect.state {
        EffectState::Done => Ok(Settled::Landed(landed_before(draft, effect))),
        EffectState::Failed => Ok(Settled::Free),
        EffectState::Intent | EffectState::Ambiguous => {
            let found = look(job, effect, &trail(job, draft).await?).await?;
            Ok(found.map_or(Settled::NotThere, |found| {
                Settled::Landed(landed(job, draft, effect.clone(), found))
            }))
        }
    }
}

/// Writes words and files together, but never a second time after their outcome was unknown: then the words go at once
/// and the files follow them, so that no trouble with a file holds up what the customer said.
pub(super) async fn write_with_files(job: &Job<'_>, draft: &Draft<'_>) -> Result<Landed, Stop> {
    match settle(job, draft).await? {
        Settled::Landed(landed) => Ok(landed),
        Settled::NotThere if !draft.files.is_empty() => {
            let cause = Cause::new("upload-in-doubt", "The files were not taken, and nobody said why.");
            Err(InboxError::Failure(Failure::Transient(cause)).into())
        }
        Settled::Free | Settled::NotThere => write(job, draft).await,
    }
}

async fn call(job: &Job<'_>, draft: &Draft<'_>) -> Result<Opened, InboxError> {
    let part = Part {
        contact: draft.contact,
        text: draft.text,
        files: uploads(job, draft.files).await?,
        at: draft.at,
    };
    match draft.conversation {
        None => job.inbox.open_conversation(&job.access, part).await,
        Some(conversation) => {
            let part = job.inbox.append(&job.access, conversation, part).await?;
            Ok(Opened {
                conversation: conversation.to_owned(),
                part,
            })
        }
    }
}

/// Files from the shelf, ready to be streamed.
pub(super) async fn uploads(job: &Job<'_>, files: &[File]) -> Result<Vec<Upload>, InboxError> {
    let opening = files.iter().map(|file| async move {
        let body = job.flow.shelf().open(file.media).await;
        let body = body.map_err(|error| Failure::Transient(Cause::new("shelf", error.to_string())))?;
        Ok::<_, InboxError>(Upload {
            name: file.name.clone(),
            content_type: file.content_type.clone(),
            bytes: file.bytes,
            body,
        })
    });
    try_join_all(opening).await
}

/// Looks for a write of unknown outcome. None: it surely did not arrive.
pub(super) async fn look(job: &Job<'_>, effect: &Effect, trail: &Trail) -> Result<Option<Opened>, Stop> {
    if let Some(found) = unaccounted(job, trail).await? {
        return Ok(Some(found));
    }
    let (since, absent_after) = match trail.conversation {
        None => (effect.announced_at, OPENING_ABSENT_AFTER),
        Some(_) => (effect.ended_at.unwrap_or(effect.announced_at), PART_ABSENT_AFTER),
    };
    let waited = job.now().since(since);
    if waited >= absent_after {
        return Ok(None);
    }
    let next = LOOK_AFTER
        .into_iter()
        .find(|after| *after > waited)
        .map_or(absent_after, |after| after.min(absent_after));
    Err(Stop::Unsettled(next.saturating_sub(waited)))
}

/// A write like ours that nobody else has a claim to: of two people who said the same in the same second, each has a
/// conversation.
async fn unaccounted(job: &Job<'_>, trail: &Trail) -> Result<Option<Opened>, Stop> {
    let mut trail = trail.clone();
    for _ in 0..EQUAL_OPENINGS_MAX {
        let Some(found) = job.inbox.locate(&job.access, &trail).await? else {
            return Ok(None);
        };
        if trail.conversation.is_some() {
            return Ok(Some(found));
        }
        let store = job.flow.store();
        let owner = store.conversation_owner(job.workspace.id, &found.conversation).await?;
        if owner.is_none() {
            return Ok(Some(found));
        }
        trail.except.push(found.conversation);
    }
    Ok(None)
}

fn landed_before(draft: &Draft<'_>, effect: &Effect) -> Landed {
    let conversation = draft
        .conversation
        .map(str::to_owned)
        .or_else(|| effect.remote_id.clone());
    Landed {
        conversation: conversation.unwrap_or_default(),
        changes: Vec::new(),
    }
}

fn landed(job: &Job<'_>, draft: &Draft<'_>, effect: Effect, opened: Opened) -> Landed {
    let remote_id = match draft.conversation {
        None => Some(opened.conversation.clone()),
        Some(_) => opened.part.clone(),
    };
    let mut changes = vec![job.done(effect, remote_id)];
    changes.extend(opened.part.map(|part| Change::OwnPart { part }));
    Landed {
        conversation: opened.conversation,
        changes,
    }
}

async fn trail(job: &Job<'_>, draft: &Draft<'_>) -> Result<Trail, Stop> {
    Ok(Trail {
        contact: draft.contact.to_owned(),
        as_team: false,
        conversation: draft.conversation.map(str::to_owned),
        text: draft.text.to_owned(),
        files: draft.files.iter().map(|file| file.name.clone()).collect(),
        at: draft.at,
        known_equal: match draft.conversation {
            // Openings are told apart by whose they are.
            None => 0,
            Some(_) => known_equal(job, draft).await?,
        },
        except: Vec::new(),
    })
}

/// How many other messages of this person with the same words and second have arrived for sure: two honest
/// "ok" in one second must stay two.
async fn known_equal(job: &Job<'_>, draft: &Draft<'_>) -> Result<u32, Stop> {
    let Some(identity) = job.lane.identity else {
        return Ok(0);
    };
    let filter = MessageFilter {
        channel: Some(job.channel.id),
        identities: Some(vec![identity]),
        from: Some(job.event.accepted_at.before(NEIGHBOURS_WITHIN)),
        limit: NEIGHBOURS_MAX,
        ..MessageFilter::default()
    };
    let wanted = fingerprint(draft);
    let mut equal = 0;
    for row in job.flow.store().messages(&filter).await? {
        if row.direction != Direction::In || row.id == job.event.id {
            continue;
        }
        let Some(trace) = job.flow.store().trace(row.id).await? else {
            continue;
        };
        let arrived = |effect: &Effect| effect.state == EffectState::Done && effect.fingerprint == wanted;
        equal += u32::from(trace.effects.iter().any(|(_, effect)| arrived(effect)));
    }
    Ok(equal)
}

fn fingerprint(draft: &Draft<'_>) -> String {
    let second = draft.at.unix_seconds().to_string();
    let mut words = vec![draft.contact, second.as_str(), draft.text];
    words.extend(draft.files.iter().map(|file| file.name.as_str()));
    digest(&words)
}

/// What is gone was surely not written to.
pub(super) fn failure_of(error: &InboxError) -> Failure {
    match error {
        InboxError::Failure(failure) => failure.clone(),
        InboxError::ConversationGone => Failure::Transient(Cause::new("conversation-gone", error.to_string())),
        InboxError::ContactGone => Failure::Transient(Cause::new("contact-gone", error.to_string())),
        InboxError::ContactMerged { .. } => Failure::Transient(Cause::new("contact-merged", error.to_string())),
    }
}

//! One reply of the team, from what the inbox told to what the provider took.

use std::sync::Arc;
use std::time::Duration;

use mantle_inbox::{Author, Fetched, InboxError, Reply, ReplyFile, Spoken};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::inbound::Reach;
use mantle_model::text::RichText;
use mantle_store::lanes::{Attempt, Change, Effect, EffectState, Ending};
use mantle_store::people::Identity;

use super::plan::{self, Plan};
use super::send::{self, Outcome};
use super::{ahead, files, signature, spacing, window, words};
use crate::connector::Connector;
use crate::job::{Job, Stop, Turn, text_fingerprint};
use crate::payload::{ReplyTold, doubt_step, send_step};
use crate::restored;

/// How often a part that the inbox does not show yet is asked for before the webhook's own text is taken.
const MISSING_TRIES: u32 = 3;
const MISSING_WAIT: Duration = Duration::from_secs(2);
/// While a write of ours that looks the same is under way.
const OWN_WAIT: Duration = Duration::from_secs(2);
/// After so long a write of ours is settled, and what looks like it is somebody's own.
const OWN_WAIT_MAX: Duration = Duration::from_secs(120);

pub(super) async fn forward(job: &Job<'_>, told: &ReplyTold) -> Result<Turn, Stop> {
    if let Some(turn) = set_aside(job, told).await? {
        return Ok(turn);
    }
    if let Some(cause) = restored::may_have_been_sent(job) {
        let link = job.flow.resend_link(job.event.id);
        let html = words::unknown(&job.label.title, &words::quoted(&told.text), &cause, &link);
        return Ok(Turn::Finish {
            changes: failure_note(job, told, html).into_iter().collect(),
            ending: Ending::Unknown { cause },
        });
    }
    let Some(plugin) = job.connector() else {
        // It went away after the reply was looked at first.
        return Ok(Turn::wait(
            Duration::ZERO,
            "connector-away",
            "The connector was unloaded.",
        ));
    };
    // What were read and fetched now would be read and fetched again after the pause.
    if let Some(wait) = spacing::wait(job, &plugin.capabilities().delivery).await? {
        return Ok(Turn::wait(wait, "pace", spacing::WHY));
    }
    let reply = match read(job, told).await? {
        Read::Reply(reply) => reply,
        Read::Turn(turn) => return Ok(turn),
    };
    let earlier = (reply.earlier.as_slice(), reply.at);
    if let Some(turn) = ahead::first(job, told, earlier, &plugin.capabilities().delivery).await? {
        return Ok(turn);
    }
    let identity = job.identity().await?;
    if let Some(refusal) = window::barred(plugin.capabilities(), &identity, job.now()) {
        return Ok(refused(job, told, &words::quoted(&told.text), &refusal, Vec::new()));
    }
    let words = signature::signed(job.channel.settings.signature, reply.words, &reply.author);
    let brought = files::bring(job, &reply.files, plugin.capabilities()).await?;
    let mut plan = plan::plan(&job.label.title, plugin.capabilities(), &words, &brought.files);
    plan.left_out.splice(0..0, brought.left_out);
    if plan.units.is_empty() && plan.left_out.is_empty() {
        return Ok(Turn::ignored("empty"));
    }
    deliver(job, told, (&plugin, &identity), &plan).await
}

/// What never goes out: our own parts, and bots where the workspace says so.
pub(super) async fn set_aside(job: &Job<'_>, told: &ReplyTold) -> Result<Option<Turn>, Stop> {
    let store = job.flow.store();
    // Before what is done: a write that ends between the two looks is seen by the second.
    let open = store.open_effects(&told.conversation, Some(job.event.id)).await?;
    if store.is_own_part(told.workspace, &told.part).await? {
        return Ok(Some(Turn::ignored("own")));
    }
    if ahead::went(job, &told.part).await? {
        return Ok(Some(Turn::ignored("went-ahead")));
    }
    let fingerprint = text_fingerprint(&told.text);
    let fresh = job.now().since(job.event.accepted_at) < OWN_WAIT_MAX;
    if fresh && open.iter().any(|effect| effect.fingerprint == fingerprint) {
        return Ok(Some(Turn::wait(
            OWN_WAIT,
            "own-write",
            "A write of ours that looks the same is under way.",
        )));
    }
    if told.author == Author::Bot && !job.workspace.settings.send_bot_replies {
        return Ok(Some(Turn::ignored("bot")));
    }
    Ok(None)
}

/// The reply's author, words and files.
struct Content {
    author: Author,
    words: RichText,
    files: Vec<ReplyFile>,
    at: Time,
    /// What was written before it, where the inbox showed it.
    earlier: Vec<Spoken>,
}

enum Read {
    Reply(Content),
    Turn(Turn),
}

async fn read(job: &Job<'_>, told: &ReplyTold) -> Result<Read, Stop> {
    match job.inbox.fetch_reply(&job.access, &told.conversation, &told.part).await {
        Ok(Fetched::Reply(reply)) => {
            let Reply {
                author,
                text,
                attachments,
                at,
                earlier,
                ..
            } = *reply;
            Ok(Read::Reply(Content {
                author,
                words: text,
                files: attachments,
                at,
                earlier,
            }))
        }
        Ok(Fetched::Silent) => Ok(Read::Turn(Turn::ignored("nothing-for-the-customer"))),
        Ok(Fetched::Missing) if job.lane.tries < MISSING_TRIES => Ok(Read::Turn(Turn::Retry {
            changes: Vec::new(),
            wait: MISSING_WAIT,
            cause: Cause::new("missing", "The inbox does not show the reply yet."),
            counts: Attempt::Counts,
        })),
        Ok(Fetched::Missing) | Err(InboxError::ConversationGone) => Ok(Read::Reply(Content {
            author: told.author.clone(),
            words: RichText::plain(told.text.clone()),
            files: Vec::new(),
            at: job.event.at,
            earlier: Vec::new(),
        })),
        Err(error) => Err(error.into()),
    }
}

async fn deliver(
    job: &Job<'_>,
    told: &ReplyTold,
    (plugin, identity): (&Arc<dyn Connector>, &Identity),
    plan: &Plan,
) -> Result<Turn, Stop> {
    let mut left_out = left_out_note(job, told, plan);
    let there = send::arrived_before(job).await?;
    for (place, unit) in plan.units.iter().enumerate() {
        if there.contains(&(send_step(place), unit.mark.clone())) {
            continue;
        }
        let outcome = send::unit(job, &**plugin, identity, (place, unit)).await?;
        let what = || part_words(plan, place, &words::named(&unit.mark, &told.text));
        let turn = match outcome {
            Outcome::Taken => continue,
            Outcome::Wait(wait, code, why) => Turn::wait(wait, code, why),
            Outcome::Refused(refusal) => {
                let refusal = window::worded(plugin.capabilities().window.as_ref(), identity, refusal, job.now());
                let mut changes = consequences(job, identity, &refusal);
                changes.append(&mut left_out);
                refused(job, told, &what(), &refusal, changes)
            }
            Outcome::Unknown(cause) => {
                let link = job.flow.resend_link(job.event.id);
                let html = words::unknown(&job.label.title, &what(), &cause, &link);
                left_out.extend(failure_note(job, told, html));
                left_out.push(job.effect(doubt_told(job, place)));
                Turn::Finish {
                    changes: left_out,
                    ending: Ending::Unknown { cause },
                }
            }
        };
        return Ok(turn);
    }
    let ending = match plan.left_out.first() {
        Some(line) if plan.units.is_empty() => Ending::Failed {
            cause: Cause::new("files-left-out", line.clone()),
        },
        _ => Ending::Done,
    };
    if !plan.units.is_empty() {
        left_out.extend(moved_on_note(job, told, identity));
    }
    Ok(Turn::Finish {
        changes: left_out,
        ending,
    })
}

/// A reply in a conversation that a newer one followed reached the customer all the same; where they answer is told
/// once.
fn moved_on_note(job: &Job<'_>, told: &ReplyTold, identity: &Identity) -> Option<Change> {
    let present = &identity.thread.as_ref()?.conversation;
    if *present == told.conversation {
        return None;
    }
    let workspace = &job.workspace;
    let url = job
        .inbox
        .conversation_url(&workspace.platform_id, &workspace.facts, present);
    let key = format!("moved-on:{}:{present}", told.conversation);
    note(job, told, key, words::moved_on(&job.label.title, &url))
}

/// Remembers that the note was owed: what becomes of the message is news to the team then.
fn doubt_told(job: &Job<'_>, place: usize) -> Effect {
    Effect {
        step: doubt_step(&send_step(place)),
        state: EffectState::Done,
        target: "note".into(),
        fingerprint: String::new(),
        remote_id: None,
        announced_at: job.now(),
        ended_at: Some(job.now()),
        code: None,
    }
}

/// What a refusal teaches about the person.
fn consequences(job: &Job<'_>, identity: &Identity, refusal: &Refusal) -> Vec<Change> {
    let identity = identity.id;
    match refusal.reason {
        Reason::WindowClosed => vec![Change::WindowClosed { identity }],
        Reason::OptedOut => vec![Change::Reach {
            identity,
            reach: Reach::OptedOut,
            at: job.now(),
        }],
        _ => Vec::new(),
    }
}

/// Which part of a longer reply failed.
fn part_words(plan: &Plan, place: usize, what: &str) -> String {
    let count = plan.units.len();
    if count == 1 {
        return what.to_owned();
    }
    let stopped = if place + 1 < count {
        " Nothing after it was sent."
    } else {
        ""
    };
    format!("{what} Part {} of {count} failed.{stopped}", place + 1)
        .trim()
        .to_owned()
}

pub(super) fn refused(
    job: &Job<'_>,
    told: &ReplyTold,
    what: &str,
    refusal: &Refusal,
    mut changes: Vec<Change>,
) -> Turn {
    let link = words::may_help(refusal.reason).then(|| job.flow.resend_link(job.event.id));
    let html = words::refused(&job.label.title, what, refusal, link.as_deref());
    changes.extend(failure_note(job, told, html));
    Turn::Finish {
        changes,
        ending: Ending::Failed {
            cause: refusal.cause.clone(),
        },
    }
}

/// The note for a reply that was tried for too long.
pub(crate) fn given_up(job: &Job<'_>, told: &ReplyTold, cause: &Cause) -> Option<Change> {
    let link = job.flow.resend_link(job.event.id);
    let html = words::given_up(&job.label.title, &words::quoted(&told.text), cause, &link);
    failure_note(job, told, html)
}

pub(super) fn failure_note(job: &Job<'_>, told: &ReplyTold, html: String) -> Option<Change> {
    note(job, told, words::note_key(job.event.id), html)
}

fn left_out_note(job: &Job<'_>, told: &ReplyTold, plan: &Plan) -> Vec<Change> {
    if plan.left_out.is_empty() {
        return Vec::new();
    }
    let html = words::files_left_out(&job.label.title, &plan.left_out);
    let key = format!("left-out:{}", job.event.id);
    note(job, told, key, html).into_iter().collect()
}

/// Into the conversation that the reply was written in. Replies lie on lanes of identities, so there is one.
fn note(job: &Job<'_>, told: &ReplyTold, key: String, html: String) -> Option<Change> {
    let identity = job.lane.identity?;
    Some(job.note(identity, Some(told.conversation.clone()), key, html))
}

//! A customer's message into its conversation: the contact, the conversation, the part.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mantle_inbox::InboxError;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure, Reason};
use mantle_model::inbound::{Author, Chat, Content, Message};
use mantle_store::directory::ChannelChange;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Attempt, Change, Effect, EffectState};
use mantle_store::people::{Identity, ThreadLink};

use super::compose::{self, Surroundings};
use super::contact::{self, Ensured};
use super::media::{self, Gathered};
use super::part::{self, Draft};
use super::{buffer, echo, telling};
use crate::job::{Job, Stop, Turn};
use crate::making;
use crate::note;
use crate::payload::{InPayload, OutPayload};

/// How often a conversation that is said to be gone is tried again before a new one is begun: with
/// [`GONE_WAIT`] this stays within 30 s.
const GONE_TRIES: u32 = 3;
const GONE_WAIT: Duration = Duration::from_secs(8);
/// A message is late when it is this much older than the newest part: small inversions need no words.
const LATE_AFTER: Duration = Duration::from_secs(60);
/// How often a moved or vanished contact is followed within one turn.
const RELINKS_MAX: u32 = 3;
/// The effect that counts how often the conversation was not there.
const GONE_STEP: &str = "gone";
pub(super) const OPEN_STEP: &str = "conversation";
pub(super) const PART_STEP: &str = "part:0";
const FILES_STEP: &str = "part:1";

pub(super) async fn forward(job: &Job<'_>, message: &Message) -> Result<Turn, Stop> {
    match (&message.author, &message.chat) {
        (Author::Ourselves, _) => echo::ours(job, message).await,
        (_, Chat::Group(_)) if job.lane.identity.is_none() => refuse_group(job).await,
        (Author::NativeApp(app), _) => echo::native_app(job, message, app).await,
        (Author::Customer, _) => deliver(job, message).await,
    }
}

async fn refuse_group(job: &Job<'_>) -> Result<Turn, Stop> {
    let change = ChannelChange {
        refused_groups: 1,
        ..ChannelChange::default()
    };
    job.flow
        .store()
        .change_channel(job.channel.id, change, job.now())
        .await?;
    Ok(Turn::ignored("group-refused"))
}

async fn deliver(job: &Job<'_>, message: &Message) -> Result<Turn, Stop> {
    if let Some(turn) = deletion(job, message).await? {
        return Ok(turn);
    }
    let mut gathered = media::gather(job, message).await?;
    let message = &*telling::told(job, message, &gathered).await;
    let mut anew = gone_times(job) >= GONE_TRIES;
    let opened = AtomicBool::new(opened_before(job));
    for _ in 0..RELINKS_MAX {
        let identity = job.identity().await?;
        let placed = match contact::ensure(job, &identity).await {
            Ok(Ensured { contact, note, asked }) => {
                // What was read before nobody was asked is still so: a look at the store costs more than the words.
                let identity = if asked { job.identity().await? } else { identity };
                let at = Place {
                    identity,
                    contact,
                    anew,
                    opened: &opened,
                };
                let placed = place(job, message, &at, &mut gathered).await;
                // With the conversation there the note waits for nothing.
                placed.map(|changes| changes.into_iter().chain(note).collect())
            }
            Err(stop) => Err(stop),
        };
        match placed {
            Err(Stop::Inbox(InboxError::ConversationGone)) => return Ok(gone(job)),
            Err(Stop::Inbox(InboxError::ContactMerged { into })) => relink(job, Some(&into)).await?,
            Err(Stop::Inbox(InboxError::ContactGone)) => {
                relink(job, None).await?;
                anew = true;
            }
            other => return other.map(Turn::done),
        }
    }
    let cause = Cause::new("contact-moving", "The contact moved again and again in the inbox.");
    Err(Stop::Inbox(Failure::Transient(cause).into()))
}

/// The contact that the identity has by now is gone, or goes by another id. Read when that has happened only: what was
/// written must not be forgotten because the database cannot be read just then.
async fn relink(job: &Job<'_>, into: Option<&str>) -> Result<(), Stop> {
    let known = job.identity().await?.contact.map(|link| link.contact);
    let known = known.unwrap_or_default();
    job.flow.store().relink_contact(job.workspace.id, &known, into).await?;
    Ok(())
}

struct Place<'a> {
    /// As it was when the contact was known, before anything was written.
    identity: Identity,
    contact: String,
    /// The present conversation is not there any more.
    anew: bool,
    /// This very message has opened its conversation, in this turn or before: its words are there.
    opened: &'a AtomicBool,
}

fn opened_before(job: &Job<'_>) -> bool {
    let opened = job.event.effect(OPEN_STEP);
    opened.is_some_and(|effect| effect.state == EffectState::Done)
}

/// Writes the words and files. Answers with the changes that end the event.
async fn place(
    job: &Job<'_>,
    message: &Message,
    place: &Place<'_>,
    gathered: &mut Gathered,
) -> Result<Vec<Change>, Stop> {
    let mut present = place.identity.thread.clone();
    loop {
        let result = place_once(job, message, place, (present, gathered)).await;
        let Err(Stop::Inbox(InboxError::Failure(failure))) = &result else {
            return result;
        };
        if gathered.files().is_empty() {
            return result;
        }
        match failure {
            Failure::Transient(_) => gathered.defer(),
            Failure::Refused(refusal) if refusal.reason == Reason::TooLarge => gathered.link_instead(),
            _ => return result,
        }
        tracing::info!(channel.id = %job.channel.id, code = failure.cause().code, "Files go apart from their words");
        present = job.identity().await?.thread;
    }
}

async fn place_once(
    job: &Job<'_>,
    message: &Message,
    place: &Place<'_>,
    (present, gathered): (Option<ThreadLink>, &Gathered),
) -> Result<Vec<Change>, Stop> {
    let opened = place.opened.load(Ordering::Relaxed);
    let continued = match &present {
        Some(thread) if opened => Some(thread),
        Some(thread) if place.anew || !roomy(job, thread) => None,
        Some(thread) if buffer::elapsed(job, thread).await? => None,
        other => other.as_ref(),
    };
    let continued = continued.cloned();
    let around = surroundings(job, message, present.as_ref(), continued.as_ref(), place.anew).await?;
    let text = compose::text(message, &around, &gathered.shown(job));
    match continued {
        Some(thread) if opened => files_behind(job, place, &thread, gathered).await,
        Some(thread) => append(job, message, place, &thread, (&text, gathered)).await,
        None => {
            let thread = open(job, message, place, &text).await?;
            files_behind(job, place, &thread, gathered).await
        }
    }
}

/// Whether the conversation takes further parts.
fn roomy(job: &Job<'_>, thread: &ThreadLink) -> bool {
    thread.parts < job.workspace.settings.parts_max
}

async fn open(job: &Job<'_>, message: &Message, place: &Place<'_>, text: &str) -> Result<ThreadLink, Stop> {
    let opening = opening(job, &place.identity).await?;
    let placeholder = compose::placeholder(message);
    let draft = Draft {
        step: OPEN_STEP,
        contact: &place.contact,
        conversation: None,
        text: if text.trim().is_empty() { &placeholder } else { text },
        files: &[],
        at: job.event.at,
    };
    let landed = part::write(job, &draft).await?;
    let thread = ThreadLink {
        identity: place.identity.id,
        workspace: job.workspace.id,
        conversation: landed.conversation.clone(),
        opened_at: job.now(),
        last_part_at: job.event.at,
        parts: 1,
    };
    let before = place
        .identity
        .thread
        .as_ref()
        .map(|old| format!("{} → ", old.conversation));
    let mut changes = landed.changes;
    changes.extend([Change::Thread(thread.clone()), opening.done]);
    let detail = format!("{}{}", before.unwrap_or_default(), landed.conversation);
    changes.push(job.hop("conversation opened", None, Some(detail)));
    job.commit(changes).await?;
    place.opened.store(true, Ordering::Relaxed);
    let person = contact::person(&place.identity);
    let tag = job.workspace.settings.tag_conversations;
    let labelled = job
        .inbox
        .label_conversation(&job.access, &thread.conversation, &job.label, &person, tag)
        .await;
    if let Err(error) = labelled {
        tracing::warn!(channel.id = %job.channel.id, %error, "A new conversation does not show its channel");
    }
    if let (None, Some(origin)) = (&place.identity.thread, compose::origin(message)) {
        let marked = job.inbox.mark_origin(&job.access, &place.contact, &origin).await;
        if let Err(error) = marked {
            tracing::warn!(channel.id = %job.channel.id, %error, "A contact does not show where it came from");
        }
    }
    Ok(thread)
}

/// The right to open the identity's conversation.
pub(super) struct Opening {
    _right: making::Right,
    /// To be committed with the conversation.
    pub done: Change,
}

/// An identity that two became has two lanes: whoever comes second goes on in the conversation of the first.
pub(super) async fn opening(job: &Job<'_>, identity: &Identity) -> Result<Opening, Stop> {
    let keys = vec![format!("conversation:{}", identity.id)];
    let making::Asked::Ours(right) = making::ask(job, &keys).await? else {
        return Err(Stop::Unsettled(Duration::ZERO));
    };
    let present = job.identity_by(identity.id).await?.thread;
    let conversation = |thread: &Option<ThreadLink>| thread.as_ref().map(|thread| thread.conversation.clone());
    if conversation(&present) != conversation(&identity.thread) {
        return Err(Stop::Unsettled(Duration::ZERO));
    }
    Ok(Opening {
        _right: right,
        done: Change::Made {
            workspace: job.workspace.id,
            keys,
            remote_id: None,
        },
    })
}

/// The files of a message that opened a conversation: they follow its words as a part of their own.
async fn files_behind(
    job: &Job<'_>,
    place: &Place<'_>,
    thread: &ThreadLink,
    gathered: &Gathered,
) -> Result<Vec<Change>, Stop> {
    let files = gathered.files();
    let debts = gathered.debts(job, place.identity.id);
    let linked = links(job, gathered);
    if files.is_empty() && linked.is_empty() {
        return Ok(debts);
    }
    let draft = Draft {
        step: FILES_STEP,
        contact: &place.contact,
        conversation: Some(&thread.conversation),
        text: &linked,
        files: &files,
        at: job.event.at,
    };
    let mut changes = part::write_with_files(job, &draft).await?.changes;
    changes.push(continued(thread, job.event.at));
    changes.extend(debts);
    Ok(changes)
}

/// Lines for files that only a link leads to: the inbox refused them after the conversation was opened.
fn links(job: &Job<'_>, gathered: &Gathered) -> String {
    let line = |item: &media::Item| match &item.state {
        media::State::Linked(file) => Some(compose::link_line(file, &job.flow.shelf().link(file.media))),
        _ => None,
    };
    gathered.items.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

async fn append(
    job: &Job<'_>,
    message: &Message,
    place: &Place<'_>,
    thread: &ThreadLink,
    (text, gathered): (&str, &Gathered),
) -> Result<Vec<Change>, Stop> {
    let files = gathered.files();
    let placeholder = compose::placeholder(message);
    let silent = text.trim().is_empty() && files.is_empty();
    let draft = Draft {
        step: PART_STEP,
        contact: &place.contact,
        conversation: Some(&thread.conversation),
        text: if silent { &placeholder } else { text },
        files: &files,
        at: job.event.at.max(thread.last_part_at),
    };
    let mut changes = part::write_with_files(job, &draft).await?.changes;
    changes.push(continued(thread, draft.at));
    changes.extend(gathered.debts(job, place.identity.id));
    Ok(changes)
}

fn continued(thread: &ThreadLink, at: Time) -> Change {
    Change::Thread(ThreadLink {
        last_part_at: at.max(thread.last_part_at),
        parts: thread.parts + 1,
        ..thread.clone()
    })
}

/// Looks up what the message refers to, and says what the team must know before reading it.
async fn surroundings(
    job: &Job<'_>,
    message: &Message,
    present: Option<&ThreadLink>,
    continued: Option<&ThreadLink>,
    anew: bool,
) -> Result<Surroundings, Stop> {
    let mut preface = Vec::new();
    match (present, continued) {
        (Some(_), None) if anew => preface.push("[The previous conversation is no longer available.]".into()),
        // After a buffer the team wants a fresh conversation: nothing stands before the customer's words.
        (Some(full), None) if !roomy(job, full) => {
            let workspace = &job.workspace;
            let url = job
                .inbox
                .conversation_url(&workspace.platform_id, &workspace.facts, &full.conversation);
            preface.push(format!("[Continued from {url}]"));
        }
        (_, Some(thread)) if thread.last_part_at.since(job.event.at) > LATE_AFTER => {
            preface.push(compose::late_line(job.event.at));
        }
        _ => {}
    }
    let quoted = match &message.quote {
        None => None,
        Some(quote) => match (&quote.text, &quote.id) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(id)) => earlier_text(job, id).await?,
            (None, None) => None,
        },
    };
    let reaction = message.content.iter().find_map(|content| match content {
        Content::Reaction(reaction) => Some(reaction.target.as_str()),
        _ => None,
    });
    let target = match reaction {
        Some(target) => earlier_text(job, target).await?,
        None => None,
    };
    Ok(Surroundings {
        quoted,
        target,
        preface,
    })
}

/// The words of an earlier message, in whichever direction it went.
async fn earlier_text(job: &Job<'_>, remote_id: &str) -> Result<Option<String>, Stop> {
    let Some(trace) = job.flow.store().message_by_remote_id(job.channel.id, remote_id).await? else {
        return Ok(None);
    };
    Ok(match trace.message.direction {
        Direction::In => match serde_json::from_slice(&trace.payload) {
            Ok(InPayload::Message(message)) => words(&message),
            _ => None,
        },
        Direction::Out => match serde_json::from_slice(&trace.payload) {
            Ok(OutPayload::Reply(reply)) => Some(reply.text),
            _ => None,
        },
    })
}

fn words(message: &Message) -> Option<String> {
    message.content.iter().find_map(|content| match content {
        Content::Text(text) | Content::Line(text) => Some(text.clone()),
        Content::Attachment(attachment) => Some(
            attachment
                .caption
                .clone()
                .unwrap_or_else(|| format!("[{}]", attachment.kind.word())),
        ),
        Content::Choice(choice) => Some(choice.label.clone()),
        _ => None,
    })
}

/// A message taken back: a note instead of a part, and our copies of its files are erased.
async fn deletion(job: &Job<'_>, message: &Message) -> Result<Option<Turn>, Stop> {
    let targets: Vec<&str> = message
        .content
        .iter()
        .filter_map(|content| match content {
            Content::Deletion(target) => Some(target.as_str()),
            _ => None,
        })
        .collect();
    if targets.is_empty() || targets.len() < message.content.len() {
        return Ok(None);
    }
    let mut quoted = String::new();
    for target in targets {
        if let Some(text) = earlier_text(job, target).await? {
            quoted = format!("“{}”", mantle_model::text::snippet(&text, note::SNIPPET_CHARS));
        }
        erase_files(job, target).await?;
    }
    let identity = job.identity().await?;
    if identity.thread.is_none() {
        return Ok(Some(Turn::ignored("deletion-of-the-unknown")));
    }
    let html = note::html("A message was deleted by the customer.", &[&quoted]);
    let key = format!("deletion:{}", job.event.key);
    Ok(Some(Turn::done(vec![job.note(identity.id, None, key, html)])))
}

async fn erase_files(job: &Job<'_>, remote_id: &str) -> Result<(), Stop> {
    let store = job.flow.store();
    let Some(trace) = store.message_by_remote_id(job.channel.id, remote_id).await? else {
        return Ok(());
    };
    for (_, effect) in trace
        .effects
        .iter()
        .filter(|(_, effect)| effect.step.starts_with("media:"))
    {
        if let Some(Ok(media)) = effect.remote_id.as_ref().map(|id| id.parse()) {
            store.erase_media(media).await?;
        }
    }
    Ok(())
}

fn gone_times(job: &Job<'_>) -> u32 {
    let counted = job.event.effect(GONE_STEP).and_then(|effect| effect.code.as_deref());
    counted.and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// The conversation was not there: again in a moment, and after some times a new one.
fn gone(job: &Job<'_>) -> Turn {
    let times = gone_times(job) + 1;
    let counted = Effect {
        step: GONE_STEP.into(),
        state: EffectState::Failed,
        target: String::new(),
        fingerprint: String::new(),
        remote_id: None,
        announced_at: job.now(),
        ended_at: Some(job.now()),
        code: Some(times.to_string()),
    };
    let cause = Cause::new("conversation-gone", "The conversation does not exist in the inbox.");
    let hop = job.hop("conversation gone", Some(cause.code.clone()), None);
    Turn::Retry {
        changes: vec![job.effect(counted), hop],
        wait: GONE_WAIT,
        cause,
        counts: Attempt::Counts,
    }
}

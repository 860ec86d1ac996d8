//! What the provider tells us of the team's own messages: ours, or written in the provider's app.

use std::time::Duration;

use mantle_inbox::{InboxError, Trail};
use mantle_model::inbound::Message;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Change, Effect, EffectState, Ending};
use mantle_store::people::ThreadLink;

use super::compose::{self, Surroundings};
use super::contact::{self, Ensured};
use super::part::{self, Draft, look};
use super::{customer, media, telling};
use crate::job::{Job, Stop, Turn, text_fingerprint};
use crate::payload::{Correlated, SEND_STEPS, correlated};

const COMMENT_STEP: &str = "comment";
/// While a send to the same person is under way.
const SEND_WAIT: Duration = Duration::from_secs(2);
/// After so long a send of another host has its answer or never gets one: a connector has 30 s for it, and the host
/// some more to store what came of it.
const SEND_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Our own message, told again: only the provider's id of it may be news.
pub(super) async fn ours(job: &Job<'_>, message: &Message) -> Result<Turn, Stop> {
    let changes = settled(job, message.correlation.as_deref(), &message.id).await?;
    Ok(Turn::Finish {
        changes,
        ending: Ending::Ignored { why: "echo".into() },
    })
}

/// The provider's id of the send that the correlation names, unless it is known.
async fn settled(job: &Job<'_>, correlation: Option<&str>, remote_id: &str) -> Result<Vec<Change>, Stop> {
    let store = job.flow.store();
    let Some(named) = correlation.and_then(correlated) else {
        return Ok(Vec::new());
    };
    if store.message_by_remote_id(job.channel.id, remote_id).await?.is_some() {
        return Ok(Vec::new());
    }
    let ours = store.trace(named.message).await?;
    let ours = ours.is_some_and(|trace| trace.message.channel == job.channel.id);
    Ok(ours.then(|| settle(named, remote_id)).into_iter().collect())
}

/// A send in doubt is proven by the provider's own word.
pub(super) fn settle(named: Correlated, remote_id: &str) -> Change {
    Change::Settle {
        message: named.message,
        step: named.step,
        remote_id: remote_id.to_owned(),
    }
}

/// Not every provider says which program wrote a message. Its id says that it was us, once our send has its answer;
/// until then nobody can tell.
async fn taken_for_a_colleague(job: &Job<'_>, message: &Message) -> Result<Option<Turn>, Stop> {
    let store = job.flow.store();
    // First whether anything is under way, then the id: a send that ends in between is known by it.
    let under_way = sends_under_way(job).await?;
    let known = store.message_by_remote_id(job.channel.id, &message.id).await?;
    if known.is_some_and(|trace| trace.message.direction == Direction::Out) {
        return Ok(Some(Turn::ignored("echo")));
    }
    Ok(under_way.then(|| {
        Turn::wait(
            SEND_WAIT,
            "own-send",
            "A send of ours to the same person has no answer yet.",
        )
    }))
}

async fn sends_under_way(job: &Job<'_>) -> Result<bool, Stop> {
    let Some(identity) = job.lane.identity else {
        return Ok(false);
    };
    if job.flow.sending.is_under_way(identity) {
        return Ok(true);
    }
    let open = job.flow.store().open_effects(&identity.to_string(), None).await?;
    let fresh = |effect: &Effect| job.now().since(effect.announced_at) < SEND_ENDS_WITHIN;
    Ok(open
        .iter()
        .any(|effect| effect.step.starts_with(SEND_STEPS) && fresh(effect)))
}

/// A colleague answered in the provider's own app: shown as the team's, never sent out again.
pub(super) async fn native_app(job: &Job<'_>, message: &Message, app: &str) -> Result<Turn, Stop> {
    if let Some(turn) = taken_for_a_colleague(job, message).await? {
        return Ok(turn);
    }
    let gathered = media::gather(job, message).await?;
    let message = &*telling::told(job, message, &gathered).await;
    let words = compose::text(message, &Surroundings::default(), &gathered.shown(job));
    let mark = format!("(sent from {app})");
    let text = if words.trim().is_empty() {
        mark
    } else {
        format!("{words}\n\n{mark}")
    };
    let identity = job.identity().await?;
    let (ensured, thread) = match &identity.thread {
        Some(thread) => (contact::ensure(job, &identity).await?, thread.clone()),
        None => begin(job, app).await?,
    };
    let Ensured { contact, note, .. } = ensured;
    let mut changes: Vec<Change> = note.into_iter().collect();
    if let Some(effect) = job
        .event
        .effect(COMMENT_STEP)
        .filter(|effect| effect.state != EffectState::Failed)
    {
        let trail = Trail {
            contact: contact.clone(),
            as_team: true,
            conversation: Some(thread.conversation.clone()),
            text: text.clone(),
            files: gathered.files().iter().map(|file| file.name.clone()).collect(),
            at: effect.announced_at,
            known_equal: 0,
            except: Vec::new(),
        };
        if let Some(found) = look(job, effect, &trail).await? {
            changes.push(job.done(effect.clone(), found.part.clone()));
            changes.extend(found.part.map(|part| Change::OwnPart { part }));
            changes.extend(gathered.debts(job, identity.id));
            return Ok(Turn::done(changes));
        }
    }
    let files = part::uploads(job, &gathered.files()).await?;
    let effect = job
        .announce(COMMENT_STEP, &thread.conversation, &text_fingerprint(&text))
        .await?;
    match job
        .inbox
        .comment(&job.access, &thread.conversation, &job.voice(), &text, files)
        .await
    {
        Ok(written) => {
            changes.push(job.done(effect, written.part.clone()));
            changes.extend(written.part.clone().map(|part| Change::OwnPart { part }));
            changes.push(Change::Thread(ThreadLink {
                parts: thread.parts + 1,
                last_part_at: thread.last_part_at.max(job.event.at),
                ..thread
            }));
            changes.extend(gathered.debts(job, identity.id));
            job.mind_operator(&written).await;
            Ok(Turn::done(changes))
        }
        Err(error) => {
            job.commit(vec![job.undone(effect, &part::failure_of(&error))]).await?;
            Err(error.into())
        }
    }
}

/// The team wrote first: a conversation can only begin with words of the customer, so these say why it is there.
async fn begin(job: &Job<'_>, app: &str) -> Result<(Ensured, ThreadLink), Stop> {
    let identity = job.identity().await?;
    let ensured = contact::ensure(job, &identity).await?;
    let opening = customer::opening(job, &identity).await?;
    let text = format!("[This conversation began in {app}.]");
    let draft = Draft {
        step: "conversation",
        contact: &ensured.contact,
        conversation: None,
        text: &text,
        files: &[],
        at: job.event.at,
    };
    let landed = part::write(job, &draft).await?;
    let thread = ThreadLink {
        identity: identity.id,
        workspace: job.workspace.id,
        conversation: landed.conversation,
        opened_at: job.now(),
        last_part_at: job.event.at,
        parts: 1,
    };
    let mut changes = landed.changes;
    changes.extend([Change::Thread(thread.clone()), opening.done]);
    job.commit(changes).await?;
    let person = contact::person(&identity);
    let tag = job.workspace.settings.tag_conversations;
    let labelled = job
        .inbox
        .label_conversation(&job.access, &thread.conversation, &job.label, &person, tag)
        .await;
    if let Err(error @ InboxError::Failure(_)) = labelled {
        tracing::warn!(channel.id = %job.channel.id, %error, "A new conversation does not show its channel");
    }
    Ok((ensured, thread))
}

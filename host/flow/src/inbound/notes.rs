//! Notes that we owe the team, written on a lane of their own so that no message waits for them.

use mantle_inbox::{InboxError, Trail};
use mantle_store::lanes::{Change, EffectState};

use super::part::{LOOK_AFTER, failure_of, look};
use crate::job::{Job, Stop, Turn, text_fingerprint};
use crate::payload::Note;

const STEP: &str = "note";
/// While a conversation is being opened.
const CONVERSATION_WAIT: std::time::Duration = std::time::Duration::from_secs(5);
/// After so long nobody opens one any more.
const CONVERSATION_WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(60 * 60);

pub(super) async fn forward(job: &Job<'_>, note: &Note) -> Result<Turn, Stop> {
    let identity = job.identity_by(note.identity).await?;
    let present = identity.thread.map(|thread| thread.conversation);
    let Some(conversation) = note.conversation.clone().or(present) else {
        let waited = job.now().since(job.event.accepted_at);
        return Ok(if waited > CONVERSATION_WAIT_MAX {
            Turn::ignored("no-conversation")
        } else {
            Turn::wait(
                CONVERSATION_WAIT,
                "no-conversation",
                "The conversation is not there yet.",
            )
        });
    };
    let unsettled = |state| matches!(state, EffectState::Intent | EffectState::Ambiguous);
    if let Some(effect) = job.event.effect(STEP).filter(|effect| unsettled(effect.state)) {
        let trail = Trail {
            contact: identity.contact.map(|link| link.contact).unwrap_or_default(),
            as_team: true,
            conversation: Some(conversation.clone()),
            text: note.html.clone(),
            files: Vec::new(),
            at: effect.announced_at,
            known_equal: 0,
            except: Vec::new(),
        };
        if let Some(found) = look(job, effect, &trail).await? {
            let mut changes = vec![job.done(effect.clone(), found.part.clone())];
            changes.extend(found.part.map(|part| Change::OwnPart { part }));
            return Ok(Turn::done(changes));
        }
    }
    let effect = job.announce(STEP, &conversation, &text_fingerprint(&note.html)).await?;
    match job
        .inbox
        .note(&job.access, &conversation, &job.voice(), &note.html)
        .await
    {
        Ok(written) => {
            let mut changes = vec![job.done(effect, written.part.clone())];
            changes.extend(written.part.clone().map(|part| Change::OwnPart { part }));
            job.mind_operator(&written).await;
            Ok(Turn::done(changes))
        }
        Err(InboxError::ConversationGone) => Ok(Turn::ignored("conversation-gone")),
        Err(error) => {
            job.commit(vec![job.undone(effect, &failure_of(&error))]).await?;
            Err(Stop::of_a_write(error, LOOK_AFTER[0]))
        }
    }
}

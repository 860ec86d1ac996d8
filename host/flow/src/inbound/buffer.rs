//! Whether a message begins a new conversation because the one before came to rest long ago (TH-3, TH-4).
//!
//! The inbox is asked, since the team closes conversations there, but only when our own newest part in it is so old
//! that the answer can be yes. What an earlier try at the message began with is gone on with, whatever has changed since.

use std::time::Duration;

use mantle_store::directory::Rest;
use mantle_store::lanes::EffectState;
use mantle_store::people::ThreadLink;

use super::customer::{OPEN_STEP, PART_STEP};
use crate::job::{Job, Stop};

/// Whether the message is to open a new conversation. Equality counts as elapsed; the provider's time of the message
/// counts, not the time of its arrival.
pub(super) async fn elapsed(job: &Job<'_>, thread: &ThreadLink) -> Result<bool, Stop> {
    let settings = &job.workspace.settings;
    let Some(buffer) = settings.new_conversation_after else {
        return Ok(false);
    };
    let begun = |step: &str| {
        let effect = job.event.effect(step);
        effect.is_some_and(|effect| effect.state != EffectState::Failed)
    };
    if begun(OPEN_STEP) {
        return Ok(true);
    }
    let buffer = Duration::from_secs(buffer.into());
    let at = job.event.at;
    if begun(PART_STEP) || at.since(thread.last_part_at) < buffer {
        return Ok(false);
    }
    let quiet = job.inbox.quiet_since(&job.access, &thread.conversation).await?;
    let since = match settings.new_conversation_measure {
        Rest::SinceClosed => quiet.closed_at,
        Rest::SinceLastMessage => quiet.spoken_at,
    };
    Ok(since.is_some_and(|since| at.since(since) >= buffer))
}

//! Files that follow their message: fetched and handed over when provider and inbox can again.

use std::time::Duration;

use mantle_inbox::InboxError;
use mantle_model::failure::{Cause, Failure, Reason};
use mantle_model::outbound::File;
use mantle_store::lanes::{Attempt, Change, Ending};
use mantle_store::people::ThreadLink;

use super::compose;
use super::media::{self, NotFetched};
use super::part::{self, Draft};
use crate::job::{Job, Stop, Turn};
use crate::payload::LateFile;
use crate::retry::{self, Attempts, Next};

/// How long a file is tried for: provider addresses expire within a day.
const TRIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// From the message to the first further try.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn forward(job: &Job<'_>, late: &LateFile) -> Result<Turn, Stop> {
    let identity = job.identity_by(late.identity).await?;
    let (Some(contact), Some(thread)) = (identity.contact, identity.thread) else {
        return Ok(again(
            job,
            late,
            "no-conversation",
            "The message is not in the inbox yet.",
        ));
    };
    let shelved = match late.media {
        Some(media) => media::file_of(job, media, &late.attachment).await,
        None => None,
    };
    let file = match shelved {
        Some(file) => file,
        None => match media::fetch(job, &late.attachment).await {
            Ok(file) => file,
            Err(NotFetched::Later) => return Ok(again(job, late, "not-fetched", "The file cannot be fetched now.")),
            Err(NotFetched::Never(why)) => return Ok(never(job, late, &why)),
        },
    };
    match hand_over(job, &contact.contact, &thread, &file, Form::File).await {
        Ok(changes) => Ok(Turn::done(changes)),
        Err(Stop::Inbox(InboxError::Failure(Failure::Refused(refusal)))) if refusal.reason == Reason::TooLarge => {
            let changes = hand_over(job, &contact.contact, &thread, &file, Form::Link).await?;
            Ok(Turn::done(changes))
        }
        Err(Stop::Inbox(InboxError::Failure(Failure::Refused(refusal)))) => {
            Ok(never(job, late, &refusal.cause.message))
        }
        // An unknown outcome is looked for first in the next turn.
        Err(Stop::Inbox(InboxError::Failure(Failure::Transient(cause) | Failure::Unknown(cause)))) => {
            Ok(again(job, late, &cause.code, &cause.message))
        }
        Err(Stop::Lost { cause, .. }) => Ok(again(job, late, &cause.code, &cause.message)),
        Err(Stop::Inbox(InboxError::ConversationGone | InboxError::ContactGone)) => Ok(again(
            job,
            late,
            "conversation-gone",
            "The conversation is not there any more.",
        )),
        Err(other) => Err(other),
    }
}

enum Form {
    File,
    Link,
}

async fn hand_over(
    job: &Job<'_>,
    contact: &str,
    thread: &ThreadLink,
    file: &File,
    form: Form,
) -> Result<Vec<Change>, Stop> {
    let (text, files) = match form {
        Form::File => (String::new(), std::slice::from_ref(file)),
        Form::Link => (
            compose::link_line(file, &job.flow.shelf().link(file.media)),
            &[] as &[File],
        ),
    };
    let draft = Draft {
        step: "part:0",
        contact,
        conversation: Some(&thread.conversation),
        text: &text,
        files,
        at: job.event.at.max(thread.last_part_at),
    };
    Ok(part::write(job, &draft).await?.changes)
}

fn again(job: &Job<'_>, late: &LateFile, code: &str, message: &str) -> Turn {
    let waited = job.now().since(late.since);
    if waited >= TRIED_FOR {
        return never(job, late, message);
    }
    let cause = Cause::new(code, message);
    let attempts = Attempts {
        failed: job.lane.tries,
        since: job.lane.failing_since,
        now: job.now(),
    };
    let wait = match retry::next(&Failure::Transient(cause.clone()), attempts, job.flow.chance()) {
        Next::Retry { until, .. } => until.since(job.now()),
        Next::GiveUp(_) => return never(job, late, message),
    };
    Turn::Retry {
        changes: Vec::new(),
        wait: wait.min(TRIED_FOR.saturating_sub(waited)).max(Duration::from_secs(1)),
        cause,
        counts: Attempt::Counts,
    }
}

fn never(job: &Job<'_>, late: &LateFile, why: &str) -> Turn {
    let name = late.attachment.name.as_deref().unwrap_or(late.attachment.kind.word());
    let html = media::refused_html(name, why);
    let owed = job.note(late.identity, None, format!("no-file:{}", job.event.key), html);
    Turn::Finish {
        changes: vec![owed],
        ending: Ending::Ignored {
            why: "file-not-to-be-had".into(),
        },
    }
}

//! Files of a reply, from the inbox onto the shelf: their addresses live shorter than a retry.

use mantle_inbox::{InboxError, ReplyFile};
use mantle_model::capabilities::{Capabilities, Unfit};
use mantle_model::failure::{Cause, Failure};
use mantle_model::outbound::File;
use mantle_sandbox::ShelfError;
use mantle_store::lanes::{Effect, EffectState};

use super::plan::unfit_line;
use crate::job::{Job, Stop};
use crate::note;

/// No channel takes more; what is larger is not downloaded.
const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// The files that are here, and one sentence for each that is not.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub files: Vec<File>,
    pub left_out: Vec<String>,
}

pub(super) async fn bring(job: &Job<'_>, told: &[ReplyFile], capabilities: &Capabilities) -> Result<Brought, Stop> {
    let mut brought = Brought::default();
    for (place, file) in told.iter().enumerate() {
        let step = format!("file:{place}");
        if let Some(known) = before(job, &step, file).await {
            brought.files.push(known);
            continue;
        }
        if let Some(line) = surely_too_large(job, capabilities, file) {
            brought.left_out.push(line);
            continue;
        }
        match download(job, file).await? {
            Ok(here) => {
                job.commit(vec![job.effect(kept(job, &step, &here))]).await?;
                brought.files.push(here);
            }
            Err(Lost::TooLarge) => brought.left_out.push(too_large(job, capabilities, file)),
            Err(Lost::Refused(why)) => {
                brought.left_out.push(format!(
                    "{} could not be read: {} Send it again, or share a link.",
                    file.name,
                    note::sentence(&why)
                ));
            }
        }
    }
    Ok(brought)
}

enum Lost {
    TooLarge,
    Refused(String),
}

async fn download(job: &Job<'_>, file: &ReplyFile) -> Result<Result<File, Lost>, Stop> {
    if file.bytes.is_some_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Ok(Err(Lost::TooLarge));
    }
    let body = match job.inbox.download(file).await {
        Ok(body) => body,
        Err(InboxError::Failure(Failure::Refused(refusal))) => return Ok(Err(Lost::Refused(refusal.cause.message))),
        Err(error) => return Err(error.into()),
    };
    let put = job
        .flow
        .shelf()
        .put(Some(file.name.clone()), file.content_type.clone(), FILE_BYTES_MAX, body);
    match put.await {
        Ok(stat) => Ok(Ok(File {
            media: stat.id,
            name: file.name.clone(),
            content_type: stat.content_type,
            bytes: stat.bytes,
        })),
        Err(ShelfError::TooLarge { .. }) => Ok(Err(Lost::TooLarge)),
        Err(error) => Err(InboxError::Failure(Failure::Transient(Cause::new("shelf", error.to_string()))).into()),
    }
}

async fn before(job: &Job<'_>, step: &str, file: &ReplyFile) -> Option<File> {
    let media = job.event.effect(step)?.remote_id.as_ref()?.parse().ok()?;
    let stat = job.flow.shelf().stat(media).await.ok()?;
    Some(File {
        media,
        name: file.name.clone(),
        content_type: stat.content_type,
        bytes: stat.bytes,
    })
}

fn kept(job: &Job<'_>, step: &str, file: &File) -> Effect {
    Effect {
        step: step.to_owned(),
        state: EffectState::Done,
        target: "shelf".into(),
        fingerprint: String::new(),
        remote_id: Some(file.media.to_string()),
        announced_at: job.now(),
        ended_at: Some(job.now()),
        code: None,
    }
}

/// What the inbox says of a file is enough to leave it where it is.
fn surely_too_large(job: &Job<'_>, capabilities: &Capabilities, file: &ReplyFile) -> Option<String> {
    let (bytes, content_type) = (file.bytes?, file.content_type.as_deref()?);
    match capabilities.attachment_kind(content_type, bytes) {
        Err(unfit @ Unfit::TooLarge { .. }) => {
            Some(unfit_line(&job.label.title, &file.name, (bytes, capabilities), &unfit))
        }
        Err(Unfit::Refused { .. } | Unfit::NoRule) | Ok(_) => None,
    }
}

fn too_large(job: &Job<'_>, capabilities: &Capabilities, file: &ReplyFile) -> String {
    let bytes = file.bytes.unwrap_or(FILE_BYTES_MAX + 1);
    let content_type = file.content_type.as_deref().unwrap_or("application/octet-stream");
    let unfit = capabilities.attachment_kind(content_type, bytes).err();
    let unfit = unfit.unwrap_or(Unfit::TooLarge {
        max_bytes: FILE_BYTES_MAX,
    });
    unfit_line(&job.label.title, &file.name, (bytes, capabilities), &unfit)
}

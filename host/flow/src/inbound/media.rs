//! Files of a customer's message: fetched by the connector into our keeping, once.

use std::time::Instant;

use mantle_model::clock::Time;
use mantle_model::failure::Failure;
use mantle_model::ids::{IdentityId, MediaId};
use mantle_model::inbound::{Attachment, AttachmentKind, Content, Message};
use mantle_model::outbound::File;
use mantle_sandbox::{CallError, ShelfFile};
use mantle_store::intake::{Direction, LaneKey, NewEvent};
use mantle_store::lanes::{Change, Effect, EffectState};

use super::compose::Shown;
use crate::job::{Job, Stop};
use crate::note;
use crate::payload::{InPayload, LateFile, to_bytes};

/// What became of the attachments of one message.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// For each attachment, in order.
    pub items: Vec<Item>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub attachment: Attachment,
    pub state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Here(File),
    /// Not fetched yet (None) or not taken by the inbox yet.
    Later(Option<MediaId>),
    Linked(File),
    /// Refused, with the reason for the team.
    Never(String),
}

impl Gathered {
    pub fn files(&self) -> Vec<File> {
        let here = |item: &Item| match &item.state {
            State::Here(file) => Some(file.clone()),
            _ => None,
        };
        self.items.iter().filter_map(here).collect()
    }

    pub fn shown(&self, job: &Job<'_>) -> Vec<Shown> {
        let show = |item: &Item| match &item.state {
            State::Here(_) => Shown::File,
            State::Later(_) => Shown::OnItsWay,
            State::Linked(file) => Shown::Link {
                file: file.clone(),
                url: job.flow.shelf().link(file.media),
            },
            State::Never(_) => Shown::Missing,
        };
        self.items.iter().map(show).collect()
    }

    /// The inbox does not take the files now: the words go first.
    pub fn defer(&mut self) {
        for item in &mut self.items {
            if let State::Here(file) = &item.state {
                item.state = State::Later(Some(file.media));
            }
        }
    }

    /// The inbox never takes files of this size.
    pub fn link_instead(&mut self) {
        for item in &mut self.items {
            if let State::Here(file) = &item.state {
                item.state = State::Linked(file.clone());
            }
        }
    }

    /// What is still owed: files that follow, and notes about those that never will.
    pub fn debts(&self, job: &Job<'_>, identity: IdentityId) -> Vec<Change> {
        let debt = |(place, item): (usize, &Item)| match &item.state {
            State::Later(media) => Some(late_file(job, identity, place, item, *media)),
            State::Never(why) => Some(refusal_note(job, identity, place, item, why)),
            State::Here(_) | State::Linked(_) => None,
        };
        self.items.iter().enumerate().filter_map(debt).collect()
    }
}

/// Fetches every attachment that is not here yet. What was fetched is written down at once.
pub(super) async fn gather(job: &Job<'_>, message: &Message) -> Result<Gathered, Stop> {
    let mut gathered = Gathered::default();
    let mut changes = Vec::new();
    for content in &message.content {
        let Content::Attachment(attachment) = content else {
            continue;
        };
        let step = format!("media:{}", gathered.items.len());
        let state = match fetched_before(job, &step, attachment).await {
            Some(file) => State::Here(file),
            None => match fetch(job, attachment).await {
                Ok(file) => {
                    changes.push(job.effect(fetched(&step, &file, job.now())));
                    State::Here(file)
                }
                Err(NotFetched::Later) => State::Later(None),
                Err(NotFetched::Never(why)) => State::Never(why),
            },
        };
        gathered.items.push(Item {
            attachment: attachment.clone(),
            state,
        });
    }
    if !changes.is_empty() {
        job.commit(changes).await?;
    }
    Ok(gathered)
}

fn fetched(step: &str, file: &File, now: Time) -> Effect {
    Effect {
        step: step.to_owned(),
        state: EffectState::Done,
        target: "shelf".into(),
        fingerprint: String::new(),
        remote_id: Some(file.media.to_string()),
        announced_at: now,
        ended_at: Some(now),
        code: None,
    }
}

async fn fetched_before(job: &Job<'_>, step: &str, attachment: &Attachment) -> Option<File> {
    let media = job.event.effect(step)?.remote_id.as_ref()?.parse().ok()?;
    file_of(job, media, attachment).await
}

/// A file that lies on the shelf.
pub(super) async fn file_of(job: &Job<'_>, media: MediaId, attachment: &Attachment) -> Option<File> {
    let stat = job.flow.shelf().stat(media).await.ok()?;
    Some(named(stat, attachment))
}

/// Why a file is not here.
#[derive(Debug)]
pub(super) enum NotFetched {
    Later,
    Never(String),
}

/// One call of the connector.
pub(super) async fn fetch(job: &Job<'_>, attachment: &Attachment) -> Result<File, NotFetched> {
    let Some(plugin) = job.connector() else {
        return Err(NotFetched::Later);
    };
    let context = job.flow.context(&job.channel, &*plugin);
    let started = Instant::now();
    let result = plugin.fetch_media(&context, &attachment.source).await;
    job.flow
        .metrics()
        .guest_call(&job.channel.plugin, "fetch", started.elapsed());
    match result {
        Ok(stat) if lies(attachment.kind, &stat.content_type) => Err(NotFetched::Never(format!(
            "it says to be a file of kind {} but is {}",
            attachment.kind.word(),
            stat.content_type
        ))),
        Ok(stat) => {
            let unnamed = stat.name.is_none();
            let file = named(stat, attachment);
            if unnamed && let Err(error) = job.flow.store().name_media(file.media, &file.name).await {
                tracing::warn!(channel.id = %job.channel.id, %error, "A file keeps no name; a link to it shows none");
            }
            Ok(file)
        }
        Err(error) => {
            tracing::info!(channel.id = %job.channel.id, %error, "A file of a message was not fetched");
            Err(judge(&error))
        }
    }
}

fn judge(error: &CallError) -> NotFetched {
    match error {
        CallError::Provider(Failure::Refused(refusal)) => NotFetched::Never(refusal.cause.message.clone()),
        CallError::Unsupported(_) => NotFetched::Never("the connector fetches no files".into()),
        CallError::Malformed(why) | CallError::Field { message: why, .. } => NotFetched::Never(why.clone()),
        CallError::Provider(_)
        | CallError::Trapped(_)
        | CallError::CpuExceeded(_)
        | CallError::TimedOut(_)
        | CallError::Garbage(_)
        | CallError::Busy(_) => NotFetched::Later,
    }
}

/// Pictures and sounds must be some kind of picture or sound; bytes of unknown type are let through.
fn lies(kind: AttachmentKind, content_type: &str) -> bool {
    let family = content_type.split('/').next().unwrap_or_default();
    let plays = matches!(family, "image" | "audio" | "video");
    let unknown = matches!(content_type, "application/octet-stream" | "application/ogg");
    match kind {
        AttachmentKind::Image | AttachmentKind::Audio | AttachmentKind::Voice | AttachmentKind::Video => {
            !plays && !unknown
        }
        AttachmentKind::Document | AttachmentKind::Sticker => false,
    }
}

fn named(stat: ShelfFile, attachment: &Attachment) -> File {
    let given = attachment
        .name
        .clone()
        .or(stat.name)
        .filter(|name| !name.trim().is_empty());
    let name = given.unwrap_or_else(|| {
        let stem = attachment.kind.word().replace(' ', "-");
        extension(&stat.content_type).map_or_else(|| stem.clone(), |extension| format!("{stem}.{extension}"))
    });
    File {
        media: stat.id,
        name,
        content_type: stat.content_type,
        bytes: stat.bytes,
    }
}

/// For files that have no name of their own: what programs open by.
fn extension(content_type: &str) -> Option<&'static str> {
    Some(match content_type {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "audio/ogg" | "application/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/x-m4a" | "audio/m4a" => "m4a",
        "audio/aac" => "aac",
        "audio/amr" => "amr",
        "video/mp4" => "mp4",
        "video/3gpp" => "3gp",
        "video/webm" => "webm",
        "application/pdf" => "pdf",
        _ => return None,
    })
}

fn late_file(job: &Job<'_>, identity: IdentityId, place: usize, item: &Item, media: Option<MediaId>) -> Change {
    let file = LateFile {
        identity,
        message: job.event.id,
        attachment: item.attachment.clone(),
        media,
        since: job.now(),
    };
    Change::Spawn(NewEvent {
        channel: job.channel.id,
        direction: Direction::In,
        lane: LaneKey::Chore(format!("file:{identity}")),
        key: format!("file:{}:{place}", job.event.id),
        kind: "late-file",
        remote_id: None,
        at: job.event.at,
        payload: to_bytes(&InPayload::LateFile(file)),
        opens_window: false,
        not_before: Some(job.now().after(super::late::FIRST_WAIT)),
    })
}

fn refusal_note(job: &Job<'_>, identity: IdentityId, place: usize, item: &Item, why: &str) -> Change {
    let name = item.attachment.name.as_deref().unwrap_or(item.attachment.kind.word());
    let html = refused_html(name, why);
    job.note(identity, None, format!("no-file:{}:{place}", job.event.id), html)
}

pub(super) fn refused_html(name: &str, why: &str) -> String {
    let reason = note::sentence(&format!("Reason: {why}"));
    let sentences = [
        format!("“{name}” was not taken over."),
        reason,
        "Ask the customer to send it another way.".into(),
    ];
    let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
    note::html("A file of the customer is missing here.", &sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_8_a_page_is_no_picture() {
        assert!(lies(AttachmentKind::Image, "text/html"));
        assert!(lies(AttachmentKind::Voice, "application/zip"));
        assert!(!lies(AttachmentKind::Image, "image/png"));
        assert!(!lies(AttachmentKind::Video, "application/octet-stream"));
        assert!(!lies(AttachmentKind::Document, "text/html"));
        assert!(!lies(AttachmentKind::Sticker, "application/gzip"));
    }
}

//! One event in the hands of a worker: what is known of it, and how its effects are written down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantle_failpoint::{Point, reach};
use mantle_inbox::{Access, ChannelLabel, Inbox, InboxError, Operator, Voice, Written};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::ids::IdentityId;
use mantle_store::StoreError;
use mantle_store::directory::{Channel, Workspace, WorkspaceChange};
use mantle_store::intake::{Direction, LaneKey, NewEvent};
use mantle_store::lanes::{Attempt, Change, ClaimedLane, Effect, EffectState, Ending, Hop, StoredEvent};
use mantle_store::people::Identity;
use sha2::{Digest, Sha256};

use crate::connector::Connector;
use crate::paced::Paced;
use crate::payload::{InPayload, Note, to_bytes};
use crate::{Flow, access};

/// How a turn at an event ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The event is over; the changes are part of the same commit.
    Finish { changes: Vec<Change>, ending: Ending },
    /// Again later.
    Retry {
        changes: Vec<Change>,
        wait: Duration,
        cause: Cause,
        counts: Attempt,
    },
}

impl Turn {
    pub fn done(changes: Vec<Change>) -> Self {
        Self::Finish {
            changes,
            ending: Ending::Done,
        }
    }

    pub fn ignored(why: &str) -> Self {
        Self::Finish {
            changes: Vec::new(),
            ending: Ending::Ignored { why: why.into() },
        }
    }

    /// Waiting that is nobody's failure.
    pub fn wait(wait: Duration, code: &str, message: &str) -> Self {
        Self::Retry {
            changes: Vec::new(),
            wait,
            cause: Cause::new(code, message),
            counts: Attempt::Free,
        }
    }
}

/// Why a turn broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A call to the inbox.
    #[error("inbox: {0}")]
    Inbox(#[from] InboxError),
    /// A call to the provider.
    #[error("provider: {0}")]
    Provider(Failure),
    /// A write left and nobody knows whether it arrived: an attempt that failed, and looked for after this.
    #[error("whether a write arrived is not known: {}", .cause.message)]
    Lost { cause: Cause, look_after: Duration },
    /// Whether an announced write arrived is not known yet; look again after this.
    #[error("whether an earlier write arrived is not known yet")]
    Unsettled(Duration),
    /// The payload is not readable by this version.
    #[error("the stored payload cannot be read: {0}")]
    Payload(#[from] serde_json::Error),
}

impl Stop {
    /// How a write to the inbox ended badly.
    pub fn of_a_write(error: InboxError, look_after: Duration) -> Self {
        match error {
            InboxError::Failure(Failure::Unknown(cause)) => Self::Lost { cause, look_after },
            other => Self::Inbox(other),
        }
    }
}

/// One event, its lane, and where it belongs.
pub(crate) struct Job<'a> {
    pub flow: &'a Flow,
    pub lane: &'a ClaimedLane,
    pub event: &'a StoredEvent,
    /// Nothing more of the lane is in this worker's hands.
    pub is_last: bool,
    /// Whose lane it is, as known when it was claimed: good for the first question, since what comes after it may have
    /// been changed by this very turn.
    claimed: Mutex<Option<Identity>>,
    /// As it was told last, for the event behind this one; None once anything else was written of it.
    told: Mutex<Option<Identity>>,
    pub channel: Arc<Channel>,
    pub workspace: Arc<Workspace>,
    pub inbox: Arc<dyn Inbox>,
    pub access: Access,
    pub label: ChannelLabel,
    /// What the gates learn from this turn.
    pub paced: Paced,
}

impl<'a> Job<'a> {
    /// None: channel, workspace or inbox are gone.
    pub fn new(
        flow: &'a Flow,
        (lane, person): (&'a ClaimedLane, Option<Identity>),
        (event, is_last): (&'a StoredEvent, bool),
    ) -> Option<Self> {
        let directory = flow.directory();
        let channel = directory.channel(lane.channel)?;
        let workspace = directory.workspace(channel.workspace)?;
        let inbox = flow.inbox(workspace.platform)?;
        Some(Self {
            paced: Paced::new(&workspace),
            access: access(&workspace),
            label: flow.label(&channel),
            flow,
            lane,
            event,
            is_last,
            claimed: Mutex::new(person),
            told: Mutex::default(),
            channel,
            workspace,
            inbox,
        })
    }

    pub fn now(&self) -> Time {
        self.flow.now()
    }

    /// The version of the connector that this conversation uses.
    pub fn connector(&self) -> Option<Arc<dyn Connector>> {
        let whose = self.lane.identity.map_or(0, |identity| identity.0);
        self.flow.plugin_for(&self.channel, &whose.to_be_bytes())
    }

    /// The lane's identity.
    pub async fn identity(&self) -> Result<Identity, Stop> {
        let id = self.lane.identity.ok_or(StoreError::NotFound("the lane's identity"))?;
        let claimed = locked(&self.claimed).take();
        let identity = match claimed {
            Some(claimed) => claimed,
            None => self.identity_by(id).await?,
        };
        *locked(&self.told) = Some(identity.clone());
        Ok(identity)
    }

    /// The lane's identity after the event ended with these changes, where no more than its conversation has moved on.
    pub fn identity_after(&self, changes: &[Change]) -> Option<Identity> {
        let mut identity = locked(&self.told).take()?;
        for change in changes {
            match change {
                Change::Thread(link) if link.identity == identity.id => identity.thread = Some(link.clone()),
                other if is_of_the_event(other) => {}
                _ => return None,
            }
        }
        Some(identity)
    }

    pub async fn identity_by(&self, id: IdentityId) -> Result<Identity, Stop> {
        let found = self.flow.store().identity(id).await?;
        Ok(found.ok_or(StoreError::NotFound("the identity"))?)
    }

    /// What was told of the identity may not hold after these.
    fn will_change(&self, changes: &[Change]) {
        if !changes.iter().all(is_of_the_event) {
            locked(&self.told).take();
        }
    }

    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), Stop> {
        self.will_change(&changes);
        Ok(self.flow.write_down(self.lane.claim, changes).await?)
    }

    /// Announces a write. Nothing may leave before this has returned.
    pub async fn announce(&self, step: &str, target: &str, fingerprint: &str) -> Result<Effect, Stop> {
        self.announce_with((step, target, fingerprint), Vec::new()).await
    }

    /// The same, with what must be known together with it.
    pub async fn announce_with(
        &self,
        (step, target, fingerprint): (&str, &str, &str),
        mut changes: Vec<Change>,
    ) -> Result<Effect, Stop> {
        let effect = Effect {
            step: step.to_owned(),
            state: EffectState::Intent,
            target: target.to_owned(),
            fingerprint: fingerprint.to_owned(),
            remote_id: None,
            announced_at: self.now(),
            ended_at: None,
            code: None,
        };
        self.will_change(&changes);
        changes.push(self.effect(effect.clone()));
        // Nothing has left: better another turn later than one that waits for the database.
        self.flow.store().commit(self.lane.claim, changes).await?;
        reach(Point::IntentKept).await;
        if !self.flow.store().may_act(self.lane.claim) {
            return Err(StoreError::Fenced.into());
        }
        Ok(effect)
    }

    pub fn effect(&self, effect: Effect) -> Change {
        Change::Effect {
            seq: self.event.id.seq,
            effect,
        }
    }

    /// The write was made.
    pub fn done(&self, effect: Effect, remote_id: Option<String>) -> Change {
        self.flow.metrics().effect(target_word(&effect.step), "done");
        self.written(target_word(&effect.step));
        self.effect(Effect {
            state: EffectState::Done,
            remote_id,
            ended_at: Some(self.now()),
            ..effect
        })
    }

    /// The write failed: surely (then it may be announced again) or perhaps (then it is looked for first).
    pub fn undone(&self, effect: Effect, failure: &Failure) -> Change {
        let (state, word) = match failure {
            Failure::Unknown(_) => (EffectState::Ambiguous, "unknown"),
            _ => (EffectState::Failed, "failed"),
        };
        self.flow.metrics().effect(target_word(&effect.step), word);
        self.unwritten(target_word(&effect.step), failure);
        self.effect(Effect {
            state,
            ended_at: Some(self.now()),
            code: Some(failure.cause().code.clone()),
            ..effect
        })
    }

    pub fn hop(&self, what: &str, code: Option<String>, detail: Option<String>) -> Change {
        Change::Hop {
            seq: self.event.id.seq,
            hop: Hop {
                at: self.now(),
                what: what.to_owned(),
                code,
                detail,
            },
        }
    }

    /// Owes the team a note; the key keeps it from being owed twice.
    pub fn note(&self, identity: IdentityId, conversation: Option<String>, key: String, html: String) -> Change {
        let note = Note {
            identity,
            conversation,
            html,
        };
        Change::Spawn(NewEvent {
            channel: self.channel.id,
            direction: Direction::In,
            lane: LaneKey::Chore(format!("note:{identity}")),
            key,
            kind: "note",
            remote_id: None,
            at: self.now(),
            payload: to_bytes(&InPayload::Note(note)),
            opens_window: false,
            not_before: None,
        })
    }

    /// In whose name we write when nobody is named.
    pub fn voice(&self) -> Voice {
        Voice {
            explicit: None,
            default_operator: self.workspace.settings.default_operator.clone(),
        }
    }

    /// Shows on the workspace when its default operator could not be used. Losing the warning loses no message.
    pub async fn mind_operator(&self, written: &Written) {
        let Some(stand_in) = &written.fell_back_to else { return };
        let warning = operator_warning(stand_in);
        if self.workspace.warning.as_deref() == Some(&warning) {
            return;
        }
        let change = WorkspaceChange {
            warning: Some(Some(warning)),
            ..WorkspaceChange::default()
        };
        let store = self.flow.store();
        if let Err(error) = store.change_workspace(self.workspace.id, change, self.now()).await {
            tracing::warn!(workspace.id = %self.workspace.id, %error, "The workspace's warning was not stored");
        } else if let Err(error) = self.flow.refresh().await {
            tracing::warn!(%error, "The directory was not refreshed");
        }
    }
}

/// Whether it changes nothing that is known of the lane's identity.
fn is_of_the_event(change: &Change) -> bool {
    matches!(
        change,
        Change::Effect { .. } | Change::Hop { .. } | Change::OwnPart { .. } | Change::Finish { .. } | Change::GiveBack
    )
}

/// Nothing panics while holding it.
fn locked(identity: &Mutex<Option<Identity>>) -> MutexGuard<'_, Option<Identity>> {
    identity.lock().unwrap_or_else(PoisonError::into_inner)
}

fn operator_warning(stand_in: &Operator) -> String {
    format!(
        "The default operator is not active any more. {} stands in until another one is chosen.",
        stand_in.name
    )
}

/// `send:2` counts as `send`.
fn target_word(step: &str) -> &str {
    step.split(':').next().unwrap_or(step)
}

/// Recognises a text that went through an inbox's formatting: letters and digits alone.
pub(crate) fn text_fingerprint(text: &str) -> String {
    let bare: String = text.chars().filter(|character| character.is_alphanumeric()).collect();
    digest(&[&bare])
}

/// One fingerprint of several texts.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}

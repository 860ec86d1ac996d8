//! What the provider reports of messages that went out. Reports only ever move a message forward; a failure
//! told late becomes the same note as one told at once.

use std::time::Duration;

use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::inbound::{DeliveryReport, Reach, Status};
use mantle_store::lanes::{Change, Effect};
use mantle_store::ledger::Trace;

use super::echo;
use crate::job::{Job, Stop, Turn};
use crate::outbound;
use crate::payload::{Correlated, OutPayload, ReplyTold, correlated, doubt_step};

/// A failure may be told before our own send has its answer: the message is looked for again after this …
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// … for this long.
const LOOK_FOR: Duration = Duration::from_secs(30);

/// The send that a status is about.
struct Target {
    trace: Trace,
    sent: Correlated,
    /// The provider's id was known before.
    known: bool,
}

pub(super) async fn forward(job: &Job<'_>, status: &Status) -> Result<Turn, Stop> {
    let target = target(job, status).await?;
    let mut changes = vec![Change::Report {
        remote_id: status.message_id.clone(),
        report: status.report,
        at: job.event.at,
        code: status.refusal.as_ref().map(|refusal| refusal.cause.code.clone()),
    }];
    let Some(target) = target else {
        let waited = job.now().since(job.event.accepted_at);
        if status.report == DeliveryReport::Failed && waited < LOOK_FOR {
            let why = "The message of this status is not known yet.";
            return Ok(Turn::wait(LOOK_AGAIN, "unknown-message", why));
        }
        return Ok(Turn::done(changes));
    };
    if !target.known {
        changes.push(echo::settle(target.sent.clone(), &status.message_id));
    }
    match status.report {
        DeliveryReport::Failed => changes.extend(failed(job, status, &target).await?),
        DeliveryReport::Delivered | DeliveryReport::Read => changes.extend(arrived(job, &target)),
        DeliveryReport::Sent => {}
    }
    Ok(Turn::done(changes))
}

/// By the provider's id, else by the one that we gave.
async fn target(job: &Job<'_>, status: &Status) -> Result<Option<Target>, Stop> {
    let store = job.flow.store();
    if let Some(trace) = store.message_by_remote_id(job.channel.id, &status.message_id).await? {
        let is_it = |effect: &Effect| effect.remote_id.as_ref() == Some(&status.message_id);
        let found = trace.effects.iter().find(|(_, effect)| is_it(effect));
        let (attempt_no, step) = found.map_or((0, String::new()), |(attempt, effect)| (*attempt, effect.step.clone()));
        let sent = Correlated {
            message: trace.message.id,
            attempt_no,
            step,
        };
        return Ok(Some(Target {
            trace,
            sent,
            known: true,
        }));
    }
    let Some(sent) = status.correlation.as_deref().and_then(correlated) else {
        return Ok(None);
    };
    let trace = store.trace(sent.message).await?;
    let trace = trace.filter(|trace| trace.message.channel == job.channel.id);
    Ok(trace.map(|trace| Target {
        trace,
        sent,
        known: false,
    }))
}

impl Target {
    fn effect(&self, step: &str) -> Option<&Effect> {
        let is_it = |(attempt, effect): &&(u32, Effect)| *attempt == self.sent.attempt_no && effect.step == step;
        self.trace.effects.iter().find(is_it).map(|(_, effect)| effect)
    }

    /// Whether the team has been told that nobody knows.
    fn is_in_doubt(&self) -> bool {
        self.effect(&doubt_step(&self.sent.step)).is_some()
    }

    /// The reply and what of it this send was, in words.
    fn reply(&self) -> Option<(ReplyTold, String)> {
        let Ok(OutPayload::Reply(reply)) = serde_json::from_slice(&self.trace.payload) else {
            return None;
        };
        let mark = self.effect(&self.sent.step).map(|effect| effect.fingerprint.as_str());
        let what = outbound::words::named(mark.unwrap_or_default(), &reply.text);
        Some((reply, what))
    }
}

/// Good news after a doubt: the note that told it cannot be changed, so a short one follows, once.
fn arrived(job: &Job<'_>, target: &Target) -> Option<Change> {
    let identity = target.trace.message.identity.filter(|_| target.is_in_doubt())?;
    let (reply, what) = target.reply()?;
    let html = outbound::words::delivered_after_all(&job.label.title, &what);
    let key = outbound::words::after_all_key(target.trace.message.id);
    Some(job.note(identity, Some(reply.conversation), key, html))
}

async fn failed(job: &Job<'_>, status: &Status, target: &Target) -> Result<Vec<Change>, Stop> {
    let unnamed = Refusal {
        reason: Reason::Other,
        cause: Cause::new("failed", "The provider reports that the message was not delivered."),
        next_step: None,
    };
    let refusal = status.refusal.clone().unwrap_or(unnamed);
    let message = &target.trace.message;
    let (Some(identity), Some((reply, what))) = (message.identity, target.reply()) else {
        return Ok(Vec::new());
    };
    let plugin = job.flow.plugin_of(&job.channel);
    let rule = plugin.as_ref().and_then(|plugin| plugin.capabilities().window.as_ref());
    let refusal = outbound::window::worded(rule, &job.identity_by(identity).await?, refusal, job.now());
    let mut changes = match refusal.reason {
        Reason::WindowClosed => vec![Change::WindowClosed { identity }],
        Reason::OptedOut => vec![Change::Reach {
            identity,
            reach: Reach::OptedOut,
            at: job.event.at,
        }],
        _ => Vec::new(),
    };
    let link = outbound::words::may_help(refusal.reason).then(|| job.flow.resend_link(message.id));
    let html = outbound::words::refused(&job.label.title, &what, &refusal, link.as_deref());
    // The same key as that of a failure told at once: one note per message. A doubt told before has had that one.
    let key = if target.is_in_doubt() {
        outbound::words::after_all_key(message.id)
    } else {
        outbound::words::note_key(message.id)
    };
    changes.push(job.note(identity, Some(reply.conversation), key, html));
    Ok(changes)
}

//! What the provider reports of messages that went out. Reports only ever move a message forward; a failure
//! told late becomes the same note as one told at once.

use std::time::Duration;

use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::inbound::{DeliveryReport, Reach, Status};
use mantle_store::lanes::Change;
use mantle_store::ledger::Trace;

use super::echo;
use crate::job::{Job, Stop, Turn};
use crate::outbound;
use crate::payload::{OutPayload, correlated};

/// A failure may be told before our own send has its answer: the message is looked for again after this …
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// … for this long.
const LOOK_FOR: Duration = Duration::from_secs(30);

pub(super) async fn forward(job: &Job<'_>, status: &Status) -> Result<Turn, Stop> {
    let mut changes = vec![Change::Report {
        remote_id: status.message_id.clone(),
        report: status.report,
        at: job.event.at,
        code: status.refusal.as_ref().map(|refusal| refusal.cause.code.clone()),
    }];
    changes.extend(echo::learnt(job, status.correlation.as_deref(), &status.message_id).await?);
    if status.report != DeliveryReport::Failed {
        return Ok(Turn::done(changes));
    }
    match target(job, status).await? {
        Some((trace, step)) => changes.extend(failed(job, status, &trace, &step).await?),
        None if job.now().since(job.event.accepted_at) < LOOK_FOR => {
            return Ok(Turn::wait(
                LOOK_AGAIN,
                "unknown-message",
                "The message of this status is not known yet.",
            ));
        }
        None => {}
    }
    Ok(Turn::done(changes))
}

/// The message that the status is about, and the step that sent it.
async fn target(job: &Job<'_>, status: &Status) -> Result<Option<(Trace, String)>, Stop> {
    let store = job.flow.store();
    if let Some(trace) = store.message_by_remote_id(job.channel.id, &status.message_id).await? {
        let sent = |effect: &mantle_store::lanes::Effect| effect.remote_id.as_ref() == Some(&status.message_id);
        let step = trace
            .effects
            .iter()
            .find(|(_, effect)| sent(effect))
            .map(|(_, effect)| effect.step.clone());
        return Ok(Some((trace, step.unwrap_or_default())));
    }
    let Some((message, step)) = status.correlation.as_deref().and_then(correlated) else {
        return Ok(None);
    };
    let trace = store
        .trace(message)
        .await?
        .filter(|trace| trace.message.channel == job.channel.id);
    Ok(trace.map(|trace| (trace, step)))
}

async fn failed(job: &Job<'_>, status: &Status, trace: &Trace, step: &str) -> Result<Vec<Change>, Stop> {
    let unnamed = Refusal {
        reason: Reason::Other,
        cause: Cause::new("failed", "The provider reports that the message was not delivered."),
        next_step: None,
    };
    let refusal = status.refusal.clone().unwrap_or(unnamed);
    let (Some(identity), Ok(OutPayload::Reply(reply))) =
        (trace.message.identity, serde_json::from_slice(&trace.payload))
    else {
        return Ok(Vec::new());
    };
    let plugin = job.flow.plugin(&job.channel.plugin);
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
    let mark = trace
        .effects
        .iter()
        .find(|(_, effect)| effect.step == step)
        .map(|(_, effect)| &effect.fingerprint);
    let what = outbound::words::named(mark.map_or("", String::as_str), &reply.text);
    let html = outbound::words::refused(&job.label.title, &what, &refusal);
    // The same key as that of a failure told at once: one note per message.
    let key = outbound::words::note_key(trace.message.id);
    changes.push(job.note(identity, Some(reply.conversation), key, html));
    Ok(changes)
}

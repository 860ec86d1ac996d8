//! From the inbox to the customer.
//!
//! [`receive`] answers the inbox's webhook when the replies in it are on disk; `forward` reads each reply
//! afresh, decides what may go, and sends it unit by unit. What we wrote into the inbox ourselves never goes
//! out, and an outcome that nobody knows is never repeated blindly.

mod ahead;
mod doubt;
mod files;
pub(crate) mod hold;
mod plan;
mod reply;
pub mod resend;
mod send;
mod signature;
mod spacing;
pub(crate) mod window;
pub(crate) mod words;

pub(crate) use reply::given_up;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mantle_inbox::{InboxEvent, InboxEventBody};
use mantle_model::clock::Time;
use mantle_model::hook::Hook;
use mantle_model::ids::{ReceiptId, WorkspaceId};
use mantle_store::StoreError;
use mantle_store::directory::{Platform, Workspace};
use mantle_store::intake::{Direction, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState};
use mantle_store::lanes::Change;

use crate::inbound::opening_target;
use crate::job::{Job, Stop, Turn};
use crate::payload::{OutPayload, ReplyTold, to_bytes};
use crate::{Flow, HookAnswer, sweep};

/// A reply in a conversation that we may be opening is looked at again after this …
const STRAY_WAIT: Duration = Duration::from_secs(2);
/// … until this long after it was told.
const STRAY_FOR: Duration = Duration::from_secs(120);

/// Takes one webhook of an inbox. To be awaited where a caller that hangs up drops nothing: what was begun is to come to
/// its commit.
pub async fn receive(flow: &Flow, platform: Platform, headers: Vec<(String, String)>, body: Bytes) -> HookAnswer {
    let journey = take(flow, platform, headers, body);
    match flow.receiving.track_future(journey).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "A webhook of the inbox could not be stored; its sender is asked to come again");
            HookAnswer::busy()
        }
    }
}

async fn take(
    flow: &Flow,
    platform: Platform,
    headers: Vec<(String, String)>,
    body: Bytes,
) -> Result<HookAnswer, StoreError> {
    let Some(inbox) = flow.inbox(platform) else {
        return Ok(HookAnswer::status(404));
    };
    if !inbox.verify_webhook(&headers, &body) {
        flow.metrics().rejected(platform_word(platform), "signature");
        tracing::debug!(
            inbox = platform_word(platform),
            reason = "signature",
            "A webhook of the inbox was refused"
        );
        return Ok(HookAnswer::status(401));
    }
    let raw = Hook {
        method: "POST".into(),
        path_and_query: format!("/inbox/{}", platform_word(platform)),
        headers,
        body: body.to_vec(),
        received_at: flow.now(),
    };
    match inbox.parse_webhook(&body) {
        Ok(events) => sort(flow, platform, raw, events).await,
        Err(problem) => park(flow, platform, raw, problem).await,
    }
}

/// Nothing of it can be read: kept for a person.
async fn park(flow: &Flow, platform: Platform, raw: Hook, problem: String) -> Result<HookAnswer, StoreError> {
    tracing::warn!(problem, "A webhook of the inbox cannot be read");
    if let Some(workspace) = flow.directory().first_workspace(platform) {
        keep(flow, &workspace, raw, ReceiptState::Parked { problem }, Vec::new()).await?;
    }
    Ok(HookAnswer::status(200))
}

async fn sort(flow: &Flow, platform: Platform, raw: Hook, events: Vec<InboxEvent>) -> Result<HookAnswer, StoreError> {
    let mut kept: Vec<(Arc<Workspace>, Vec<NewEvent>)> = Vec::new();
    for event in events {
        let Some(workspace) = flow.directory().workspace_of(platform, &event.platform_id) else {
            flow.metrics().unrouted(platform_word(platform));
            continue;
        };
        let Some(new) = judge(flow, &workspace, event).await? else {
            continue;
        };
        match kept.iter_mut().find(|(known, _)| known.id == workspace.id) {
            Some((_, list)) => list.push(new),
            None => kept.push((workspace, vec![new])),
        }
    }
    for (workspace, events) in kept {
        sweep::webhooks_arrive(flow, &workspace).await?;
        keep(flow, &workspace, raw.clone(), ReceiptState::Parsed, events).await?;
    }
    Ok(HookAnswer::status(200))
}

/// What of a webhook concerns a customer of ours. Replies elsewhere cost no call and no row.
pub(crate) async fn judge(
    flow: &Flow,
    workspace: &Workspace,
    event: InboxEvent,
) -> Result<Option<NewEvent>, StoreError> {
    let store = flow.store();
    match event.body {
        InboxEventBody::Reply {
            conversation,
            part,
            author,
            text,
        } => {
            if store.is_own_part(workspace.id, &part).await? {
                return Ok(None);
            }
            let told = ReplyTold {
                workspace: workspace.id,
                conversation,
                part,
                author,
                text,
            };
            reply(flow, told, event.at).await
        }
        InboxEventBody::ContactMerged { from, into } => {
            store.relink_contact(workspace.id, &from, Some(&into)).await?;
            Ok(None)
        }
        InboxEventBody::ContactDeleted { contact } => {
            store.relink_contact(workspace.id, &contact, None).await?;
            Ok(None)
        }
        // A deleted conversation shows itself when the customer writes again; what the customer writes in the
        // inbox's own messenger is there already.
        InboxEventBody::ConversationDeleted { .. }
        | InboxEventBody::ContactWrote { .. }
        | InboxEventBody::Other { .. } => Ok(None),
    }
}

/// Under which a reply is stored, whoever told it.
fn part_key(part: &str) -> String {
    format!("part:{part}")
}

async fn reply(flow: &Flow, told: ReplyTold, at: Time) -> Result<Option<NewEvent>, StoreError> {
    let store = flow.store();
    // Before the owner: an opening that ends between the two looks is seen by the second.
    let opening = store.open_effects(&opening_target(told.workspace), None).await?;
    if let Some(owner) = store.conversation_owner(told.workspace, &told.conversation).await? {
        return Ok(Some(NewEvent {
            channel: owner.channel,
            direction: Direction::Out,
            lane: LaneKey::Identity(owner.identity),
            key: part_key(&told.part),
            kind: "reply",
            remote_id: Some(told.part.clone()),
            at,
            payload: to_bytes(&OutPayload::Reply(told)),
            opens_window: false,
            not_before: None,
        }));
    }
    if opening.is_empty() {
        return Ok(None);
    }
    // Any channel of the workspace may hold the question whose conversation it is.
    let Some(channel) = flow.directory().channels_in(told.workspace).first().cloned() else {
        return Ok(None);
    };
    Ok(Some(NewEvent {
        channel: channel.id,
        direction: Direction::Out,
        lane: LaneKey::Chore("strays".into()),
        key: format!("stray:{}", told.part),
        kind: "stray",
        remote_id: None,
        at,
        payload: to_bytes(&OutPayload::Stray(told)),
        opens_window: false,
        not_before: Some(flow.now().after(STRAY_WAIT)),
    }))
}

async fn keep(
    flow: &Flow,
    workspace: &Workspace,
    hook: Hook,
    state: ReceiptState,
    events: Vec<NewEvent>,
) -> Result<(), StoreError> {
    let result = if state == ReceiptState::Parsed {
        "parsed"
    } else {
        "parked"
    };
    let receipt = NewReceipt {
        id: ReceiptId(flow.next_id()),
        origin: Origin::Workspace(workspace.id),
        hook,
        state,
    };
    flow.store().accept(receipt, events).await?;
    flow.metrics().receipt(&workspace.id, result);
    Ok(())
}

/// Reads a parked webhook again at a person's word: a newer release may know its form. It was proven when it came.
pub(crate) async fn read_again(
    flow: &Flow,
    workspace: WorkspaceId,
    hook: &Hook,
) -> Result<(ReceiptState, Vec<NewEvent>), StoreError> {
    let parked = |problem: String| (ReceiptState::Parked { problem }, Vec::new());
    let Some(workspace) = flow.directory().workspace(workspace) else {
        return Ok(parked("the workspace is gone".to_owned()));
    };
    let Some(inbox) = flow.inbox(workspace.platform) else {
        return Ok(parked("the workspace's inbox is not set up on this host".to_owned()));
    };
    let told = match inbox.parse_webhook(&hook.body) {
        Ok(told) => told,
        Err(problem) => return Ok(parked(problem)),
    };
    let mut events = Vec::new();
    for event in told {
        if let Some(workspace) = flow.directory().workspace_of(workspace.platform, &event.platform_id) {
            events.extend(judge(flow, &workspace, event).await?);
        }
    }
    Ok((ReceiptState::Parsed, events))
}

pub(crate) fn platform_word(platform: Platform) -> &'static str {
    match platform {
        Platform::Intercom => "intercom",
        Platform::Hubspot => "hubspot",
    }
}

/// One turn at one stored event.
pub(crate) async fn forward(job: &Job<'_>) -> Result<Turn, Stop> {
    match serde_json::from_slice(&job.event.payload)? {
        OutPayload::Reply(told) => reply::forward(job, &told).await,
        OutPayload::Stray(told) => stray(job, told).await,
    }
}

async fn stray(job: &Job<'_>, told: ReplyTold) -> Result<Turn, Stop> {
    if let Some(event) = reply(job.flow, told, job.event.at).await? {
        if event.kind == "reply" {
            return Ok(Turn::done(vec![Change::Spawn(event)]));
        }
        if job.now().since(job.event.accepted_at) < STRAY_FOR {
            return Ok(Turn::wait(
                STRAY_WAIT,
                "opening",
                "The conversation may be one that is being opened.",
            ));
        }
    }
    Ok(Turn::ignored("not-ours"))
}

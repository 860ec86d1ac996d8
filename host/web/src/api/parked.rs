//! Raw hooks that no connector could read, told like messages: `received` while they are tried again, `parked` when
//! they wait for a person.

use mantle_model::clock::Time;
use mantle_model::delivery::InboundState;
use mantle_model::ids::ReceiptId;
use mantle_store::intake::Origin;
use mantle_store::ledger::MessageFilter;
use mantle_store::upkeep::{HookFilter, KeptHook};

use super::ApiError;
use super::messages::{HopBody, MessageBody, MessageList, TraceBody};
use crate::Front;

/// What a receipt's id begins with.
const PREFIX: &str = "rcp_";

/// The state of a kept hook that is asked for; None: the word is a message's state.
pub(super) fn asked_for(state: Option<&str>) -> Option<InboundState> {
    match state {
        Some("received") => Some(InboundState::Received),
        Some("parked") => Some(InboundState::Parked),
        _ => None,
    }
}

/// None: the text is not a receipt's id.
pub(super) fn receipt(text: &str) -> Option<Result<ReceiptId, ApiError>> {
    text.starts_with(PREFIX)
        .then(|| text.parse().map_err(|_| ApiError::not_found("receipt", text)))
}

/// One page. What a hook holds is not known, so no customer has any.
pub(super) async fn list(
    front: &Front,
    state: InboundState,
    filter: &MessageFilter,
    after: Option<&str>,
) -> Result<MessageList, ApiError> {
    if filter.identities.is_some() {
        return Ok(MessageList::default());
    }
    let after = after.map(|text| text.parse()).transpose().map_err(|_| {
        let message = "`after` is the id of a receipt here: the `next` of the page before.";
        ApiError::invalid("after", message)
    })?;
    let hooks = front
        .store
        .hooks(&HookFilter {
            parked: state == InboundState::Parked,
            channel: filter.channel,
            from: filter.from,
            to: filter.to,
            after,
            limit: filter.limit,
        })
        .await?;
    let next = (hooks.len() == filter.limit as usize)
        .then(|| hooks.last().map(|hook| hook.id.to_string()))
        .flatten();
    Ok(MessageList {
        messages: hooks.iter().map(body).collect(),
        next,
    })
}

pub(super) async fn trace(front: &Front, id: ReceiptId) -> Result<TraceBody, ApiError> {
    let hook = front.store.hook(id).await?;
    let hook = hook.ok_or_else(|| ApiError::not_found("receipt that waits to be read", &id.to_string()))?;
    let hop = |at: Time, what: &str, detail: Option<String>| HopBody {
        at: at.to_string(),
        what: what.to_owned(),
        id: None,
        code: None,
        detail,
    };
    let what = if hook.parked { "parked" } else { "not readable yet" };
    Ok(TraceBody {
        message: body(&hook),
        receipt_id: Some(hook.id.to_string()),
        tries: hook.tries,
        next_attempt_at: hook.next_at.map(|at| at.to_string()),
        hops: vec![
            hop(hook.received_at, "received and stored raw", None),
            hop(hook.received_at, what, Some(hook.problem)),
        ],
    })
}

fn body(hook: &KeptHook) -> MessageBody {
    let state = if hook.parked { "parked" } else { "received" };
    MessageBody {
        id: hook.id.to_string(),
        channel_id: match hook.origin {
            Origin::Channel(channel) => channel.to_string(),
            Origin::Workspace(workspace) => workspace.to_string(),
        },
        direction: "in".to_owned(),
        kind: "hook".to_owned(),
        state: state.to_owned(),
        reason: Some(hook.problem.clone()),
        identity_id: None,
        remote_id: None,
        at: hook.received_at.to_string(),
        accepted_at: hook.received_at.to_string(),
        deliveries: hook.deliveries,
    }
}

//! Messages: what happened to one, lists, replay.

#![expect(unused_qualifications, reason = "the macro that reads `params(ListQuery)` writes it")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use mantle_model::clock::Time;
use mantle_model::inbound::DeliveryReport;
use mantle_store::intake::Direction;
use mantle_store::lanes::{Effect, EffectState};
use mantle_store::ledger::{MessageFilter, MessageRow, MessageState, Trace};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;
use super::error::ErrorBody;
use super::input::{id, time};
use super::parked;
use crate::Front;
use crate::limits::{PAGE_ROWS, PAGE_ROWS_MAX};

/// The words of all states, for refusing others.
const STATES: [&str; 14] = [
    "received",
    "stored",
    "posted",
    "parked",
    "dead",
    "ignored",
    "queued",
    "sending",
    "unknown",
    "accepted",
    "sent",
    "delivered",
    "read",
    "failed",
];

#[derive(Debug, Serialize, ToSchema)]
pub struct MessageBody {
    /// `msg_…`; `rcp_…` of a raw hook that no connector could read.
    #[schema(example = "msg_01kprpy0000ab_3")]
    pub(super) id: String,
    /// Of a raw webhook of the inbox: the workspace.
    pub(super) channel_id: String,
    /// `in`: towards the inbox. `out`: towards the customer.
    pub(super) direction: String,
    /// `message`, `reply`, `status`, `note`, `hook` …
    pub(super) kind: String,
    /// In: `received`, `stored`, `posted`, `parked`, `dead`, `ignored`.
    /// Out: `queued`, `sending`, `unknown`, `accepted`, `sent`, `delivered`, `read`, `failed`.
    pub(super) state: String,
    /// Why it failed, is unknown, dead or ignored.
    pub(super) reason: Option<String>,
    /// The customer on this channel.
    pub(super) identity_id: Option<String>,
    /// The provider's or inbox's id of the message.
    pub(super) remote_id: Option<String>,
    /// The provider's time, RFC 3339.
    pub(super) at: String,
    pub(super) accepted_at: String,
    /// How often it was told, the first time included.
    pub(super) deliveries: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TraceBody {
    #[serde(flatten)]
    pub(super) message: MessageBody,
    /// The raw request it came with.
    pub(super) receipt_id: Option<String>,
    /// Failed attempts so far.
    pub(super) tries: u32,
    /// When it will be tried again.
    pub(super) next_attempt_at: Option<String>,
    /// Everything that happened to it, in order of time.
    pub(super) hops: Vec<HopBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HopBody {
    /// RFC 3339.
    pub(super) at: String,
    /// `received`, `send:0 announced`, `delivered` …
    pub(super) what: String,
    /// The id on the other side: of the message, part or conversation.
    pub(super) id: Option<String>,
    /// The answer's code.
    pub(super) code: Option<String>,
    pub(super) detail: Option<String>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct MessageList {
    /// Newest first.
    pub(super) messages: Vec<MessageBody>,
    /// The value of `after` for the next page; absent on the last one.
    pub(super) next: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `chn_…`
    channel: Option<String>,
    /// Phone number, handle or provider id of the customer.
    customer: Option<String>,
    /// Not before this moment: RFC 3339 or unix milliseconds.
    from: Option<String>,
    /// Before this moment.
    to: Option<String>,
    /// One of the states. `received` and `parked` list raw hooks that no connector could read.
    state: Option<String>,
    /// Continue behind this message.
    after: Option<String>,
    /// 1 to 200; 50 without it.
    limit: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayBody {
    /// The message that was put in line again.
    id: String,
    /// Where its trace is.
    status_url: String,
}

fn state_word(state: MessageState) -> String {
    let word = match state {
        MessageState::In(state) => serde_json::to_value(state),
        MessageState::Out(state) => serde_json::to_value(state),
    };
    word.ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

impl From<MessageRow> for MessageBody {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id.to_string(),
            channel_id: row.channel.to_string(),
            direction: match row.direction {
                Direction::In => "in".to_owned(),
                Direction::Out => "out".to_owned(),
            },
            kind: row.kind,
            state: state_word(row.state),
            reason: row.reason,
            identity_id: row.identity.map(|identity| identity.to_string()),
            remote_id: row.remote_id,
            at: row.at.to_string(),
            accepted_at: row.accepted_at.to_string(),
            deliveries: row.deliveries,
        }
    }
}

impl From<Trace> for TraceBody {
    fn from(trace: Trace) -> Self {
        let hops = hops(&trace);
        Self {
            receipt_id: trace.receipt.map(|receipt| receipt.to_string()),
            tries: trace.tries,
            next_attempt_at: trace.next_at.map(|at| at.to_string()),
            hops,
            message: trace.message.into(),
        }
    }
}

/// Hops, effects and reports as one story.
fn hops(trace: &Trace) -> Vec<HopBody> {
    let mut story: Vec<(Time, HopBody)> = Vec::new();
    let mut tell = |at: Time, what: String, id: Option<String>, code: Option<String>, detail: Option<String>| {
        let hop = HopBody {
            at: at.to_string(),
            what,
            id,
            code,
            detail,
        };
        story.push((at, hop));
    };
    let row = &trace.message;
    tell(
        row.accepted_at,
        "received and stored".to_owned(),
        row.remote_id.clone(),
        None,
        None,
    );
    for hop in &trace.hops {
        tell(hop.at, hop.what.clone(), None, hop.code.clone(), hop.detail.clone());
    }
    for (attempt, effect) in &trace.effects {
        let again = (*attempt > 0).then(|| format!("replay {attempt}"));
        tell(
            effect.announced_at,
            format!("{} announced", effect.step),
            Some(effect.target.clone()).filter(|target| !target.is_empty()),
            None,
            again.clone(),
        );
        if let Some(at) = effect.ended_at {
            tell(at, ended(effect), effect.remote_id.clone(), effect.code.clone(), again);
        }
    }
    for (remote_id, report, at, code) in &trace.reports {
        let word = match report {
            DeliveryReport::Sent => "sent",
            DeliveryReport::Delivered => "delivered",
            DeliveryReport::Read => "read",
            DeliveryReport::Failed => "failed",
        };
        tell(
            *at,
            format!("provider reports: {word}"),
            Some(remote_id.clone()),
            code.clone(),
            None,
        );
    }
    // Stable: what was told at one moment stays in its order.
    story.sort_by_key(|(at, _)| *at);
    story.into_iter().map(|(_, hop)| hop).collect()
}

fn ended(effect: &Effect) -> String {
    let word = match effect.state {
        EffectState::Intent => "announced",
        EffectState::Done => "done",
        EffectState::Ambiguous => "of unknown outcome",
        EffectState::Failed => "failed",
    };
    format!("{} {word}", effect.step)
}

/// Where is my message: every hop with its time, ids and answer codes. Never the text of the message.
#[utoipa::path(get, path = "/api/v1/messages/{id}", operation_id = "trace_message", tag = "messages",
    params(("id" = String, Path, description = "`msg_…`")),
    responses(
        (status = 200, description = "The trace", body = TraceBody),
        (status = 404, description = "No such message", body = ErrorBody)))]
pub(super) async fn trace(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<Json<TraceBody>, ApiError> {
    if let Some(receipt) = parked::receipt(&text) {
        return parked::trace(&front, receipt?).await.map(Json);
    }
    let trace = front.store.trace(id("message", &text)?).await?;
    let trace = trace.ok_or_else(|| ApiError::not_found("message", &text))?;
    Ok(Json(trace.into()))
}

/// Messages, newest first.
#[utoipa::path(get, path = "/api/v1/messages", operation_id = "list_messages", tag = "messages",
    params(ListQuery),
    responses(
        (status = 200, description = "One page", body = MessageList),
        (status = 404, description = "No such channel", body = ErrorBody),
        (status = 422, description = "A parameter is wrong", body = ErrorBody)))]
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<MessageList>, ApiError> {
    let Query(query) = query.map_err(|error| {
        let text = error.body_text();
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{text}."))
    })?;
    let hooks = parked::asked_for(query.state.as_deref()).map(|state| (state, query.after.clone()));
    if let Some((state, after)) = hooks {
        let query = ListQuery { after: None, ..query };
        let filter = filter(&front, query).await?;
        return parked::list(&front, state, &filter, after.as_deref()).await.map(Json);
    }
    let filter = filter(&front, query).await?;
    let rows = front.store.messages(&filter).await?;
    let next = (rows.len() == filter.limit as usize)
        .then(|| rows.last().map(|row| row.id.to_string()))
        .flatten();
    Ok(Json(MessageList {
        messages: rows.into_iter().map(Into::into).collect(),
        next,
    }))
}

async fn filter(front: &Front, query: ListQuery) -> Result<MessageFilter, ApiError> {
    let channel = match &query.channel {
        Some(text) => Some(id("channel", text)?),
        None => None,
    };
    let identities = match query.customer.as_deref().map(str::trim) {
        Some(customer) if !customer.is_empty() => {
            // A plus sign that was not encoded comes as a space and was trimmed away.
            let mut found = front.store.find_identities(channel, customer).await?;
            if found.is_empty() && customer.bytes().all(|byte| byte.is_ascii_digit()) {
                found = front.store.find_identities(channel, &format!("+{customer}")).await?;
            }
            Some(found)
        }
        _ => None,
    };
    if let Some(state) = &query.state
        && !STATES.contains(&state.as_str())
    {
        let message = format!("`state` is one of {}.", STATES.join(", "));
        return Err(ApiError::invalid("state", message));
    }
    let after = match &query.after {
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::invalid(
                "after",
                "`after` is the id of a message: the `next` of the page before.",
            )
        })?),
        None => None,
    };
    let limit = query.limit.unwrap_or(PAGE_ROWS);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("`limit` is 1 to {PAGE_ROWS_MAX}.")));
    }
    Ok(MessageFilter {
        channel,
        identities,
        from: query.from.as_deref().map(|text| time("from", text)).transpose()?,
        to: query.to.as_deref().map(|text| time("to", text)).transpose()?,
        state: query.state,
        after,
        limit,
    })
}

/// A dead, failed or unknown message again, behind what is queued for the customer; or a raw hook (`rcp_…`) that is
/// read again, after its connector was mended. What of it was known before stays as it is.
#[utoipa::path(post, path = "/api/v1/messages/{id}/replay", operation_id = "replay_message", tag = "messages",
    params(("id" = String, Path, description = "`msg_…`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key again gives the same answer.")),
    responses(
        (status = 202, description = "In line again", body = ReplayBody),
        (status = 404, description = "No such message", body = ErrorBody),
        (status = 409, description = "It is under way or has arrived", body = ErrorBody)))]
pub(super) async fn replay(
    State(front): State<Arc<Front>>,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<ReplayBody>), ApiError> {
    if let Some(receipt) = parked::receipt(&text) {
        let receipt = receipt?;
        front.desk.read_hook_again(receipt).await?;
        let body = ReplayBody {
            id: receipt.to_string(),
            status_url: format!("/api/v1/messages/{receipt}"),
        };
        return Ok((StatusCode::ACCEPTED, Json(body)));
    }
    let replayed = front.desk.replay(id("message", &text)?).await?;
    let body = ReplayBody {
        id: replayed.to_string(),
        status_url: status_url(&replayed),
    };
    Ok((StatusCode::ACCEPTED, Json(body)))
}

fn status_url(message: &mantle_model::ids::MessageId) -> String {
    format!("/api/v1/messages/{message}")
}

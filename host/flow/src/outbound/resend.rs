//! The link in a note that sends a message once more: what it offers, and what following it does.
//!
//! A link names one attempt and is good once: when another attempt has come after it, by whatever way, it does nothing.

use mantle_model::delivery::OutboundState;
use mantle_model::ids::MessageId;
use mantle_store::StoreError;
use mantle_store::ledger::{MessageState, Trace};

use super::words;
use crate::Flow;
use crate::payload::OutPayload;

/// What somebody who opens the link is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The channel's title: `Telegram`.
    pub title: String,
    /// The beginning of the message, in quotation marks; empty for a message without words.
    pub words: String,
    pub standing: Standing,
}

/// Whether the attempt may be followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It failed.
    Failed,
    /// Nobody knows whether it arrived: a second one may be a double.
    Unknown,
    /// Another attempt has come after it.
    SentAgain,
    /// It has arrived after all, or is on its way.
    Arrived,
}

/// None: there is no such reply any more, or its channel is archived.
///
/// # Errors
/// The store cannot be read.
pub async fn offer(flow: &Flow, attempt: MessageId) -> Result<Option<Offer>, StoreError> {
    let Some(trace) = flow.store().trace(attempt).await? else {
        return Ok(None);
    };
    let (Some(channel), Ok(OutPayload::Reply(reply))) = (
        flow.directory().channel(trace.message.channel),
        serde_json::from_slice(&trace.payload),
    ) else {
        return Ok(None);
    };
    Ok(Some(Offer {
        title: flow.label(&channel).title,
        words: words::quoted(&reply.text),
        standing: standing(attempt, &trace),
    }))
}

/// Sends it once more; None: the link has done its work, or there is nothing to do.
///
/// # Errors
/// The store does not take it now.
pub async fn follow(flow: &Flow, attempt: MessageId) -> Result<Option<MessageId>, StoreError> {
    match flow.store().resend(attempt, flow.now()).await {
        Ok(again) => Ok(Some(again)),
        Err(StoreError::NotReplayable(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn standing(attempt: MessageId, trace: &Trace) -> Standing {
    match trace.message.state {
        _ if trace.newest != attempt => Standing::SentAgain,
        MessageState::Out(OutboundState::Failed) => Standing::Failed,
        MessageState::Out(OutboundState::Unknown) => Standing::Unknown,
        MessageState::Out(_) | MessageState::In(_) => Standing::Arrived,
    }
}

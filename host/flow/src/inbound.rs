//! From the provider into the inbox.
//!
//! [`receive`] answers a hook when it is on disk; `forward` takes the stored events, one lane in order, into
//! the inbox. What the connector cannot read is kept raw and read again later; what is forged leaves no trace
//! but a count.

mod account;
mod buffer;
mod compose;
mod contact;
mod customer;
mod echo;
mod intake;
mod late;
mod media;
mod notes;
mod part;
pub(crate) use part::opening_target;
mod status;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, ReceiptId};
use mantle_sandbox::{CallError, ChannelContext, Inbound, Verdict};
use mantle_store::StoreError;
use mantle_store::directory::Channel;
use mantle_store::intake::{NewEvent, NewReceipt, Origin, ReceiptState, Unparsed};

use crate::connector::Connector;
use crate::job::{Job, Stop, Turn};
use crate::payload::InPayload;
use crate::{Flow, HookAnswer, channels, outbound};

/// When a hook that could not be read is tried again first; each further wait is twice as long.
const REPARSE_WAIT: Duration = Duration::from_secs(10);
/// After so many tries (about 3 h) a hook is parked for a person.
const REPARSE_TRIES_MAX: u32 = 10;

/// While a connector is not loaded nobody can tell its provider's hooks from forged ones: at most so many are kept
/// for a channel, some hours of a busy one. Those on their way when the bound is met may exceed it.
pub const UNJUDGED_MAX: u64 = 10_000;
/// And at most so many bytes of them, so that strangers cannot fill the disk.
pub const UNJUDGED_BYTES_MAX: u64 = 64 << 20;
/// Characters of an address that names no channel: enough for `/hooks/`, a plugin's name and an id.
const CALLED_CHARS_MAX: usize = 120;

/// Takes one hook. To be awaited where a caller that hangs up drops nothing: what was begun is to come to its commit.
pub async fn receive(flow: &Flow, hook: Hook, plugin: &str, channel: Option<ChannelId>) -> HookAnswer {
    flow.receiving.track_future(take(flow, hook, plugin, channel)).await
}

async fn take(flow: &Flow, hook: Hook, plugin_name: &str, channel: Option<ChannelId>) -> HookAnswer {
    let mut candidates = candidates(flow, plugin_name, channel);
    if candidates.is_empty() {
        // Another host may have made the channel a moment ago.
        if flow.catch_up().await.is_err() {
            return HookAnswer::busy();
        }
        candidates = self::candidates(flow, plugin_name, channel);
    }
    let plugin = match candidates.as_slice() {
        [only] => flow.plugin_for(only, &hook.body),
        // Whose version it will be is known when the hook is proven.
        _ => flow.plugin(plugin_name),
    };
    if candidates.is_empty() {
        let called = called(&hook);
        tracing::warn!(hook.path = called, "A hook named a channel that is not here: {called}");
        // The name is the caller's: one that is not a connector's must not become a label.
        flow.metrics()
            .unrouted(plugin.as_ref().map_or("unknown", |_| plugin_name));
        return plugin.map_or_else(
            || HookAnswer::status(200),
            |plugin| HookAnswer::plain(plugin.default_answer()),
        );
    }
    let Some(plugin) = plugin else {
        // Nobody can judge the hook now. It is kept, and verified when the connector is back.
        if let Err(answer) = room_for_unjudged(flow, &candidates[0]).await {
            return answer;
        }
        let problem = format!("the connector `{plugin_name}` is not loaded");
        return keep(
            flow,
            &candidates[0],
            hook,
            unread(flow, 0, problem),
            Vec::new(),
            HookAnswer::status(200),
        )
        .await;
    };
    let mut judged = judge(flow, &*plugin, &candidates, &hook);
    if let Judged::Refused(Refused { status: 401, .. }) = judged {
        // … or have given the provider another secret.
        if flow.catch_up().await.is_err() {
            return HookAnswer::busy();
        }
        candidates = self::candidates(flow, plugin_name, channel);
        judged = judge(flow, &*plugin, &candidates, &hook);
    }
    let (channel, context) = match judged {
        Judged::Genuine(channel, context) => (channel, context),
        Judged::Answered(answer) => return answer,
        Judged::Refused(refused) => return refuse(flow, &candidates, refused),
    };
    let plugin = match candidates.len() {
        1 => plugin,
        _ => flow.plugin_for(&channel, &hook.body).unwrap_or(plugin),
    };
    match read(flow, &*plugin, &channel, (&context, &hook)).await {
        Ok(inbound) => {
            if !intake::all_known(flow, &channel, &inbound.events) && flow.catch_up().await.is_err() {
                return HookAnswer::busy();
            }
            let answer = HookAnswer::plain(inbound.answer.clone().unwrap_or_else(|| plugin.default_answer()));
            let (state, events) = sort(flow, &*plugin, &channel, &hook, inbound);
            let answer = keep(flow, &channel, hook, state, events, answer).await;
            channels::heard_from(flow, &*plugin, &channel).await;
            answer
        }
        Err(error) => {
            tracing::warn!(channel.id = %channel.id, %error, "A hook could not be read and is kept for later");
            let answer = HookAnswer::plain(plugin.default_answer());
            keep(
                flow,
                &channel,
                hook,
                unread(flow, 0, error.to_string()),
                Vec::new(),
                answer,
            )
            .await
        }
    }
}

/// The channels that a call at this address may be for.
fn candidates(flow: &Flow, plugin: &str, channel: Option<ChannelId>) -> Vec<Arc<Channel>> {
    let directory = flow.directory();
    match channel {
        Some(id) => {
            let found = directory.channel(id).filter(|found| found.plugin == plugin);
            found.into_iter().collect()
        }
        None => directory.channels_of(plugin),
    }
}

/// The address that was called, fit for a log: the caller chose it. Without its query, which may hold a secret.
fn called(hook: &Hook) -> String {
    let path = hook.path_and_query.split('?').next().unwrap_or_default();
    let shown: String = path.chars().take(CALLED_CHARS_MAX).collect();
    let cut = if shown.len() < path.len() { "…" } else { "" };
    format!("{}{cut}", shown.escape_debug())
}

/// What was kept first is the evidence; what comes when there is no more room comes again later.
async fn room_for_unjudged(flow: &Flow, channel: &Channel) -> Result<(), HookAnswer> {
    let kept = match flow.store().unread(channel.id).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::error!(channel.id = %channel.id, %error, "What waits unread cannot be counted");
            return Err(HookAnswer::busy());
        }
    };
    if kept.receipts < UNJUDGED_MAX && kept.bytes < UNJUDGED_BYTES_MAX {
        return Ok(());
    }
    flow.metrics().receipt(&channel.id, "refused");
    tracing::warn!(
        channel.id = %channel.id,
        plugin.id = channel.plugin,
        "No more hooks are kept while the connector is not loaded; their sender is asked to come again"
    );
    Err(HookAnswer::busy())
}

enum Judged {
    /// The first channel whose secrets prove it, and what a call for it needs.
    Genuine(Arc<Channel>, ChannelContext),
    Answered(HookAnswer),
    Refused(Refused),
}

/// Why nobody's secrets prove a hook.
struct Refused {
    status: u16,
    why: &'static str,
    /// The channel whose secret it was to be, and that secret.
    misfit: Option<(ChannelId, String)>,
}

/// Runs the manifest's recipe with each candidate's secrets; the plugin's own are among them.
fn judge(flow: &Flow, plugin: &dyn Connector, candidates: &[Arc<Channel>], hook: &Hook) -> Judged {
    let url = format!("{}{}", flow.public_url(), hook.path_and_query);
    let mut refused = Refused {
        status: 401,
        why: "forged",
        misfit: None,
    };
    for channel in candidates {
        let context = flow.context(channel, plugin);
        match plugin.verify(&context.secrets, hook, &url) {
            Verdict::Genuine => {
                flow.misfits.forget(channel.id);
                return Judged::Genuine(Arc::clone(channel), context);
            }
            Verdict::Challenge(answer) => return Judged::Answered(HookAnswer::plain(answer)),
            Verdict::Forged { why } => (refused.status, refused.why) = (401, why),
            Verdict::Misfit { secret, why } => {
                (refused.status, refused.why) = (401, why);
                // At an address of all channels nobody knows whose secret it was to be.
                refused.misfit = (candidates.len() == 1).then_some((channel.id, secret));
            }
            Verdict::WrongMethod => (refused.status, refused.why) = (405, "method"),
        }
    }
    Judged::Refused(refused)
}

fn refuse(flow: &Flow, candidates: &[Arc<Channel>], refused: Refused) -> HookAnswer {
    if let Some((channel, secret)) = refused.misfit {
        flow.misfits.note(channel, secret, flow.now());
    }
    let named = candidates
        .first()
        .map_or_else(String::new, |channel| channel.id.to_string());
    flow.metrics().rejected(&named, refused.why);
    tracing::debug!(channel.id = named, reason = refused.why, "A hook was refused");
    HookAnswer::status(refused.status)
}

async fn read(
    flow: &Flow,
    plugin: &dyn Connector,
    channel: &Channel,
    (context, hook): (&ChannelContext, &Hook),
) -> Result<Inbound, CallError> {
    let started = Instant::now();
    let result = plugin.receive(context, hook).await;
    flow.metrics().guest_call(&channel.plugin, "receive", started.elapsed());
    if let Err(error) = &result {
        flow.metrics().guest_failure(&channel.plugin, failure_word(error));
    }
    result
}

/// What the receipt is, and the events that stand behind it.
fn sort(
    flow: &Flow,
    plugin: &dyn Connector,
    channel: &Arc<Channel>,
    hook: &Hook,
    inbound: Inbound,
) -> (ReceiptState, Vec<NewEvent>) {
    let state = if inbound.malformed.is_empty() {
        ReceiptState::Parsed
    } else {
        let problems: Vec<String> = inbound
            .malformed
            .iter()
            .map(|item| format!("{}: {}", item.place, item.problem))
            .collect();
        tracing::warn!(channel.id = %channel.id, count = problems.len(), "Items of a hook are malformed");
        ReceiptState::Parked {
            problem: problems.join("; "),
        }
    };
    let events = intake::events(flow, plugin, channel, hook, inbound.events);
    (state, events)
}

async fn keep(
    flow: &Flow,
    channel: &Channel,
    hook: Hook,
    state: ReceiptState,
    events: Vec<NewEvent>,
    answer: HookAnswer,
) -> HookAnswer {
    let result = match &state {
        ReceiptState::Parsed => "parsed",
        ReceiptState::Unparsed { .. } => "unparsed",
        ReceiptState::Parked { .. } => "parked",
    };
    let receipt = NewReceipt {
        id: ReceiptId(flow.next_id()),
        origin: Origin::Channel(channel.id),
        hook,
        state,
    };
    let outcome = flow.store().accept(receipt, events).await;
    accepted(flow, channel, result, outcome.map(drop), answer)
}

fn accepted(
    flow: &Flow,
    channel: &Channel,
    result: &str,
    outcome: Result<(), StoreError>,
    answer: HookAnswer,
) -> HookAnswer {
    match outcome {
        Ok(()) => {
            flow.metrics().receipt(&channel.id, result);
            answer
        }
        Err(error) => {
            flow.metrics().receipt(&channel.id, "refused");
            tracing::error!(channel.id = %channel.id, %error, "A hook could not be stored; its sender is asked to come again");
            HookAnswer::busy()
        }
    }
}

fn unread(flow: &Flow, tries: u32, problem: String) -> ReceiptState {
    if tries >= REPARSE_TRIES_MAX {
        return ReceiptState::Parked { problem };
    }
    ReceiptState::Unparsed {
        problem,
        next_at: flow
            .now()
            .after(REPARSE_WAIT.saturating_mul(2_u32.saturating_pow(tries))),
    }
}

/// Reads a kept hook again. Called by the chores.
pub(crate) async fn read_again(flow: &Flow, kept: Unparsed) -> Result<(), StoreError> {
    let id = match kept.origin {
        Origin::Channel(id) => id,
        Origin::Workspace(id) => {
            let (state, events) = outbound::read_again(flow, id, &kept.hook).await?;
            return flow.store().reparsed(kept.id, state, events).await.map(drop);
        }
    };
    let tries = kept.tries + 1;
    let (state, events) = match flow.directory().channel(id) {
        None => {
            let problem = "the channel is gone".to_owned();
            (ReceiptState::Parked { problem }, Vec::new())
        }
        Some(channel) => reading(flow, &channel, &kept.hook, tries).await,
    };
    flow.store().reparsed(kept.id, state, events).await.map(drop)
}

async fn reading(flow: &Flow, channel: &Arc<Channel>, hook: &Hook, tries: u32) -> (ReceiptState, Vec<NewEvent>) {
    let Some(plugin) = flow.plugin_of(channel) else {
        let problem = format!("the connector `{}` is not loaded", channel.plugin);
        return (unread(flow, tries, problem), Vec::new());
    };
    // What came while the connector was away has not been judged yet.
    let Judged::Genuine(_, context) = judge(flow, &*plugin, std::slice::from_ref(channel), hook) else {
        let problem = "the signature does not fit".to_owned();
        return (ReceiptState::Parked { problem }, Vec::new());
    };
    match read(flow, &*plugin, channel, (&context, hook)).await {
        Ok(inbound) => {
            channels::heard_from(flow, &*plugin, channel).await;
            sort(flow, &*plugin, channel, hook, inbound)
        }
        Err(error) => (unread(flow, tries, error.to_string()), Vec::new()),
    }
}

pub(crate) fn failure_word(error: &CallError) -> &'static str {
    match error {
        CallError::Provider(_) | CallError::Field { .. } => "refused",
        CallError::Malformed(_) => "malformed",
        CallError::Trapped(_) => "trapped",
        CallError::CpuExceeded(_) => "cpu",
        CallError::TimedOut(_) => "timeout",
        CallError::Garbage(_) => "garbage",
        CallError::Busy(_) => "busy",
        CallError::Unsupported(_) => "unsupported",
    }
}

/// One turn at one stored event.
pub(crate) async fn forward(job: &Job<'_>) -> Result<Turn, Stop> {
    match serde_json::from_slice(&job.event.payload)? {
        InPayload::Message(message) => customer::forward(job, &message).await,
        InPayload::Status(told) => status::forward(job, &told).await,
        InPayload::Reachability(told) => Ok(account::reachability(job, &told)),
        InPayload::IdentityChange(change) => account::identity_change(job, &change).await,
        InPayload::Notice(notice) => account::notice(job, notice).await,
        InPayload::Note(note) => notes::forward(job, &note).await,
        InPayload::LateFile(file) => late::forward(job, &file).await,
    }
}

//! What a time without any host may have cost: messages that a provider told then and does not tell again (OP-2).
//!
//! Most providers try again for a day and more, and the inbox is asked for what it told. For the others it is said on
//! the channel from when to when messages may be missing: nobody else would know.

use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Notice, NoticeLevel};
use mantle_store::StoreError;
use mantle_store::directory::Channel;
use serde::{Deserialize, Serialize};

use crate::Flow;
use crate::connector::Connector;
use crate::note::moment;

/// A shorter absence is a restart: what is refused during it is at most seconds of traffic.
const SHORTEST: Duration = Duration::from_secs(60);
/// How long the channel says so.
const SHOWN_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Where the latest one is kept: under a channel that is none.
const PLACE: (ChannelId, &str) = (ChannelId(0), "outage");

/// A time in which no host took anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outage {
    from: Time,
    to: Time,
}

/// To be called on start, with the last sign of life that any host left in the database.
///
/// # Errors
/// The store cannot be read or written.
pub async fn look_back(flow: &Flow, last_alive: Option<Time>) -> Result<(), StoreError> {
    let (channel, key) = PLACE;
    let now = flow.now();
    let fresh = last_alive.filter(|alive| now.since(*alive) >= SHORTEST);
    let outage = match fresh {
        Some(from) => {
            let outage = Outage { from, to: now };
            let until = Some(now.after(SHOWN_FOR));
            let value = serde_json::to_vec(&outage).unwrap_or_default();
            flow.store()
                .kv_set(channel, key, None, Some(&value), until, now)
                .await?;
            tracing::warn!(from = %from, to = %now, "No host was at work for a while");
            Some(outage)
        }
        None => {
            let kept = flow.store().kv_get(channel, key, now).await?;
            // What an other release wrote in another form is no reason not to start.
            kept.and_then(|value| serde_json::from_slice(&value).ok())
        }
    };
    let Some(outage) = outage else { return Ok(()) };
    flow.remember_outage(outage);
    for channel in flow.directory().channels() {
        if let (Some(notice), true) = (notice(flow, &channel), fresh.is_some()) {
            tracing::warn!(channel.id = %channel.id, "{}", notice.cause.message);
        }
    }
    Ok(())
}

/// What the channel has to say of the latest one.
pub(crate) fn notice(flow: &Flow, channel: &Channel) -> Option<Notice> {
    let outage = flow.outage()?;
    let plugin = flow.plugin_of(channel)?;
    let retried_for = plugin.overload().retried_for;
    let shown = flow.now().since(outage.to) < SHOWN_FOR && channel.created_at <= outage.from;
    let lost_until = outage.to.before(retried_for);
    (shown && lost_until > outage.from).then(|| Notice {
        level: NoticeLevel::Warning,
        cause: Cause::new("messages-may-be-missing", sentence(&*plugin, outage, lost_until)),
    })
}

fn sentence(plugin: &dyn Connector, outage: Outage, lost_until: Time) -> String {
    let title = plugin.title();
    format!(
        "No host was at work from {} to {}. What {title} could not deliver is not told again after {} s: messages that \
         customers wrote from {} to {} may be missing. Look for them at the provider.",
        moment(outage.from),
        moment(outage.to),
        plugin.overload().retried_for.as_secs(),
        moment(outage.from),
        moment(lost_until),
    )
}

//! What concerns a person's reach, a person's ids, or the account as a whole: no conversation comes of it.

use mantle_model::inbound::{IdentityChange, Notice, Reachability};
use mantle_store::directory::ChannelChange;
use mantle_store::lanes::Change;

use crate::job::{Job, Stop, Turn};
use crate::note;

/// How many notices a channel keeps; the oldest leave first.
const NOTICES_MAX: usize = 20;

pub(super) fn reachability(job: &Job<'_>, told: &Reachability) -> Turn {
    let Some(identity) = job.lane.identity else {
        return Turn::ignored("nobody");
    };
    Turn::done(vec![Change::Reach {
        identity,
        reach: told.reach,
        at: job.event.at,
    }])
}

pub(super) async fn identity_change(job: &Job<'_>, change: &IdentityChange) -> Result<Turn, Stop> {
    let store = job.flow.store();
    let Some(identity) = store.join_aliases(job.channel.id, &change.was, &change.now).await? else {
        return Ok(Turn::ignored("unknown-person"));
    };
    let known = job.identity_by(identity).await?;
    if known.thread.is_none() {
        return Ok(Turn::done(Vec::new()));
    }
    let html = note::html("The customer goes by another id.", &[&note::sentence(&change.summary)]);
    let key = format!("identity-change:{}", job.event.key);
    Ok(Turn::done(vec![job.note(identity, None, key, html)]))
}

pub(super) async fn notice(job: &Job<'_>, notice: Notice) -> Result<Turn, Stop> {
    tracing::warn!(channel.id = %job.channel.id, code = notice.cause.code, level = ?notice.level, "The provider has a notice");
    let mut notices = job.channel.notices.clone();
    notices.retain(|known| known.cause.code != notice.cause.code);
    notices.push(notice);
    let surplus = notices.len().saturating_sub(NOTICES_MAX);
    notices.drain(..surplus);
    let change = ChannelChange {
        notices: Some(notices),
        ..ChannelChange::default()
    };
    job.flow
        .store()
        .change_channel(job.channel.id, change, job.now())
        .await?;
    job.flow.refresh().await?;
    Ok(Turn::done(Vec::new()))
}

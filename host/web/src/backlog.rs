//! What waits, by channel, and when it will be worked if things go on as they do (F8).
//!
//! The rate is what the backlog shrank by since it was largest within the last minutes: that counts what all hosts did,
//! and what came in meanwhile. A backlog that does not shrink has no end to tell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::ids::ChannelId;
use mantle_store::StoreError;
use mantle_store::intake::Direction;
use mantle_store::upkeep::Waiting;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Front;

/// How far apart two samples lie: closer ones tell of single messages.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How long a sample is compared with: a rate of long ago is not the present one.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// The window's samples and the one that is just leaving it.
const SAMPLES_MAX: usize = 32;
/// Nobody plans by what is further off.
const TOLD_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What waits of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BacklogBody {
    /// What the provider told and what has not come to its end in the inbox, reports among it.
    #[schema(example = 0)]
    pub inbound: u64,
    /// Replies that the provider has not taken yet.
    #[schema(example = 0)]
    pub outbound: u64,
    /// When nothing will wait any more if it goes on shrinking as in the last minutes; `null`: nothing waits, it does
    /// not shrink, or it is not known yet.
    pub empty_in_seconds: Option<u64>,
}

impl BacklogBody {
    fn events(self) -> u64 {
        self.inbound.saturating_add(self.outbound)
    }
}

type Counts = BTreeMap<ChannelId, BacklogBody>;

/// The samples of the last minutes.
#[derive(Debug, Default)]
pub struct Backlog(Mutex<VecDeque<(Time, Counts)>>);

impl Backlog {
    /// Asks the store what waits, and keeps it if it is time. Channels without anything waiting are not among it.
    pub(crate) async fn look(&self, front: &Front) -> Result<Counts, StoreError> {
        let now = front.clock.now();
        let mut counts = counted(&front.store.waiting().await?);
        self.note(now, &counts);
        for (channel, body) in &mut counts {
            body.empty_in_seconds = self.empty_in(*channel, body.events(), now).map(|left| left.as_secs());
        }
        Ok(counts)
    }

    fn is_due(&self, now: Time) -> bool {
        let samples = self.samples();
        let newest = samples.back().map(|(at, _)| *at);
        newest.is_none_or(|at| at > now || now.since(at) >= SAMPLE_EVERY)
    }

    fn note(&self, now: Time, counts: &Counts) {
        if !self.is_due(now) {
            return;
        }
        let mut samples = self.samples();
        // A clock that went back makes nonsense of what was measured by it.
        if samples.back().is_some_and(|(at, _)| *at > now) {
            samples.clear();
        }
        samples.retain(|(at, _)| now.since(*at) <= WINDOW);
        while samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((now, counts.clone()));
    }

    fn empty_in(&self, channel: ChannelId, waiting: u64, now: Time) -> Option<Duration> {
        let samples = self.samples();
        let compared = samples
            .iter()
            .filter(|(at, _)| (SAMPLE_EVERY..=WINDOW).contains(&now.since(*at)));
        let events = |counts: &Counts| counts.get(&channel).map_or(0, |body| body.events());
        let (at, before) = compared
            .map(|(at, counts)| (at, events(counts)))
            .max_by_key(|(_, events)| *events)?;
        let done = before.checked_sub(waiting).filter(|done| *done > 0)?;
        let millis = now.since(*at).as_millis() * u128::from(waiting) / u128::from(done);
        let left = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        (left <= TOLD_MAX && waiting > 0).then_some(left)
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<(Time, Counts)>> {
        // Nothing panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    /// Keeps an eye on the backlog, so that its end can be told when somebody asks. Called every few seconds.
    pub async fn watch_backlog(&self) {
        if !self.backlog.is_due(self.clock.now()) {
            return;
        }
        if let Err(error) = self.backlog.look(self).await {
            tracing::warn!(%error, "What waits could not be counted");
        }
    }
}

fn counted(waiting: &[Waiting]) -> Counts {
    let mut counts = Counts::new();
    for row in waiting {
        let body = counts.entry(row.channel).or_default();
        match row.direction {
            Direction::In => body.inbound += row.events,
            Direction::Out => body.outbound += row.events,
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_unix_seconds(1_795_000_000);
    const CHANNEL: ChannelId = ChannelId(7);

    fn at(seconds: u64) -> Time {
        START.after(Duration::from_secs(seconds))
    }

    fn waiting(events: u64) -> Counts {
        let body = BacklogBody {
            outbound: events,
            ..BacklogBody::default()
        };
        Counts::from([(CHANNEL, body)])
    }

    #[test]
    fn f8_the_end_of_a_backlog_is_told_by_how_it_shrinks() {
        let backlog = Backlog::default();
        backlog.note(at(0), &waiting(1_000));
        assert_eq!(backlog.empty_in(CHANNEL, 999, at(1)), None, "too soon to tell");
        // One a second.
        assert_eq!(backlog.empty_in(CHANNEL, 940, at(60)), Some(Duration::from_secs(940)));
        assert_eq!(backlog.empty_in(CHANNEL, 1_000, at(60)), None, "it does not shrink");
        assert_eq!(backlog.empty_in(CHANNEL, 1_500, at(60)), None, "it grows");
        assert_eq!(backlog.empty_in(CHANNEL, 0, at(60)), None, "there is none");
        assert_eq!(
            backlog.empty_in(CHANNEL, 999, at(300)),
            Some(Duration::from_secs(299_700))
        );
        assert_eq!(backlog.empty_in(CHANNEL, 940, at(301)), None, "the rate of long ago");
        assert_eq!(
            backlog.empty_in(ChannelId(8), 5, at(60)),
            None,
            "it waits since a moment ago"
        );
        // It came at once, a minute ago, and has shrunk since.
        backlog.note(at(310), &waiting(0));
        backlog.note(at(320), &waiting(500));
        backlog.note(at(350), &waiting(490));
        assert_eq!(
            backlog.empty_in(CHANNEL, 480, at(380)),
            Some(Duration::from_secs(1_440))
        );
    }

    #[test]
    fn f8_p7_samples_are_bounded_and_a_clock_that_goes_back_begins_anew() {
        let backlog = Backlog::default();
        for second in 0..100_000 {
            backlog.note(at(second), &waiting(1_000_000 - second));
            assert!(backlog.samples().len() <= SAMPLES_MAX);
        }
        assert_eq!(
            backlog
                .empty_in(CHANNEL, 1_000_000 - 99_999, at(99_999))
                .map(|left| left.as_secs()),
            Some(900_001)
        );
        backlog.note(at(5), &waiting(10));
        assert_eq!(backlog.samples().len(), 1);
    }
}

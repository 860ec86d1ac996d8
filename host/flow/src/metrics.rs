//! What is counted. Labels come from configuration and closed sets, never from a message or a person.

use std::time::Duration;

use mantle_model::ids::{ChannelId, WorkspaceId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::breaker::Phase;

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Families of the journeys. A clone counts into the same numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    receipts: Counters<2>,
    events: Counters<3>,
    webhook_rejected: Counters<2>,
    unrouted: Counters<1>,
    guest_call: Histograms<2>,
    guest_failures: Counters<2>,
    effects: Counters<2>,
    delivery: Histograms<2>,
    dead_letters: Counters<1>,
    gap_found: Counters<1>,
    breaker_state: Gauges<2>,
    ratelimit_wait: Histograms<2>,
    lease_lost: Counter,
}

impl Metrics {
    /// Makes the families and registers them under `mantle_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            receipts: Family::default(),
            events: Family::default(),
            webhook_rejected: Family::default(),
            unrouted: Family::default(),
            guest_call: Family::new_with_constructor(from_a_millisecond),
            guest_failures: Family::default(),
            effects: Family::default(),
            delivery: Family::new_with_constructor(from_a_hundredth),
            dead_letters: Family::default(),
            gap_found: Family::default(),
            breaker_state: Family::default(),
            ratelimit_wait: Family::new_with_constructor(from_a_hundredth),
            lease_lost: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("mantle");
        registry.register("receipts", "Raw hooks stored, by outcome", metrics.receipts.clone());
        registry.register("events", "Events ended, by outcome", metrics.events.clone());
        registry.register(
            "webhook_rejected",
            "Hooks refused before any work",
            metrics.webhook_rejected.clone(),
        );
        registry.register(
            "unrouted",
            "Genuine hooks or events without a channel",
            metrics.unrouted.clone(),
        );
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "guest_call",
            "Time of a call into a connector",
            seconds,
            metrics.guest_call.clone(),
        );
        registry.register(
            "guest_failures",
            "Calls that a connector did not survive",
            metrics.guest_failures.clone(),
        );
        registry.register("effects", "Writes to the outside, by outcome", metrics.effects.clone());
        let help = "From the provider's or inbox's time to applied on the other side";
        registry.register_with_unit("delivery", help, Unit::Seconds, metrics.delivery.clone());
        registry.register(
            "gap_found",
            "Replies found by asking the inbox, told by no webhook",
            metrics.gap_found.clone(),
        );
        registry.register("dead_letters", "Messages given up", metrics.dead_letters.clone());
        let help = "Whether calls are made: 0 closed (yes), 1 half-open (a few), 2 open (none)";
        registry.register("breaker_state", help, metrics.breaker_state.clone());
        let help = "What a limit of the other side asked to wait, as far as it is believed";
        registry.register_with_unit("ratelimit_wait", help, Unit::Seconds, metrics.ratelimit_wait.clone());
        let help = "Results dropped because another worker had the lane by then";
        registry.register("lease_lost", help, metrics.lease_lost.clone());
        metrics
    }

    pub(crate) fn lease_lost(&self) {
        self.lease_lost.inc();
    }

    /// `of`: the workspace or channel whose credential it is.
    pub(crate) fn breaker(&self, target: &str, of: &dyn std::fmt::Display, phase: Phase) {
        let labels = [("target", target.into()), ("of", of.to_string())];
        let value = match phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        self.breaker_state.get_or_create(&labels).set(value);
    }

    pub(crate) fn rate_limited(&self, target: &str, of: &dyn std::fmt::Display, wait: Duration) {
        let labels = [("target", target.into()), ("of", of.to_string())];
        self.ratelimit_wait.get_or_create(&labels).observe(wait.as_secs_f64());
    }

    pub(crate) fn receipt(&self, origin: &dyn std::fmt::Display, result: &str) {
        count(
            &self.receipts,
            &[("origin", origin.to_string()), ("result", result.into())],
        );
    }

    pub(crate) fn event(&self, channel: ChannelId, direction: &str, outcome: &str) {
        let labels = [
            ("channel", channel.to_string()),
            ("direction", direction.into()),
            ("outcome", outcome.into()),
        ];
        count(&self.events, &labels);
    }

    pub(crate) fn rejected(&self, channel: &str, reason: &str) {
        count(
            &self.webhook_rejected,
            &[("channel", channel.into()), ("reason", reason.into())],
        );
    }

    pub(crate) fn unrouted(&self, plugin: &str) {
        count(&self.unrouted, &[("plugin", plugin.into())]);
    }

    pub(crate) fn guest_call(&self, connector: &str, export: &str, took: Duration) {
        let labels = [("connector", connector.into()), ("export", export.into())];
        self.guest_call.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn guest_failure(&self, connector: &str, reason: &str) {
        count(
            &self.guest_failures,
            &[("connector", connector.into()), ("reason", reason.into())],
        );
    }

    pub(crate) fn effect(&self, target: &str, outcome: &str) {
        count(&self.effects, &[("target", target.into()), ("outcome", outcome.into())]);
    }

    pub(crate) fn delivered(&self, channel: ChannelId, direction: &str, took: Duration) {
        let labels = [("channel", channel.to_string()), ("direction", direction.into())];
        self.delivery.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn gap_found(&self, workspace: WorkspaceId, replies: u64) {
        let labels = [("workspace", workspace.to_string())];
        self.gap_found.get_or_create(&labels).inc_by(replies);
    }

    pub(crate) fn dead(&self, channel: ChannelId) {
        count(&self.dead_letters, &[("channel", channel.to_string())]);
    }
}

fn count<const N: usize>(family: &Counters<N>, labels: &Labels<N>) {
    family.get_or_create(labels).inc();
}

/// 1 ms to 32 s.
fn from_a_millisecond() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// 10 ms to a day and more.
fn from_a_hundredth() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 13))
}

//! How the store stands, as gauges: read from it when somebody asks for the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use mantle_model::ids::ChannelId;
use mantle_store::upkeep::Figures;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;

use crate::Front;
use crate::backlog::BacklogBody;
use crate::limits::FIGURES_EVERY;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabel {
    channel: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabel {
    channel: String,
    direction: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The gauges. Those of a channel without waiting work are absent.
#[derive(Debug)]
pub struct StoreFigures {
    lanes_ready: Family<ChannelLabel, Gauge>,
    oldest_ready: Family<ChannelLabel, Seconds>,
    events_waiting: Family<WayLabel, Gauge>,
    backlog_empty: Family<ChannelLabel, Gauge>,
    effects_ambiguous: Gauge,
    dead_waiting: Gauge,
    receipts_waiting: Family<StateLabel, Gauge>,
    log_bytes: Gauge,
    oldest_transaction: Seconds,
    config_applied: Gauge,
    /// When the store was last asked; held while it is, so that two readers of the metrics ask once.
    asked: Mutex<Option<Instant>>,
}

impl StoreFigures {
    /// Makes the gauges and registers them under `mantle_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            lanes_ready: Family::default(),
            oldest_ready: Family::default(),
            events_waiting: Family::default(),
            backlog_empty: Family::default(),
            effects_ambiguous: Gauge::default(),
            dead_waiting: Gauge::default(),
            receipts_waiting: Family::default(),
            log_bytes: Gauge::default(),
            oldest_transaction: Seconds::default(),
            config_applied: Gauge::default(),
            asked: Mutex::default(),
        };
        let registry = registry.sub_registry_with_prefix("mantle");
        registry.register(
            "lanes_ready",
            "Queues with work that is due and that nobody works yet",
            figures.lanes_ready.clone(),
        );
        registry.register_with_unit(
            "lane_oldest_ready",
            "How long the oldest of them has been due",
            Unit::Seconds,
            figures.oldest_ready.clone(),
        );
        registry.register(
            "events_waiting",
            "Events taken in and not come to their end",
            figures.events_waiting.clone(),
        );
        registry.register_with_unit(
            "backlog_empty",
            "When nothing will wait any more at the rate of the last minutes; absent while it does not shrink",
            Unit::Seconds,
            figures.backlog_empty.clone(),
        );
        registry.register(
            "effects_ambiguous",
            "Writes to the outside of which nobody knows yet whether they arrived",
            figures.effects_ambiguous.clone(),
        );
        registry.register(
            "dead_letters_waiting",
            "Messages given up and not put in line again: mantle dead list",
            figures.dead_waiting.clone(),
        );
        registry.register(
            "receipts_waiting",
            "Raw hooks that no connector could read: unread are tried again, parked wait for a person",
            figures.receipts_waiting.clone(),
        );
        registry.register_with_unit(
            "db_wal",
            "Size of the write-ahead log",
            Unit::Bytes,
            figures.log_bytes.clone(),
        );
        registry.register_with_unit(
            "db_oldest_transaction",
            "How long the oldest transaction of anybody on the database has been open: dead rows stay that long",
            Unit::Seconds,
            figures.oldest_transaction.clone(),
        );
        registry.register(
            "config_reload_success",
            "Whether the configuration on disk is the one in use: 1 yes, 0 it has problems",
            figures.config_applied.clone(),
        );
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs", build);
        figures
    }

    /// Asks the store unless it was asked a moment ago. Figures that cannot be read stay as they were: the pulse
    /// tells that the database does not answer.
    pub(crate) async fn refresh(&self, front: &Front) {
        // Costs nothing, and is looked at by whoever has just changed the file.
        let applied = front.desk.configuration().problems.is_empty();
        self.config_applied.set(i64::from(applied));
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < FIGURES_EVERY) {
            return;
        }
        *asked = Some(Instant::now());
        match front.store.figures(front.clock.now()).await {
            Ok(figures) => self.show(&figures),
            Err(error) => tracing::warn!(%error, "The figures of the store could not be read"),
        }
        match front.backlog.look(front).await {
            Ok(counts) => self.show_backlog(&counts),
            Err(error) => tracing::warn!(%error, "What waits could not be counted"),
        }
    }

    fn show_backlog(&self, counts: &BTreeMap<ChannelId, BacklogBody>) {
        self.events_waiting.clear();
        self.backlog_empty.clear();
        for (channel, waiting) in counts {
            let channel = channel.to_string();
            for (direction, events) in [("in", waiting.inbound), ("out", waiting.outbound)] {
                let label = WayLabel {
                    channel: channel.clone(),
                    direction,
                };
                self.events_waiting.get_or_create(&label).set(whole(events));
            }
            if let Some(seconds) = waiting.empty_in_seconds {
                self.backlog_empty
                    .get_or_create(&ChannelLabel { channel })
                    .set(whole(seconds));
            }
        }
    }

    fn show(&self, figures: &Figures) {
        self.lanes_ready.clear();
        self.oldest_ready.clear();
        for (channel, lanes, oldest) in &figures.ready {
            let label = ChannelLabel {
                channel: channel.to_string(),
            };
            self.lanes_ready.get_or_create(&label).set(whole(*lanes));
            self.oldest_ready.get_or_create(&label).set(oldest.as_secs_f64());
        }
        self.effects_ambiguous.set(whole(figures.effects_ambiguous));
        self.dead_waiting.set(whole(figures.dead));
        for (state, count) in [("unread", figures.hooks_unread), ("parked", figures.hooks_parked)] {
            self.receipts_waiting
                .get_or_create(&StateLabel { state })
                .set(whole(count));
        }
        self.log_bytes.set(whole(figures.log_bytes.unwrap_or_default()));
        let open = figures.oldest_transaction.unwrap_or_default();
        self.oldest_transaction.set(open.as_secs_f64());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

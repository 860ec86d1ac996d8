//! What the committing of groups costs, as metrics.

use std::sync::Arc;

use mantle_store::Commit;
use mantle_store::database::SqlStore;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone)]
pub(crate) struct CommitMetrics {
    whole: Histogram,
    sync: Histogram,
    jobs: Histogram,
    queue: Gauge,
}

impl CommitMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // 0.1 ms (no disk at all) to 13 s; 1 to 512 jobs.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let metrics = Self {
            whole: seconds(),
            sync: seconds(),
            jobs: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            queue: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("mantle");
        registry.register_with_unit(
            "commit",
            "Time of one group of writes, from its first statement to the disk",
            Unit::Seconds,
            metrics.whole.clone(),
        );
        registry.register_with_unit(
            "db_fsync",
            "Time of the group's end alone: the disk's sync",
            Unit::Seconds,
            metrics.sync.clone(),
        );
        registry.register("commit_batch_rows", "Jobs of one group of writes", metrics.jobs.clone());
        registry.register_with_unit(
            "commit_queue",
            "What waits for the writer",
            Unit::Bytes,
            metrics.queue.clone(),
        );
        metrics
    }

    pub(crate) fn watch(self, store: &Arc<SqlStore>) {
        store.watch_commits(move |commit: Commit| {
            self.whole.observe(commit.whole.as_secs_f64());
            self.sync.observe(commit.sync.as_secs_f64());
            self.jobs.observe(f64::from(commit.jobs));
            self.queue.set(i64::try_from(commit.queued_bytes).unwrap_or(i64::MAX));
        });
    }
}

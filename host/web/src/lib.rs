//! The HTTP front: hooks of providers and inboxes, files for them, the API, health and metrics.
//!
//! Invariants: everything from outside has a limit in bytes and time ([`limits`]); a caller that hangs up does
//! not stop what it began; an answer of the API never holds a secret; what is stored is stored before the 200.
//! Decides nothing about messages: it turns HTTP into calls of the [`desk::Desk`] and the store, and their
//! outcomes into statuses. Knows nothing of connectors, provider rules or files of the configuration.

mod admission;
pub mod api;
pub mod backlog;
mod body;
pub mod desk;
pub mod figures;
mod hooks;
pub mod limits;
pub mod media;
pub mod metrics;
mod operations;
pub mod resend;
pub mod server;
pub mod tokens;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use mantle_model::clock::Clock;
use mantle_model::secret::Secret;
use mantle_store::Store;
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

pub use crate::admission::Admission;
use crate::backlog::Backlog;
use crate::desk::Desk;
use crate::figures::StoreFigures;
use crate::media::MediaLinks;
use crate::metrics::HttpMetrics;
pub use crate::operations::{Beat, Pulse};
use crate::resend::ResendLinks;

/// What every request may use.
pub struct Front {
    pub desk: Arc<dyn Desk>,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub links: MediaLinks,
    pub resends: ResendLinks,
    /// `MANTLE_ADMIN_TOKEN`. Without one the API is closed.
    pub admin_token: Option<Secret>,
    /// Everything that `/metrics` shows, [`HttpMetrics`] included.
    pub registry: Arc<Registry>,
    pub http: HttpMetrics,
    /// How the store stands; read when the metrics are.
    pub figures: StoreFigures,
    /// What waited in the last minutes.
    pub backlog: Backlog,
    pub pulse: Pulse,
    /// Requests under way, which outlive callers that hang up.
    pub tasks: TaskTracker,
    /// What hooks may occupy.
    pub admission: Arc<Admission>,
    /// Idempotency keys of calls under way.
    pub under_way: Mutex<HashSet<String>>,
}

/// Every route of the host.
pub fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/hooks/{plugin}/{channel_id}", any(hooks::channel))
        .route("/hooks/{plugin}", any(hooks::plugin))
        .route("/inbox/intercom", any(hooks::intercom))
        .route("/inbox/{inbox}", any(hooks::unknown_inbox))
        .route("/media/{token}", get(media::serve))
        .route("/resend/{token}", get(resend::ask).post(resend::follow))
        .route("/livez", get(operations::livez))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .route("/", get(operations::page))
        .nest("/api/v1", api::router(&front))
        .fallback(operations::not_found)
        .layer(from_fn_with_state(Arc::clone(&front), metrics::watch))
        .with_state(front)
}

#[cfg(test)]
mod tests;

//! One figure and one log line for each request, at its end.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Front;

/// Seconds: from a cached answer to a connector that takes all its time.
const BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 3.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    /// The pattern, never the path: paths hold ids and tokens.
    route: String,
    status: u16,
}

/// What the front counts.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
}

impl HttpMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        registry.register(
            "http_server_request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            requests.clone(),
        );
        Self { requests }
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Around every request.
pub(crate) async fn watch(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    // A request with a transfer coding ends its connection: whatever a proxy in front took for the end of the body,
    // no second request can hide behind it (RFC 9112, 6.1).
    let ends = request.headers().contains_key(header::TRANSFER_ENCODING);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let mut response = next.run(request).await;
    if ends {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    let took = begun.elapsed();
    tracing::info!(%method, route, status, took_ms = took.as_millis(), "{method} {route} {status}");
    let labels = RequestLabels {
        // Methods are free text of the caller; unknown ones share a label.
        method: match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE" | "PUT" | "OPTIONS") => known.to_owned(),
            _ => "other".to_owned(),
        },
        route,
        status,
    };
    front.http.requests.get_or_create(&labels).observe(took.as_secs_f64());
    response
}

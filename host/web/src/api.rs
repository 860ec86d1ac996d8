//! The API under `/api/v1`.
//!
//! One table of routes makes the router and is compared with the OpenAPI document by a test, so that neither can
//! tell of a route that the other does not have. Around every call: who is it ([`gate::authenticate`]), was it made
//! before ([`gate::once`]); then one function per route.

pub mod channels;
pub mod document;
mod error;
mod gate;
mod input;
pub mod messages;
mod parked;
pub mod plugins;
pub mod receipts;
pub mod templates;
pub mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};

use crate::Front;
pub use error::ApiError;

/// One call of the API.
pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the document"))]
    pub(crate) method: MethodFilter,
    /// Below `/api/v1`.
    pub(crate) path: &'static str,
    serve: MethodRouter<Arc<Front>>,
}

fn route<H, T>(method: MethodFilter, path: &'static str, handler: H) -> Route
where
    H: Handler<T, Arc<Front>>,
    T: 'static,
{
    Route {
        method,
        path,
        serve: on(method, handler),
    }
}

/// Every call that needs the key.
pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(MethodFilter::POST, "/workspaces", workspaces::connect),
        route(MethodFilter::GET, "/workspaces", workspaces::list),
        route(MethodFilter::GET, "/workspaces/{id}", workspaces::one),
        route(MethodFilter::PATCH, "/workspaces/{id}", workspaces::edit),
        route(MethodFilter::DELETE, "/workspaces/{id}", workspaces::archive),
        route(MethodFilter::POST, "/workspaces/{id}/check", workspaces::check),
        route(MethodFilter::POST, "/workspaces/{id}/channels", channels::connect),
        route(MethodFilter::GET, "/workspaces/{id}/channels", channels::of_workspace),
        route(MethodFilter::GET, "/channels/{id}", channels::one),
        route(MethodFilter::PATCH, "/channels/{id}", channels::edit),
        route(MethodFilter::DELETE, "/channels/{id}", channels::archive),
        route(MethodFilter::POST, "/channels/{id}/check", channels::check),
        route(MethodFilter::GET, "/channels/{id}/templates", templates::list),
        route(MethodFilter::GET, "/messages", messages::list),
        route(MethodFilter::GET, "/messages/{id}", messages::trace),
        route(MethodFilter::POST, "/messages/{id}/replay", messages::replay),
        route(MethodFilter::GET, "/receipts/{id}", receipts::one),
        route(MethodFilter::GET, "/plugins", plugins::list),
        route(MethodFilter::POST, "/plugins/{name}/approve", plugins::approve),
        route(MethodFilter::POST, "/plugins/{name}/rollback", plugins::roll_back),
    ]
}

pub(crate) fn router(front: &Arc<Front>) -> Router<Arc<Front>> {
    let keyed = routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.serve))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(front), gate::once))
        .layer(from_fn_with_state(Arc::clone(front), gate::detach))
        .layer(from_fn_with_state(Arc::clone(front), gate::authenticate));
    Router::new()
        .route("/openapi.json", get(document::serve))
        .merge(keyed)
        .layer(from_fn(uncached))
}

async fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_route",
        "There is no such call. /api/v1/openapi.json lists all.",
    )
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not take the method. /api/v1/openapi.json lists all calls.",
    )
}

async fn uncached(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

//! The OpenAPI document, made from the functions that serve the calls.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{channels, error, messages, plugins, templates, workspaces};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mantle",
        description = "Carries messages between messaging channels and an inbox. Every call needs the key: \
            `Authorization: Bearer` and the value of MANTLE_ADMIN_TOKEN. Every POST takes an Idempotency-Key.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    paths(
        workspaces::connect,
        workspaces::list,
        workspaces::one,
        workspaces::edit,
        workspaces::archive,
        workspaces::check,
        channels::connect,
        channels::of_workspace,
        channels::one,
        channels::edit,
        channels::archive,
        channels::check,
        templates::list,
        messages::list,
        messages::trace,
        messages::replay,
        plugins::list,
    ),
    components(schemas(error::ErrorBody)),
    modifiers(&Key),
    security(("key" = [])),
    tags(
        (name = "workspaces", description = "Connected Intercom workspaces"),
        (name = "channels", description = "Bots, numbers and pages of a workspace"),
        (name = "messages", description = "What happened to a message"),
        (name = "plugins", description = "Connectors that plugins.toml names"),
    )
)]
pub struct Document;

struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// `GET /api/v1/openapi.json`: no key needed, since it tells nothing of this host.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

//! The OpenAPI document, made from the functions that serve the calls.

use axum::Json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{channels, error, messages, plugins, receipts, templates, workspaces};

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
        receipts::one,
        plugins::list,
        plugins::approve,
        plugins::roll_back,
    ),
    components(schemas(error::ErrorBody)),
    modifiers(&Key, &Around),
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

/// What the gate around every call answers, and the reader of bodies where there is one: written once, added to all.
struct Around;

impl Modify for Around {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            let calls = [&mut item.get, &mut item.patch, &mut item.delete];
            for call in calls.into_iter().flatten() {
                tell(call, &EVERY_CALL);
                if call.request_body.is_some() {
                    tell(call, &WITH_A_BODY);
                }
            }
            if let Some(call) = &mut item.post {
                tell(call, &EVERY_CALL);
                tell(call, &REPEATABLE);
                if call.request_body.is_some() {
                    tell(call, &WITH_A_BODY);
                }
            }
        }
    }
}

type Answers<const N: usize> = [(&'static str, &'static str); N];

const EVERY_CALL: Answers<6> = [
    ("400", "`body_broken`: the body broke off"),
    ("401", "`unauthorized`: the key is missing or wrong"),
    ("408", "`body_too_slow`: the body came too slowly"),
    ("413", "`body_too_large`: the body is larger than a call has"),
    (
        "500",
        "`store`, `crashed`: the host's log has the reason beside the reference",
    ),
    (
        "503",
        "`no_key_configured`: MANTLE_ADMIN_TOKEN is not set; `busy`, `unavailable`: the host takes no more work now",
    ),
];
/// Beside the meaning that the call itself gives to the status.
const WITH_A_BODY: Answers<3> = [
    ("400", "`not_json`: the body is not JSON"),
    ("415", "`not_json`: the body is said to be something else than JSON"),
    ("422", "`invalid`: a field of the body does not fit"),
];
const REPEATABLE: Answers<3> = [
    (
        "400",
        "`idempotency_key_invalid`: the Idempotency-Key is too long or not printable",
    ),
    (
        "409",
        "`idempotency_key_in_use`: a call with this Idempotency-Key is under way",
    ),
    (
        "422",
        "`idempotency_key_reused`: the Idempotency-Key belongs to another call",
    ),
];

/// Adds the answers; a status that is told of already gets one more reason.
fn tell(call: &mut Operation, answers: &[(&'static str, &'static str)]) {
    for (status, reason) in answers {
        match call.responses.responses.get_mut(*status) {
            Some(RefOr::T(known)) => {
                known.description.push_str("; ");
                known.description.push_str(reason);
            }
            Some(RefOr::Ref(_)) => {}
            None => {
                let schema = Ref::from_schema_name("ErrorBody");
                let content = ContentBuilder::new().schema(Some(schema)).build();
                let response = ResponseBuilder::new()
                    .description(*reason)
                    .content("application/json", content);
                call.responses
                    .responses
                    .insert((*status).to_owned(), RefOr::T(response.build()));
            }
        }
    }
}

/// `GET /api/v1/openapi.json`: no key needed, since it tells nothing of this host.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

//! Everything that a Mantle connector needs.
//!
//! A connector translates between one provider and the host: a hook in, events out; a message in, calls to the
//! provider out. It is two functions and a manifest. This is a whole one, for a provider with a bearer token,
//! first its `src/lib.rs`:
//!
//! ```
//! use mantle_sdk::connector::{Connector, Hook, Inbound, ReceiveError};
//! use mantle_sdk::http::Request;
//! use mantle_sdk::values::{
//!     AliasKind, CallError, Content, Event, EventBody, Message, Outgoing, OutgoingContent, Person, RefusalReason, Sent,
//! };
//! use mantle_sdk::{Host, time};
//! use serde_json::json;
//!
//! // By the time `receive` runs, the host has verified the signature by the manifest's recipe.
//! mantle_sdk::export!(Pigeon, manifest = "connector.toml");
//!
//! pub struct Pigeon;
//!
//! #[derive(serde::Deserialize)]
//! struct Letter {
//!     id: String,
//!     sent_at: i64,
//!     sender: String,
//!     text: String,
//! }
//!
//! impl Connector for Pigeon {
//!     fn receive(hook: Hook, _host: &dyn Host) -> Result<Inbound, ReceiveError> {
//!         let letter: Letter =
//!             hook.json().map_err(|error| ReceiveError::malformed(format!("The body is no letter: {error}.")))?;
//!         let message = Message::new(
//!             letter.id.clone(),
//!             Person::new([(AliasKind::Id, letter.sender)]),
//!             vec![Content::Text(letter.text)],
//!         );
//!         Ok(Inbound::of(Event::new(
//!             format!("letter:{}", letter.id), // the same when the provider tells it again
//!             time::from_unix_seconds(letter.sent_at),
//!             EventBody::Message(message),
//!         )))
//!     }
//!
//!     fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
//!         let OutgoingContent::Text(text) = &message.content else {
//!             return Err(CallError::refused(RefusalReason::Unsupported, "kind", "Pigeons carry texts only."));
//!         };
//!         let response = host.fetch(
//!             Request::post("https://api.pigeon.example/letters")
//!                 .credential("token")
//!                 .json(&json!({"to": message.recipient_id(), "text": text.text})),
//!         )?; // a broken exchange becomes `transient` or `ambiguous` by what had been sent
//!         match response.status {
//!             200..=299 => Ok(Sent::new(response.header("letter-id").unwrap_or_default())),
//!             401 => Err(CallError::unauthorized("401", response.text())),
//!             429 => Err(CallError::rate_limited(response.retry_after_ms(host.now()), "429", "Too many letters.")),
//!             400..=499 => Err(CallError::refused(RefusalReason::Other, "refused", response.text())),
//!             _ => Err(CallError::ambiguous("5xx", "The provider failed after it had the whole letter.")),
//!         }
//!     }
//! }
//! ```
//!
//! and its `connector.toml`, which lies beside `Cargo.toml`, travels inside the component and is read before any of its
//! code runs (every key stands in `wit/README.md`):
//!
//! ```toml
//! [connector]
//! name = "pigeon"
//! title = "Pigeon post"
//! version = "1.0.0"
//! description = "One loft: letters in and out."
//! inboxes = ["intercom"]
//! attribute = "pigeon"            # the contact's id is kept in the attribute mantle_pigeon_id
//!
//! [[fields]]                      # what the operator fills in for each channel
//! name = "token"
//! label = "API token"
//! kind = "text"
//! secret = true                   # encrypted at rest, never given to this code
//!
//! [[fields]]
//! name = "signing_key"
//! label = "Signing key"
//! kind = "text"
//! secret = true
//!
//! [verification]                  # how hooks are signed; checked by the host
//! kind = "hmac"
//! algorithm = "sha256"
//! encoding = "hex"
//! header = "letter-signature"
//! secret = "signing_key"
//! signed = ["body"]
//!
//! [webhook]
//! methods = ["POST"]
//! registration = "manual"         # the operator enters the address at the provider
//! answer = { status = 200 }
//!
//! [[credentials]]                 # what `.credential("token")` fills in
//! name = "token"
//! [[credentials.inject]]
//! kind = "bearer"
//! secret = "token"
//!
//! [[egress]]                      # the only address it may call, and what with
//! origin = "https://api.pigeon.example"
//! methods = ["POST"]
//! paths = ["/letters<end>"]
//! credentials = ["token"]
//!
//! [limits]
//! memory_mib = 16
//!
//! [capabilities.text]             # longer answers are split before `send`
//! limit = 1000
//! unit = "characters"
//! formatting = "plain"
//!
//! [capabilities.delivery]
//! receipts = []
//! proactive = true                # a pigeon may write first
//! retry = "none"                  # the same letter twice is two letters, and nothing tells of the first
//! ```
//!
//! Built with `cargo build --target wasm32-wasip2 --release`, that is a component; the README's "Add a connector" has
//! the `Cargo.toml` for it. More abilities are more traits ([`connector::Lifecycle`], [`connector::InboundMedia`],
//! [`connector::Reconcile`], [`connector::Profile`], [`connector::Templates`]), named in the `with` of [`export!`]. [`golden`] tests it all
//! natively against files.
//!
//! Knows nothing of any provider and nothing of the host but the interface in `wit/`.

#[cfg(any(test, all(target_arch = "wasm32", feature = "arena")))]
mod arena;
#[doc(hidden)]
pub mod bindings;
pub mod connector;
pub mod exchange;
#[doc(hidden)]
pub mod export;
#[cfg(not(target_arch = "wasm32"))]
pub mod golden;
pub mod gsm;
mod hook;
pub mod host;
pub mod members;
pub mod outcome;
pub mod phone;
pub mod text;
pub mod time;
mod value;

pub use bindings::minimal::mantle::connector::{config, crypto, http, kv, log, media, values};
pub use host::Host;

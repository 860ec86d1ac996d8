//! Pure values of the host: ids, messages in both directions, capabilities, delivery states, the clock.
//!
//! Invariants: nothing here does I/O, waits, or knows a provider, an inbox, a database or a sandbox.
//! Values are parsed once, at the edge, into these types; rooms downstream never check again.
//! Everything that is stored derives serde; the shapes are therefore part of the database and only grow.

pub mod capabilities;
pub mod clock;
pub mod delivery;
pub mod failure;
pub mod hook;
pub mod ids;
pub mod inbound;
pub mod outbound;
pub mod secret;
pub mod text;

//! Connectors: read, judged, loaded, called, within limits.
//!
//! Invariants: the manifest is read and every right decided before guest code runs; one call is one fresh
//! instance, dropped afterwards; a guest sees no secret, no clock of its own making, no file, no socket;
//! whatever a guest does ends as a value of [`CallError`], never as a panic of the host.
//! Knows nothing of the database, of inboxes or of HTTP servers. Alone names wasmtime.

mod admission;
mod bindings;
mod cache;
mod call;
mod compile;
mod convert;
mod cpu;
mod engine;
mod form;
mod grants;
mod imports;
mod leaks;
mod limits;
mod line;
mod load;
mod manifest;
mod no_shelf;
mod plugin;
mod plugins;
mod rehearsal;
mod rights;
mod shelf;
mod values;
mod verify;
mod versions;

#[cfg(test)]
mod tests;

pub use compile::{Compiler, serve_compiler};
pub use engine::{Sandbox, SandboxConfig};
pub use form::{Field, FieldKind, FieldProblem};
pub use load::{Grants, LoadError, PluginEntry};
pub use no_shelf::NoShelf;
pub use plugin::Plugin;
pub use plugins::{Before, Beside, Change, PluginState, Plugins, Unchanged};
pub use rehearsal::{CutOff, Played, Rehearsal, Stage};
pub use rights::Rights;
pub use shelf::{RENEWED_HELD_MAX, RENEWED_KNOWN_FOR, Shelf, ShelfError, ShelfFile};
pub use values::{
    Abilities, CallError, ChannelContext, Crowd, Health, HealthReport, Inbound, Profile, ProviderAccount, Template,
    TemplateButton, Verdict,
};
pub use versions::{Chosen, TRIAL_PERCENT, Trial, Whom, share};

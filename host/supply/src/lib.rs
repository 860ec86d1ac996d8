//! Where components come from: files, https addresses, registries; who signed them, what is locked, what is kept.
//!
//! Invariants: no byte is believed before its digest was checked; what is kept is named by its digest, whole, and
//! readable by this user alone; `plugins.lock` is written in one step, and changes by what an operator does or lets
//! happen, never by what a registry does.
//! Knows nothing of WebAssembly, of manifests or of what a right means: rights are lines of text here.

mod depot;
mod fetch;
pub mod limits;
mod lock;
mod reference;
mod registry;
mod source;
mod trust;

pub use depot::{Depot, Kept};
pub use fetch::{Fetched, Fetcher, Login};
pub use limits::Limits;
pub use lock::{Consent, Lock, LockFile, Locked};
pub use reference::{Pointer, Reference};
pub use source::Source;
pub use trust::{SIGNATURE_SUFFIX, Seal, Trust, generate_key, public_key, sign};

/// Why a component cannot be had: names the place and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SupplyError(pub String);

impl SupplyError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

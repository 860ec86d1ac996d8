//! A simulation of the two journeys, run again and again with other seeds.
//!
//! The flow is the real one. Its store, inbox, provider and clock are models in memory, and everything runs on one
//! thread, so that a run is decided by its seed alone: which of the tasks goes first, which answer is lost, at which
//! call a host is killed. A run that breaks a promise prints its seed, and the seed shows the same run again.
//!
//! [`run`] plays one seed and tells what it found wrong. The models promise what the documents of the real ones promise:
//! the store what `mantle_store::Store` says, the inbox what the provider documents say of Intercom.

pub mod connector;
pub mod inbox;
pub mod life;
pub mod rng;
mod scenario;
pub mod store;
mod verdict;

pub use scenario::run;

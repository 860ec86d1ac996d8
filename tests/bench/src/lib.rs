//! What is measured: JSON lines, one for each measurement, with the disk's sync rate beside every figure.
//!
//! The host runs in this process as `mantle serve` runs it, on the machine's clock, and is called over real HTTP.
//! Load generator and inbox have a thread each, so that they do not wait for the host's threads, but all share the
//! machine: the figures are those of everything together. Nothing here decides whether a figure is good.

pub mod ack;
pub mod call;
pub mod disk;
pub mod figures;
mod hooks;
mod inbox;
mod load;
pub mod roundtrip;
mod stage;

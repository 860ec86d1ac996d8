//! What is measured: JSON lines, one for each measurement, with the disk's sync rate beside every figure.
//!
//! Hosts are processes of their own, `mantle serve` on the machine's clock, and are called over real HTTP. Load
//! generator and inbox have a thread each in this process. All share the machine: the figures are those of everything
//! together, and CPU time is told apart. Nothing here decides whether a figure is good; but a measurement fails when a
//! message is lost or doubled.

pub mod ack;
pub mod call;
pub mod compare;
pub mod cpu;
pub mod disk;
pub mod drain;
pub mod figures;
pub mod footprint;
mod hooks;
mod inbox;
mod load;
pub mod memory;
pub mod overload;
pub mod process;
pub mod recovery;
pub mod retention;
pub mod roundtrip;
pub mod stage;
pub mod table;
mod verdict;

//! The host as one thing: configuration, wiring, command line, signals, telemetry.
//!
//! Alone names the environment, the configuration's files, and signals. Decides nothing about messages: it makes the
//! rooms, tells each what it needs of the others, and ends them in order.

pub mod catalog;
pub mod cli;
mod commits;
pub mod config;
mod consent;
mod desk;
pub mod host;
mod places;
mod supplies;
mod systemd;
mod telemetry;
mod watch;

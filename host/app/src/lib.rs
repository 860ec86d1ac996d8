//! The host as one thing: configuration, wiring, command line, signals, telemetry.
//!
//! Alone names the environment, files of the configuration, and signals. Decides nothing about messages.

pub mod config;

//! The host's side of the imports: what a guest can ask for, within its call.
//!
//! Invariants: a guest sees no secret, no file that was not lent to this call, no channel but its own; in
//! `receive` nothing acts and nothing waits.

mod crypto;
mod http;
mod kv;
mod log;
mod media;

pub(crate) use log::Allowance;

use crate::bindings::mantle::connector::{config, values};
use crate::call::CallState;

impl values::Host for CallState {}

impl config::Host for CallState {
    async fn get(&mut self, field: String) -> wasmtime::Result<Option<String>> {
        self.count_host_call()?;
        Ok(self.channel.fields.get(&field).cloned())
    }

    async fn hook_url(&mut self) -> wasmtime::Result<String> {
        self.count_host_call()?;
        Ok(self.channel.hook_url.clone())
    }

    async fn now(&mut self) -> wasmtime::Result<values::TimeMs> {
        self.count_host_call()?;
        Ok(self.parts.clock.now().unix_ms())
    }
}

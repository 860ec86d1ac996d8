//! The channel's own small store. The host sets the channel, so that a guest cannot name another one's keys.

use crate::bindings::mantle::connector::kv::{Error, Host};
use crate::call::{CallState, Kind};
use crate::limits::{KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use crate::shelf::ShelfError;

impl Host for CallState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        self.count_host_call()?;
        if let Err(error) = self.check_kv(&key, &[]) {
            return Ok(Err(error));
        }
        let value = self.parts.shelf.kv_get(self.channel.channel, &key).await;
        Ok(value.map_err(|error| of_shelf(&error)))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> wasmtime::Result<Result<(), Error>> {
        self.count_host_call()?;
        if let Err(error) = self.check_kv(&key, &value) {
            return Ok(Err(error));
        }
        let written = self
            .parts
            .shelf
            .kv_set(self.channel.channel, &key, None, Some(value), ttl_ms)
            .await;
        Ok(written.map(drop).map_err(|error| of_shelf(&error)))
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> wasmtime::Result<Result<bool, Error>> {
        self.count_host_call()?;
        if let Err(error) = self.check_kv(&key, &value) {
            return Ok(Err(error));
        }
        let written = self
            .parts
            .shelf
            .kv_set(self.channel.channel, &key, Some(expected), Some(value), ttl_ms)
            .await;
        Ok(written.map_err(|error| of_shelf(&error)))
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        self.count_host_call()?;
        if let Err(error) = self.check_kv(&key, &[]) {
            return Ok(Err(error));
        }
        let written = self
            .parts
            .shelf
            .kv_set(self.channel.channel, &key, None, None, None)
            .await;
        Ok(written.map(drop).map_err(|error| of_shelf(&error)))
    }
}

impl CallState {
    fn check_kv(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        if self.kind == Kind::Receive {
            return Err(Error::Unavailable);
        }
        if key.len() > KV_KEY_BYTES_MAX || value.len() > KV_VALUE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        Ok(())
    }
}

fn of_shelf(error: &ShelfError) -> Error {
    match error {
        ShelfError::TooLarge { .. } => Error::TooLarge,
        ShelfError::Full => Error::Full,
        ShelfError::Unknown | ShelfError::Broken(_) | ShelfError::Unavailable(_) => {
            tracing::warn!("A connector's store did not answer: {error}");
            Error::Unavailable
        }
    }
}

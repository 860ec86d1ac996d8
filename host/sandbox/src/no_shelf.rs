//! No files and no values: for whoever loads connectors and calls none.

use async_trait::async_trait;
use mantle_egress::ByteStream;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::secret::Secret;

use crate::shelf::{Shelf, ShelfError, ShelfFile};

/// Has nothing and keeps nothing.
#[derive(Debug)]
pub struct NoShelf;

fn nothing<T>() -> Result<T, ShelfError> {
    Err(ShelfError::Unavailable("no host is running here".to_owned()))
}

#[async_trait]
impl Shelf for NoShelf {
    async fn put(
        &self,
        _name: Option<String>,
        _claimed_type: Option<String>,
        _bytes_max: u64,
        _body: ByteStream,
    ) -> Result<ShelfFile, ShelfError> {
        nothing()
    }
    async fn stat(&self, _id: MediaId) -> Result<ShelfFile, ShelfError> {
        nothing()
    }
    async fn open(&self, _id: MediaId) -> Result<ByteStream, ShelfError> {
        nothing()
    }
    async fn read(&self, _id: MediaId, _offset: u64, _length: u32) -> Result<Vec<u8>, ShelfError> {
        nothing()
    }
    fn link(&self, _id: MediaId) -> String {
        String::new()
    }
    async fn kv_get(&self, _channel: ChannelId, _key: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        nothing()
    }
    async fn kv_set(
        &self,
        _channel: ChannelId,
        _key: &str,
        _expected: Option<Option<Vec<u8>>>,
        _value: Option<Vec<u8>>,
        _ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError> {
        nothing()
    }
    async fn renew_secrets(&self, _channel: ChannelId, _renewed: Vec<(String, Secret)>) -> Result<(), ShelfError> {
        nothing()
    }
}

//! What the room needs from the store, without knowing it: files by handle and the channel's small store.

use std::time::Duration;

use async_trait::async_trait;
use mantle_egress::ByteStream;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::secret::Secret;

/// How long a secret that was renewed is searched for in what guests read and send: a day's answers and errors may still
/// tell it.
pub const RENEWED_KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Values of one renewed name that are held at once, the one in use included: what is renewed every hour or two loses
/// the oldest.
pub const RENEWED_HELD_MAX: usize = 8;

/// What the room needs from the store, without knowing it.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Keeps a streamed file of at most `bytes_max`; the type is found from the bytes, the claim is a hint.
    async fn put(
        &self,
        name: Option<String>,
        claimed_type: Option<String>,
        bytes_max: u64,
        body: ByteStream,
    ) -> Result<ShelfFile, ShelfError>;
    async fn stat(&self, id: MediaId) -> Result<ShelfFile, ShelfError>;
    async fn open(&self, id: MediaId) -> Result<ByteStream, ShelfError>;
    async fn read(&self, id: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, ShelfError>;
    /// A public, signed, expiring address.
    fn link(&self, id: MediaId) -> String;
    async fn kv_get(&self, channel: ChannelId, key: &str) -> Result<Option<Vec<u8>>, ShelfError>;
    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<Vec<u8>>>,
        value: Option<Vec<u8>>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError>;
    /// Seals these as the channel's secrets of these names, all or none, in place of what is in use. What was is known for
    /// [`RENEWED_KNOWN_FOR`]. Whoever asks for the channel's secrets afterwards soon gets these.
    async fn renew_secrets(&self, channel: ChannelId, renewed: Vec<(String, Secret)>) -> Result<(), ShelfError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelfFile {
    pub id: MediaId,
    pub name: Option<String>,
    pub content_type: String,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("no such file")]
    Unknown,
    #[error("larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("the channel's store is full")]
    Full,
    /// The source broke off; what came was thrown away.
    #[error("the file broke off: {0}")]
    Broken(String),
    #[error("not available now: {0}")]
    Unavailable(String),
}

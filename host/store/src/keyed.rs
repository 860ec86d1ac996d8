//! Values by key: the connectors' `kv`, answers of idempotent API calls, and the register of files.

use std::time::Duration;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MediaId};

use crate::StoreError;

/// What is known of a file; its bytes lie in [`crate::media`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRow {
    pub id: MediaId,
    /// SHA-256 of the bytes, also the file's name.
    pub sha256: [u8; 32],
    pub name: Option<String>,
    /// By the bytes.
    pub content_type: String,
    pub bytes: u64,
    pub created_at: Time,
}

/// An answer kept for a repeated call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 of the request it answered: another request under the same key is a mistake of the caller.
    pub request: [u8; 32],
    pub status: u16,
    pub body: Vec<u8>,
}

#[async_trait]
pub trait Keyed: Send + Sync {
    async fn kv_get(&self, channel: ChannelId, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError>;
    /// `expected` None: whatever is there. Some(None): only if absent. Tells whether it wrote.
    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<&[u8]>>,
        value: Option<&[u8]>,
        until: Option<Time>,
        now: Time,
    ) -> Result<bool, StoreError>;
    async fn kv_count(&self, channel: ChannelId) -> Result<u64, StoreError>;

    /// The kept answer of this key, if the call was made before.
    async fn kept_answer(&self, key: &str) -> Result<Option<KeptAnswer>, StoreError>;
    /// Keeps the answer unless one is kept already. Kept for 24 h.
    async fn keep_answer(&self, key: &str, answer: &KeptAnswer, now: Time) -> Result<(), StoreError>;

    async fn add_media(&self, row: &MediaRow) -> Result<(), StoreError>;
    async fn media(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError>;
    /// Gives a file that came without a name the one that its message tells; a name it has stays.
    async fn name_media(&self, id: MediaId, name: &str) -> Result<(), StoreError>;
    /// Forgets the row and deletes the bytes when no other row has them.
    async fn erase_media(&self, id: MediaId) -> Result<(), StoreError>;
    /// Drops what nobody needs any more: files older than `media_age`, kept answers, secrets and values whose time is
    /// over.
    /// Called now and then; works in small steps. Tells how many files went.
    async fn sweep(&self, now: Time, media_age: Duration) -> Result<u32, StoreError>;
}

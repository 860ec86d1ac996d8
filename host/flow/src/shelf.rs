//! Files and small values for connectors, kept by the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use mantle_egress::ByteStream;
use mantle_model::clock::Clock;
use mantle_model::ids::{ChannelId, IdSource, MediaId};
use mantle_model::secret::Secret;
use mantle_sandbox::{RENEWED_HELD_MAX, RENEWED_KNOWN_FOR, Shelf, ShelfError, ShelfFile};
use mantle_store::directory::Known;
use mantle_store::keyed::MediaRow;
use mantle_store::media::Files;
use mantle_store::{Store, StoreError};
use tokio::sync::Notify;

/// Keys that one channel's connector may hold: they are for pagination marks and the like, not for records.
const KEYS_MAX: u64 = 10_000;

/// Makes the public, signed, expiring address of a file. Who serves the address makes it.
pub type MediaLink = Arc<dyn Fn(MediaId) -> String + Send + Sync>;

/// The shelf over the store.
#[derive(Clone)]
pub struct StoreShelf {
    pub store: Arc<dyn Store>,
    pub files: Files,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdSource>,
    pub link: MediaLink,
    /// Rung when a connector's secret was renewed: whoever shows the directory reads it anew.
    pub renewed: Arc<Notify>,
}

#[async_trait]
impl Shelf for StoreShelf {
    async fn put(
        &self,
        name: Option<String>,
        claimed_type: Option<String>,
        bytes_max: u64,
        body: ByteStream,
    ) -> Result<ShelfFile, ShelfError> {
        let stored = self
            .files
            .put(body, bytes_max, claimed_type.as_deref())
            .await
            .map_err(shelf_error)?;
        let now = self.clock.now();
        let row = MediaRow {
            id: MediaId(self.ids.next(now)),
            sha256: stored.sha256,
            name,
            content_type: stored.content_type,
            bytes: stored.bytes,
            created_at: now,
        };
        self.store.add_media(&row).await.map_err(shelf_error)?;
        Ok(file(row))
    }

    async fn stat(&self, id: MediaId) -> Result<ShelfFile, ShelfError> {
        self.row(id).await.map(file)
    }

    async fn open(&self, id: MediaId) -> Result<ByteStream, ShelfError> {
        let row = self.row(id).await?;
        let opened = self.files.open_file(&row.sha256).await.map_err(shelf_error)?;
        let (_, stream) = opened.ok_or(ShelfError::Unknown)?;
        Ok(stream.boxed())
    }

    async fn read(&self, id: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, ShelfError> {
        let row = self.row(id).await?;
        let piece = self
            .files
            .read(&row.sha256, offset, length)
            .await
            .map_err(shelf_error)?;
        Ok(piece.ok_or(ShelfError::Unknown)?.to_vec())
    }

    fn link(&self, id: MediaId) -> String {
        (self.link)(id)
    }

    async fn kv_get(&self, channel: ChannelId, key: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        self.store
            .kv_get(channel, key, self.clock.now())
            .await
            .map_err(shelf_error)
    }

    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<Vec<u8>>>,
        value: Option<Vec<u8>>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError> {
        let now = self.clock.now();
        let known = self
            .store
            .kv_get(channel, key, now)
            .await
            .map_err(shelf_error)?
            .is_some();
        if value.is_some() && !known && self.store.kv_count(channel).await.map_err(shelf_error)? >= KEYS_MAX {
            return Err(ShelfError::Full);
        }
        let until = ttl_ms.map(|ttl| now.after(Duration::from_millis(ttl)));
        let expected = expected.as_ref().map(|there| there.as_deref());
        self.store
            .kv_set(channel, key, expected, value.as_deref(), until, now)
            .await
            .map_err(shelf_error)
    }

    async fn renew_secrets(&self, channel: ChannelId, renewed: Vec<(String, Secret)>) -> Result<(), ShelfError> {
        let now = self.clock.now();
        let known = Known {
            until: now.after(RENEWED_KNOWN_FOR),
            held_max: RENEWED_HELD_MAX,
        };
        let kept = self.store.renew_secrets(channel, renewed, known, now).await;
        kept.map_err(shelf_error)?;
        self.renewed.notify_one();
        Ok(())
    }
}

impl StoreShelf {
    async fn row(&self, id: MediaId) -> Result<MediaRow, ShelfError> {
        self.store
            .media(id)
            .await
            .map_err(shelf_error)?
            .ok_or(ShelfError::Unknown)
    }
}

fn file(row: MediaRow) -> ShelfFile {
    ShelfFile {
        id: row.id,
        name: row.name,
        content_type: row.content_type,
        bytes: row.bytes,
    }
}

fn shelf_error(error: StoreError) -> ShelfError {
    match error {
        StoreError::TooLarge { bytes_max } => ShelfError::TooLarge { bytes_max },
        StoreError::Interrupted(why) => ShelfError::Broken(why),
        StoreError::NotFound(_) => ShelfError::Unknown,
        other => ShelfError::Unavailable(other.to_string()),
    }
}

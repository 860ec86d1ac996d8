//! Values, kept answers and files by key.

use std::time::Duration;

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_store::StoreError;
use mantle_store::keyed::{KeptAnswer, Keyed, MediaRow};

use super::MemoryStore;

#[async_trait]
impl Keyed for MemoryStore {
    async fn kv_get(&self, channel: ChannelId, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError> {
        let key = (channel, key.to_owned());
        self.transact(move |memory, _| {
            let live = memory
                .values
                .get(&key)
                .filter(|(_, until)| until.is_none_or(|until| until > now));
            Ok(live.map(|(value, _)| value.clone()))
        })
        .await
    }

    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<&[u8]>>,
        value: Option<&[u8]>,
        until: Option<Time>,
        now: Time,
    ) -> Result<bool, StoreError> {
        let key = (channel, key.to_owned());
        let expected = expected.map(|expected| expected.map(<[u8]>::to_vec));
        let value = value.map(<[u8]>::to_vec);
        self.transact(move |memory, _| {
            let live = memory
                .values
                .get(&key)
                .filter(|(_, until)| until.is_none_or(|until| until > now));
            if expected.is_some_and(|expected| expected.as_ref() != live.map(|(value, _)| value)) {
                return Ok(false);
            }
            match value {
                Some(value) => memory.values.insert(key, (value, until)),
                None => memory.values.remove(&key),
            };
            Ok(true)
        })
        .await
    }

    async fn kv_count(&self, channel: ChannelId) -> Result<u64, StoreError> {
        self.transact(move |memory, _| Ok(memory.values.keys().filter(|(on, _)| *on == channel).count() as u64))
            .await
    }

    async fn kept_answer(&self, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        let key = key.to_owned();
        self.transact(move |memory, _| Ok(memory.answers.get(&key).cloned()))
            .await
    }

    async fn keep_answer(&self, key: &str, answer: &KeptAnswer, _now: Time) -> Result<(), StoreError> {
        let (key, answer) = (key.to_owned(), answer.clone());
        self.transact(move |memory, _| {
            memory.answers.entry(key).or_insert(answer);
            Ok(())
        })
        .await
    }

    async fn add_media(&self, row: &MediaRow) -> Result<(), StoreError> {
        let row = row.clone();
        self.transact(move |memory, _| {
            memory.files.insert(row.id, row);
            Ok(())
        })
        .await
    }

    async fn media(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        self.transact(move |memory, _| Ok(memory.files.get(&id).cloned())).await
    }

    async fn name_media(&self, id: MediaId, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.transact(move |memory, _| {
            if let Some(row) = memory.files.get_mut(&id) {
                row.name.get_or_insert(name);
            }
            Ok(())
        })
        .await
    }

    async fn erase_media(&self, id: MediaId) -> Result<(), StoreError> {
        self.transact(move |memory, _| {
            memory.files.remove(&id);
            Ok(())
        })
        .await
    }

    async fn sweep(&self, _now: Time, _media_age: Duration) -> Result<u32, StoreError> {
        Ok(0)
    }
}

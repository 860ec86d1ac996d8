//! [`Keyed`] in SQL.

use std::time::Duration;

use crate::sql::{Connection, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, MediaId};

use super::rows::{Of, bytes};
use super::{SqlStore, pieces, secrets, touch};
use crate::StoreError;
use crate::keyed::{KeptAnswer, Keyed, MediaRow};
use crate::media::OldFile;

/// How long an answer is kept for a repeated call.
const ANSWER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Files dropped in one step of a sweep: a step must not keep the writer from accepting.
const SWEEP_STEP: u32 = 100;

#[async_trait]
impl Keyed for SqlStore {
    async fn kv_get(&self, channel: ChannelId, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError> {
        let value = sql(r"select value from kv where channel_id = $1 and key = $2 and (until is null or until > $3)")
            .bind(channel.0)
            .bind(key.as_bytes())
            .bind(now.unix_ms())
            .scalar_optional(&self.readers)
            .await?;
        Ok(value)
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
        let set = KvSet {
            channel,
            key: key.as_bytes().to_vec(),
            expected: expected.map(|expected| expected.map(<[u8]>::to_vec)),
            value: value.map(<[u8]>::to_vec),
            until,
            now,
        };
        let touches = vec![touch::value(channel, key.as_bytes())];
        self.write_touching(touches, async move |tx: &mut Connection| set.apply(tx).await)
            .await
    }

    async fn kv_count(&self, channel: ChannelId) -> Result<u64, StoreError> {
        let now = self.context.now();
        let count: i64 = sql(r"select count(*) from kv where channel_id = $1 and (until is null or until > $2)")
            .bind(channel.0)
            .bind(now.unix_ms())
            .scalar(&self.readers)
            .await?;
        Ok(count.unsigned_abs())
    }

    async fn kept_answer(&self, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        let row = sql(r"select request, status, body from kept_answer where key = $1 and until > $2")
            .bind(key.as_bytes())
            .bind(self.context.now().unix_ms())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Of {
            table: "kept_answer",
            row: &row,
        };
        Ok(Some(KeptAnswer {
            request: hash(row, "request")?,
            status: u16::try_from(row.int("status")?).map_err(|_| row.wrong("status"))?,
            body: row.get("body")?,
        }))
    }

    async fn keep_answer(&self, key: &str, answer: &KeptAnswer, now: Time) -> Result<(), StoreError> {
        let (key, answer) = (key.as_bytes().to_vec(), answer.clone());
        self.write(async move |tx: &mut Connection| {
            sql(
                r"insert into kept_answer (key, request, status, body, until) values ($1, $2, $3, $4, $5)
                  on conflict (key) do update
                  set request = excluded.request, status = excluded.status, body = excluded.body,
                      until = excluded.until
                  where kept_answer.until <= $6",
            )
            .bind(key.as_slice())
            .bind(answer.request.as_slice())
            .bind(answer.status)
            .bind(answer.body.as_slice())
            .bind(now.after(ANSWER_KEPT).unix_ms())
            .bind(now.unix_ms())
            .execute(tx)
            .await?;
            Ok(())
        })
        .await
    }

    async fn add_media(&self, row: &MediaRow) -> Result<(), StoreError> {
        let (media, sha256) = (row.clone(), row.sha256);
        let bytes_long = i64::try_from(row.bytes).map_err(|_| StoreError::Inconsistent {
            table: "media",
            column: "bytes",
            row: row.id.to_string(),
        })?;
        let shares = self.shared.is_some() && self.share_bytes(sha256).await?;
        self.write_touching(vec![touch::files()], async move |tx: &mut Connection| {
            sql(r"insert into media (id, sha256, name, content_type, bytes, created_at)
                  values ($1, $2, $3, $4, $5, $6)
                  on conflict (id) do nothing")
            .bind(media.id.0)
            .bind(media.sha256.as_slice())
            .bind(bytes(media.name.as_deref()))
            .bind(media.content_type.as_str())
            .bind(bytes_long)
            .bind(media.created_at.unix_ms())
            .execute(&mut *tx)
            .await?;
            if shares && !pieces::are_whole(tx, sha256, bytes_long).await? {
                // Taken away with the last row of the same bytes meanwhile: the caller puts them again.
                return Err(StoreError::Busy(
                    "the bytes of the file were taken away meanwhile".to_owned(),
                ));
            }
            Ok(())
        })
        .await?;
        self.files.arrived(sha256);
        Ok(())
    }

    async fn media(&self, id: MediaId) -> Result<Option<MediaRow>, StoreError> {
        let row = sql(r"select id, sha256, name, content_type, bytes, created_at from media where id = $1")
            .bind(id.0)
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Of {
            table: "media",
            row: &row,
        };
        Ok(Some(MediaRow {
            id,
            sha256: hash(row, "sha256")?,
            name: row.text_opt("name")?,
            content_type: row.text("content_type")?,
            bytes: u64::try_from(row.int("bytes")?).map_err(|_| row.wrong("bytes"))?,
            created_at: row.time("created_at")?,
        }))
    }

    async fn name_media(&self, id: MediaId, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(async move |tx: &mut Connection| {
            sql(r"update media set name = $2 where id = $1 and name is null")
                .bind(id.0)
                .bind(bytes(Some(name.as_str())))
                .execute(tx)
                .await?;
            Ok(())
        })
        .await
    }

    async fn erase_media(&self, id: MediaId) -> Result<(), StoreError> {
        let orphans = self
            .write_touching(vec![touch::files()], async move |tx: &mut Connection| {
                let hashes: Vec<Vec<u8>> = sql(r"delete from media where id = $1 returning sha256")
                    .bind(id.0)
                    .scalars(&mut *tx)
                    .await?;
                without_rows(tx, hashes).await
            })
            .await?;
        self.erase_files(orphans).await
    }

    async fn sweep(&self, now: Time, media_age: Duration) -> Result<u32, StoreError> {
        self.write(async move |tx: &mut Connection| {
            sql(r"delete from kept_answer where until <= $1; delete from kv where until <= $1")
                .bind(now.unix_ms())
                .execute(&mut *tx)
                .await?;
            secrets::drop_ended(tx, now).await
        })
        .await?;
        let before = now.before(media_age);
        let mut dropped = 0;
        loop {
            let (rows, orphans) = self.drop_media(before).await?;
            self.erase_files(orphans).await?;
            dropped += rows;
            if rows < SWEEP_STEP {
                break;
            }
        }
        self.drop_leftovers().await?;
        if self.shared.is_some() {
            self.drop_left_pieces().await?;
        }
        Ok(dropped)
    }
}

impl SqlStore {
    /// One step: rows dropped, and the bytes that nobody names any more.
    async fn drop_media(&self, before: Time) -> Result<(u32, Vec<[u8; 32]>), StoreError> {
        self.write_touching(vec![touch::files()], async move |tx: &mut Connection| {
            let hashes: Vec<Vec<u8>> = sql(r"delete from media
                  where id in (select id from media where created_at < $1 order by created_at limit $2)
                  returning sha256")
            .bind(before.unix_ms())
            .bind(SWEEP_STEP)
            .scalars(&mut *tx)
            .await?;
            let rows = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
            Ok((rows, without_rows(tx, hashes).await?))
        })
        .await
    }

    /// What a crash between file and row, or between row and file, has left.
    async fn drop_leftovers(&self) -> Result<(), StoreError> {
        for old in self.files.old_ones().await? {
            match old {
                OldFile::Part(name) => self.files.remove_part(name).await?,
                OldFile::Whole(sha256) => {
                    // Through the writer, so that a row that is being written counts.
                    let orphans = self
                        .write(async move |tx: &mut Connection| without_rows(tx, vec![sha256.to_vec()]).await)
                        .await?;
                    self.erase_files(orphans).await?;
                }
            }
        }
        Ok(())
    }

    async fn erase_files(&self, hashes: Vec<[u8; 32]>) -> Result<(), StoreError> {
        for sha256 in hashes {
            self.files.erase(sha256).await?;
        }
        Ok(())
    }
}

/// Those of the hashes that no row has.
async fn without_rows(tx: &mut Connection, hashes: Vec<Vec<u8>>) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut orphans = Vec::new();
    for hash in hashes {
        let named: bool = sql(r"select exists (select 1 from media where sha256 = $1)")
            .bind(hash.as_slice())
            .scalar(&mut *tx)
            .await?;
        if let (false, Ok(hash)) = (named, <[u8; 32]>::try_from(hash)) {
            if tx.is_postgres() {
                pieces::drop_of(tx, hash).await?;
            }
            orphans.push(hash);
        }
    }
    Ok(orphans)
}

fn hash(row: Of<'_>, column: &'static str) -> Result<[u8; 32], StoreError> {
    row.get::<Vec<u8>>(column)?.try_into().map_err(|_| row.wrong(column))
}

struct KvSet {
    channel: ChannelId,
    key: Vec<u8>,
    expected: Option<Option<Vec<u8>>>,
    value: Option<Vec<u8>>,
    until: Option<Time>,
    now: Time,
}

impl KvSet {
    async fn apply(&self, tx: &mut Connection) -> Result<bool, StoreError> {
        if let Some(expected) = &self.expected {
            let present: Option<Vec<u8>> =
                sql(r"select value from kv where channel_id = $1 and key = $2 and (until is null or until > $3)")
                    .bind(self.channel.0)
                    .bind(self.key.as_slice())
                    .bind(self.now.unix_ms())
                    .scalar_optional(&mut *tx)
                    .await?;
            if present != *expected {
                return Ok(false);
            }
        }
        let statement = match &self.value {
            Some(_) => {
                r"insert into kv (channel_id, key, value, until) values ($1, $2, $3, $4)
                  on conflict (channel_id, key) do update set value = excluded.value, until = excluded.until"
            }
            None => r"delete from kv where channel_id = $1 and key = $2",
        };
        let query = sql(statement).bind(self.channel.0).bind(self.key.as_slice());
        match &self.value {
            Some(value) => {
                query
                    .bind(value.as_slice())
                    .bind(self.until.map(Time::unix_ms))
                    .execute(tx)
                    .await?
            }
            None => query.execute(tx).await?,
        };
        Ok(true)
    }
}

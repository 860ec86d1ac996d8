//! The bytes of files in a shared database, in pieces: whichever host works a lane has the files of its messages. The
//! folder of each host holds what it took in or has fetched, and is no more than a copy.

use bytes::Bytes;
use futures_util::Stream;

use super::{SqlStore, rows::Of};
use crate::StoreError;
use crate::sql::{Connection, Pool, sql};

/// Bytes of one row: a commit stays short, and a file needs no more memory than this.
const PIECE_BYTES: u32 = 1 << 20;

/// What a crash between pieces and row has left goes when it is this old by the server's clock.
const LEFT_AFTER_MS: i64 = 60 * 60 * 1000;

/// Files of which the pieces are dropped in one step.
const SWEEP_STEP: u32 = 100;

impl SqlStore {
    /// Puts the bytes of a file of ours where all hosts find them, before a row names them. False: there is no file.
    pub(super) async fn share_bytes(&self, sha256: [u8; 32]) -> Result<bool, StoreError> {
        let mut place: i64 = 0;
        loop {
            let offset = place.unsigned_abs() * u64::from(PIECE_BYTES);
            let piece = self.files.read(&sha256, offset, PIECE_BYTES).await?;
            let Some(piece) = piece else { return Ok(false) };
            if piece.is_empty() && place > 0 {
                return Ok(true);
            }
            let last = piece.len() < PIECE_BYTES as usize;
            self.write_piece(sha256, place, piece).await?;
            if last {
                return Ok(true);
            }
            place += 1;
        }
    }

    async fn write_piece(&self, sha256: [u8; 32], place: i64, piece: Bytes) -> Result<(), StoreError> {
        self.write_weighing(piece.len(), async move |tx: &mut Connection| {
            sql(r"insert into media_piece (sha256, place, bytes) values ($1, $2, $3)
                  on conflict (sha256, place) do update set put_at = excluded.put_at")
            .bind(sha256.as_slice())
            .bind(place)
            .bind(&piece[..])
            .execute(tx)
            .await?;
            Ok(())
        })
        .await
    }

    /// Pieces that no row has named for long.
    pub(super) async fn drop_left_pieces(&self) -> Result<(), StoreError> {
        loop {
            let dropped = self
                .write_touching(vec![super::touch::files()], async move |tx: &mut Connection| {
                    sql(r"delete from media_piece where sha256 in (
                              select sha256 from media_piece
                              where place = 0 and put_at < server_ms() - $1
                                and not exists (select 1 from media where media.sha256 = media_piece.sha256)
                              limit $2)")
                    .bind(LEFT_AFTER_MS)
                    .bind(SWEEP_STEP)
                    .execute(tx)
                    .await
                })
                .await?;
            if dropped == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether all bytes of the file are there to be named.
pub(super) async fn are_whole(tx: &mut Connection, sha256: [u8; 32], bytes: i64) -> Result<bool, StoreError> {
    let there: i64 = sql("select cast(coalesce(sum(length(bytes)), 0) as bigint) from media_piece where sha256 = $1")
        .bind(sha256.as_slice())
        .scalar(tx)
        .await?;
    Ok(there == bytes)
}

/// Nobody names them any more.
pub(super) async fn drop_of(tx: &mut Connection, sha256: [u8; 32]) -> Result<(), StoreError> {
    sql("delete from media_piece where sha256 = $1")
        .bind(sha256.as_slice())
        .execute(tx)
        .await?;
    Ok(())
}

/// The pieces in order, each read when it is asked for.
pub(crate) fn stream(pool: &Pool, sha256: [u8; 32]) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let pool = pool.clone();
    futures_util::stream::try_unfold(0_i64, move |place| {
        let pool = pool.clone();
        async move {
            let row = sql("select bytes from media_piece where sha256 = $1 and place = $2")
                .bind(sha256.as_slice())
                .bind(place)
                .fetch_optional(&pool)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let row = Of {
                table: "media_piece",
                row: &row,
            };
            let piece: Vec<u8> = row.get("bytes")?;
            Ok(Some((Bytes::from(piece), place + 1)))
        }
    })
}

//! [`Intake`] in SQL.

use std::sync::Arc;

use crate::sql::{Connection, Row, sql};
use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, ReceiptId, WorkspaceId};
use mantle_model::secret::Secret;
use sha2::{Digest, Sha256};

use super::accept::{Arriving, Taken};
use super::rows::Of;
use super::writer::Terms;
use super::{SqlStore, accept, touch};
use crate::StoreError;
use crate::intake::{Accepted, AcceptedEvent, Intake, NewEvent, NewReceipt, Origin, ReceiptState, Unparsed, Unread};
use crate::seal::{Key, Place, Sealed};

/// What a job weighs beyond its bodies: rows, keys, indexes.
const ROW_BYTES: usize = 512;

fn weight(events: &[NewEvent]) -> usize {
    events
        .iter()
        .map(|event| event.payload.len() + event.key.len() + ROW_BYTES)
        .sum()
}

/// The terms of a job that puts events into their lanes.
fn joining(terms: Terms, events: &[NewEvent]) -> Terms {
    terms.touching(touch::events(events)).waking(!events.is_empty())
}

#[async_trait]
impl Intake for SqlStore {
    async fn accept(&self, receipt: NewReceipt, events: Vec<NewEvent>) -> Result<Accepted, StoreError> {
        let terms = Terms::sender()
            .touching(touch::events(&events))
            .weighing(receipt.hook.body.len() + ROW_BYTES + weight(&events));
        let taken = Taken {
            headers: seal_headers(&self.key, &receipt)?,
            body_sha256: Sha256::digest(&receipt.hook.body).into(),
            receipt,
            events,
        };
        self.writer.take(terms, taken).await
    }

    async fn enqueue(&self, events: Vec<NewEvent>) -> Result<Vec<AcceptedEvent>, StoreError> {
        let terms = joining(Terms::sender(), &events).weighing(weight(&events));
        let context = self.context.clone();
        let claims = Arc::clone(&self.claims);
        self.writer
            .submit(
                terms,
                async move |tx: &mut Connection| {
                    let arriving: Vec<Arriving<'_>> = accept::arriving(None, &events).collect();
                    accept::accept(tx, &context, &arriving).await
                },
                move |accepted: &Vec<AcceptedEvent>| claims.wake_for(accepted),
            )
            .await
    }

    async fn unparsed(&self, now: Time, limit: u32) -> Result<Vec<Unparsed>, StoreError> {
        let rows = sql(
            r"select id, channel_id, workspace_id, method, path, headers, body, received_at, tries
              from receipt
              where state = 1 and next_at <= $1
              order by next_at, id
              limit $2",
        )
        .bind(now.unix_ms())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| unparsed(row, &self.key)).collect()
    }

    async fn unread(&self, channel: ChannelId) -> Result<Unread, StoreError> {
        let row = sql(r"select count(*) as receipts, coalesce(sum(length(body)), 0) as bytes
              from receipt
              where state <> 0 and channel_id = $1")
        .bind(channel.0)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(Unread::default()) };
        let row = Of {
            table: "receipt",
            row: &row,
        };
        let number = |column| Ok::<_, StoreError>(u64::try_from(row.int(column)?).unwrap_or_default());
        Ok(Unread {
            receipts: number("receipts")?,
            bytes: number("bytes")?,
        })
    }

    async fn reparsed(
        &self,
        id: ReceiptId,
        state: ReceiptState,
        events: Vec<NewEvent>,
    ) -> Result<Accepted, StoreError> {
        let terms = joining(Terms::worker(), &events).weighing(weight(&events));
        let context = self.context.clone();
        let claims = Arc::clone(&self.claims);
        self.writer
            .submit(
                terms,
                async move |tx: &mut Connection| {
                    let (number, problem, next_at) = accept::state_columns(&state);
                    let changed = sql(
                        r"update receipt set state = $2, problem = $3, next_at = $4, tries = tries + 1 where id = $1",
                    )
                    .bind(id.0)
                    .bind(number)
                    .bind(problem)
                    .bind(next_at)
                    .execute(&mut *tx)
                    .await?;
                    if changed == 0 {
                        return Err(StoreError::NotFound("receipt"));
                    }
                    let arriving: Vec<Arriving<'_>> = accept::arriving(Some(id), &events).collect();
                    let events = accept::accept(tx, &context, &arriving).await?;
                    Ok(Accepted { receipt: id, events })
                },
                move |accepted: &Accepted| claims.wake_for(&accepted.events),
            )
            .await
    }

    async fn receipt(&self, id: ReceiptId) -> Result<Option<NewReceipt>, StoreError> {
        let row = sql(
            r"select id, channel_id, workspace_id, method, path, headers, body, received_at, state, problem, next_at
              from receipt where id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Of {
            table: "receipt",
            row: &row,
        };
        let problem = row.text_opt("problem")?.unwrap_or_default();
        let state = match row.int("state")? {
            0 => ReceiptState::Parsed,
            1 => ReceiptState::Unparsed {
                problem,
                next_at: row.time_opt("next_at")?.unwrap_or_default(),
            },
            2 => ReceiptState::Parked { problem },
            _ => return Err(row.wrong("state")),
        };
        Ok(Some(NewReceipt {
            id,
            origin: origin(row)?,
            hook: hook(row, &self.key)?,
            state,
        }))
    }
}

fn unparsed(row: &Row, key: &Key) -> Result<Unparsed, StoreError> {
    let row = Of { table: "receipt", row };
    Ok(Unparsed {
        id: ReceiptId(row.int("id")?),
        origin: origin(row)?,
        hook: hook(row, key)?,
        tries: row.count("tries")?,
    })
}

fn origin(row: Of<'_>) -> Result<Origin, StoreError> {
    if let Some(channel) = row.get::<Option<i64>>("channel_id")? {
        return Ok(Origin::Channel(ChannelId(channel)));
    }
    let workspace = row.get::<Option<i64>>("workspace_id")?;
    let workspace = workspace.ok_or_else(|| row.wrong("workspace_id"))?;
    Ok(Origin::Workspace(WorkspaceId(workspace)))
}

fn hook(row: Of<'_>, key: &Key) -> Result<Hook, StoreError> {
    Ok(Hook {
        method: row.text("method")?,
        path_and_query: row.text("path")?,
        headers: open_headers(row, key)?,
        body: row.get("body")?,
        received_at: row.time("received_at")?,
    })
}

/// Some providers prove a hook by a secret word in a header, and any signature could be used to play the hook again:
/// headers are sealed like secrets.
fn seal_headers(key: &Key, receipt: &NewReceipt) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_string(&receipt.hook.headers).map_err(std::io::Error::other)?;
    Ok(key.seal(headers_of(receipt.id.0), &Secret::new(text))?.to_bytes())
}

fn open_headers(row: Of<'_>, key: &Key) -> Result<Vec<(String, String)>, StoreError> {
    let bytes: Vec<u8> = row.get("headers")?;
    let sealed = Sealed::from_bytes(&bytes).ok_or_else(|| row.wrong("headers"))?;
    let text = key.open(headers_of(row.int("id")?), &sealed)?;
    serde_json::from_str(text.expose()).map_err(|_| row.wrong("headers"))
}

fn headers_of(receipt: i64) -> Place<'static> {
    Place {
        owner: "receipt",
        id: receipt,
        name: "headers",
    }
}

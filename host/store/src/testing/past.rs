//! Messages that ended long ago, written into a SQLite file as finished ones lie there: for measurements and tests
//! that need a table full of them sooner than they could be sent.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::StoreError;

/// Messages of one transaction: the log does not grow much beyond it.
const CHUNK: i64 = 50_000;
/// Messages of one customer.
const OF_CUSTOMER: i64 = 50;
/// What a text message weighs as a connector tells it, and as the provider sent it.
const PAYLOAD: &[u8] = &[b'p'; 420];
const HOOK: &[u8] = &[b'h'; 760];

/// What lies there: all of it was accepted within ten days.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    pub messages: i64,
    /// When the last of them was accepted, in milliseconds since 1970.
    pub until_ms: i64,
}

impl Past {
    /// So many, the last one so long ago.
    #[must_use]
    pub fn of(messages: u64, age: Duration) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let until = now.unwrap_or_default().saturating_sub(age);
        Self {
            messages: i64::try_from(messages).unwrap_or(i64::MAX),
            until_ms: i64::try_from(until.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

// Fills the rows of messages $1 to $2 of $3; $4 is the time of the last one, $5 messages of a customer.
macro_rules! rows {
    ($insert:literal, $select:literal, $of:literal) => {
        concat!(
            "with recursive n (i) as (select $1 union all select i + 1 from n where i < $2), ",
            "message as (select i, 1 + (i - 1) / $5 as lane, 1 + (i - 1) % $5 as seq, ",
            "$4 - 864000000 + 864000000 * i / $3 as at, (select id from channel order by id limit 1) as channel, ",
            "(select workspace_id from channel order by id limit 1) as workspace from n) ",
            "insert into ",
            $insert,
            " select ",
            $select,
            " from message where ",
            $of
        )
    };
}

const RECEIPTS: &str = rows!(
    "receipt (id, channel_id, method, path, headers, body, body_sha256, received_at, state)",
    "i, channel, 'POST', cast('/hooks/whatsapp/past' as blob), zeroblob(260), $6, randomblob(32), at, 0",
    "true"
);
const EVENTS: &str = rows!(
    "event (lane_id, seq, channel_id, receipt_id, kind, key, remote_id, at, accepted_at, payload)",
    "lane, seq, channel, i, 'message', cast('past:' || i as blob), cast('past' || i as blob), at, at, $6",
    "true"
);
/// What goes with them.
const OTHERS: [&str; 5] = [
    rows!(
        "lane (id, channel_id, direction, key, tail, head, last_at)",
        "lane, channel, 0, cast('past:' || lane as blob), min($5, $3 - i + 1), min($5, $3 - i + 1), at",
        "seq = 1"
    ),
    rows!(
        "dedupe (channel_id, direction, key, lane_id, seq, day)",
        "channel, 0, cast('past:' || i as blob), lane, seq, at / 86400000",
        "true"
    ),
    rows!(
        "effect (lane_id, seq, step, state, target, fingerprint, remote_id, announced_at, ended_at)",
        "lane, seq, 'part', 1, cast('inbox' as blob), randomblob(32), cast(i as blob), at, at",
        "true"
    ),
    rows!(
        "own_part (workspace_id, part, day)",
        "workspace, cast('past' || i as blob), at / 86400000",
        "true"
    ),
    rows!(
        "hop (lane_id, seq, at, what)",
        "lane, seq, at, cast('conversation opened' as blob)",
        "seq = 1"
    ),
];

/// Fills the database of a host that has one channel, has accepted nothing yet and does not run.
///
/// # Errors
/// There is no such database, or it has messages already.
pub async fn fill(path: &Path, past: Past) -> Result<(), StoreError> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        // Whoever needs it durable has it by the last checkpoint.
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging()
        .connect()
        .await?;
    let mut from = 1;
    while from <= past.messages {
        let to = (from + CHUNK - 1).min(past.messages);
        chunk(&mut connection, past, (from, to)).await?;
        from = to + 1;
    }
    sqlx::raw_sql("pragma wal_checkpoint(truncate)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

async fn chunk(connection: &mut SqliteConnection, past: Past, numbers: (i64, i64)) -> Result<(), StoreError> {
    let mut tx = connection.begin().await?;
    let weights = [(RECEIPTS, Some(HOOK)), (EVENTS, Some(PAYLOAD))];
    let others = OTHERS.into_iter().map(|text| (text, None));
    for (text, weight) in weights.into_iter().chain(others) {
        let mut statement = sqlx::query(text)
            .bind(numbers.0)
            .bind(numbers.1)
            .bind(past.messages)
            .bind(past.until_ms)
            .bind(OF_CUSTOMER);
        if let Some(weight) = weight {
            statement = statement.bind(weight);
        }
        statement.execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

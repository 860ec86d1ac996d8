//! Rows of sealed values. Sealing happens before the writer is asked, opening after the rows are read.

use crate::sql::{Connection, sql};
use mantle_model::clock::Time;
use mantle_model::secret::{Secret, Secrets};

use super::rows::Of;
use crate::StoreError;
use crate::seal::{Key, Place, Sealed};

/// One value as it is stored.
pub(super) struct SealedRow {
    name: String,
    place: i64,
    until: Option<i64>,
    sealed: Sealed,
}

pub(super) const OF_WORKSPACE: &str = "workspace";
pub(super) const OF_CHANNEL: &str = "channel";

pub(super) fn seal_all(
    key: &Key,
    (owner, id): (&'static str, i64),
    secrets: &Secrets,
) -> Result<Vec<SealedRow>, StoreError> {
    let mut rows = Vec::new();
    for name in secrets.names() {
        for (place, (secret, until)) in (0..).zip(secrets.with_ends(name)) {
            rows.push(SealedRow {
                name: name.to_owned(),
                place,
                until: until.map(Time::unix_ms),
                sealed: key.seal(Place { owner, id, name }, secret)?,
            });
        }
    }
    Ok(rows)
}

/// Takes away what the owner had and writes these.
pub(super) async fn replace(
    tx: &mut Connection,
    (owner, id): (&'static str, i64),
    rows: &[SealedRow],
) -> Result<(), StoreError> {
    sql(r"delete from secret where owner = $1 and owner_id = $2")
        .bind(owner)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    for row in rows {
        sql(
            r"insert into secret (owner, owner_id, name, place, key_id, nonce, sealed, until)
              values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(owner)
        .bind(id)
        .bind(row.name.as_str())
        .bind(row.place)
        .bind(row.sealed.key_id)
        .bind(row.sealed.nonce.as_slice())
        .bind(row.sealed.sealed.as_slice())
        .bind(row.until)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn open_all(
    connection: &mut Connection,
    key: &Key,
    (owner, id): (&'static str, i64),
) -> Result<Secrets, StoreError> {
    let rows = sql(r"select name, place, key_id, nonce, sealed, until from secret
          where owner = $1 and owner_id = $2
          order by name, place")
    .bind(owner)
    .bind(id)
    .fetch_all(connection)
    .await?;
    let mut secrets = Secrets::default();
    for row in &rows {
        let row = Of { table: "secret", row };
        let name = row.text("name")?;
        let sealed = Sealed {
            key_id: u8::try_from(row.int("key_id")?).map_err(|_| row.wrong("key_id"))?,
            nonce: row.get("nonce")?,
            sealed: row.get("sealed")?,
        };
        let place = Place { owner, id, name: &name };
        let secret: Secret = key.open(place, &sealed)?;
        secrets.add_until(name, secret, row.time_opt("until")?);
    }
    Ok(secrets)
}

/// Values whose time is over.
pub(super) async fn drop_ended(tx: &mut Connection, now: Time) -> Result<(), StoreError> {
    sql(r"delete from secret where until <= $1")
        .bind(now.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}

//! Between rows and values: the numbers that stand for cases, and columns read with a name for what is wrong.

use mantle_model::clock::Time;
use mantle_model::inbound::{AliasKind, DeliveryReport, Reach};
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::intake::Direction;
use crate::lanes::EffectState;
use crate::sql::{FromColumn, Ids, Row};

/// A row of a known table, so that a column that makes no sense can be named.
#[derive(Clone, Copy)]
pub(super) struct Of<'r> {
    pub table: &'static str,
    pub row: &'r Row,
}

impl Of<'_> {
    pub(super) fn get<T: FromColumn>(self, column: &'static str) -> Result<T, StoreError> {
        self.row.get(column)
    }

    pub(super) fn int(self, column: &'static str) -> Result<i64, StoreError> {
        self.get(column)
    }

    pub(super) fn count(self, column: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.int(column)?).map_err(|_| self.wrong(column))
    }

    pub(super) fn time(self, column: &'static str) -> Result<Time, StoreError> {
        Ok(Time::from_unix_ms(self.int(column)?))
    }

    pub(super) fn time_opt(self, column: &'static str) -> Result<Option<Time>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Time::from_unix_ms))
    }

    pub(super) fn text(self, column: &'static str) -> Result<String, StoreError> {
        String::from_utf8(self.get(column)?).map_err(|_| self.wrong(column))
    }

    pub(super) fn text_opt(self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.get::<Option<Vec<u8>>>(column)?
            .map(|bytes| String::from_utf8(bytes).map_err(|_| self.wrong(column)))
            .transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_slice(&self.get::<Vec<u8>>(column)?).map_err(|_| self.wrong(column))
    }

    /// A place in a list of ours of this length.
    pub(super) fn place(self, column: &'static str, len: usize) -> Result<usize, StoreError> {
        usize::try_from(self.int(column)?)
            .ok()
            .filter(|place| *place < len)
            .ok_or_else(|| self.wrong(column))
    }

    /// A number that stands for a case.
    pub(super) fn case<T>(self, column: &'static str, read: fn(i64) -> Option<T>) -> Result<T, StoreError> {
        read(self.int(column)?).ok_or_else(|| self.wrong(column))
    }

    pub(super) fn wrong(self, column: &'static str) -> StoreError {
        let row = ["id", "lane_id", "identity_id", "channel_id"]
            .into_iter()
            .find_map(|name| self.row.get::<i64>(name).ok().map(|id| format!("{name} {id}")))
            .unwrap_or_default();
        StoreError::Inconsistent {
            table: self.table,
            column,
            row,
        }
    }
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Database(sqlx::Error::Encode(Box::new(error))))
}

/// A list of ids, as `json_each` takes it.
pub(super) fn id_list(ids: impl IntoIterator<Item = i64>) -> Ids {
    Ids(ids.into_iter().collect())
}

/// A length or place of ours as a column.
pub(super) fn to_int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Bytes of an optional text, for a blob column.
pub(super) fn bytes(text: Option<&str>) -> Option<&[u8]> {
    text.map(str::as_bytes)
}

const DAY_MS: i64 = 86_400_000;

/// The day of a moment, for pruning.
pub(super) fn day(at: Time) -> i64 {
    at.unix_ms().div_euclid(DAY_MS)
}

pub(super) fn direction_number(direction: Direction) -> i64 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

pub(super) fn direction(number: i64) -> Option<Direction> {
    match number {
        0 => Some(Direction::In),
        1 => Some(Direction::Out),
        _ => None,
    }
}

pub(super) fn alias_number(kind: AliasKind) -> i64 {
    match kind {
        AliasKind::Id => 0,
        AliasKind::ParentId => 1,
        AliasKind::Phone => 2,
        AliasKind::Handle => 3,
    }
}

pub(super) fn alias_kind(number: i64) -> Option<AliasKind> {
    match number {
        0 => Some(AliasKind::Id),
        1 => Some(AliasKind::ParentId),
        2 => Some(AliasKind::Phone),
        3 => Some(AliasKind::Handle),
        _ => None,
    }
}

pub(super) fn reach_number(reach: Reach) -> i64 {
    match reach {
        Reach::Reachable => 0,
        Reach::Blocked => 1,
        Reach::OptedOut => 2,
        Reach::OptedIn => 3,
    }
}

pub(super) fn reach(number: i64) -> Option<Reach> {
    match number {
        0 => Some(Reach::Reachable),
        1 => Some(Reach::Blocked),
        2 => Some(Reach::OptedOut),
        3 => Some(Reach::OptedIn),
        _ => None,
    }
}

pub(super) fn effect_number(state: EffectState) -> i64 {
    match state {
        EffectState::Intent => 0,
        EffectState::Done => 1,
        EffectState::Ambiguous => 2,
        EffectState::Failed => 3,
    }
}

pub(super) fn effect_state(number: i64) -> Option<EffectState> {
    match number {
        0 => Some(EffectState::Intent),
        1 => Some(EffectState::Done),
        2 => Some(EffectState::Ambiguous),
        3 => Some(EffectState::Failed),
        _ => None,
    }
}

pub(super) fn report_number(report: DeliveryReport) -> i64 {
    match report {
        DeliveryReport::Sent => 0,
        DeliveryReport::Delivered => 1,
        DeliveryReport::Read => 2,
        DeliveryReport::Failed => 3,
    }
}

pub(super) fn report(number: i64) -> Option<DeliveryReport> {
    match number {
        0 => Some(DeliveryReport::Sent),
        1 => Some(DeliveryReport::Delivered),
        2 => Some(DeliveryReport::Read),
        3 => Some(DeliveryReport::Failed),
        _ => None,
    }
}

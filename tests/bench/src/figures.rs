//! A measurement as it is printed, and the quantiles in it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::disk;

/// How long the disk is measured before each measurement.
const DISK_TIME: Duration = Duration::from_secs(1);

/// Where a figure was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Surroundings {
    /// Writes of 4 KiB with `fdatasync`, one after the other, in the folder of the database, just before.
    pub syncs_per_second: f64,
    /// `release` or `debug`: how this program, and so the host in it, was built.
    pub profile: &'static str,
    pub cores: usize,
    pub os: &'static str,
    pub arch: &'static str,
    pub version: &'static str,
}

impl Surroundings {
    /// # Errors
    /// The folder takes no file.
    pub fn measure(folder: &Path) -> Result<Self> {
        Ok(Self {
            syncs_per_second: rounded(disk::syncs_per_second(folder, DISK_TIME)?),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement<T> {
    pub measurement: &'static str,
    #[serde(flatten)]
    pub figures: T,
    #[serde(flatten)]
    pub surroundings: Surroundings,
}

/// Prints measurements, one line each, and gives them back for a table.
///
/// # Errors
/// A figure is not a number.
pub fn print<'a, T: Serialize + 'a>(measurements: impl IntoIterator<Item = &'a Measurement<T>>) -> Result<Vec<Value>> {
    let mut printed = Vec::new();
    for measurement in measurements {
        println!("{}", serde_json::to_string(measurement)?);
        printed.push(serde_json::to_value(measurement)?);
    }
    Ok(printed)
}

/// So many in so many seconds, in one.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far fewer messages than a float counts")]
pub fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        rounded(count as f64 / seconds)
    } else {
        0.0
    }
}

/// Milliseconds, by rank: no interpolation, no buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Quantiles {
    #[must_use]
    pub fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: u32| {
            let rank = (samples.len() * share as usize).div_ceil(1000).max(1);
            samples.get(rank - 1).copied().map_or(0.0, milliseconds)
        };
        Self {
            p50_ms: at(500),
            p90_ms: at(900),
            p99_ms: at(990),
            p999_ms: at(999),
            max_ms: at(1000),
        }
    }
}

#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

#[must_use]
pub fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

/// The middle one, or the lower of the two in the middle. None: there is none.
#[must_use]
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Three places are more than any of it repeats.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_rank() {
        let all = |count: u64| (1..=count).rev().map(Duration::from_millis).collect::<Vec<_>>();
        let found = Quantiles::of(all(1000));
        assert_eq!(
            (found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms),
            (500.0, 900.0, 990.0, 999.0, 1000.0)
        );
        assert_eq!(Quantiles::of(all(1)).p50_ms, 1.0);
        assert_eq!(Quantiles::of(all(3)).p50_ms, 2.0);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4, 1, 2, 3]), Some(2));
        assert_eq!(median::<u32>(&[]), None);
    }
}

//! Whether what was acknowledged came to the inbox: all of it, once, in the order of each customer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::inbox::Applied;
use crate::load::Sample;

/// What became of messages that all came.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// From the webhook to the inbox.
    pub took: Vec<Duration>,
    /// When the first and the last one came.
    pub first: Option<Instant>,
    pub last: Option<Instant>,
}

/// Every acknowledged message of these came once. Those that were refused are not asked about.
///
/// # Errors
/// One is lost or doubled.
pub fn complete<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    applied: &HashMap<u64, Applied>,
) -> Result<Delivered> {
    let mut delivered = Delivered::default();
    for sample in samples {
        let number = sample.number;
        if !sample.is_good() {
            continue;
        }
        let came = applied
            .get(&number)
            .with_context(|| format!("message {number} was acknowledged and is not in the inbox"))?;
        ensure!(
            came.times == 1,
            "message {number} came to the inbox {} times",
            came.times
        );
        delivered.took.push(came.at.saturating_duration_since(sample.begun));
        delivered.first = Some(delivered.first.map_or(came.at, |first| first.min(came.at)));
        delivered.last = delivered.last.max(Some(came.at));
    }
    Ok(delivered)
}

/// Of each customer, what was acknowledged came in the order of its numbers. Says something only where a customer's
/// next message was sent after the answer to the one before.
///
/// # Errors
/// One overtook another.
pub fn in_order<'a>(samples: impl IntoIterator<Item = &'a Sample>, applied: &HashMap<u64, Applied>) -> Result<()> {
    let mut of_customer: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    for sample in samples {
        if let Some(came) = applied.get(&sample.number) {
            let line = of_customer.entry(sample.customer).or_default();
            line.push((sample.number, came.place));
        }
    }
    for (customer, mut line) in of_customer {
        line.sort_unstable();
        for pair in line.windows(2) {
            if let [(one, before), (other, after)] = pair {
                ensure!(
                    before < after,
                    "message {other} of customer {customer} came before message {one}"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, customer: u64, status: u16) -> Sample {
        let now = Instant::now();
        Sample {
            number,
            customer,
            begun: now,
            left: now,
            answered: now,
            status,
        }
    }

    fn came(numbers: &[(u64, u32)]) -> HashMap<u64, Applied> {
        let applied = |place: usize, times: u32| Applied {
            at: Instant::now(),
            times,
            place: place as u64,
            door: 0,
            connected: Instant::now(),
        };
        let places = numbers.iter().enumerate();
        places
            .map(|(place, (number, times))| (*number, applied(place, *times)))
            .collect()
    }

    #[test]
    fn a_lost_and_a_doubled_message_are_found() {
        let samples = [sample(1, 1, 200), sample(2, 2, 200), sample(3, 3, 503)];
        assert!(complete(&samples, &came(&[(1, 1), (2, 1)])).is_ok());
        let lost = complete(&samples, &came(&[(1, 1)])).unwrap_err();
        assert!(lost.to_string().contains("message 2"), "{lost}");
        let doubled = complete(&samples, &came(&[(1, 2), (2, 1)])).unwrap_err();
        assert!(doubled.to_string().contains("2 times"), "{doubled}");
    }

    #[test]
    fn order_counts_within_a_customer_alone() {
        let samples = [sample(1, 1, 200), sample(2, 2, 200), sample(3, 1, 200)];
        assert!(in_order(&samples, &came(&[(2, 1), (1, 1), (3, 1)])).is_ok());
        assert!(in_order(&samples, &came(&[(3, 1), (2, 1), (1, 1)])).is_err());
    }
}

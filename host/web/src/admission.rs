//! How many hooks may be under way, in number and bytes, and who is refused first.
//!
//! Decided before a body is read, by what the provider does with a refusal: what comes again is refused while there
//! is room left for what would be lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantle_model::hook::Overload;

use crate::limits::{HOOKS_AT_ONCE, HOOKS_BYTES_AT_ONCE};

/// A provider that tries again for so long loses nothing by a refusal.
const LONG: Duration = Duration::from_secs(60 * 60);

/// Who is refused before whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Statuses, which tell again or matter little, and names that are nobody's.
    First,
    /// Messages that come again for hours.
    Early,
    /// What comes again a few times.
    Middle,
    /// What is lost when it is refused.
    Last,
}

impl Rank {
    /// `habit` none: no provider of ours calls that name.
    pub(crate) fn of(habit: Option<&Overload>, query: &str) -> Self {
        match habit {
            None => Self::First,
            Some(habit) if habit.is_status(query) => Self::First,
            Some(habit) if habit.retried_for >= LONG => Self::Early,
            Some(habit) if !habit.retried_for.is_zero() => Self::Middle,
            Some(_) => Self::Last,
        }
    }

    /// The part of all places, in percent, above which this rank gets none.
    const fn share(self) -> usize {
        match self {
            Self::First => 40,
            Self::Early => 60,
            Self::Middle => 80,
            Self::Last => 100,
        }
    }
}

/// The places for hooks. A clone of the `Arc` gives out the same ones.
#[derive(Debug)]
pub struct Admission {
    used: Mutex<Used>,
    hooks_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Used {
    hooks: usize,
    bytes: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Self::with(HOOKS_AT_ONCE, HOOKS_BYTES_AT_ONCE)
    }
}

impl Admission {
    /// With other limits than the host's: for tests.
    #[must_use]
    pub fn with(hooks_max: usize, bytes_max: usize) -> Self {
        Self {
            used: Mutex::default(),
            hooks_max,
            bytes_max,
        }
    }

    /// None: refuse it.
    pub(crate) fn enter(self: &Arc<Self>, rank: Rank, bytes: usize) -> Option<Place> {
        let mut used = self.used();
        let most = |all: usize| all / 100 * rank.share() + all % 100 * rank.share() / 100;
        // The first one always fits: a limit below one hook would refuse for ever.
        let fits = used.hooks < most(self.hooks_max) && used.bytes.saturating_add(bytes) <= most(self.bytes_max);
        if !fits && used.hooks > 0 {
            return None;
        }
        used.hooks += 1;
        used.bytes = used.bytes.saturating_add(bytes);
        drop(used);
        Some(Place {
            admission: Arc::clone(self),
            bytes,
        })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // Nothing that holds the lock can panic half-way through a change.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One hook under way. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Place {
    /// The body has been read and is no longer than this.
    pub(crate) fn settle(&mut self, bytes: usize) {
        let saved = self.bytes.saturating_sub(bytes);
        let mut used = self.admission.used();
        used.bytes = used.bytes.saturating_sub(saved);
        self.bytes -= saved;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut used = self.admission.used();
        used.hooks = used.hooks.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn habit(retried_for_s: u64, status_query: Option<&str>) -> Overload {
        Overload {
            retried_for: Duration::from_secs(retried_for_s),
            too_many_requests: false,
            status_query: status_query.map(str::to_owned),
        }
    }

    #[test]
    fn f1_what_comes_again_is_refused_before_what_would_be_lost() {
        let check = |habit: Option<Overload>, query: &str, expected: Rank| {
            assert_eq!(Rank::of(habit.as_ref(), query), expected, "{habit:?} {query}");
        };
        check(None, "", Rank::First);
        check(Some(habit(86_400, None)), "mid=1", Rank::Early);
        check(Some(habit(45, Some("mid"))), "a=b", Rank::Middle);
        check(Some(habit(45, Some("mid"))), "a=b&mid=7", Rank::First);
        check(Some(habit(45, Some("mid"))), "amid=7", Rank::Middle);
        check(Some(habit(0, None)), "", Rank::Last);
    }

    #[test]
    fn p7_number_and_bytes_are_bounded_for_each_rank() {
        let ranks = [
            (Rank::First, 40),
            (Rank::Early, 60),
            (Rank::Middle, 80),
            (Rank::Last, 100),
        ];
        for (rank, most) in ranks {
            let by_number = Arc::new(Admission::with(100, usize::MAX));
            let places: Vec<_> = std::iter::from_fn(|| by_number.enter(rank, 1)).take(1_000).collect();
            assert_eq!(places.len(), most, "{rank:?}");
            let by_bytes = Arc::new(Admission::with(1_000_000, 100));
            let places: Vec<_> = std::iter::from_fn(|| by_bytes.enter(rank, 10)).take(1_000).collect();
            assert_eq!(places.len(), most / 10, "{rank:?}");
        }
        // As it fills up, the ranks are refused in their order.
        let admission = Arc::new(Admission::with(100, usize::MAX));
        let mut places = Vec::new();
        let mut refused_at = Vec::new();
        for filled in 0..=100 {
            for (rank, _) in ranks.iter().skip(refused_at.len()) {
                match admission.enter(*rank, 1) {
                    Some(place) => drop(place),
                    None => refused_at.push(filled),
                }
            }
            places.extend(admission.enter(Rank::Last, 1));
        }
        assert_eq!(refused_at, [40, 60, 80, 100]);
    }

    #[test]
    fn p7_places_come_back_and_a_short_body_gives_back_what_it_did_not_need() {
        let admission = Arc::new(Admission::with(100, 1_000));
        let mut place = admission.enter(Rank::Last, 1_000).unwrap();
        assert!(admission.enter(Rank::Last, 1).is_none());
        place.settle(10);
        let second = admission.enter(Rank::Last, 990).unwrap();
        drop((place, second));
        let used = admission.used();
        assert_eq!((used.hooks, used.bytes), (0, 0));
    }
}

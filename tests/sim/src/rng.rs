//! Random numbers that come again with their seed.

use std::cell::Cell;

thread_local! {
    /// What the flow's own dice draw from: a flow takes a plain function, so the state belongs to the thread.
    static DICE: Cell<u64> = const { Cell::new(0) };
}

/// SplitMix64: every state is a good one, so a seed may be any number.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(place)
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sets what [`dice`] draws from on this thread.
pub fn seed_dice(seed: u64) {
    DICE.set(seed);
}

/// The flow's random numbers in a simulation.
#[must_use]
pub fn dice() -> u64 {
    DICE.set(DICE.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    mixed(DICE.get())
}

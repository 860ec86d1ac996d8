//! Many seeds of the simulation.
//!
//! `MANTLE_SIM_SEEDS=50000 cargo test --workspace --test seeds` plays so many; `MANTLE_SIM_SEED=17` plays one.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds of an ordinary run: seconds, not minutes, in a debug build.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a8_a_kill_at_any_call_loses_doubles_and_disorders_nothing() {
    if let Some(seed) = number("MANTLE_SIM_SEED") {
        if let Err(wrong) = mantle_sim::run(seed) {
            panic!("seed {seed}:\n{wrong}");
        }
        return;
    }
    let seeds = number("MANTLE_SIM_SEEDS").unwrap_or(SEEDS);
    let crossed = AtomicUsize::new(0);
    let broken = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (crossed, broken) = (&crossed, &broken);
            scope.spawn(move || {
                for seed in (thread..seeds).step_by(threads as usize) {
                    match mantle_sim::run(seed) {
                        Ok(messages) => {
                            crossed.fetch_add(messages, Ordering::Relaxed);
                        }
                        Err(wrong) => broken.lock().unwrap().push((seed, wrong)),
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    let first: Vec<String> = broken
        .iter()
        .take(5)
        .map(|(seed, wrong)| format!("MANTLE_SIM_SEED={seed}\n{wrong}"))
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {seeds} seeds broke a promise:\n{}",
        broken.len(),
        first.join("\n\n")
    );
    // A simulation in which nobody writes proves nothing.
    assert!(crossed.into_inner() as u64 > seeds * 10);
}

#[test]
fn the_same_seed_plays_the_same_run() {
    for seed in 0..20 {
        assert_eq!(mantle_sim::run(seed), mantle_sim::run(seed));
    }
}

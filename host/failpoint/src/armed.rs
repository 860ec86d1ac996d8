//! Points that act when they are armed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch::Sender;

use crate::Point;
use crate::plan::{self, Action, Rule};

type Watcher = Box<dyn Fn(Point, u64) + Send>;

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    hits: HashMap<Point, u64>,
    /// xorshift64*: the same draws for the same seed.
    random: u64,
    watcher: Option<Watcher>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
/// Rings when something was disarmed.
static DISARMED: LazyLock<Sender<()>> = LazyLock::new(|| Sender::new(()));

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds rules; see [`plan::parse`] for their form.
///
/// # Errors
/// A rule cannot be read; none is armed then.
pub fn arm(rules: &str) -> Result<(), String> {
    let rules = plan::parse(rules)?;
    state().rules.extend(rules);
    Ok(())
}

/// Takes away the rules of a point, which lets go what is paused there; of all points when none is named.
///
/// # Errors
/// There is no point of this name.
pub fn disarm(name: Option<&str>) -> Result<(), String> {
    let point = name.map(plan::point).transpose()?;
    state()
        .rules
        .retain(|rule| point.is_some_and(|point| point != rule.point));
    DISARMED.send_replace(());
    Ok(())
}

/// What the percentages are drawn from.
pub fn seed(seed: u64) {
    // Zero is the one state that xorshift never leaves.
    state().random = seed.max(1);
}

/// Called with the point and its number of hits whenever one acts, before it does.
pub fn watch(watcher: impl Fn(Point, u64) + Send + 'static) {
    state().watcher = Some(Box::new(watcher));
}

/// How often the point was passed, armed or not.
///
/// # Errors
/// There is no point of this name.
pub fn hits(name: &str) -> Result<u64, String> {
    let point = plan::point(name)?;
    Ok(state().hits.get(&point).copied().unwrap_or(0))
}

/// What a test has planned happens here.
pub async fn reach(point: Point) {
    fails(point).await;
}

/// The same, at a place that can fail.
pub async fn fails(point: Point) -> bool {
    match hit(point) {
        None => false,
        Some(Action::Kill) => kill(),
        Some(Action::Panic) => panic!("the failpoint {} is armed with a panic", point.name()),
        Some(Action::Fail) => true,
        Some(Action::Delay(pause)) => {
            tokio::time::sleep(pause).await;
            false
        }
        Some(Action::Pause) => {
            let mut disarmed = DISARMED.subscribe();
            while paused(point) && disarmed.changed().await.is_ok() {}
            false
        }
    }
}

fn hit(point: Point) -> Option<Action> {
    let mut state = state();
    let count = state.hits.entry(point).or_default();
    *count += 1;
    let count = *count;
    let draw = draw(&mut state.random);
    let acting = state
        .rules
        .iter_mut()
        .filter(|rule| rule.point == point)
        .filter_map(|rule| rule.acts(draw).then_some(rule.action))
        .next()?;
    if let Some(watcher) = &state.watcher {
        watcher(point, count);
    }
    Some(acting)
}

fn paused(point: Point) -> bool {
    let pauses = |rule: &Rule| rule.point == point && rule.action == Action::Pause;
    state().rules.iter().any(pauses)
}

/// Below 100.
fn draw(random: &mut u64) -> u64 {
    let mut bits = (*random).max(1);
    bits ^= bits >> 12;
    bits ^= bits << 25;
    bits ^= bits >> 27;
    *random = bits;
    (bits.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % 100
}

/// No destructor runs, no buffer is flushed, no other thread gets further: as the machine's own killer does it.
#[expect(
    unsafe_code,
    reason = "the standard library ends processes only with a core dump or a clean-up"
)]
fn kill() -> ! {
    // SAFETY: `raise` takes a number and touches no memory of ours.
    unsafe { libc::raise(libc::SIGKILL) };
    std::process::abort()
}

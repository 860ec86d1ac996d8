//! The kit of connector authors: holds a component of any language against its golden cases and against what every
//! connector must bear, and tells what it has shown that it can do.
//!
//! With it a new connector is begun ([`scaffold`]) and built ([`build`]), by the public tools of its language.
//!
//! Knows a component by [`mantle_sandbox::Rehearsal`] and [`Plugin`] alone; opens no network and no database.

pub mod build;
mod case;
mod checks;
mod faults;
mod outcome;
pub mod scaffold;
mod script;
mod shown;

use std::path::Path;

use mantle_sandbox::{Plugin, Rehearsal};
use serde::Serialize;

use crate::case::Case;

/// What came of one demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is demanded, one sentence.
    pub title: &'static str,
    /// How many times it was tried.
    pub tried: usize,
    /// Why it does not hold; empty: it does.
    pub problems: Vec<String>,
}

/// One line of the sheet: a claim of the manifest or an export, and the cases that show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    pub claim: String,
    /// Names of cases, at most three.
    pub shown_by: Vec<String>,
}

/// All that is known of the component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    pub claims: Vec<Claim>,
    /// Of the call that took most, in bytes.
    pub memory_bytes: usize,
    /// What the manifest grants itself for one call, in bytes.
    pub memory_bytes_max: usize,
    /// Of the slowest call, in microseconds.
    pub slowest_us: u64,
}

impl Report {
    /// Whether every demand holds and every claim is shown.
    #[must_use]
    pub fn good(&self) -> bool {
        self.checks.iter().all(|check| check.problems.is_empty())
            && self.claims.iter().all(|claim| !claim.shown_by.is_empty())
    }
}

/// Runs the golden cases of the folder and all checks.
///
/// # Errors
/// The folder cannot be read, holds no case, or a case is no JSON.
pub async fn examine(plugin: &Plugin, rehearsal: &Rehearsal, cases: &Path) -> Result<Report, String> {
    let cases = case::read_all(cases)?;
    Ok(checks::run(plugin, rehearsal, &cases).await)
}

/// A case and what came of it, where that is what was expected.
pub(crate) type Passed<'a> = Vec<(&'a Case, serde_json::Value)>;

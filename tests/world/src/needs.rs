//! What a test needs and a machine may lack: the test is left out with a line that says so, or fails where
//! `MANTLE_REQUIRE` names it (`chromium`, `contracts`; several with commas).

use std::io::Write;

/// Tells that a test is left out. `what` is the word for `MANTLE_REQUIRE`.
///
/// # Panics
/// `MANTLE_REQUIRE` names it.
pub fn leave_out(what: &str, test: &str, why: &str) {
    let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
    assert!(!names(&required, what), "MANTLE_REQUIRE names {what}: {why}");
    // Past the harness, which keeps what a test that passes prints to itself.
    let _ = writeln!(std::io::stderr().lock(), "skipped: {test}, because {why}");
}

fn names(required: &str, what: &str) -> bool {
    required.split(',').any(|one| one.trim() == what)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_required_is_a_list_of_words() {
        assert!(super::names("chromium, contracts", "contracts"));
        assert!(super::names("chromium", "chromium"));
        assert!(!super::names("chromium", "contracts") && !super::names("", "contracts"));
    }
}

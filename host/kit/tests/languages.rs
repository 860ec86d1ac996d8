//! XT-4: a connector that was just begun is built by the public tools of its language and passes the kit.
//!
//! What is not installed is left out; `MANTLE_REQUIRE=javascript,python` makes that a failure.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::{loaded, problems};
use mantle_kit::scaffold::{self, Language};
use mantle_kit::{build, examine};

/// Tells why the test is left out. `what` is the word for `MANTLE_REQUIRE`.
///
/// # Panics
/// It is named there.
fn leave_out(what: &str, why: &str) {
    let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
    let named = required.split(',').any(|word| word.trim() == what);
    assert!(!named, "MANTLE_REQUIRE names {what}: {why}");
    // Past the harness, which keeps what a test that passes prints to itself.
    let _ = writeln!(
        std::io::stderr().lock(),
        "skipped: a connector in {what}, because {why}"
    );
}

fn is_there(tool: &str) -> bool {
    let asked = Command::new(tool).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

async fn passes(name: &str, language: Language, prepare: impl Fn(&Path)) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = place.path().join(name);
    scaffold::create(&folder, language)?;
    prepare(&folder);
    let component = build::build(&folder)?;
    assert_eq!(component, folder.join(format!("{name}.wasm")));
    let (plugin, rehearsal) = loaded(&component).await.map_err(|error| error.to_string())?;
    assert_eq!(plugin.connector(), name);
    let report = examine(&plugin, &rehearsal, &folder.join("tests/golden")).await?;
    assert_eq!(problems(&report), Vec::<String>::new());
    assert!(report.good());
    assert!(report.checks.iter().all(|check| check.tried > 0), "{:?}", report.checks);
    // Made once: nobody's work is written over.
    let again = scaffold::create(&folder, language);
    assert!(again.is_err_and(|problem| problem.contains("is there already")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_a_connector_begun_in_rust_passes() {
    passes("my-chat", Language::Rust, |_| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_a_connector_begun_in_javascript_passes() {
    if !is_there("node") || !is_there("npm") {
        return leave_out("javascript", "node and npm are not installed");
    }
    // Packages that were installed before are not fetched for each run.
    let installed = std::env::var_os("MANTLE_NODE_MODULES");
    passes("js-chat", Language::JavaScript, |folder| {
        if let Some(installed) = &installed {
            std::os::unix::fs::symlink(installed, folder.join("node_modules")).unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_a_connector_begun_in_python_passes() {
    if !is_there("componentize-py") {
        return leave_out(
            "python",
            "componentize-py is not installed: pip install componentize-py",
        );
    }
    passes("py-chat", Language::Python, |_| ()).await.unwrap();
}

#[test]
fn a_name_that_is_none_is_refused_with_what_a_name_is() {
    let place = tempfile::tempdir().unwrap();
    for name in ["Chat", "7up", "a_b", "ends-", "über"] {
        let problem = scaffold::create(&place.path().join(name), Language::Rust).unwrap_err();
        assert!(problem.contains("lower-case letters, digits and hyphens"), "{problem}");
    }
}

#[test]
fn a_folder_without_a_connector_is_not_built() {
    let place = tempfile::tempdir().unwrap();
    let problem = build::build(place.path()).unwrap_err();
    assert!(problem.contains("mantle plugin new"), "{problem}");
}

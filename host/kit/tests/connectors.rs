//! XT-4: every connector of the repository passes the kit as a compiled component, and one that claims more than its
//! cases show does not.

mod common;

use std::path::PathBuf;

use common::{loaded, problems};
use mantle_kit::examine;

fn folder(name: &str) -> PathBuf {
    mantle_components::workspace_root().join("connectors").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_every_connector_shows_what_it_claims_as_a_component() {
    let components = mantle_components::build().unwrap();
    for name in mantle_components::connector_names().unwrap() {
        let (plugin, rehearsal) = loaded(&components.join(format!("{name}.wasm"))).await.unwrap();
        let report = examine(&plugin, &rehearsal, &folder(&name).join("tests/golden"))
            .await
            .unwrap();
        assert_eq!(problems(&report), Vec::<String>::new(), "{name}");
        assert!(
            report.checks.iter().all(|check| check.tried > 0),
            "{name}: {:?}",
            report.checks
        );
        assert!(report.memory_bytes <= report.memory_bytes_max, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_4_a_claim_without_a_case_and_an_outcome_that_differs_fail() {
    let components = mantle_components::build().unwrap();
    let (plugin, rehearsal) = loaded(&components.join("telegram.wasm")).await.unwrap();
    let few = tempfile::tempdir().unwrap();
    for file in ["check_healthy.in.json", "check_healthy.out.json", "out_photo.in.json"] {
        let from = folder("telegram").join("tests/golden").join(file);
        std::fs::copy(from, few.path().join(file)).unwrap();
    }
    // The answer to another message than the one that was sent.
    let other = folder("telegram").join("tests/golden/out_audio.out.json");
    std::fs::copy(other, few.path().join("out_photo.out.json")).unwrap();
    let report = examine(&plugin, &rehearsal, few.path()).await.unwrap();
    assert!(!report.good());
    let problems = problems(&report);
    let has = |words: &str| problems.iter().any(|problem| problem.contains(words));
    assert!(has("out_photo: /requests/0/body/"), "{problems:?}");
    assert!(has("sends files as voice: not shown"), "{problems:?}");
    assert!(has("sends text: not shown"), "{problems:?}");
    assert!(!has("tells how the channel is"), "{problems:?}");
}

//! Plugins are exchanged while calls go on.

use std::path::Path;
use std::sync::Arc;

use super::stage::{Stage, channel, entry, guest, hook};
use crate::{Change, PluginEntry, PluginState, Plugins};

fn at(file: &Path) -> PluginEntry {
    PluginEntry {
        component: file.to_owned(),
        ..entry("echo")
    }
}

#[tokio::test]
async fn changed_files_and_entries_are_loaded_and_the_rest_is_left_alone() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.wasm");
    std::fs::copy(guest("echo"), &file).unwrap();
    let plugins = Plugins::new(Arc::clone(&stage.sandbox));
    assert!(plugins.get("echo").is_none());

    let changes = plugins.apply(vec![at(&file)]).await;
    assert!(matches!(changes.as_slice(), [Change::Loaded(_)]), "{changes:?}");
    let first = plugins.get("echo").unwrap();
    assert!(plugins.apply(vec![at(&file)]).await.is_empty());

    // The same bytes at another time are the same version.
    std::fs::copy(guest("echo"), &file).unwrap();
    assert!(plugins.apply(vec![at(&file)]).await.is_empty());
    assert!(Arc::ptr_eq(&first, &plugins.get("echo").unwrap()));

    // Other bytes are another version; who holds the old one goes on with it.
    std::fs::copy(guest("keeps"), &file).unwrap();
    assert_eq!(plugins.apply(vec![at(&file)]).await.len(), 1);
    let second = plugins.get("echo").unwrap();
    assert_ne!(first.digest(), second.digest());
    first.receive(&channel(), &hook("a")).await.unwrap();

    // So is a changed entry.
    let wider = PluginEntry {
        memory_mib: Some(16),
        ..at(&file)
    };
    assert_eq!(plugins.apply(vec![wider]).await.len(), 1);
    assert_eq!(plugins.get("echo").unwrap().memory_bytes_max(), 16 << 20);

    let changes = plugins.apply(Vec::new()).await;
    assert!(
        matches!(changes.as_slice(), [Change::Removed(name)] if name == "echo"),
        "{changes:?}"
    );
    assert!(plugins.get("echo").is_none());
    assert!(plugins.list().is_empty());
}

#[tokio::test]
async fn a_refused_version_leaves_the_old_one_running_and_stops_no_other() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.wasm");
    std::fs::copy(guest("echo"), &file).unwrap();
    let plugins = Plugins::new(Arc::clone(&stage.sandbox));
    plugins.apply(vec![at(&file)]).await;
    let first = plugins.get("echo").unwrap();

    std::fs::write(&file, b"half a file").unwrap();
    let changes = plugins.apply(vec![at(&file), entry("traps")]).await;
    assert!(
        matches!(
            changes.as_slice(),
            [
                Change::Refused {
                    still_running: true,
                    ..
                },
                Change::Loaded(_)
            ]
        ),
        "{changes:?}"
    );
    assert!(Arc::ptr_eq(&first, &plugins.get("echo").unwrap()));
    let Some(PluginState::Refused { reason, .. }) = plugins.state("echo") else {
        panic!("it is not refused")
    };
    assert!(
        reason.to_string().contains("it is not a WebAssembly component"),
        "{reason}"
    );

    std::fs::copy(guest("echo"), &file).unwrap();
    let changes = plugins.apply(vec![at(&file), entry("traps")]).await;
    assert!(matches!(changes.as_slice(), [Change::Loaded(_)]), "{changes:?}");
    assert!(matches!(plugins.state("echo"), Some(PluginState::Ready(_))));
}

//! What is not loaded says why and what to do.

use mantle_model::secret::Secret;

use super::stage::{Stage, entry, guest};
use super::wat;
use crate::PluginEntry;

#[track_caller]
fn check(problem: &str, expected: &[&str]) {
    for part in expected {
        assert!(problem.contains(part), "{problem}\n does not hold\n{part}");
    }
}

async fn refused(entry: PluginEntry) -> String {
    Stage::new().sandbox.load(entry).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_loaded_tells_of_itself() {
    let stage = Stage::new();
    let echo = stage.load("echo").await;
    assert_eq!(
        (echo.name(), echo.connector(), echo.title(), echo.version()),
        ("echo", "guest", "Guest", "1.0.0")
    );
    assert_eq!(echo.memory_bytes_max(), 8 << 20);
    assert_eq!(echo.digest().len(), 64);
    let pinned = PluginEntry {
        sha256: Some(echo.digest().to_uppercase()),
        ..entry("echo")
    };
    assert_eq!(stage.sandbox.load(pinned).await.unwrap().digest(), echo.digest());
}

#[tokio::test]
async fn refusals_name_the_place_and_the_fix() {
    let missing = PluginEntry {
        component: guest("echo").with_file_name("nothing.wasm"),
        ..entry("echo")
    };
    check(
        &refused(missing).await,
        &[
            "plugin `echo`, ",
            "nothing.wasm: there is no such file; build the connectors",
        ],
    );
    let pinned = PluginEntry {
        sha256: Some("00".repeat(32)),
        ..entry("echo")
    };
    check(
        &refused(pinned).await,
        &["its SHA-256 is ", "but [plugins.echo] pins 0000"],
    );
    let silent = PluginEntry {
        grants: None,
        ..entry("echo")
    };
    check(
        &refused(silent).await,
        &[
            "[plugins.echo] has no `grants`",
            "GET, POST https://api.granted.example /v1/, with key",
            "grants = \"asked\"",
        ],
    );
    let large = PluginEntry {
        memory_mib: Some(100_000),
        ..entry("echo")
    };
    check(
        &refused(large).await,
        &["[plugins.echo] memory_mib = 100000 is not between 1 and 128"],
    );
    let mut secret = entry("echo");
    secret.secrets.add("kee", Secret::new("x".to_owned()));
    check(
        &refused(secret).await,
        &["[plugins.echo.secrets] has `kee`", "its secrets are: key"],
    );
}

#[tokio::test]
async fn d14_files_that_are_no_connectors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, expected) in [
        (b"hello".as_slice(), "it is not a WebAssembly component"),
        (b"\0asm\x01\0\0\0".as_slice(), "it is a core module, not a component"),
        (
            b"\0asm\x0d\0\x01\0".as_slice(),
            "it has no `mantle:manifest` section; build it with mantle-sdk",
        ),
    ] {
        let component = folder.path().join("some.wasm");
        std::fs::write(&component, bytes).unwrap();
        check(
            &refused(PluginEntry {
                component,
                ..entry("echo")
            })
            .await,
            &[expected],
        );
    }
}

#[tokio::test]
async fn d14_a_component_without_the_interface_is_refused_by_name() {
    let component = wat::with_manifest(b"\0asm\x0d\0\x01\0".to_vec());
    check(
        &wat::try_load(&Stage::new(), &component).await.unwrap_err(),
        &[
            "mantle 0.1.0 speaks mantle:connector/*@1.0.0",
            "does not export mantle:connector/connector@1.0.0",
            "mantle-sdk of version 1",
        ],
    );
}

/// The component with other words of the same length wherever these stand.
fn renamed(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut renamed = component.to_vec();
    let places = memchr::memmem::find_iter(component, from).collect::<Vec<_>>();
    assert!(!places.is_empty(), "there is no {from}");
    for at in places {
        renamed[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    renamed
}

#[tokio::test]
async fn d14_what_is_not_of_this_interface_is_refused_with_the_reason() {
    let stage = Stage::new();
    let echo = std::fs::read(guest("echo")).unwrap();
    let speaks = "mantle 0.1.0 speaks mantle:connector/*@1.0.0";
    for (from, to, expected) in [
        (
            "mantle:connector/connector@1.0.0",
            "mantle:connector/connector@2.0.0",
            [
                "it exports mantle:connector/connector@2.0.0",
                "Build it with a mantle-sdk of version 1",
            ],
        ),
        (
            "mantle:connector/log@1.0.0",
            "mantle:connector/log@2.0.0",
            ["an import does not fit", "log@2.0.0"],
        ),
        (
            "mantle:connector/log@1.0.0",
            "mantle:connector/lag@1.0.0",
            ["an import does not fit", "lag@1.0.0"],
        ),
        // A function that a newer host has.
        ("fetch", "fotch", ["an import does not fit", "fotch"]),
        (
            "wasi:cli/environment@0.2",
            "wasi:cli/environment@0.9",
            ["an import does not fit", "environment@0.9"],
        ),
        (
            "wasi:cli/environment@0.2",
            "wasi:sql/environment@0.2",
            ["which no connector gets", "wasi:sql/environment@0.2"],
        ),
    ] {
        let problem = wat::try_load(&stage, &renamed(&echo, from, to)).await.unwrap_err();
        check(&problem, &[speaks]);
        check(&problem, &expected);
    }
    assert!(wat::try_load(&stage, &renamed(&echo, "fetch", "fetch")).await.is_ok());
    for (import, expected) in [
        (
            "wasi:http/outgoing-handler@0.2.0",
            "make its calls through mantle:connector/http",
        ),
        ("wasi:keyvalue/store@0.2.0-draft", "which no connector gets"),
        ("mantle:secret/vault@1.0.0", "which no connector gets"),
        ("anything", "which no connector gets"),
    ] {
        let text = format!("(component (import \"{import}\" (instance)))");
        let problem = wat::try_load(&stage, &wat::with_manifest(wat::parse(&text)))
            .await
            .unwrap_err();
        check(&problem, &[import, expected]);
    }
}

#[test]
fn foreign_imports_are_refused_by_name() {
    for good in [
        "mantle:connector/http@1.0.0",
        "wasi:io/streams@0.2.6",
        "wasi:cli/exit@0.2.6",
    ] {
        crate::load::check_import(good).unwrap();
    }
    let problem = crate::load::check_import("wasi:http/outgoing-handler@0.2.0").unwrap_err();
    check(
        &problem,
        &[
            "it imports `wasi:http/outgoing-handler@0.2.0`",
            "make its calls through mantle:connector/http",
        ],
    );
    let problem = crate::load::check_import("wasi:keyvalue/store@0.2.0").unwrap_err();
    check(
        &problem,
        &["it imports `wasi:keyvalue/store@0.2.0`, which no connector gets"],
    );
}

#[tokio::test]
async fn the_real_connectors_are_loaded() {
    let folder = mantle_components::build().unwrap();
    let stage = Stage::new();
    for name in mantle_components::connector_names().unwrap() {
        let component = folder.join(format!("{name}.wasm"));
        let plugin = stage
            .sandbox
            .load(PluginEntry {
                name: name.clone(),
                component,
                ..entry("echo")
            })
            .await
            .unwrap();
        assert_eq!(plugin.connector(), name);
        assert!(plugin.abilities().lifecycle, "{name} cannot be connected");
        assert!(plugin.abilities().inbound_media, "{name} cannot fetch files");
    }
}

//! Where components come from and who signed them, as somebody at a shell meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use mantle_components::variants::variant;
use mantle_world::World;
use mantle_world::registry::{Push, REGISTRY};
use serde_json::{Value, json};

/// The answer of the command, which must end with this code.
async fn mantle(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mantle"));
    command.current_dir(folder).args(arguments).arg("--json");
    command.env_remove("MANTLE_CONFIG").env_remove("MANTLE_URL");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|_| json!(format!("{out}{err}")))
}

fn guest(name: &str) -> Vec<u8> {
    let folder = mantle_components::build_guests().unwrap();
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn xt_1_update_shows_version_and_rights_first_and_takes_them_when_told() {
    let world = World::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[plugins.guest]\ncomponent = \"oci://{REGISTRY}/guest:1\"\ngrants = \"asked\"\n{}",
        world.redirects_toml()
    );
    std::fs::write(folder.path().join("plugins.toml"), config).unwrap();
    let lock = || std::fs::read_to_string(folder.path().join("plugins.lock")).ok();

    world.registry.push("guest", "1", &guest("steady"), &Push::default());
    let list = mantle(folder.path(), &["plugin", "list"], 0).await;
    assert_eq!(list["plugins"][0]["state"], "ready", "{list}");
    assert_eq!(lock(), None, "looking is not consenting");
    let update = ["plugin", "update", "guest"];
    assert_eq!(mantle(folder.path(), &update, 0).await["taken"], false);
    assert_eq!(lock(), None);
    let taking = ["plugin", "update", "guest", "--yes"];
    assert_eq!(mantle(folder.path(), &taking, 0).await["taken"], true);
    let first = lock().unwrap();
    assert!(first.contains("version = \"1.0.0\"\ninterface = \"1.0.0\""), "{first}");

    // The tag is moved to a version that asks for more.
    let words = [
        ("version = \"1.0.0\"", "version = \"2.0.0\""),
        ("methods = [\"GET\", \"POST\"]", "methods = [\"PUT\", \"POST\"]"),
    ];
    let second = variant(&guest("fragile"), &words).unwrap();
    world.registry.push("guest", "1", &second, &Push::default());
    let list = mantle(folder.path(), &["plugin", "list"], 0).await;
    assert_eq!(list["plugins"][0]["version"], "1.0.0", "what is locked: {list}");
    let shown = mantle(folder.path(), &update, 0).await;
    assert_eq!(
        (&shown["locked"]["version"], &shown["found"]["version"]),
        (&json!("1.0.0"), &json!("2.0.0"))
    );
    assert_eq!(shown["difference"], json!(["call PUT https://api.granted.example/v1/"]));
    assert_eq!(lock().unwrap(), first, "nothing was taken");
    mantle(folder.path(), &taking, 0).await;
    let taken = lock().unwrap();
    assert!(
        taken.contains("version = \"2.0.0\"") && taken.contains("previous = "),
        "{taken}"
    );
    let list = mantle(folder.path(), &["plugin", "list"], 0).await;
    assert_eq!(list["plugins"][0]["version"], "2.0.0", "{list}");
    assert_eq!(world.violations(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn d18_a_signed_component_is_taken_and_an_unsigned_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guest.wasm"), guest("steady")).unwrap();
    let made = mantle(folder.path(), &["plugin", "keygen", "ours.pem"], 0).await;
    let public = made["public_key"].as_str().unwrap();
    mantle(folder.path(), &["plugin", "keygen", "ours.pem"], 1).await;
    let config = format!(
        "[plugins.guest]\ncomponent = \"guest.wasm\"\ngrants = \"asked\"\n[trust]\nkeys = {{ ours = \"{public}\" }}\n"
    );
    std::fs::write(folder.path().join("plugins.toml"), config).unwrap();
    let list = mantle(folder.path(), &["plugin", "list"], 1).await;
    let reason = list["plugins"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("it has no signature, and [trust] has `require = true`"),
        "{reason}"
    );

    let signed = mantle(folder.path(), &["plugin", "sign", "guest.wasm", "--key", "ours.pem"], 0).await;
    assert_eq!(signed["public_key"], public);
    let list = mantle(folder.path(), &["plugin", "list"], 0).await;
    assert_eq!(list["plugins"][0]["signer"], "ours", "{list}");
}

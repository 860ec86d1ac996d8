//! The binary, as somebody at a shell meets it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a configuration in it.
fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugins.toml"), config).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mantle"));
    command.current_dir(folder).args(arguments);
    for name in [
        "MANTLE_ADMIN_TOKEN",
        "MANTLE_URL",
        "MANTLE_CONFIG",
        "MANTLE_LOG",
        "MANTLE_LOG_FORMAT",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_tell_done_failed_and_wrong_use() {
    let folder = folder("");
    let check = |arguments: &[&str], code: i32| {
        let output = run(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}{}",
            said(&output.stdout),
            said(&output.stderr)
        );
        output
    };
    check(&["--version"], 0);
    let help = said(&check(&["--help"], 0).stdout);
    for word in [
        "serve",
        "check",
        "doctor",
        "plugin",
        "trace",
        "workspace",
        "channel",
        "dead",
    ] {
        assert!(help.contains(word), "{word} is not in the help");
    }
    check(&["check"], 0);
    check(&["plugin", "list"], 0);
    check(&["no-such-command"], 2);
    check(&["check", "--no-such-flag"], 2);
    check(&["trace"], 2);
    check(&["dead", "replay"], 2);
    let absent = check(&["check", "--config", "absent.toml"], 1);
    assert!(
        said(&absent.stdout).contains("absent.toml: The configuration cannot be read"),
        "{}",
        said(&absent.stdout)
    );
    let keyless = check(&["workspace", "list"], 1);
    assert!(said(&keyless.stderr).contains("MANTLE_ADMIN_TOKEN is not set"));
    let unknown = check(&["plugin", "inspect", "telegram"], 1);
    assert!(said(&unknown.stderr).contains("has no plugin `telegram`"));
}

#[test]
fn f_6_check_and_serve_refuse_a_bad_configuration_with_its_place() {
    let folder = folder("[server]\nlisten = 8080\n\n[plugins.telegram]\ncomponent = \"absent.wasm\"\n");
    let expected = "plugins.toml:2: `server.listen`: This is a number.";
    for arguments in [["check"].as_slice(), &["serve"]] {
        let output = run(folder.path(), arguments);
        let told = said(&output.stdout) + &said(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

#[test]
fn a_plugin_that_cannot_be_used_is_named_in_text_and_json() {
    let folder = folder("[plugins.telegram]\ncomponent = \"absent.wasm\"\ngrants = \"asked\"\n");
    std::fs::write(folder.path().join("text.wasm"), "no component").unwrap();
    let config = "\n[plugins.odd]\ncomponent = \"text.wasm\"\ngrants = \"asked\"\n";
    let file = folder.path().join("plugins.toml");
    let whole = std::fs::read_to_string(&file).unwrap() + config;
    std::fs::write(&file, whole).unwrap();
    let output = run(folder.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    let states: Vec<_> = answer["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| (plugin["name"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("odd", "refused"), ("telegram", "refused")]);
    let problems = answer["problems"].to_string();
    assert!(
        problems.contains("plugins.toml:2: `plugins.telegram.component`: There is no file"),
        "{problems}"
    );
    assert!(problems.contains("text.wasm"), "{problems}");
}

/// A host in a process of its own; ends with the test.
struct Serving {
    child: Child,
    url: String,
    /// Gives what it said after it began to serve, once it has ended.
    rest: Option<JoinHandle<Vec<String>>>,
}

impl Serving {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder, &["serve"])
            .env("MANTLE_ADMIN_TOKEN", "the-key")
            .env("MANTLE_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // The line that says where it listens is the sign that it does.
        let url = loop {
            let line = lines.next().expect("the host ended").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            let message = line["message"].as_str().unwrap_or_default().to_owned();
            if let Some((_, rest)) = message.split_once("listens at ") {
                break format!("http://{}", rest.split(',').next().unwrap());
            }
        };
        // What it says from now on is read, so that it never waits for a reader.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Self {
            child,
            url,
            rest: Some(rest),
        }
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = command(folder, arguments);
        command
            .env("MANTLE_ADMIN_TOKEN", "the-key")
            .env("MANTLE_URL", &self.url);
        command.output().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_host_serves_answers_commands_and_ends_when_told() {
    let folder = folder("[server]\nlisten = \"127.0.0.1:0\"\n");
    let mut host = Serving::start(folder.path());
    let check = |arguments: &[&str], code: i32| {
        let output = host.run(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output.stderr)
        );
        output
    };
    let list = check(&["workspace", "list", "--json"], 0);
    assert_eq!(
        serde_json::from_slice::<Value>(&list.stdout).unwrap(),
        serde_json::json!({ "workspaces": [] })
    );
    check(&["channel", "list"], 0);
    check(&["dead", "list"], 0);
    let unknown = check(&["trace", "msg_0000000000001_1"], 1);
    assert!(
        said(&unknown.stderr).contains("There is no message"),
        "{}",
        said(&unknown.stderr)
    );
    let none = check(&["channel", "add", "--plugin", "telegram", "--field", "bot_token=x"], 1);
    assert!(said(&none.stderr).contains("There is no workspace yet"));

    // What holds secrets and messages is its owner's alone.
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| {
        std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("data"), mode("data/secret.key")), (0o700, 0o600));

    // A second host on the same database is refused with the reason.
    let second = run(folder.path(), &["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        said(&second.stderr).contains("another host uses the database"),
        "{}",
        said(&second.stderr)
    );

    let terminated = Command::new("kill")
        .args(["-TERM", &host.child.id().to_string()])
        .status()
        .unwrap();
    assert!(terminated.success());
    assert_eq!(host.child.wait().unwrap().code(), Some(0));
    let told = host.rest.take().unwrap().join().unwrap().join("\n");
    assert!(told.contains("Stopped"), "{told}");
    // With nothing under way the end is orderly: nobody has to be cut off.
    assert!(!told.contains("dropped") && !told.contains("cut off"), "{told}");
}

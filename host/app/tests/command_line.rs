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
    assert!(
        problems.contains("plugins.toml:6: `plugins.odd.component`: text.wasm is not WebAssembly."),
        "{problems}"
    );
}

#[test]
fn a_component_of_nonsense_is_refused_in_one_line_with_its_place() {
    let folder = folder("[plugins.odd]\ncomponent = \"odd.wasm\"\ngrants = \"asked\"\n");
    for bytes in [b"\0asm\x63\x00\x00\x00".as_slice(), b"\0asm\x0d\x00\x01\x00\xff\xff"] {
        std::fs::write(folder.path().join("odd.wasm"), bytes).unwrap();
        let output = run(folder.path(), &["check", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problem = answer["problems"][0].as_str().unwrap();
        assert!(problem.starts_with("plugins.toml:2: "), "{problem}");
        assert!(
            problem.contains("not a WebAssembly component") && problem.contains("write the path"),
            "{problem}"
        );
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}

#[test]
fn f_6_check_lists_warnings_and_does_not_say_that_all_is_well() {
    let folder = folder("[server]\npublic_url = \"https://bridge.example.com\"\n");
    let text = run(folder.path(), &["check"]);
    let told = said(&text.stdout);
    assert_eq!(text.status.code(), Some(0), "{told}");
    for words in [
        "warning: plugins.toml:2: `server.public_url`",
        "warning: plugins.toml: `inbox.intercom`",
        "Look at the warnings.",
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!told.contains("All is well"), "{told}");
    let json = run(folder.path(), &["check", "--json"]);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&answer["ok"], answer["warnings"].as_array().unwrap().len()),
        (&Value::Bool(true), 2)
    );

    std::fs::write(
        folder.path().join("plugins.toml"),
        "[server]\npublic_url = \"https://bridge.shop.io\"\n[inbox.intercom]\nclient_secret = \"s\"\n",
    )
    .unwrap();
    let fine = run(folder.path(), &["check"]);
    assert!(said(&fine.stdout).contains("All is well."), "{}", said(&fine.stdout));
}

#[test]
fn f_6_an_address_that_is_taken_or_of_another_machine_is_told_apart() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    // Of the block that is kept for documents: no machine has it.
    for (listen, words) in [
        (taken.to_string(), format!("Port {} is in use", taken.port())),
        (
            "192.0.2.1:8080".to_owned(),
            "192.0.2.1 is no address of this machine".to_owned(),
        ),
    ] {
        let folder = folder(&format!("[server]\nlisten = \"{listen}\"\n"));
        let output = run(folder.path(), &["serve"]);
        let told = said(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("`server.listen`: ") && told.contains(&words), "{told}");
    }
}

#[test]
fn doctor_says_what_its_exit_code_says_and_speaks_of_the_clock() {
    // Nobody listens on the discard port.
    let folder = folder("[server]\npublic_url = \"http://127.0.0.1:9\"\n");
    let output = run(folder.path(), &["doctor", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &answer["ok"]), (Some(1), &Value::Bool(false)));
    let found = |what: &str| {
        let findings = answer["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).unwrap()["found"].to_string()
    };
    assert!(found("public url").contains("cannot be reached from here"), "{answer}");
    assert!(found("clock").contains("was not compared"), "{answer}");
    let text = said(&run(folder.path(), &["doctor"]).stdout);
    assert!(text.contains("to look at.") && !text.contains("All is well"), "{text}");
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

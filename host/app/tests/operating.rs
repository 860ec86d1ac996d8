//! What an operator does with the running binary: stopping it, looking at dead letters, backup and restore.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "the-key-of-the-operator";
/// Longer than any honest step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("plugins.toml"),
        "[server]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mantle"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("MANTLE_ADMIN_TOKEN", KEY)
        .env_remove("MANTLE_CONFIG")
        .env_remove("MANTLE_URL")
        .env_remove("MANTLE_LOG");
    command
}

fn run(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output: Output = command(folder, arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    told
}

/// A host in a process of its own; ends with the test.
struct Serving {
    child: Child,
    address: String,
    /// What it says, line by line.
    said: mpsc::Receiver<String>,
}

impl Serving {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder, &["serve"])
            .env("MANTLE_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut serving = Self {
            child,
            address: String::new(),
            said,
        };
        let line = serving.hears("listens at ");
        let (_, rest) = line.split_once("listens at ").unwrap();
        serving.address = rest.split(',').next().unwrap().to_owned();
        serving
    }

    /// Waits until it says this.
    fn hears(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .said
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("it never said `{words}`"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn ended(mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The pulse has been written once.
    fn ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.get("/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "it never gets ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request whose body is still to come: work under way, as the host sees it.
fn half_a_hook(host: &Serving) -> TcpStream {
    let mut stream = host.connect();
    let head = "POST /hooks/telegram/chn_x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // The host has begun to read the body: it says so.
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert!(told.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&told));
    stream
}

#[test]
fn p_8_a_host_that_is_told_to_stop_takes_nothing_new_and_ends_what_was_begun() {
    let folder = folder();
    let host = Serving::start(folder.path());
    host.ready();
    assert!(host.get("/livez").starts_with("HTTP/1.1 200"));
    let mut hook = half_a_hook(&host);
    // Connected before the word, asks after it: a load balancer's probe.
    let mut probe = host.connect();
    probe.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    // Whoever connects later stands behind the probe, so when this is answered the probe has been taken.
    assert!(host.get("/livez").starts_with("HTTP/1.1 200"));
    host.signal("-TERM");
    host.hears("Stopping");
    probe.write_all(b"host: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains("\"draining\":true") && answer.contains("The host is stopping."),
        "{answer}"
    );
    // Nobody new is let in.
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(&host.address).is_ok() {
        assert!(Instant::now() < until, "it still takes connections");
        std::thread::sleep(Duration::from_millis(10));
    }
    hook.write_all(b"hello").unwrap();
    let mut answer = String::new();
    hook.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "what was begun is answered: {answer}"
    );
    host.hears("Stopped");
    assert_eq!(host.ended(), Some(0));
}

#[test]
fn f_5_a_second_signal_ends_it_at_once_and_the_next_start_finds_everything_in_order() {
    let folder = folder();
    let host = Serving::start(folder.path());
    host.ready();
    // A body that never comes would be waited for.
    let _hook = half_a_hook(&host);
    host.signal("-TERM");
    host.hears("Stopping");
    let begun = Instant::now();
    host.signal("-TERM");
    assert_eq!(host.ended(), Some(1), "it was not an orderly end");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let next = Serving::start(folder.path());
    next.ready();
    next.signal("-TERM");
    assert_eq!(next.ended(), Some(0));
}

#[test]
fn op_4_a_backup_of_the_running_host_is_restored_elsewhere() {
    let folder = folder();
    let host = Serving::start(folder.path());
    host.ready();
    run(folder.path(), &["backup", "plain.mantle"], 0);
    let told = run(folder.path(), &["backup", "plain.mantle"], 1);
    assert!(told.contains("exists already"), "{told}");
    std::fs::write(folder.path().join("backup.key"), format!("{}\n", "5a".repeat(32))).unwrap();
    let sealed = ["backup", "sealed.mantle", "--key-file", "backup.key", "--json"];
    let answer: Value = serde_json::from_str(&run(folder.path(), &sealed, 0)).unwrap();
    assert_eq!(answer["sealed"], true, "{answer}");
    let told = run(folder.path(), &["restore", "plain.mantle"], 1);
    assert!(told.contains("Restore into an empty data folder"), "{told}");
    host.signal("-TERM");
    assert_eq!(host.ended(), Some(0));

    let elsewhere = self::folder();
    for name in ["plain.mantle", "sealed.mantle", "backup.key"] {
        std::fs::copy(folder.path().join(name), elsewhere.path().join(name)).unwrap();
    }
    let told = run(elsewhere.path(), &["restore", "sealed.mantle"], 1);
    assert!(told.contains("--key-file"), "{told}");
    assert!(!elsewhere.path().join("data/mantle.db").exists());
    // Without the key file of the host the database comes back, and the operator is told what is missing.
    let restore = ["restore", "sealed.mantle", "--key-file", "backup.key"];
    let told = run(elsewhere.path(), &restore, 1);
    assert!(told.contains("THE KEY FILE IS MISSING"), "{told}");
    let told = run(elsewhere.path(), &["serve"], 1);
    assert!(
        told.contains("data/secret.key is missing") && told.contains("Put it back"),
        "{told}"
    );
    assert!(!elsewhere.path().join("data/secret.key").exists(), "none is made");
    let key = std::fs::read(folder.path().join("data/secret.key")).unwrap();
    std::fs::write(elsewhere.path().join("data/secret.key"), key).unwrap();
    let again = Serving::start(elsewhere.path());
    again.ready();
    again.signal("-TERM");
    assert_eq!(again.ended(), Some(0));
    // A database that other tools put back is marked with a word.
    run(elsewhere.path(), &["restore", "--reconcile"], 2);
    run(elsewhere.path(), &["restore"], 2);
    let reconcile = ["restore", "--reconcile", "--taken-at", "2026-11-20T08:00:00Z"];
    assert!(run(elsewhere.path(), &reconcile, 0).contains("looks before it writes again"));
}

/// An API with three dead letters on two pages and a parked hook; tells what was asked of it.
fn api() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let asked: String = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
            let (status, answer) = answered(&asked);
            let body = answer.to_string();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
            if tell.send(asked).is_err() {
                return;
            }
        }
    });
    (address, told)
}

fn answered(asked: &str) -> (u16, Value) {
    let message = |id: &str, minute: u32, reason: &str| {
        let at = format!("2026-11-20T08:{minute:02}:00.000Z");
        json!({"id": id, "state": "dead", "accepted_at": at, "reason": reason})
    };
    if asked.ends_with("/msg_b_1/replay") {
        return (
            409,
            json!({"error": {"code": "not_replayable", "message": "It is under way.", "reference": "r"}}),
        );
    }
    if asked.starts_with("POST") {
        return (202, json!({"id": "x"}));
    }
    let page = if asked.contains("state=dead") && asked.contains("after=") {
        json!({"messages": [message("msg_a_1", 1, "Refused (422)")], "next": null})
    } else if asked.contains("state=dead") {
        let newer = [message("msg_a_2", 9, "refused (422)"), message("msg_b_1", 5, "away")];
        json!({"messages": newer, "next": "msg_b_1"})
    } else if asked.contains("state=parked") {
        json!({"messages": [message("rcp_1", 3, "refused by nobody")], "next": null})
    } else {
        json!({"messages": [], "next": null})
    };
    (200, page)
}

#[test]
fn p_5_replay_all_goes_through_every_page_the_oldest_first_and_tells_what_was_refused() {
    let folder = folder();
    let posts = |told: &mpsc::Receiver<String>| -> Vec<String> {
        let posts = told
            .try_iter()
            .filter_map(|asked| asked.strip_prefix("POST /api/v1/messages/").map(str::to_owned));
        posts.map(|path| path.trim_end_matches("/replay").to_owned()).collect()
    };
    let (url, told) = api();
    let output = run(folder.path(), &["dead", "replay", "--all", "--url", &url, "--json"], 1);
    let answer: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answer["replayed"].as_array().unwrap().len(), 3, "{answer}");
    assert_eq!(answer["refused"][0]["id"], "msg_b_1", "{answer}");
    assert_eq!(posts(&told), ["msg_a_1", "rcp_1", "msg_b_1", "msg_a_2"]);

    let narrowed = [
        "dead",
        "replay",
        "--all",
        "--reason",
        "REFUSED (",
        "--since",
        "2h",
        "--channel",
        "chn_1",
        "--url",
        &url,
    ];
    assert!(run(folder.path(), &narrowed, 0).contains("2 in line again."));
    assert_eq!(posts(&told), ["msg_a_1", "msg_a_2"]);

    let list = run(folder.path(), &["dead", "list", "--url", &url, "--json"], 0);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (list["messages"].as_array().unwrap().len(), &list["complete"]),
        (4, &json!(true))
    );
    run(folder.path(), &["dead", "replay", "--url", &url], 2);
    run(
        folder.path(),
        &["dead", "list", "--since", "tomorrow", "--url", &url],
        1,
    );
}

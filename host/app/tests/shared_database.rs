//! The binary on a PostgreSQL database, as its operator meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mantle_store::testing::cluster::{self, TestDatabase};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any honest step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn folder(url: &str, more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[server]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"{url}\"\n{more}");
    std::fs::write(folder.path().join("plugins.toml"), config).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mantle"));
    command.current_dir(folder).args(arguments);
    for name in ["MANTLE_ADMIN_TOKEN", "MANTLE_URL", "MANTLE_CONFIG", "MANTLE_LOG"] {
        command.env_remove(name);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let output: Output = command(folder, arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&told).unwrap_or_else(|_| panic!("no JSON: {told}"));
    (output.status.code(), answer)
}

/// What the doctor finds under this name: whether it is fine, and its words.
fn found(folder: &Path, what: &str) -> (bool, String) {
    let (_, answer) = run(folder, &["doctor", "--json"]);
    let all = answer["findings"].as_array().unwrap();
    let finding = all.iter().find(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing about {what}: {answer}"));
    (
        finding["ok"].as_bool().unwrap(),
        finding["found"].as_str().unwrap().to_owned(),
    )
}

async fn database() -> Option<TestDatabase> {
    Some(cluster::shared().unwrap()?.database().await.unwrap())
}

/// A host that ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn doctor_tells_how_the_server_and_its_hosts_stand() {
    let Some(database) = database().await else { return };
    let folder = folder(&database.url, "");
    let (_, answer) = run(folder.path(), &["doctor", "--json"]);
    let fine = |what: &str| {
        let all = answer["findings"].as_array().unwrap();
        let finding = all.iter().find(|finding| finding["what"] == what);
        finding.is_some_and(|finding| finding["ok"] == true)
    };
    for what in [
        "database",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "server clock",
        "migrations",
        "hosts",
        "connections",
        "oldest transaction",
        "notifications",
    ] {
        assert!(fine(what), "{what}: {answer}");
    }
    assert!(answer.to_string().contains("commits a second"), "{answer}");
    assert!(found(folder.path(), "migrations").1.contains("made on the first start"));

    let child = command(folder.path(), &["serve"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _serving = Serving(child);
    let until = Instant::now() + PATIENCE;
    while !found(folder.path(), "hosts")
        .1
        .starts_with("1 at work: no. 0 (lease for")
    {
        assert!(Instant::now() < until, "{:?}", found(folder.path(), "hosts"));
        std::thread::sleep(LOOK_EVERY);
    }
    let (fine, told) = found(folder.path(), "migrations");
    assert!(fine && told.contains("nothing to come"), "{told}");
}

#[tokio::test]
async fn doctor_says_what_to_do_about_a_server_that_answers_too_early() {
    let Some(database) = database().await else { return };
    let spoil = "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); \
                 end $$";
    database.run(spoil).await.unwrap();
    let folder = folder(&database.url, "");
    let (fine, told) = found(folder.path(), "synchronous_commit");
    assert!(!fine && told.contains("Set `synchronous_commit = on`"), "{told}");
}

#[tokio::test]
async fn doctor_tells_a_database_of_a_newer_release_and_no_server_at_all() {
    let Some(database) = database().await else { return };
    let newer = "create table migration as select 1000::bigint as version, 999::bigint as needs";
    database.run(newer).await.unwrap();
    let there = folder(&database.url, "");
    let (fine, told) = found(there.path(), "migrations");
    assert!(!fine && told.contains("Install the release that wrote it"), "{told}");
    let nowhere = folder("postgres://mantle@127.0.0.1:9/mantle", "");
    let (fine, told) = found(nowhere.path(), "database");
    assert!(
        !fine && told.contains("mend host and port in `[database] url`"),
        "{told}"
    );
}

#[tokio::test]
async fn check_names_a_wrong_address_of_the_database_with_the_fix() {
    let Some(database) = database().await else { return };
    let check = |url: &str, words: &str| {
        let folder = folder(url, "");
        let (code, answer) = run(folder.path(), &["check", "--json"]);
        let told = answer["problems"].to_string();
        assert_eq!((code, told.contains(words)), (Some(1), true), "{url}: {answer}");
        assert!(told.contains("`database.url`"), "{told}");
    };
    check("postgres://mantle@127.0.0.1:9/mantle", "cannot be reached");
    let (server, _) = database.url.split_once('?').unwrap();
    let absent = database.url.replace(server, "postgres://mantle@localhost/absent");
    check(&absent, "Make it with `createdb`");
    let stranger = database.url.replace("mantle@", "stranger@");
    check(&stranger, "Mend the user in `[database] url`");
    check("postgres://mantle@localhost", "names no database");
    check("mysql://mantle@localhost/mantle", "must start with");
    let folder = folder(&database.url, "");
    let (code, answer) = run(folder.path(), &["check", "--json"]);
    assert_eq!(
        (code, &answer["problems"]),
        (Some(0), &serde_json::json!([])),
        "{answer}"
    );
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_said_in_the_configuration() {
    let Some(database) = database().await else { return };
    let pooled = folder(&database.url, "transaction_pooler = true\n");
    let (fine, told) = found(pooled.path(), "notifications");
    assert!(fine && told.contains("not used"), "{told}");
    let file = folder("sqlite:data/mantle.db", "transaction_pooler = true\n");
    let (code, answer) = run(file.path(), &["check", "--json"]);
    assert_eq!(code, Some(1));
    assert!(
        answer["problems"]
            .to_string()
            .contains("leave out `transaction_pooler`"),
        "{answer}"
    );
}

#[tokio::test]
async fn op_4_a_backup_of_a_server_names_the_servers_own_tools() {
    let Some(database) = database().await else { return };
    let folder = folder(&database.url, "");
    for arguments in [["backup", "there"], ["restore", "there"]] {
        let output = command(folder.path(), &arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.contains("pg_dump") && told.contains("mantle restore --reconcile"),
            "{told}"
        );
    }
}

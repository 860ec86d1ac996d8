//! D15: what compiles is stopped, killed, refused or absent: the plugin is refused with a reason, and nothing is left.
//! With the real program the same is tested in `host/app`.

use std::time::{Duration, Instant};

use super::stage::{Stage, entry};
use crate::Compiler;

/// Longer than any honest step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a stand-in that never ends by itself.
const BRIEF: Duration = Duration::from_secs(1);

/// A program of the shell in the compiler's place.
fn shell(script: &str) -> Compiler {
    Compiler::apart("/bin/sh".into(), vec!["-c".into(), script.into()])
}

async fn refused(compiler: Compiler) -> String {
    let stage = Stage::with_compiler(compiler);
    let problem = stage.sandbox.load(entry("echo")).await.unwrap_err().to_string();
    assert!(problem.starts_with("plugin `echo`, "), "{problem}");
    assert!(problem.contains("echo.wasm: "), "{problem}");
    problem
}

#[tokio::test]
async fn d15_a_compilation_without_end_is_given_up_with_a_reason() {
    let problem = refused(Compiler::inside().limited(Duration::ZERO, 0)).await;
    assert!(problem.contains("it took longer than 0 s to compile;"), "{problem}");
}

#[tokio::test]
async fn d15_a_process_that_does_not_end_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ >{}; exec sleep 1000", file.display());
    let problem = refused(shell(&script).limited(BRIEF, 64)).await;
    assert!(problem.contains("it took longer than 1 s to compile;"), "{problem}");
    let id = std::fs::read_to_string(file).unwrap();
    assert!(!std::path::Path::new("/proc").join(id.trim()).exists(), "it goes on");
}

/// A reload that is given up drops what it waits for.
#[tokio::test]
async fn d15_a_process_that_nobody_waits_for_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
    let stage = Stage::with_compiler(shell(&script));
    let until = Instant::now() + PATIENCE;
    let started = async {
        while !file.exists() {
            assert!(Instant::now() < until, "it is not started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        loaded = stage.sandbox.load(entry("echo")) => panic!("{loaded:?}"),
        () = started => {}
    }
    let id = std::fs::read_to_string(file).unwrap();
    let status = std::path::Path::new("/proc").join(id.trim()).join("status");
    while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(Instant::now() < until, "it goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn d15_however_the_process_ends_the_reason_is_told() {
    let check = async |script: &str, expected: &[&str]| {
        let problem = refused(shell(script)).await;
        for part in expected {
            assert!(problem.contains(part), "{problem}\n does not hold\n{part}");
        }
        assert!(problem.len() < 1_000 && !problem.contains('\n'), "{problem}");
    };
    check("echo bad section >&2; exit 3", &["it cannot be compiled: bad section"]).await;
    check(
        "echo panicked at compile.rs >&2; exit 101",
        &["the compiler crashed on it (exit status: 101): panicked at compile.rs"],
    )
    .await;
    check("kill -SEGV $$", &["the compiler crashed on it (signal: 11"]).await;
    check(
        "kill -KILL $$",
        &["was killed", "the machine may have run out of memory"],
    )
    .await;
    check("kill -XCPU $$", &["it took longer than 180 s to compile"]).await;
    check(
        "echo memory allocation of 8 bytes failed >&2; kill -ABRT $$",
        &["the compiler ran out of its 1024 MiB"],
    )
    .await;
    // More words than a pipe holds, and more than are kept.
    check(
        "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3",
        &["it cannot be compiled: xxx"],
    )
    .await;
    check("echo rubbish", &["what the compiler made of it does not fit: "]).await;
    check("exit 0", &["what the compiler made of it does not fit: "]).await;
    check(
        "exec head -c 200000000 /dev/zero",
        &["it becomes more than 160 MiB when it is compiled"],
    )
    .await;
    let absent = refused(Compiler::apart("/nowhere/mantle".into(), Vec::new())).await;
    assert!(absent.contains("the compiler cannot be started ("), "{absent}");
}

#[tokio::test]
async fn a_process_gets_nothing_of_the_environment() {
    let problem = refused(shell("tr '\\0' ' ' </proc/$$/environ >&2; pwd >&2; exit 3")).await;
    assert!(problem.ends_with("it cannot be compiled: /"), "{problem}");
}

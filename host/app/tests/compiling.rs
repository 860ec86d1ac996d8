//! D15: connectors are compiled by this program in a limited process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mantle_app::cli::compiler::COMMAND;
use mantle_components::bombs::{Fuse, bomb};
use mantle_components::workspace_root;
use mantle_model::clock::SystemClock;
use mantle_model::secret::Secrets;
use mantle_sandbox::{Compiler, Grants, NoShelf, PluginEntry, Sandbox, SandboxConfig};
use tempfile::TempDir;

/// Longer than any honest step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn program() -> Compiler {
    Compiler::apart(env!("CARGO_BIN_EXE_mantle").into(), vec![COMMAND.into()])
}

/// One that would be noticed if it was needed.
fn no_program() -> Compiler {
    Compiler::apart("/nowhere/mantle".into(), Vec::new())
}

fn sandbox(folder: &Path, compiler: Compiler) -> Sandbox {
    let config = SandboxConfig {
        cache_dir: folder.join("compiled"),
        compiler,
        egress: Default::default(),
    };
    Sandbox::new(config, Arc::new(NoShelf), Arc::new(SystemClock)).unwrap()
}

fn entry(name: &str, component: PathBuf) -> PluginEntry {
    PluginEntry {
        name: name.to_owned(),
        component,
        sha256: None,
        memory_mib: None,
        grants: Some(Grants::Asked),
        secrets: Secrets::default(),
        source: String::new(),
        before: None,
        trial_percent: 100,
    }
}

fn echo() -> PluginEntry {
    entry("echo", mantle_components::build_guests().unwrap().join("echo.wasm"))
}

fn bomb_in(folder: &Path, fuse: Fuse) -> PluginEntry {
    let manifest = std::fs::read_to_string(workspace_root().join("tests/guests/connector.toml")).unwrap();
    let file = folder.join("bomb.wasm");
    std::fs::write(&file, bomb(&manifest, fuse)).unwrap();
    entry("bomb", file)
}

async fn refused(sandbox: &Sandbox, entry: PluginEntry) -> String {
    let (name, file) = (entry.name.clone(), entry.component.display().to_string());
    let problem = sandbox.load(entry).await.unwrap_err().to_string();
    let place = format!("plugin `{name}`, {file}: ");
    problem
        .strip_prefix(&place)
        .unwrap_or_else(|| panic!("{problem}"))
        .to_owned()
}

#[tokio::test]
async fn d15_the_cache_is_filled_by_the_process_and_taken_without_it() {
    let folder = folder();
    let compiled = sandbox(folder.path(), program()).load(echo()).await.unwrap();
    let kept = sandbox(folder.path(), no_program()).load(echo()).await.unwrap();
    assert_eq!(kept.digest(), compiled.digest());
    let files = std::fs::read_dir(folder.path().join("compiled")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let file = files
        .find(|file| file.extension().is_some_and(|end| end == "cwasm"))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let told = refused(&sandbox(folder.path(), no_program()), echo()).await;
    assert!(
        told.contains("the compiler cannot be started"),
        "a changed file is not loaded: {told}"
    );
    sandbox(folder.path(), program()).load(echo()).await.unwrap();
    sandbox(folder.path(), no_program()).load(echo()).await.unwrap();
}

#[tokio::test]
async fn d15_a_component_that_takes_too_long_is_given_up() {
    let folder = folder();
    let sandbox = sandbox(folder.path(), program().limited(Duration::from_secs(1), 1_024));
    let begun = Instant::now();
    let told = refused(&sandbox, bomb_in(folder.path(), Fuse::Time)).await;
    assert!(told.starts_with("it took longer than 1 s to compile; "), "{told}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn d15_a_component_that_eats_memory_ends_its_compiler_alone() {
    let folder = folder();
    let sandbox = sandbox(folder.path(), program().limited(PATIENCE, 512));
    let told = refused(&sandbox, bomb_in(folder.path(), Fuse::Memory)).await;
    assert!(told.starts_with("the compiler ran out of its 512 MiB; "), "{told}");
    // What is honest has room enough.
    sandbox.load(echo()).await.unwrap();
}

#[tokio::test]
async fn d15_what_the_compiler_refuses_is_told_in_its_words() {
    let folder = folder();
    let mut component = bomb_in(folder.path(), Fuse::None);
    let mut bytes = std::fs::read(&component.component).unwrap();
    // The end of the last function.
    bytes.pop();
    bytes.push(0);
    component.component = folder.path().join("broken.wasm");
    std::fs::write(&component.component, bytes).unwrap();
    let told = refused(&sandbox(folder.path(), program()), component).await;
    assert!(told.starts_with("it cannot be compiled: "), "{told}");
}

/// Looked at from outside while it works.
#[tokio::test]
async fn d15_the_process_has_limits_and_no_secrets() {
    /// No other test's.
    const MEMORY_MIB: u64 = 701;
    let memory = (MEMORY_MIB << 20).to_string();
    let folder = folder();
    let sandbox = sandbox(folder.path(), program().limited(PATIENCE, MEMORY_MIB));
    let entry = bomb_in(folder.path(), Fuse::Time);
    let until = Instant::now() + PATIENCE;
    let limits = async {
        loop {
            assert!(Instant::now() < until, "no limits were seen");
            for child in children() {
                let place = Path::new("/proc").join(child);
                let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
                let limits = read("limits");
                // It sets them itself, some moments after it was started.
                if limits.contains(&memory) && limits.contains("Max processes             0 ") {
                    return (limits, read("environ"));
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (limits, environment) = tokio::select! {
        loaded = sandbox.load(entry) => panic!("it ended before it was looked at: {}", loaded.is_ok()),
        seen = limits => seen,
    };
    for (name, most) in [
        ("Max cpu time", "60"),
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max open files", "0"),
        ("Max address space", &*memory),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [most, most], "{line}");
    }
    assert_eq!(environment, "");
}

/// Processes that threads of this one started and that have not ended, of this test or another.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let threads = std::fs::read_dir(Path::new("/proc").join(own).join("task")).unwrap();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.map(str::to_owned).collect()
}

#[test]
fn d15_the_command_is_for_nobody_else() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mantle"))
            .args(arguments)
            .output()
            .unwrap()
    };
    let help = String::from_utf8_lossy(&run(&["--help"]).stdout).into_owned();
    assert!(help.contains("serve") && !help.contains(COMMAND), "{help}");
    // Without a host that tells it what to compile it ends.
    let alone = run(&[COMMAND]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(alone.stdout.is_empty());
}

//! Builds the connectors (and the hostile guests of the tests) to WebAssembly components.
//!
//! A component is compiled by a call of cargo of its own, into a target folder of its own, so that it
//! never waits for or disturbs the build that it is called from. Cargo decides what is out of date.
//! Knows nothing of the host.

pub mod bombs;
pub mod variants;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// The target that components are compiled for; `rust-toolchain.toml` has rustup install it.
const TARGET: &str = "wasm32-wasip2";

/// The folder of the workspace: the one that cargo or the caller stands in, or else the one this was compiled in. A target
/// folder that several clones share would otherwise have one clone build the connectors of another.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let cargo = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let mut stands = cargo.into_iter().chain(env::current_dir());
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    stands
        .find_map(|place| place.ancestors().find(|folder| is_root(folder)).map(Path::to_path_buf))
        .unwrap_or_else(|| compiled.ancestors().nth(2).unwrap_or(compiled).to_path_buf())
}

fn is_root(folder: &Path) -> bool {
    folder.join("connectors").is_dir() && folder.join("wit/connector.wit").is_file()
}

/// Names of the connectors, sorted: folders of `connectors/` with a manifest. What their crates are called is their own
/// affair.
///
/// # Errors
/// The folder cannot be read.
pub fn connector_names() -> Result<Vec<String>> {
    let folder = workspace_root().join("connectors");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.join("connector.toml").is_file()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds every connector and puts it at `connectors/<name>.wasm`, where `plugins.toml` looks for it.
/// Answers with the folder.
///
/// # Errors
/// Cargo fails; its output has been shown.
pub fn build() -> Result<PathBuf> {
    let root = workspace_root();
    let folder = root.join("connectors");
    let names = connector_names()?;
    let crates = names
        .iter()
        .map(|name| Crate::read(&folder.join(name).join("Cargo.toml")))
        .collect::<Result<Vec<_>>>()?;
    // Without `--locked`: a connector that was just added is not in the lock file yet. What lands is built by an outer
    // cargo that has it.
    let arguments: Vec<OsString> = crates
        .iter()
        .flat_map(|one| ["--package".into(), one.package.clone().into()])
        .collect();
    let built = cargo_build(&root, &target_folder(&root).join("components"), &arguments)?;
    for (name, one) in names.iter().zip(&crates) {
        put(&built.join(&one.file), &folder.join(format!("{name}.wasm")))?;
    }
    Ok(folder)
}

/// What cargo calls a connector and its component.
#[derive(Debug, PartialEq, Eq)]
struct Crate {
    package: String,
    /// In the folder of the profile.
    file: String,
}

impl Crate {
    fn read(manifest: &Path) -> Result<Self> {
        let text = fs::read_to_string(manifest).with_context(|| {
            format!(
                "reading {}: a connector is a crate beside its connector.toml",
                manifest.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("in {}", manifest.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let manifest: toml::Table = text.parse()?;
        let name = |table: &str| manifest.get(table)?.get("name")?.as_str().map(str::to_owned);
        let package = name("package").context("[package] has no `name`")?;
        let library = name("lib").unwrap_or_else(|| package.replace('-', "_"));
        Ok(Self {
            file: format!("{library}.wasm"),
            package,
        })
    }
}

/// Builds the hostile guests in `tests/guests` and answers with the folder that holds `<guest>.wasm`.
///
/// # Errors
/// Cargo fails; its output has been shown.
pub fn build_guests() -> Result<PathBuf> {
    let root = workspace_root();
    cargo_build(&root.join("tests/guests"), &target_folder(&root).join("guests"), &[])
}

/// Builds the component that the benchmark gives to `wasmtime serve`, and answers with its file.
///
/// # Errors
/// Cargo fails; its output has been shown.
pub fn build_compared() -> Result<PathBuf> {
    let root = workspace_root();
    let built = cargo_build(
        &root.join("tests/bench/serve"),
        &target_folder(&root).join("compared"),
        &[],
    )?;
    Ok(built.join("mantle_bench_serve.wasm"))
}

fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn cargo_build(workspace: &Path, target_folder: &Path, arguments: &[OsString]) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target_folder)
        .args(arguments);
    without_outer_cargo(&mut command);
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!(
            "`cargo build --target {TARGET}` failed in {}: see its output above",
            workspace.display()
        );
    }
    Ok(target_folder.join(TARGET).join("guest"))
}

/// Takes away what an outer cargo set for the crate that it builds or runs: it must not reach an inner cargo, where
/// build scripts that look at it would run again, and all that depends on them be compiled again.
pub fn without_outer_cargo(command: &mut Command) {
    let outer = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || [
                "CARGO_CRATE_NAME",
                "CARGO_BIN_NAME",
                "CARGO_PRIMARY_PACKAGE",
                "RUSTFLAGS",
                "RUSTC_WRAPPER",
            ]
            .contains(&name)
            || [
                "CARGO_ENCODED_RUSTFLAGS",
                "CARGO_BUILD_TARGET",
                "LD_LIBRARY_PATH",
                "OUT_DIR",
            ]
            .contains(&name)
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(outer) {
            command.env_remove(name);
        }
    }
}

/// Puts the file there in one step, and only when it differs: a host that watches it sees no half file and no needless change.
fn put(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let temporary = to.with_extension(format!("wasm.{}", std::process::id()));
    fs::write(&temporary, &new).with_context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, to).with_context(|| format!("writing {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_may_be_called_anything() -> Result<()> {
        let check = |text: &str, package: &str, file: &str| -> Result<()> {
            let expected = Crate {
                package: package.to_owned(),
                file: file.to_owned(),
            };
            assert_eq!(Crate::parse(text)?, expected, "{text}");
            Ok(())
        };
        check("[package]\nname = \"my-channel\"\n", "my-channel", "my_channel.wasm")?;
        check(
            "[package]\nname = \"my-channel\"\n[lib]\nname = \"pigeon\"\n",
            "my-channel",
            "pigeon.wasm",
        )?;
        assert!(Crate::parse("[lib]\nname = \"pigeon\"\n").is_err());
        Ok(())
    }

    #[test]
    fn every_folder_of_a_connector_is_a_crate() -> Result<()> {
        let names = connector_names()?;
        assert!(!names.is_empty());
        for name in names {
            Crate::read(&workspace_root().join("connectors").join(name).join("Cargo.toml"))?;
        }
        Ok(())
    }
}

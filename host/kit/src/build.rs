//! From a connector's folder to its component, by the public tools of its language.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The custom section that a manifest travels in.
const SECTION: &[u8] = b"mantle:manifest";
/// Where the tools of other languages put what they make, and Rust's own name for it.
const COMPONENT: &str = "component.wasm";
const TARGET: &str = "wasm32-wasip2";
const MANIFEST: &str = "connector.toml";

/// Builds the connector of this folder and puts it there, as `<name>.wasm`.
///
/// # Errors
/// There is no connector, a tool is missing (the words name how it is installed) or fails; it has told why.
pub fn build(folder: &Path) -> Result<PathBuf, String> {
    // The tools stand in it.
    let folder = &std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let manifest = folder.join(MANIFEST);
    let text = fs::read_to_string(&manifest).map_err(|error| {
        format!(
            "{}: {error}; name the folder of a connector, or make one: mantle plugin new <name>",
            manifest.display()
        )
    })?;
    let name = name_of(&text).ok_or_else(|| format!("{} has no [connector] name", manifest.display()))?;
    let made = if folder.join("Cargo.toml").exists() {
        of_rust(folder)?
    } else if folder.join("package.json").exists() {
        with_manifest(of_javascript(folder)?, &text)?
    } else if folder.join("app.py").exists() {
        with_manifest(of_python(folder)?, &text)?
    } else {
        return Err(format!(
            "{} holds no Cargo.toml, package.json or app.py; build the component with the tools of its language, and put \
             {MANIFEST} into its section `mantle:manifest`",
            folder.display()
        ));
    };
    let component = folder.join(format!("{name}.wasm"));
    fs::write(&component, made).map_err(|error| format!("{} cannot be written: {error}", component.display()))?;
    Ok(component)
}

/// `[connector] name`.
fn name_of(manifest: &str) -> Option<String> {
    let manifest: toml::Table = manifest.parse().ok()?;
    Some(manifest.get("connector")?.get("name")?.as_str()?.to_owned())
}

fn of_rust(folder: &Path) -> Result<Vec<u8>, String> {
    // Not where somebody's CARGO_TARGET_DIR says: the component is looked for here.
    let target = folder.join("target");
    run(
        Command::new("cargo")
            .args(["build", "--release", "--target", TARGET, "--target-dir"])
            .arg(&target)
            .current_dir(folder),
        "install Rust from https://rustup.rs, then: rustup target add wasm32-wasip2",
    )?;
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let package = text
        .parse::<toml::Table>()
        .ok()
        .and_then(|table| Some(table.get("package")?.get("name")?.as_str()?.replace('-', "_")));
    let package = package.ok_or_else(|| format!("{} has no [package] name", manifest.display()))?;
    read(&target.join(TARGET).join("release").join(format!("{package}.wasm")))
}

fn of_javascript(folder: &Path) -> Result<Vec<u8>, String> {
    if !folder.join("node_modules").is_dir() {
        run(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund"])
                .current_dir(folder),
            "install Node.js 20 or newer from https://nodejs.org",
        )?;
    }
    run(
        Command::new("node").arg("build.mjs").current_dir(folder),
        "install Node.js 20 or newer from https://nodejs.org",
    )?;
    read(&folder.join(COMPONENT))
}

fn of_python(folder: &Path) -> Result<Vec<u8>, String> {
    let own = folder.join(".venv/bin/componentize-py");
    let tool = if own.exists() {
        own
    } else {
        PathBuf::from("componentize-py")
    };
    run(
        Command::new(tool)
            .args(["-d", "wit", "-w", "whole", "componentize", "app", "-o", COMPONENT])
            .current_dir(folder),
        "in the connector's folder: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    )?;
    read(&folder.join(COMPONENT))
}

fn run(command: &mut Command, fix: &str) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} is not installed; {fix}"),
        _ => format!("{name} cannot be started: {error}"),
    })?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{name} failed ({status}); what it said stands above"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("the build has left no {}: {error}", path.display()))
}

/// The component with the manifest in a custom section at its end.
fn with_manifest(mut component: Vec<u8>, manifest: &str) -> Result<Vec<u8>, String> {
    let unsigned = |number: usize| u32::try_from(number).map_err(|_| "the manifest is too long".to_owned());
    let mut section = Vec::new();
    length(unsigned(SECTION.len())?, &mut section);
    section.extend_from_slice(SECTION);
    section.extend_from_slice(manifest.as_bytes());
    // 0: a custom section.
    component.push(0);
    length(unsigned(section.len())?, &mut component);
    component.extend_from_slice(&section);
    Ok(component)
}

/// An unsigned LEB128 number, as WebAssembly writes lengths.
fn length(mut number: u32, bytes: &mut Vec<u8>) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_groups_of_seven_bits() {
        let written = |number| {
            let mut bytes = Vec::new();
            length(number, &mut bytes);
            bytes
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [127]);
        assert_eq!(written(128), [0x80, 1]);
        assert_eq!(written(624_485), [0xe5, 0x8e, 0x26]);
    }
}

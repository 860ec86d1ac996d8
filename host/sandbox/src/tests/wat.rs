//! Connectors written by hand: for what no compiler of Rust lets through.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::stage::{Stage, entry};
use crate::{Plugin, PluginEntry};

const MANIFEST: &str = include_str!("../../../../tests/guests/connector.toml");
const INTERFACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// A core module that is a connector: `items` are what it has beside, `receive` is the body of that function, whose
/// result is the place of its answer in memory. Memory from 1,024 on is given away by `cabi_realloc`; below it is zero,
/// and zeros are an answer: no events.
pub fn module(items: &str, receive: &str) -> String {
    with_realloc(
        items,
        receive,
        "(global.get $free) (global.set $free (i32.add (global.get $free) (local.get 3)))",
    )
}

/// The same with another `cabi_realloc`.
pub fn with_realloc(items: &str, receive: &str, realloc: &str) -> String {
    format!(
        r#"(module
            {items}
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "mantle:connector/connector@1.0.0#receive")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
                {receive})
            (func (export "mantle:connector/connector@1.0.0#send") (param i32) (result i32) unreachable))"#
    )
}

/// The component of a core module in the text format.
pub fn component(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut interface = Resolve::default();
    let (package, _) = interface.push_dir(INTERFACE).unwrap();
    let world = interface.select_world(&[package], Some("minimal")).unwrap();
    embed_component_metadata(&mut module, &interface, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default();
    with_manifest(encoder.module(&module).unwrap().encode().unwrap())
}

pub fn with_manifest(mut component: Vec<u8>) -> Vec<u8> {
    push_section(
        &mut component,
        0,
        &[&*sized(b"mantle:manifest"), MANIFEST.as_bytes()].concat(),
    );
    component
}

/// A section of a component or module, behind what is there.
pub fn push_section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    bytes.extend(sized(content));
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&*length(bytes.len()), bytes].concat()
}

/// LEB128.
pub fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The component's file, in this folder.
pub fn file(folder: &Path, component: &[u8]) -> PathBuf {
    let file = folder.join("written.wasm");
    std::fs::write(&file, component).unwrap();
    file
}

/// Loads what was written by hand, or answers with why not.
pub async fn try_load(stage: &Stage, component: &[u8]) -> Result<Arc<Plugin>, String> {
    let folder = tempfile::tempdir().unwrap();
    let entry = PluginEntry {
        component: file(folder.path(), component),
        ..entry("echo")
    };
    stage.sandbox.load(entry).await.map_err(|error| error.to_string())
}

pub async fn load(stage: &Stage, module: &str) -> Arc<Plugin> {
    try_load(stage, &component(module)).await.unwrap()
}

pub fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

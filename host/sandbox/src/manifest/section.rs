//! Finds the manifest inside a component, without compiling or running any of it.

use wasmparser::{Encoding, Parser, Payload};

use crate::limits::MANIFEST_BYTES_MAX;

/// The custom section that holds `connector.toml`, at the top of the component or inside one of its modules.
const SECTION: &str = "mantle:manifest";

/// The text of the manifest.
///
/// # Errors
/// A sentence that says what is wrong with the file and what to do.
pub(super) fn find(component: &[u8]) -> Result<&str, String> {
    let mut found: Option<&[u8]> = None;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| {
            // The parser lists bytes line by line.
            let told = error.to_string();
            let told: Vec<&str> = told.split_whitespace().collect();
            format!(
                "it is not a WebAssembly component ({}); write the path of the .wasm file that your build made",
                told.join(" ")
            )
        })?;
        match payload {
            Payload::Version {
                encoding: Encoding::Module,
                range,
                ..
            } if range.start == 0 => {
                return Err("it is a core module, not a component; build it with `--target wasm32-wasip2`".to_owned());
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                if found.is_some_and(|earlier| earlier != section.data()) {
                    return Err(format!(
                        "it holds two different `{SECTION}` sections; embed one manifest"
                    ));
                }
                found = Some(section.data());
            }
            _ => {}
        }
    }
    let bytes = found.ok_or_else(|| {
        format!("it has no `{SECTION}` section; build it with mantle-sdk, which embeds connector.toml")
    })?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(format!(
            "its manifest has {} bytes, at most {MANIFEST_BYTES_MAX} are read",
            bytes.len()
        ));
    }
    std::str::from_utf8(bytes).map_err(|_| "its manifest is not UTF-8 text".to_owned())
}

//! The entries of `[plugins]`.

use std::ops::Range;

use mantle_model::secret::Secrets;
use mantle_sandbox::{Grants, PluginEntry};
use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, SecretError, Section, secret};
use super::{PluginSetting, Problem};

/// The name stands in hook addresses and on the command line.
const NAME_CHARS_MAX: usize = 64;
/// Below this no component starts, above it one plugin could take the machine.
const MEMORY_MIB: std::ops::RangeInclusive<u32> = 1..=1024;
/// How every WebAssembly file begins.
const WASM_MAGIC: [u8; 4] = *b"\0asm";
/// SHA-256 in hex.
const DIGEST_CHARS: usize = 64;

pub(super) fn all(document: &Document<'_>, section: &Section<'_, '_, '_>) -> Vec<PluginSetting> {
    let mut plugins = Vec::new();
    for (name, span, value) in section.entries() {
        if !is_name(name) {
            section.report(
                name,
                span,
                format!("A plugin's name has small letters, digits and hyphens, at most {NAME_CHARS_MAX}."),
            );
            continue;
        }
        match value.get_ref() {
            DeValue::Table(table) => {
                plugins.push(one(
                    document,
                    name,
                    span,
                    Section::new(document, section.name(name), table),
                ));
            }
            other => section.wrong_type(name, value.span(), other, &format!("a table: [plugins.{name}]")),
        }
    }
    plugins.sort_by(|left, right| left.name.cmp(&right.name));
    plugins
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn one(document: &Document<'_>, name: &str, place: Range<usize>, section: Section<'_, '_, '_>) -> PluginSetting {
    let mut refusals = Vec::new();
    let enabled = section.boolean("enabled").unwrap_or(true);
    let component = section.string("component", "connectors/telegram.wasm");
    if component.is_none() && section.value("component").is_none() {
        section.report(
            "component",
            place.clone(),
            "It is missing. Write the path of the connector's .wasm file.",
        );
    }
    let at = component.as_ref().map_or(place, |(_, span)| span.clone());
    let at = section.problem("component", at, "");
    let component = component.map(|(text, span)| {
        let path = document.path(&text);
        if text.contains("://") {
            refusals.push(section.problem(
                "component",
                span,
                format!("This build loads components from files. Download `{text}` and write its path."),
            ));
        } else {
            document.reads(path.clone());
            if !path.is_file() {
                refusals.push(section.problem(
                    "component",
                    span,
                    format!(
                        "There is no file {}. Build the connectors with `cargo connectors`, or correct the path.",
                        path.display()
                    ),
                ));
            } else if !is_wasm(&path) {
                refusals.push(section.problem(
                    "component",
                    span,
                    format!(
                        "{} is not WebAssembly. Write the path of the .wasm file that `cargo connectors` or your build made.",
                        path.display()
                    ),
                ));
            }
        }
        path
    });
    let sha256 = digest(&section);
    let memory_mib = section
        .whole_number("memory_mib", "a whole number of MiB, such as 32")
        .and_then(|(mib, span)| {
            if !MEMORY_MIB.contains(&mib) {
                let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end());
                section.report(
                    "memory_mib",
                    span,
                    format!("{mib} is out of range. Write {least} to {most}."),
                );
            }
            Some(mib).filter(|mib| MEMORY_MIB.contains(mib))
        });
    let grants = section
        .value("grants")
        .and_then(|value| grants(document, &section, value));
    let secrets = secrets(document, &section, &mut refusals);
    section.finish();
    PluginSetting {
        name: name.to_owned(),
        enabled,
        place: format!("{}:{}", at.file.display(), at.line),
        entry: match component {
            Some(component) if refusals.is_empty() => Ok(PluginEntry {
                name: name.to_owned(),
                component,
                sha256,
                memory_mib,
                grants,
                secrets,
            }),
            _ => Err(refusals),
        },
    }
}

/// By its first bytes. What cannot be read is left to who loads it, and is told there.
fn is_wasm(path: &std::path::Path) -> bool {
    use std::io::Read;
    let mut start = [0; WASM_MAGIC.len()];
    match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)) {
        Ok(()) => start == WASM_MAGIC,
        Err(error) => error.kind() != std::io::ErrorKind::UnexpectedEof,
    }
}

fn digest(section: &Section<'_, '_, '_>) -> Option<String> {
    let (text, span) = section.string("sha256", "9f86d081…")?;
    let hex = text.len() == DIGEST_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        section.report(
            "sha256",
            span,
            format!("A digest has {DIGEST_CHARS} hexadecimal characters. `mantle plugin inspect` shows it."),
        );
    }
    hex.then(|| text.to_ascii_lowercase())
}

fn grants(document: &Document<'_>, section: &Section<'_, '_, '_>, value: &Spanned<DeValue<'_>>) -> Option<Grants> {
    let wanted = "`\"asked\"` for all that the connector's manifest asks for, or `{ egress = [\"host\", …] }` for less";
    match value.get_ref() {
        DeValue::String(word) if word == "asked" => Some(Grants::Asked),
        DeValue::String(word) => {
            section.report("grants", value.span(), format!("`{word}` is no grant. Write {wanted}."));
            None
        }
        DeValue::Table(table) => {
            let inner = Section::new(document, section.name("grants"), table);
            let egress = inner.value("egress");
            inner.finish();
            let Some(egress) = egress else {
                section.report(
                    "grants",
                    value.span(),
                    format!("The list `egress` is missing. Write {wanted}."),
                );
                return None;
            };
            let hosts = match egress.get_ref() {
                DeValue::Array(hosts) => hosts
                    .iter()
                    .map(|host| match host.get_ref() {
                        DeValue::String(host) if !host.is_empty() && !host.contains('/') => {
                            Some(host.clone().into_owned())
                        }
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>(),
                _ => None,
            };
            if hosts.is_none() {
                section.report(
                    "grants.egress",
                    egress.span(),
                    "This is no list of hosts. Write names alone, such as [\"api.telegram.org\"].",
                );
            }
            hosts.map(Grants::Egress)
        }
        other => {
            section.wrong_type("grants", value.span(), other, wanted);
            None
        }
    }
}

/// A secret that is not there refuses the plugin; one that is written wrongly refuses the file.
fn secrets(document: &Document<'_>, section: &Section<'_, '_, '_>, refusals: &mut Vec<Problem>) -> Secrets {
    let mut secrets = Secrets::default();
    let Some(table) = section.section("secrets") else {
        return secrets;
    };
    for (name, _, value) in table.entries() {
        match secret(document, &table.name(name), value) {
            Ok(secret) => secrets.add(name, secret),
            Err(SecretError::Missing(problem)) => refusals.push(problem),
            Err(SecretError::Form(problem)) => document.report(problem),
        }
    }
    secrets
}

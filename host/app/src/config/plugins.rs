//! The entries of `[plugins]`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use mantle_model::secret::Secrets;
use mantle_sandbox::{Grants, PluginEntry, TRIAL_PERCENT};
use mantle_supply::{SIGNATURE_SUFFIX, Source};
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
    let sha256 = digest(&section);
    let source = component.and_then(|(text, span)| source(document, &section, (text, span), &sha256, &mut refusals));
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
    let trial_percent = section
        .whole_number("canary_percent", "a whole number of percent, such as 10")
        .map(|(percent, span)| {
            if percent == 0 || percent > 100 {
                section.report(
                    "canary_percent",
                    span,
                    format!("{percent} is out of range. Write 1 to 100; 100 gives a new version all at once."),
                );
            }
            u8::try_from(percent).unwrap_or(TRIAL_PERCENT)
        });
    let secrets = secrets(document, &section, &mut refusals);
    section.finish();
    PluginSetting {
        name: name.to_owned(),
        enabled,
        place: format!("{}:{}", at.file.display(), at.line),
        entry: match &source {
            Some(source) if refusals.is_empty() => Ok(PluginEntry {
                name: name.to_owned(),
                component: match source {
                    Source::File { path, .. } => path.clone(),
                    // Where it lies is known when it was fetched.
                    Source::Https(_) | Source::Registry(_) => PathBuf::new(),
                },
                source: source.to_string(),
                sha256,
                memory_mib,
                grants,
                secrets,
                before: None,
                trial_percent: trial_percent.unwrap_or(TRIAL_PERCENT),
            }),
            _ => Err(refusals),
        },
        source,
    }
}

/// What `component` says. A file that is not there refuses the plugin alone; an address that is none, the file.
fn source(
    document: &Document<'_>,
    section: &Section<'_, '_, '_>,
    (text, span): (String, Range<usize>),
    sha256: &Option<String>,
    refusals: &mut Vec<Problem>,
) -> Option<Source> {
    if let Some(parsed) = Source::parse(&text) {
        let source = parsed.map_err(|why| section.report("component", span.clone(), format!("{why}.")));
        let source = source.ok()?;
        if matches!(source, Source::Https(_)) && sha256.is_none() {
            section.report(
                "component",
                span,
                "An address may answer with anything, so the component's digest is needed. Write `sha256 = \"…\"` below; \
                 `sha256sum` shows it.",
            );
            return None;
        }
        return Some(source);
    }
    let path = document.path(&text);
    document.reads(path.clone());
    document.reads(signature_of(&path));
    let missing = || {
        format!(
            "There is no file {}. Build the connectors with `cargo connectors`, or correct the path.",
            path.display()
        )
    };
    let no_wasm = || {
        format!(
            "{} is not WebAssembly. Write the path of the .wasm file that `cargo connectors` or your build made.",
            path.display()
        )
    };
    if !path.is_file() {
        refusals.push(section.problem("component", span, missing()));
    } else if !is_wasm(&path) {
        refusals.push(section.problem("component", span, no_wasm()));
    }
    Some(Source::File { text, path })
}

/// Where the signature of a component's file lies.
pub(crate) fn signature_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(SIGNATURE_SUFFIX);
    PathBuf::from(name)
}

/// By its first bytes. What cannot be read is left to who loads it, and is told there.
fn is_wasm(path: &Path) -> bool {
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

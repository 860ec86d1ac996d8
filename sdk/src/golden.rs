//! Golden tests: raw provider hook in, events out; message in, provider requests out. Native, no sandbox.
//!
//! A folder holds pairs `<case>.in.json` and `<case>.out.json`. [`check`] runs every `in` file and compares the whole
//! outcome with the `out` file; `MANTLE_BLESS=1` writes the `out` files instead, to be read before they are committed.
//! Absent values and empty lists are left out of `out` files. The requests in them are complete, so that others can
//! hold them against a provider's published contract.
//!
//! Surroundings, in any `in` file, all optional: `note`, `fields` (the set-up form), `hook_url`, `now` (milliseconds),
//! `kv` (`{"key":"text"}`), `media` (`{"7":{"bytes","content_type","name","text"}}`), and `exchanges`, what the provider
//! answers, in order:
//! - `{"status":200,"headers":{"retry-after":"7"},"body":…}`: a string is sent as it is, anything else as JSON
//! - `{"status":200,"file":{"bytes":10,"content_type":"image/jpeg","name":"a.jpg"}}`: for `download`
//! - `{"error":{"kind":"timeout","request_sent":true}}`
//!
//! What a request keeps of its answer is written there as the provider tells it; the connector is given `[secret]`.
//!
//! What is called, exactly one of:
//! - `"hook":{"method","query","headers","body","received_at"}`, with `body` as `{"json":…}`, `{"text":…}` or `{"form":…}`
//! - `"send":<outgoing>`
//! - `"call":"identify"|"connect"|"disconnect"|"check"`
//! - `"fetch":"<source>"`, `"look_up":[<alias>…]`, `"list_page":null|"<cursor>"`
//! - `"find_sent":{"message":<outgoing>,"announced_at":<milliseconds>}`
//!
//! Values are spelled as in `wit/`, with underscores: `{"text":{"text":"Hello"}}`, `{"kind":"id","value":"7"}`.

mod case;
mod record;
mod script;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Finding, InboundMedia, Lifecycle, Page, Profile,
    Query, Reconcile, Report, Templates,
};
use crate::host::Host;
use crate::values::{Alias, CallError};

pub use script::Script;

const INPUT_SUFFIX: &str = ".in.json";
const OUTPUT_SUFFIX: &str = ".out.json";
const BLESS: &str = "MANTLE_BLESS";

/// Implemented by [`export!`](crate::export).
pub trait Exported: Connector {
    fn abilities() -> Abilities;
}

/// The optional traits that a connector named in [`export!`](crate::export).
#[derive(Default, Clone, Copy)]
pub struct Abilities {
    lifecycle: Option<LifecycleCalls>,
    fetch: Option<Call<String, Fetched>>,
    find_sent: Option<Call<Query, Finding>>,
    look_up: Option<Call<Vec<Alias>, Option<Details>>>,
    list_page: Option<Call<Option<String>, Page>>,
}

type Call<Input, Output> = fn(Input, &dyn Host) -> Result<Output, CallError>;

#[derive(Clone, Copy)]
struct LifecycleCalls {
    identify: fn(&dyn Host) -> Result<Account, ConnectError>,
    connect: fn(&dyn Host) -> Result<Connection, ConnectError>,
    disconnect: fn(&dyn Host) -> Result<(), CallError>,
    check: fn(&dyn Host) -> Result<Report, CallError>,
}

impl Abilities {
    #[must_use]
    pub fn lifecycle<T: Lifecycle>(mut self) -> Self {
        self.lifecycle = Some(LifecycleCalls {
            identify: T::identify,
            connect: T::connect,
            disconnect: T::disconnect,
            check: T::check,
        });
        self
    }

    #[must_use]
    pub fn inbound_media<T: InboundMedia>(mut self) -> Self {
        self.fetch = Some(T::fetch);
        self
    }

    #[must_use]
    pub fn reconcile<T: Reconcile>(mut self) -> Self {
        self.find_sent = Some(T::find_sent);
        self
    }

    #[must_use]
    pub fn profile<T: Profile>(mut self) -> Self {
        self.look_up = Some(T::look_up);
        self
    }

    #[must_use]
    pub fn templates<T: Templates>(mut self) -> Self {
        self.list_page = Some(T::list_page);
        self
    }
}

/// Runs every `<case>.in.json` of the folder against its `<case>.out.json`.
///
/// # Panics
/// With all cases that differ, name what they miss, or have no counterpart. An empty folder is a failure too.
pub fn check<T: Exported>(folder: impl AsRef<Path>) {
    let bless = std::env::var_os(BLESS).is_some();
    let failures = match run_all::<T>(folder.as_ref(), bless) {
        Ok(failures) => failures,
        Err(problem) => vec![problem],
    };
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run_all<T: Exported>(folder: &Path, bless: bool) -> Result<Vec<String>, String> {
    let names = case_names(folder)?;
    if names.inputs.is_empty() {
        return Err(format!("{}: no <case>{INPUT_SUFFIX}", folder.display()));
    }
    let mut failures: Vec<String> = names
        .outputs
        .iter()
        .filter(|name| !names.inputs.contains(name))
        .map(|name| format!("{name}{OUTPUT_SUFFIX}: there is no {name}{INPUT_SUFFIX}."))
        .collect();
    for name in &names.inputs {
        if let Err(problem) = run::<T>(folder, name, bless) {
            failures.push(format!("{name}: {problem}"));
        }
    }
    Ok(failures)
}

fn run<T: Exported>(folder: &Path, name: &str, bless: bool) -> Result<(), String> {
    let input = read(&folder.join(format!("{name}{INPUT_SUFFIX}")))?;
    let outcome = case::run::<T>(&input)?;
    let path = folder.join(format!("{name}{OUTPUT_SUFFIX}"));
    if bless {
        let text = serde_json::to_string_pretty(&outcome).map_err(|error| error.to_string())?;
        return fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()));
    }
    let expected = read(&path).map_err(|problem| format!("{problem}\nRun with {BLESS}=1 to write it."))?;
    if expected == outcome {
        return Ok(());
    }
    let mut differences = Vec::new();
    record::differences("", &expected, &outcome, &mut differences);
    Err(format!(
        "differs from {}:\n  {}",
        path.display(),
        differences.join("\n  ")
    ))
}

#[derive(Default)]
struct CaseNames {
    inputs: Vec<String>,
    outputs: Vec<String>,
}

fn case_names(folder: &Path) -> Result<CaseNames, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        paths.push(entry.map_err(wrong)?.path());
    }
    paths.sort();
    let mut names = CaseNames::default();
    for file in paths.iter().filter_map(|path| path.file_name()?.to_str()) {
        if let Some(name) = file.strip_suffix(INPUT_SUFFIX) {
            names.inputs.push(name.to_owned());
        } else if let Some(name) = file.strip_suffix(OUTPUT_SUFFIX) {
            names.outputs.push(name.to_owned());
        } else {
            return Err(format!(
                "{file} is neither <case>{INPUT_SUFFIX} nor <case>{OUTPUT_SUFFIX}"
            ));
        }
    }
    Ok(names)
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

//! A new connector: a folder in which everything runs before its author begins.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

static SHARED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/shared");
static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/rust");
static JAVASCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/javascript");
static PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/python");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../sdk");
/// Says what the SDK's dependencies are.
const WORKSPACE: &str = include_str!("../../../Cargo.toml");

/// Longest name: it stands in addresses and file names.
const NAME_CHARS_MAX: usize = 40;

/// What a connector is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    JavaScript,
    Python,
}

impl Language {
    /// MiB that one call takes, with room: the interpreter comes along.
    fn memory_mib(self) -> u32 {
        match self {
            Self::Rust => 8,
            Self::JavaScript => 64,
            Self::Python => 128,
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::JavaScript => "app.js",
            Self::Python => "app.py",
        }
    }

    fn interface(self) -> &'static str {
        match self {
            Self::Rust => "vendor/wit/",
            Self::JavaScript | Self::Python => "wit/",
        }
    }

    /// What must be there, as the README says it.
    fn tools(self) -> &'static str {
        match self {
            Self::Rust => "You need Rust 1.95 with `rustup target add wasm32-wasip2`.",
            Self::JavaScript => "You need Node.js 20 or newer; the first build installs what package.json names.",
            Self::Python => {
                "You need Python 3.10 or newer with `pip install -r requirements.txt`, in a virtual environment `.venv` if you like."
            }
        }
    }

    fn template(self) -> &'static Dir<'static> {
        match self {
            Self::Rust => &RUST,
            Self::JavaScript => &JAVASCRIPT,
            Self::Python => &PYTHON,
        }
    }
}

/// Writes the folder. Its name is the connector's.
///
/// # Errors
/// The name is none, the folder is there, or it cannot be written. Each says what to do.
pub fn create(folder: &Path, language: Language) -> Result<(), String> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    if folder.exists() {
        return Err(format!("{} is there already; choose another name", folder.display()));
    }
    let words = Words { name, language };
    let put = |place: &Path, text: &str| write(&folder.join(place), text);
    each(&SHARED, &mut |place, text| {
        let place = match place.strip_prefix("golden") {
            Ok(case) => Path::new("tests/golden").join(case),
            Err(_) if place == Path::new("whole.wit") => return Ok(()),
            Err(_) => place.to_owned(),
        };
        put(&place, &words.fill(text))
    })?;
    each(language.template(), &mut |place, text| {
        let place = place.to_string_lossy().replace(".template", "");
        put(Path::new(&place), &words.fill(text))
    })?;
    let wit = |place: &Path| Path::new(language.interface()).join(place);
    each(&WIT, &mut |place, text| put(&wit(place), text))?;
    if language == Language::Rust {
        let sdk = Path::new("vendor/sdk");
        each(&SDK, &mut |place, text| match place.to_str() {
            Some("Cargo.toml") => put(&sdk.join(place), &standing_alone(text)),
            _ => put(&sdk.join(place), text),
        })?;
    } else {
        let whole = SHARED.get_file("whole.wit").and_then(include_dir::File::contents_utf8);
        put(&wit(Path::new("whole.wit")), whole.unwrap_or_default())?;
    }
    put(
        Path::new(".gitignore"),
        "target/\nnode_modules/\n.venv/\ncomponent.wasm\n",
    )
}

fn check_name(name: &str) -> Result<(), String> {
    let good = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-';
    let begins = name.chars().next().is_some_and(|sign| sign.is_ascii_lowercase());
    if begins && name.len() <= NAME_CHARS_MAX && name.chars().all(good) && !name.ends_with('-') {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no name of a connector: lower-case letters, digits and hyphens, a letter first, at most {NAME_CHARS_MAX}"
    ))
}

/// What the templates leave open.
struct Words<'a> {
    name: &'a str,
    language: Language,
}

impl Words<'_> {
    fn fill(&self, text: &str) -> String {
        let mut title = String::new();
        for word in self.name.split('-').filter(|word| !word.is_empty()) {
            let (first, rest) = word.split_at(1);
            let space = if title.is_empty() { "" } else { " " };
            let _ = write!(title, "{space}{}{rest}", first.to_uppercase());
        }
        text.replace("{{name}}", self.name)
            .replace("{{crate}}", &self.name.replace('-', "_"))
            .replace("{{attribute}}", &self.name.replace('-', "_"))
            .replace("{{title}}", &title)
            .replace("{{memory}}", &self.language.memory_mib().to_string())
            .replace("{{source}}", self.language.source())
            .replace("{{interface}}", self.language.interface())
            .replace("{{tools}}", self.language.tools())
    }
}

/// Every text of the folder, by its place in it.
fn each(folder: &'static Dir<'static>, with: &mut dyn FnMut(&Path, &str) -> Result<(), String>) -> Result<(), String> {
    for file in folder.files() {
        if let Some(text) = file.contents_utf8() {
            with(file.path(), text)?;
        }
    }
    folder.dirs().try_for_each(|inner| each(inner, with))
}

/// The SDK's manifest without the workspace that it comes from.
fn standing_alone(manifest: &str) -> String {
    let of_workspace = |name: &str| {
        let begins = format!("{name} = ");
        WORKSPACE.lines().find_map(|line| line.strip_prefix(&begins))
    };
    let line = |line: &str| match line.strip_suffix(".workspace = true") {
        Some(name) => of_workspace(name).map(|value| format!("{name} = {value}")),
        // Lints and tests are the workspace's own affair.
        None if line == "workspace = true" || line == "[lints]" => None,
        None => Some(line.to_owned()),
    };
    manifest
        .lines()
        .filter_map(line)
        .fold(String::new(), |text, line| text + &line + "\n")
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    fs::create_dir_all(folder).map_err(problem)?;
    fs::write(path, text).map_err(problem)
}

//! `mantle plugin update, approve, rollback, sign, keygen` and `mantle channel pin`: which version runs, and on whose
//! word.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mantle_sandbox::Plugin;
use mantle_supply::limits::COMPONENT_BYTES_MAX;
use mantle_supply::{Locked, Source, generate_key, public_key};
use serde_json::json;

use super::Common;
use super::output::Output;
use super::plugin;
use super::remote::Remote;
use crate::catalog::depot;
use crate::config::plugins::signature_of;
use crate::config::{self, HostConfig, PluginSetting, process_environment};
use crate::consent;
use crate::supplies::{Missing, Supplied, Supplies, fetcher};

/// What the source has, fetched if it is not here: what is locked of it first.
pub(super) async fn obtain(config: &HostConfig, setting: &PluginSetting) -> Result<Supplied> {
    let lock = config.live.lock.read()?;
    newest(config, setting, lock.plugins.get(&setting.name)).await
}

async fn newest(config: &HostConfig, setting: &PluginSetting, locked: Option<&Locked>) -> Result<Supplied> {
    let supplies = Supplies::new(depot(&config.fixed.data_dir));
    let found = match supplies.find(&config.live, setting, locked) {
        Err(Missing::Elsewhere) => {
            let fetcher = fetcher(&config.live, supplies.depot())?;
            supplies.fetch(&fetcher, &config.live, setting, locked).await;
            supplies.find(&config.live, setting, locked)
        }
        found => found,
    };
    match found {
        Ok(supplied) => Ok(supplied),
        Err(Missing::Refused(error)) => bail!("plugin `{}`: {error}.", setting.name),
        Err(Missing::Elsewhere) => bail!("plugin `{}`: its component cannot be had.", setting.name),
    }
}

/// Looks at what the source has now, whatever is locked.
pub(super) async fn update(file: &Path, name: &str, yes: bool, output: &Output) -> Result<bool> {
    let config = config::load(file, &process_environment)?;
    let setting = config.live.plugins.iter().find(|setting| setting.name == name);
    let setting = setting.with_context(|| format!("{} has no plugin `{name}`.", file.display()))?;
    let entry = match &setting.entry {
        Ok(entry) => entry.clone(),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("{}", lines.join("\n"));
        }
    };
    if !setting.source.as_ref().is_some_and(Source::is_remote) {
        bail!(
            "The component of `{name}` is a file: a running host takes it on when it changes, and nothing is locked."
        );
    }
    let lock = config.live.lock.read()?;
    let known = lock.plugins.get(name);
    let supplied = newest(&config, setting, None).await?;
    let sandbox = plugin::sandbox(config.fixed.data_dir.join("compiled"))?;
    let entry = mantle_sandbox::PluginEntry {
        component: supplied.kept.path.clone(),
        sha256: Some(supplied.kept.sha256.clone()),
        ..entry
    };
    let grants = consent::words(entry.grants.as_ref());
    let loaded = sandbox.load(entry).await?;
    let same = known.is_some_and(|known| known.sha256 == loaded.digest());
    let more = known.map_or_else(
        || loaded.rights().lines.iter().cloned().collect(),
        |known| loaded.rights().beyond(&consent::rights(&known.consent)),
    );
    let taken = yes && !same;
    if taken {
        let source = setting.source.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut now = consent::locked(&source, &grants, &loaded, Some(&supplied.origin()));
        config.live.lock.change(|lock| {
            now.previous = lock.plugins.get(name).map(|known| known.sha256.clone());
            lock.plugins.insert(name.to_owned(), now);
        })?;
    }
    let answer = json!({
        "plugin": name,
        "locked": known.map(|known| json!({ "version": known.version, "digest": known.sha256, "signer": known.signer })),
        "found": { "version": loaded.version(), "digest": loaded.digest(), "signer": supplied.signer },
        "difference": more,
        "taken": taken,
    });
    output.answer(&answer, &page(name, known, &loaded, &more, (same, taken)));
    Ok(true)
}

fn page(name: &str, known: Option<&Locked>, found: &Plugin, more: &[String], (same, taken): (bool, bool)) -> String {
    if same {
        return format!(
            "{name} {} is what is locked already ({}).",
            found.version(),
            found.digest()
        );
    }
    let before = known.map_or_else(
        || "nothing is locked".to_owned(),
        |known| format!("{} ({})", known.version, known.sha256),
    );
    let mut page = format!("{name}: {before} → {} ({})\n", found.version(), found.digest());
    if more.is_empty() {
        page.push_str("It asks for no more rights.\n");
    } else {
        page.push_str(&format!(
            "It wants to, beyond what was consented to:\n  {}\n",
            more.join("\n  ")
        ));
    }
    page.push_str(if taken {
        "It is locked; a running host takes it on within seconds."
    } else {
        "Take it, and consent to this, with `--yes`."
    });
    page
}

pub(super) async fn approve(common: &Common, name: &str, digest: Option<&str>, output: &Output) -> Result<bool> {
    let body = digest.map_or_else(|| json!({}), |digest| json!({ "digest": digest }));
    let plugin = Remote::new(common)?
        .post(&format!("/api/v1/plugins/{name}/approve"), &body)
        .await?;
    let page = match plugin["trial"].as_object() {
        Some(trial) => format!(
            "{name} {} takes {} % of the work until it has proven itself.",
            trial["version"].as_str().unwrap_or_default(),
            trial["percent"]
        ),
        None => format!("{name} is {}.", plugin["state"].as_str().unwrap_or_default()),
    };
    output.answer(&plugin, &page);
    Ok(plugin["state"] == "ready")
}

pub(super) async fn roll_back(common: &Common, name: &str, output: &Output) -> Result<bool> {
    let path = format!("/api/v1/plugins/{name}/rollback");
    let plugin = Remote::new(common)?.post(&path, &json!({})).await?;
    let page = format!(
        "{name} {} ({}) is in force again.",
        plugin["version"].as_str().unwrap_or_default(),
        plugin["digest"].as_str().unwrap_or_default()
    );
    output.answer(&plugin, &page);
    Ok(true)
}

pub(super) async fn pin(common: &Common, channel: &str, version: &str, output: &Output) -> Result<bool> {
    let body = json!({ "settings": { "version": version } });
    let channel = Remote::new(common)?
        .patch(&format!("/api/v1/channels/{channel}"), &body)
        .await?;
    let page = match channel["settings"]["version"].as_str() {
        Some(digest) => format!(
            "{} stays on the version {digest}.",
            channel["id"].as_str().unwrap_or_default()
        ),
        None => format!(
            "{} uses the current version.",
            channel["id"].as_str().unwrap_or_default()
        ),
    };
    output.answer(&channel, &page);
    Ok(true)
}

pub(super) fn sign(file: &Path, key: &Path, output: &Output) -> Result<bool> {
    let bytes = std::fs::metadata(file)
        .with_context(|| format!("{} cannot be read", file.display()))?
        .len();
    if bytes > COMPONENT_BYTES_MAX {
        bail!(
            "{} has {bytes} bytes; at most {COMPONENT_BYTES_MAX} are loaded.",
            file.display()
        );
    }
    let component = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let pem = std::fs::read_to_string(key).with_context(|| format!("The key {} cannot be read", key.display()))?;
    let signature = mantle_supply::sign(&component, &pem)?;
    let beside = signature_of(file);
    // In one step: a host may be watching.
    let temporary = beside.with_extension(format!("sig.{}", std::process::id()));
    std::fs::write(&temporary, &signature)
        .and_then(|()| std::fs::rename(&temporary, &beside))
        .with_context(|| format!("{} cannot be written", beside.display()))?;
    let public = public_key(&pem)?;
    output.answer(
        &json!({ "signature": beside, "public_key": public }),
        &format!("{} is written. The public key is {public}.", beside.display()),
    );
    Ok(true)
}

pub(super) fn keygen(file: &Path, output: &Output) -> Result<bool> {
    let pem = generate_key()?;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(pem.as_bytes()));
    written.with_context(|| format!("{} cannot be written; it must not exist yet", file.display()))?;
    let public = public_key(&pem)?;
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("ours");
    output.answer(
        &json!({ "key": file, "public_key": public }),
        &format!(
            "{} is written; keep it where nobody else reads it. In plugins.toml of those who trust it:\n\n[trust]\nkeys = \
             {{ {name} = \"{public}\" }}",
            file.display()
        ),
    );
    Ok(true)
}

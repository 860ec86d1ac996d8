//! `mantle backup` and `mantle restore`.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mantle_model::clock::{Clock, SystemClock, Time};
use mantle_store::Database;
use mantle_store::backup::{self, About, Places};
use mantle_store::seal::Key;
use mantle_store::upkeep::{Restored, Upkeep};
use serde_json::json;

use super::Common;
use super::output::Output;
use crate::config::{self, Fixed, process_environment};
use crate::host;

/// Lines of progress: one of so many files.
const TOLD_EVERY: u64 = 500;

pub(super) async fn make(common: &Common, target: &Path, key_file: Option<&Path>, output: &Output) -> Result<bool> {
    let fixed = fixed(&common.config)?;
    let places = places(&fixed)?;
    if !places.database.exists() {
        bail!(
            "There is no database at {}. Name the configuration of the host with `--config`.",
            places.database.display()
        );
    }
    let secrets = Key::load(&fixed.key_file)?;
    let seal = key_file.map(Key::load).transpose()?;
    let tell = progress(output);
    let now = SystemClock.now();
    let about = backup::make(&places, target, (&secrets, seal.as_ref()), now, &tell).await?;
    let bytes = std::fs::metadata(target).map_or(0, |file| file.len());
    let sealed = if seal.is_some() {
        "It is sealed."
    } else {
        "It is NOT sealed: it holds messages in clear text. Seal it with `--key-file`."
    };
    let missing = match about.files_missing {
        0 => String::new(),
        missing => format!(" {missing} files were dropped while it was made and are not in it."),
    };
    let page = format!(
        "{} holds the database and {} files of {} ({bytes} bytes).{missing} {sealed}\n\
         KEEP THE KEY FILE TOO: {} is not in the backup, and without it no token in the restored database can be \
         read. Keep a copy of it at another place than the backup.",
        target.display(),
        about.files,
        about.taken_at,
        fixed.key_file.display(),
    );
    let value = json!({
        "file": target, "bytes": bytes, "taken_at": about.taken_at.to_string(), "files": about.files,
        "files_missing": about.files_missing, "sealed": seal.is_some(), "key_file_needed": fixed.key_file,
        "key_fingerprint": about.key_fingerprint,
    });
    output.answer(&value, &page);
    Ok(true)
}

pub(super) async fn restore(common: &Common, source: &Path, key_file: Option<&Path>, output: &Output) -> Result<bool> {
    let fixed = fixed(&common.config)?;
    let seal = key_file.map(Key::load).transpose()?;
    let tell = progress(output);
    let now = SystemClock.now();
    let about = backup::restore(source, &places(&fixed)?, seal.as_ref(), now, &tell).await?;
    let (fits, advice) = key_advice(&fixed, &about);
    let page = format!(
        "Restored what {} held at {}: the database and {} files.\n{advice}\n\
         When the host starts, what was waiting is looked for in the inbox before it is written again; replies that \
         may have been sent since are not repeated, and the team is asked in the conversation. Make sure that the old \
         host does not run any more.",
        source.display(),
        about.taken_at,
        about.files,
    );
    let value = json!({
        "database": fixed.database.to_string(), "taken_at": about.taken_at.to_string(), "files": about.files,
        "key_file": fixed.key_file, "key_fits": fits,
    });
    output.answer(&value, &page);
    Ok(fits)
}

/// Whether the key file here is the one that the secrets in the backup are sealed with, and what to do.
fn key_advice(fixed: &Fixed, about: &About) -> (bool, String) {
    let path = fixed.key_file.display();
    match Key::load(&fixed.key_file) {
        Ok(key) if key.fingerprint() == about.key_fingerprint => (
            true,
            format!("The key file {path} fits: start the host with `mantle serve`."),
        ),
        Ok(_) => (
            false,
            format!(
                "THE KEY FILE {path} IS ANOTHER ONE than the database was used with: no token can be read. Put the \
                 old host's key file there before starting."
            ),
        ),
        Err(_) => (
            false,
            format!(
                "THE KEY FILE IS MISSING: copy the old host's key file to {path} before starting, or no token can be \
                 read and a new key is made."
            ),
        ),
    }
}

/// For a database that was put back by other tools (`pg_restore`, Litestream): the host is to look before it writes.
pub(super) async fn reconcile(common: &Common, taken_at: &str, output: &Output) -> Result<bool> {
    let fixed = fixed(&common.config)?;
    let moment: jiff::Timestamp = taken_at
        .parse()
        .ok()
        .with_context(|| format!("`--taken-at {taken_at}` is no moment. Write it as 2026-11-20T08:00:00Z."))?;
    // Without the key nothing of a database can be worked, so a missing one is told now and never made.
    Key::load(&fixed.key_file)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Arc::new(mantle_model::ids::IdSource::new().context("The operating system gives no random numbers")?);
    let (store, _) = host::open_store(&fixed, &clock, &ids).await?;
    let restored = Restored {
        taken_at: Time::from_unix_ms(moment.as_millisecond()),
        restored_at: clock.now(),
        reconciled: false,
    };
    store.set_restored(restored).await?;
    let page = format!(
        "Noted that the database is as of {}. The host looks before it writes again when it starts next.",
        restored.taken_at
    );
    output.answer(&json!({ "taken_at": restored.taken_at.to_string() }), &page);
    Ok(true)
}

/// Secrets do not matter here, so one that is absent must not stand in the way.
fn fixed(file: &Path) -> Result<Fixed> {
    let any = |name: &str| process_environment(name).or_else(|| Some("unread".to_owned()));
    Ok(config::load(file, &any)?.fixed)
}

/// Of a database that is a file. One on a server has its own backups, which hold the files of messages too.
fn places(fixed: &Fixed) -> Result<Places> {
    match &fixed.database {
        Database::Sqlite(file) => Ok(Places {
            database: file.clone(),
            data_dir: fixed.data_dir.clone(),
        }),
        Database::Postgres(server) => bail!(
            "The database is {server}: back it up and restore it with PostgreSQL's own tools (pg_dump, pg_restore, or \
             point-in-time recovery), and keep the key file {} elsewhere. After a restore run `mantle restore --reconcile`.",
            fixed.key_file.display()
        ),
    }
}

fn progress(output: &Output) -> impl Fn(&str, u64, Option<u64>) + Sync + '_ {
    let often = std::io::stdout().is_terminal();
    move |what, done, all| {
        let worth_a_line = done.is_multiple_of(if often { TOLD_EVERY } else { TOLD_EVERY * 20 });
        match all {
            Some(all) if worth_a_line && all > 0 => output.progress(&format!("{what}: {done} of {all} …")),
            None => output.progress(&format!("{what} …")),
            Some(_) => {}
        }
    }
}

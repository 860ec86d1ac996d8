//! A backup: the database and its files in one archive, made while the host works, and put back elsewhere.
//!
//! The copy of the database is one moment of it. Files are copied after it; they never change, and one that was
//! dropped in between is left out and counted. The archive tells a damaged byte, can be sealed with a key, and never
//! holds the key that seals the secrets in the database: whoever finds the archive has no tokens.
//! For SQLite alone; PostgreSQL is backed up by its own tools.

mod archive;
mod sealed;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mantle_model::clock::Time;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

pub use self::archive::Progress;
use self::archive::{Reader, Writer};
use crate::StoreError;
use crate::seal::Key;
use crate::upkeep::Restored;

/// What the archive's entries are called.
const ABOUT: &str = "about.json";
const DATABASE: &str = "mantle.db";
const MEDIA: &str = "media/";
/// The first entry is a few numbers.
const ABOUT_BYTES_MAX: u64 = 64 << 10;
/// How long the copying of the database waits for a lock.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Why there is no backup, or no restored database.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// Another file, half a file, a changed byte, or another key; the text says what to do.
    #[error("{0}")]
    Archive(String),
    /// What is there already must not be overwritten.
    #[error("{0}")]
    Occupied(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.display().to_string();
    move |source| BackupError::Io { path, source }
}

/// Where a host keeps its things.
#[derive(Debug, Clone)]
pub struct Places {
    pub database: PathBuf,
    pub data_dir: PathBuf,
}

impl Places {
    fn media(&self) -> PathBuf {
        self.data_dir.join("media")
    }
}

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What the backup holds happened before this.
    pub taken_at: Time,
    /// Of the key that the secrets in the database are sealed with.
    pub key_fingerprint: String,
    pub files: u64,
    /// Files that were dropped while the backup was made.
    pub files_missing: u64,
}

/// Writes the archive to `target`, which must not exist. The host may be at work.
///
/// # Errors
/// See [`BackupError`]; half an archive is not left behind.
pub async fn make(
    places: &Places,
    target: &Path,
    (secrets, seal): (&Key, Option<&Key>),
    now: Time,
    progress: Progress<'_>,
) -> Result<About, BackupError> {
    if target.exists() {
        return Err(BackupError::Occupied(format!(
            "{} exists already. Name another file, so that no backup is overwritten",
            target.display()
        )));
    }
    let part = Leftover(beside(target, "part"));
    let copy = Leftover(beside(target, "db.part"));
    progress("Copying the database", 0, None);
    let hashes = snapshot(&places.database, &copy.0).await?;
    let (media, all) = (places.media(), hashes.len() as u64);
    let files: Vec<(String, PathBuf)> = hashes
        .into_iter()
        .map(hex::encode)
        .map(|name| (name.clone(), media.join(name)))
        .filter(|(_, path)| path.is_file())
        .collect();
    let about = About {
        taken_at: now,
        key_fingerprint: secrets.fingerprint(),
        files: files.len() as u64,
        files_missing: all.saturating_sub(files.len() as u64),
    };
    let file = private(&part.0).map_err(at(&part.0))?;
    let mut writer = Writer::new(file, seal).map_err(at(&part.0))?;
    let told = serde_json::to_vec(&about).map_err(|error| BackupError::Archive(error.to_string()))?;
    writer
        .entry(ABOUT, told.len() as u64, &mut told.as_slice())
        .map_err(at(&part.0))?;
    add(&mut writer, DATABASE, &copy.0)?;
    for (done, (name, path)) in files.iter().enumerate() {
        progress("Adding files", done as u64, Some(about.files));
        add(&mut writer, &format!("{MEDIA}{name}"), path)?;
    }
    writer.finish().map_err(at(&part.0))?;
    fs::rename(&part.0, target).map_err(at(target))?;
    sync_folder_of(target).map_err(at(target))?;
    progress("Done", about.files, Some(about.files));
    Ok(about)
}

fn add(writer: &mut Writer, name: &str, path: &Path) -> Result<(), BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let bytes = file.metadata().map_err(at(path))?.len();
    writer.entry(name, bytes, &mut file).map_err(at(path))
}

/// One moment of the database as a file of its own, without free pages, and the files that it names.
async fn snapshot(database: &Path, into: &Path) -> Result<BTreeSet<[u8; 32]>, BackupError> {
    let target = into
        .to_str()
        .ok_or_else(|| BackupError::Archive(format!("{} is not UTF-8; name another file", into.display())))?;
    let mut connection = open(database).await?;
    sqlx::query("vacuum into $1")
        .bind(target)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    let file = File::open(into).map_err(at(into))?;
    file.sync_all().map_err(at(into))?;
    named(into).await
}

async fn named(database: &Path) -> Result<BTreeSet<[u8; 32]>, BackupError> {
    let mut connection = open(database).await?;
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar("select distinct sha256 from media")
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    Ok(hashes.into_iter().filter_map(|hash| hash.try_into().ok()).collect())
}

/// Takes the archive apart into an empty place, looks whether all of it is whole, and only then puts it where the
/// host will find it, marked as restored. The host must not run.
///
/// # Errors
/// See [`BackupError`]; nothing is left behind then.
pub async fn restore(
    source: &Path,
    places: &Places,
    seal: Option<&Key>,
    now: Time,
    progress: Progress<'_>,
) -> Result<About, BackupError> {
    vacant(places)?;
    crate::folder::create_private(&places.data_dir).map_err(at(&places.data_dir))?;
    let work = Leftover(places.data_dir.join(format!("restoring-{}", now.unix_ms())));
    crate::folder::create_private(&work.0.join("media")).map_err(at(&work.0))?;
    let about = unpack(source, seal, &work.0, progress)?;
    progress("Checking the database", about.files, Some(about.files));
    let database = work.0.join(DATABASE);
    check(&database).await?;
    let restored = Restored {
        taken_at: about.taken_at,
        restored_at: now,
        reconciled: false,
    };
    mark(&database, restored).await?;
    if let Some(folder) = places.database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        crate::folder::create_private(folder).map_err(at(folder))?;
    }
    // An empty folder may stand there from an earlier start.
    let media = places.media();
    match fs::remove_dir(&media) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&media)(error)),
    }
    fs::rename(work.0.join("media"), &media).map_err(at(&media))?;
    // The database last: without it the place still counts as empty.
    fs::rename(&database, &places.database).map_err(at(&places.database))?;
    sync_folder_of(&places.database).map_err(at(&places.database))?;
    sync_folder_of(&media).map_err(at(&media))?;
    Ok(about)
}

fn vacant(places: &Places) -> Result<(), BackupError> {
    let log = with_suffix(&places.database, "-wal");
    for path in [&places.database, &log] {
        if path.exists() {
            return Err(BackupError::Occupied(format!(
                "{} exists. Restore into an empty data folder: move the present one away first",
                path.display()
            )));
        }
    }
    let media = places.media();
    let occupied = fs::read_dir(&media).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(BackupError::Occupied(format!(
            "{} has files in it. Restore into an empty data folder: move the present one away first",
            media.display()
        )));
    }
    Ok(())
}

fn unpack(source: &Path, seal: Option<&Key>, into: &Path, progress: Progress<'_>) -> Result<About, BackupError> {
    let file = File::open(source).map_err(at(source))?;
    let mut reader = Reader::new(file, seal)?;
    let mut about: Option<About> = None;
    let (mut files, mut database) = (0, false);
    while let Some(entry) = reader.next_entry()? {
        let Some(known) = &about else {
            if entry.name != ABOUT || entry.bytes > ABOUT_BYTES_MAX {
                return Err(BackupError::Archive(
                    "the archive does not begin as a backup does".to_owned(),
                ));
            }
            let mut told = Vec::new();
            reader.content(entry.bytes, &mut told)?;
            let read = serde_json::from_slice(&told);
            about = Some(read.map_err(|error| BackupError::Archive(format!("{ABOUT} cannot be read: {error}")))?);
            continue;
        };
        let path = if entry.name == DATABASE {
            database = true;
            into.join(DATABASE)
        } else {
            files += 1;
            progress("Taking out files", files, Some(known.files));
            into.join("media").join(media_name(&entry.name)?)
        };
        let mut target = private(&path).map_err(at(&path))?;
        reader.content(entry.bytes, &mut target)?;
        target.sync_all().map_err(at(&path))?;
    }
    match about {
        Some(about) if database && files == about.files => Ok(about),
        _ => Err(BackupError::Archive(
            "the archive is not whole: the database or files are missing. Use another backup".to_owned(),
        )),
    }
}

/// Names come from a file that anybody may have written: what is not the name of a file of ours is refused.
fn media_name(entry: &str) -> Result<&str, BackupError> {
    let name = entry.strip_prefix(MEDIA).filter(|name| {
        let mut hash = [0; 32];
        hex::decode_to_slice(name, &mut hash).is_ok()
    });
    name.ok_or_else(|| BackupError::Archive("the archive has an entry that no backup has".to_owned()))
}

async fn check(database: &Path) -> Result<(), BackupError> {
    let mut connection = open(database).await?;
    let told: String = sqlx::query_scalar("pragma integrity_check(1)")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    if told == "ok" {
        return Ok(());
    }
    Err(BackupError::Archive(format!(
        "the database in the archive is damaged ({told}). Use another backup"
    )))
}

async fn mark(database: &Path, restored: Restored) -> Result<(), BackupError> {
    let value = serde_json::to_vec(&restored).map_err(|error| BackupError::Archive(error.to_string()))?;
    let mut connection = open(database).await?;
    sqlx::query(
        "insert into kv (channel_id, key, value) values ($1, $2, $3)
         on conflict (channel_id, key) do update set value = excluded.value",
    )
    .bind(crate::upkeep::NO_CHANNEL)
    .bind(crate::upkeep::RESTORED_KEY)
    .bind(value)
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

async fn open(database: &Path) -> Result<SqliteConnection, BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(BUSY_WAIT)
        .disable_statement_logging();
    Ok(options.connect().await?)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// `backup.mantle` and `part` are `backup.mantle.part`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    with_suffix(path, &format!(".{suffix}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Removed when the work is over, however it ends.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // It is gone already when all went well.
        let _ = if self.0.is_dir() {
            fs::remove_dir_all(&self.0)
        } else {
            fs::remove_file(&self.0)
        };
    }
}

#[cfg(test)]
mod tests;

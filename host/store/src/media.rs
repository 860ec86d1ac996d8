//! Files: bytes under their SHA-256 in one folder, which is all that this module can reach.
//!
//! A file appears whole or not at all: it is written under another name, synced, then renamed. Names that
//! senders give are never file names; they are columns of [`crate::keyed::MediaRow`]. Who may fetch a file is not
//! decided here.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::StoreError;
use crate::database::pieces;
use crate::sql::Pool;

/// What the type is guessed from; the magic numbers of all known formats lie within.
const HEAD_BYTES: usize = 8 << 10;

/// Bytes of one piece when a file is streamed out.
const CHUNK_BYTES: usize = 64 << 10;

/// A content type longer than this is not one.
const CONTENT_TYPE_CHARS_MAX: usize = 100;

/// A file that no row names is left over from a crash once it is this old; before, its row may be on the way.
const ORPHAN_AGE: Duration = Duration::from_secs(60 * 60);

/// Ends the name of a file that is being written.
const PART_SUFFIX: &str = ".part";

/// What is said when nothing better is known.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A file that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Names it.
    pub sha256: [u8; 32],
    pub bytes: u64,
    /// By the bytes; see [`content_type`].
    pub content_type: String,
}

/// The folder of files. Clones share it.
#[derive(Debug, Clone)]
pub struct Files {
    dir: Arc<Dir>,
    /// Files that were put and whose row is not written yet: erasing another row of the same bytes leaves them.
    expected: Arc<Mutex<HashMap<[u8; 32], Expected>>>,
    /// Where files of other hosts are found; None where there are none.
    beyond: Option<Pool>,
}

/// Rows on their way for one file.
#[derive(Debug)]
struct Expected {
    count: u32,
    since: Instant,
}

impl Files {
    /// # Errors
    /// The folder cannot be made or entered.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        crate::folder::create_private(path)?;
        Ok(Self {
            dir: Arc::new(Dir::open_ambient_dir(path, ambient_authority())?),
            expected: Arc::default(),
            beyond: None,
        })
    }

    /// Files that are not in the folder are looked for in this database, and kept in the folder from then on.
    pub(crate) fn backed_by(self, database: Pool) -> Self {
        Self {
            beyond: Some(database),
            ..self
        }
    }

    /// Brings a file of another host into the folder. False: there is none.
    async fn fetch(&self, sha256: &[u8; 32]) -> Result<bool, StoreError> {
        let Some(database) = &self.beyond else {
            return Ok(false);
        };
        // Its size was bounded when it was taken in.
        let stored = self.put(pieces::stream(database, *sha256), u64::MAX, None).await?;
        // Its row is there already: none is on the way.
        self.arrived(stored.sha256);
        // No pieces at all make the empty file, which is the one asked for only if it has its name.
        Ok(stored.sha256 == *sha256)
    }

    /// Takes the stream in, at most `bytes_max` of it. `claimed` is the content type that its source names.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Interrupted`] when the stream fails, [`StoreError::Busy`] when the
    /// disk is full. Nothing is left behind then.
    pub async fn put<S, E>(&self, stream: S, bytes_max: u64, claimed: Option<&str>) -> Result<StoredFile, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::fmt::Display,
    {
        let part = Part::create(&self.dir)?;
        let mut file = tokio::fs::File::from_std(part.file.try_clone()?.into_std());
        let mut look = Look::new(claimed);
        let mut hash = Sha256::new();
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| StoreError::Interrupted(error.to_string()))?;
            look.at(&chunk);
            if look.bytes > bytes_max {
                return Err(StoreError::TooLarge { bytes_max });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        file.sync_all().await.map_err(disk)?;
        let stored = StoredFile {
            sha256: hash.finalize().into(),
            bytes: look.bytes,
            content_type: look.content_type(),
        };
        self.expect(stored.sha256);
        let files = self.clone();
        let name = hex::encode(stored.sha256);
        blocking(move || {
            part.keep_as(&name)?;
            // The name too must survive a power failure.
            files.dir.open(".")?.into_std().sync_all()
        })
        .await
        .inspect_err(|_| self.arrived(stored.sha256))?;
        Ok(stored)
    }

    /// The file in pieces, with its length. None: there is no such file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn open_file(
        &self,
        sha256: &[u8; 32],
    ) -> Result<Option<(u64, impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<>)>, StoreError> {
        let (dir, name) = (Arc::clone(&self.dir), hex::encode(sha256));
        let open = move || {
            let Some(file) = absent_as_none(dir.open(&name))? else {
                return Ok(None);
            };
            Ok(Some((file.metadata()?.len(), file.into_std())))
        };
        let mut opened = blocking(open.clone()).await?;
        if opened.is_none() && self.fetch(sha256).await? {
            opened = blocking(open).await?;
        }
        Ok(opened.map(|(bytes, file)| {
            let file = tokio::fs::File::from_std(file);
            (bytes, ReaderStream::with_capacity(file, CHUNK_BYTES))
        }))
    }

    /// Up to `len` bytes from `offset`; fewer at the end of the file. None: there is no such file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self, sha256: &[u8; 32], offset: u64, len: u32) -> Result<Option<Bytes>, StoreError> {
        let (dir, name) = (Arc::clone(&self.dir), hex::encode(sha256));
        let read = move || {
            let Some(mut file) = absent_as_none(dir.open(&name))? else {
                return Ok(None);
            };
            file.seek(SeekFrom::Start(offset))?;
            let mut piece = Vec::new();
            file.take(u64::from(len)).read_to_end(&mut piece)?;
            Ok(Some(Bytes::from(piece)))
        };
        let found = blocking(read.clone()).await?;
        if found.is_none() && self.fetch(sha256).await? {
            return blocking(read).await;
        }
        Ok(found)
    }

    /// The row of a put file is on disk, or will never be.
    pub(crate) fn arrived(&self, sha256: [u8; 32]) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = expected.get_mut(&sha256) {
            rows.count -= 1;
            if rows.count == 0 {
                expected.remove(&sha256);
            }
        }
    }

    fn expect(&self, sha256: [u8; 32]) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever put a file and failed before its row would be waited for until the end of the process.
        expected.retain(|_, rows| rows.since.elapsed() < ORPHAN_AGE);
        let since = Instant::now();
        let rows = expected.entry(sha256).or_insert(Expected { count: 0, since });
        rows.count += 1;
        rows.since = since;
    }

    /// Deletes bytes that no row names any more, unless a row for the same bytes is on the way.
    pub(crate) async fn erase(&self, sha256: [u8; 32]) -> Result<(), StoreError> {
        let files = self.clone();
        blocking(move || {
            // Held while deleting: a put of the same bytes renames its file before or after, never in between.
            let expected = files.expected.lock().unwrap_or_else(PoisonError::into_inner);
            if expected
                .get(&sha256)
                .is_some_and(|rows| rows.since.elapsed() < ORPHAN_AGE)
            {
                return Ok(());
            }
            absent_as_none(files.dir.remove_file(hex::encode(sha256)))?;
            drop(expected);
            Ok(())
        })
        .await
    }

    /// Names of files (and of halves of files) that are old enough to be left over from a crash.
    pub(crate) async fn old_ones(&self) -> Result<Vec<OldFile>, StoreError> {
        let dir = Arc::clone(&self.dir);
        blocking(move || {
            let mut old = Vec::new();
            for entry in dir.entries()? {
                let entry = entry?;
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                    continue;
                };
                let changed = entry.metadata()?.modified()?.into_std();
                let age = SystemTime::now().duration_since(changed).unwrap_or_default();
                if age < ORPHAN_AGE {
                    continue;
                }
                let mut sha256 = [0; 32];
                if name.ends_with(PART_SUFFIX) {
                    old.push(OldFile::Part(name));
                } else if hex::decode_to_slice(&name, &mut sha256).is_ok() {
                    old.push(OldFile::Whole(sha256));
                }
            }
            Ok(old)
        })
        .await
    }

    pub(crate) async fn remove_part(&self, name: String) -> Result<(), StoreError> {
        let dir = Arc::clone(&self.dir);
        blocking(move || absent_as_none(dir.remove_file(name)).map(|_| ())).await
    }
}

/// A file of some age.
#[derive(Debug)]
pub(crate) enum OldFile {
    Whole([u8; 32]),
    /// Its writer is gone.
    Part(String),
}

/// A file being written; removed again unless kept.
struct Part {
    dir: Arc<Dir>,
    name: String,
    file: cap_std::fs::File,
    kept: bool,
}

impl Part {
    fn create(dir: &Arc<Dir>) -> Result<Self, StoreError> {
        let name = format!("{:016x}{PART_SUFFIX}", getrandom::u64().map_err(io::Error::from)?);
        let file = dir
            .open_with(&name, OpenOptions::new().write(true).create_new(true))
            .map_err(disk)?;
        Ok(Self {
            dir: Arc::clone(dir),
            name,
            file,
            kept: false,
        })
    }

    fn keep_as(mut self, name: &str) -> io::Result<()> {
        self.dir.rename(&self.name, &self.dir, name)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is swept away later.
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
        .map_err(disk)
}

fn absent_as_none<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn disk(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Busy("the disk is full".to_owned()),
        _ => StoreError::Files(error),
    }
}

/// What is learnt of a file while it passes.
struct Look<'a> {
    claimed: Option<&'a str>,
    head: Vec<u8>,
    bytes: u64,
    text: TextCheck,
}

impl<'a> Look<'a> {
    fn new(claimed: Option<&'a str>) -> Self {
        Self {
            claimed,
            head: Vec::new(),
            bytes: 0,
            text: TextCheck::default(),
        }
    }

    fn at(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.text.at(chunk);
    }

    fn content_type(&self) -> String {
        content_type(&self.head, self.claimed, self.text.holds())
    }
}

/// The type of a file: what its first bytes say; else plain text if it claims to be text and all of it is; else
/// what it claims, unless its bytes would have shown it; else unknown.
#[must_use]
pub fn content_type(head: &[u8], claimed: Option<&str>, is_text: bool) -> String {
    if let Some(kind) = infer::get(head) {
        return registered(kind.mime_type()).to_owned();
    }
    let claimed = claimed.map(|claim| claim.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let Some(claimed) = claimed.filter(|claim| is_content_type(claim)) else {
        return UNKNOWN_TYPE.to_owned();
    };
    if claimed.starts_with("text/") {
        return match claimed {
            _ if !is_text => UNKNOWN_TYPE.to_owned(),
            _ if INERT_TEXT.contains(&claimed.as_str()) => claimed,
            _ => "text/plain".to_owned(),
        };
    }
    if infer::is_mime_supported(&claimed) {
        return UNKNOWN_TYPE.to_owned();
    }
    claimed
}

/// Texts that no program runs; anything else that claims to be text, HTML above all, is shown as plain text.
const INERT_TEXT: [&str; 4] = ["text/calendar", "text/csv", "text/vcard", "text/x-vcard"];

/// The registered name of what the sniffer calls by the codec or by an older name. Providers list these.
fn registered(sniffed: &'static str) -> &'static str {
    match sniffed {
        "audio/opus" => "audio/ogg",
        "audio/m4a" => "audio/mp4",
        "audio/x-wav" => "audio/wav",
        "audio/x-flac" => "audio/flac",
        "video/x-m4v" => "video/mp4",
        other => other,
    }
}

fn is_content_type(claim: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    claim.len() <= CONTENT_TYPE_CHARS_MAX
        && claim
            .split_once('/')
            .is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// Whether all that passed is UTF-8 without NUL, over the borders of pieces.
#[derive(Default)]
struct TextCheck {
    broken: bool,
    /// The beginning of a character whose rest comes with the next piece: at most 3 bytes.
    rest: Vec<u8>,
}

impl TextCheck {
    fn at(&mut self, chunk: &[u8]) {
        if self.broken {
            return;
        }
        if chunk.contains(&0) {
            self.broken = true;
            return;
        }
        let mut joined = std::mem::take(&mut self.rest);
        joined.extend_from_slice(chunk);
        if let Err(error) = std::str::from_utf8(&joined) {
            if error.error_len().is_some() {
                self.broken = true;
            } else {
                self.rest = joined.split_off(error.valid_up_to());
            }
        }
    }

    fn holds(&self) -> bool {
        !self.broken && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::testing::TempFolder;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    fn pieces(bytes: &'static [u8], size: usize) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
        stream::iter(bytes.chunks(size).map(|piece| Ok(Bytes::from_static(piece))))
    }

    #[test]
    fn the_type_is_what_the_bytes_say() {
        let check = |head: &[u8], claimed, expected| {
            let mut text = TextCheck::default();
            head.chunks(1).for_each(|byte| text.at(byte));
            assert_eq!(content_type(head, claimed, text.holds()), expected, "{claimed:?}");
        };
        check(PNG, Some("text/plain"), "image/png");
        check(PNG, None, "image/png");
        check("grüße".as_bytes(), Some("text/csv; charset=utf-8"), "text/csv");
        check(b"words", Some("text/x-own"), "text/plain");
        check(b"a\0b", Some("text/plain"), UNKNOWN_TYPE);
        check(b"\xff\xfe", Some("text/html"), UNKNOWN_TYPE);
        check(
            "gr\u{fc}".as_bytes().split_last().unwrap().1,
            Some("text/plain"),
            UNKNOWN_TYPE,
        );
        check(b"hello", Some("image/png"), UNKNOWN_TYPE);
        check(b"hello", Some("application/x-own"), "application/x-own");
        check(b"hello", Some("a b/c"), UNKNOWN_TYPE);
        check(b"hello", None, UNKNOWN_TYPE);
    }

    #[tokio::test]
    async fn a_file_is_read_back_whole_and_in_pieces() {
        let folder = TempFolder::new().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let stored = files.put(pieces(PNG, 3), 100, None).await.unwrap();
        assert_eq!(stored.sha256, <[u8; 32]>::from(Sha256::digest(PNG)));
        assert_eq!(
            (stored.bytes, stored.content_type.as_str()),
            (PNG.len() as u64, "image/png")
        );
        let (bytes, stream) = files.open_file(&stored.sha256).await.unwrap().unwrap();
        let read: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        assert_eq!((bytes, read.concat()), (PNG.len() as u64, PNG.to_vec()));
        let middle = files.read(&stored.sha256, 1, 3).await.unwrap().unwrap();
        assert_eq!(middle, &PNG[1..4]);
        assert_eq!(
            files.read(&stored.sha256, 1000, 3).await.unwrap().unwrap(),
            Bytes::new()
        );
        assert_eq!(files.read(&[0; 32], 0, 3).await.unwrap(), None);
    }

    #[tokio::test]
    async fn in_5_a_file_over_the_cap_or_broken_off_leaves_nothing() {
        let folder = TempFolder::new().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let large = files.put(pieces(PNG, 4), 5, None).await;
        assert!(matches!(large, Err(StoreError::TooLarge { bytes_max: 5 })));
        let broken = pieces(PNG, 4).chain(stream::iter([Err(io::Error::other("cut"))]));
        assert!(matches!(
            files.put(broken, 100, None).await,
            Err(StoreError::Interrupted(_))
        ));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let exact = files.put(pieces(PNG, 4), PNG.len() as u64, None).await;
        assert!(exact.is_ok());
    }

    #[tokio::test]
    async fn bytes_put_again_are_not_erased_with_their_earlier_row() {
        let folder = TempFolder::new().unwrap();
        let files = Files::open(folder.path()).unwrap();
        let stored = files.put(pieces(PNG, 4), 100, None).await.unwrap();
        files.arrived(stored.sha256);
        // A second put, whose row is still on the way, while the first row is erased.
        files.put(pieces(PNG, 4), 100, None).await.unwrap();
        files.erase(stored.sha256).await.unwrap();
        assert!(files.read(&stored.sha256, 0, 1).await.unwrap().is_some());
        files.arrived(stored.sha256);
        files.erase(stored.sha256).await.unwrap();
        assert!(files.read(&stored.sha256, 0, 1).await.unwrap().is_none());
    }
}

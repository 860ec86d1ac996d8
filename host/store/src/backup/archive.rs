//! The form of the archive: entries with their length and SHA-256, and at the end the SHA-256 of all of those.
//!
//! A line says what the file is and whether it is sealed. Then, for each entry: the length of its name (u32), the
//! name, the length of the content (u64), the content, its SHA-256. A name of length 0 ends the list; the SHA-256
//! over the entries' names and hashes follows. Numbers are big-endian.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use sha2::{Digest, Sha256};

use super::BackupError;
use super::sealed::{SealedReader, SealedWriter};
use crate::seal::Key;

const PLAIN: &[u8] = b"mantle backup 1 plain\n";
const SEALED: &[u8] = b"mantle backup 1 sealed\n";
/// Bytes moved at once.
const PIECE_BYTES: usize = 64 << 10;
/// Names are ours: the longest is a hash in a folder.
const NAME_BYTES_MAX: usize = 256;

/// What is being done, how far it is, and out of how much.
pub type Progress<'a> = &'a (dyn Fn(&str, u64, Option<u64>) + Sync);

enum Out {
    Plain(BufWriter<File>),
    Sealed(SealedWriter),
}

pub(super) struct Writer {
    out: Out,
    all: Sha256,
}

impl Writer {
    pub(super) fn new(file: File, seal: Option<&Key>) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        let out = match seal {
            None => {
                file.write_all(PLAIN)?;
                Out::Plain(file)
            }
            Some(key) => {
                file.write_all(SEALED)?;
                Out::Sealed(SealedWriter::new(file, key)?)
            }
        };
        Ok(Self {
            out,
            all: Sha256::new(),
        })
    }

    /// # Errors
    /// The disk, or a content of another length than told.
    pub(super) fn entry(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> io::Result<()> {
        let name_bytes = u32::try_from(name.len()).map_err(io::Error::other)?;
        self.write(&name_bytes.to_be_bytes())?;
        self.write(name.as_bytes())?;
        self.write(&bytes.to_be_bytes())?;
        let (mut hash, mut written) = (Sha256::new(), 0_u64);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let got = content.read(&mut piece)?;
            if got == 0 {
                break;
            }
            hash.update(&piece[..got]);
            self.write(&piece[..got])?;
            written += got as u64;
        }
        if written != bytes {
            return Err(io::Error::other("the file changed while it was read"));
        }
        let hash = hash.finalize();
        self.all.update(name.as_bytes());
        self.all.update(hash);
        self.write(&hash)
    }

    /// Everything is on disk after it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.write(&0_u32.to_be_bytes())?;
        let all = self.all.clone().finalize();
        self.write(&all)?;
        let file = match self.out {
            Out::Plain(file) => file,
            Out::Sealed(sealed) => sealed.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Plain(file) => file.write_all(bytes),
            Out::Sealed(sealed) => sealed.write_all(bytes),
        }
    }
}

/// What comes next in an archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub bytes: u64,
}

pub(super) struct Reader {
    from: Box<dyn Read>,
    name: String,
    all: Sha256,
}

impl Reader {
    pub(super) fn new(file: File, seal: Option<&Key>) -> Result<Self, BackupError> {
        let mut file = BufReader::new(file);
        // Both lines begin alike and end with a line feed.
        let mut line = Vec::new();
        while line.len() < SEALED.len() && line.last() != Some(&b'\n') {
            let mut byte = [0];
            file.read_exact(&mut byte).map_err(broken)?;
            line.extend(byte);
        }
        let from: Box<dyn Read> = match (line.as_slice(), seal) {
            (PLAIN, None) => Box::new(file),
            (SEALED, Some(key)) => Box::new(SealedReader::new(file, key).map_err(broken)?),
            (SEALED, None) => {
                return Err(refuse(
                    "the backup is sealed. Name the key that it was made with: --key-file FILE",
                ));
            }
            (PLAIN, Some(_)) => {
                return Err(refuse(
                    "the backup is not sealed, but a key was given. Is it the right file?",
                ));
            }
            _ => return Err(refuse("this is not a backup of Mantle, or one of a newer release")),
        };
        Ok(Self {
            from,
            name: String::new(),
            all: Sha256::new(),
        })
    }

    /// None: the archive has ended, and what was read is what was written.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, BackupError> {
        let name_bytes = u32::from_be_bytes(self.number()?) as usize;
        if name_bytes == 0 {
            let told: [u8; 32] = self.number()?;
            let mut rest = [0];
            let more = self.from.read(&mut rest).map_err(broken)?;
            if told != <[u8; 32]>::from(self.all.clone().finalize()) || more > 0 {
                return Err(refuse(
                    "the backup is damaged: its checksum does not fit. Use another one",
                ));
            }
            return Ok(None);
        }
        if name_bytes > NAME_BYTES_MAX {
            return Err(refuse("the backup is damaged: an entry has no name. Use another one"));
        }
        let mut name = vec![0; name_bytes];
        self.from.read_exact(&mut name).map_err(broken)?;
        let name = String::from_utf8(name).map_err(|_| refuse("the backup is damaged: a name is not text"))?;
        self.name.clone_from(&name);
        Ok(Some(Entry {
            name,
            bytes: u64::from_be_bytes(self.number()?),
        }))
    }

    /// The content of the entry that was told last.
    pub(super) fn content(&mut self, bytes: u64, into: &mut dyn Write) -> Result<(), BackupError> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = bytes;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            self.from.read_exact(&mut piece[..wanted]).map_err(broken)?;
            hash.update(&piece[..wanted]);
            into.write_all(&piece[..wanted]).map_err(|source| BackupError::Io {
                path: self.name.clone(),
                source,
            })?;
            left -= wanted as u64;
        }
        let hash: [u8; 32] = hash.finalize().into();
        if hash != self.number::<32>()? {
            let name = &self.name;
            return Err(refuse(&format!("the backup is damaged at `{name}`. Use another one")));
        }
        self.all.update(self.name.as_bytes());
        self.all.update(hash);
        Ok(())
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(broken)?;
        Ok(bytes)
    }
}

fn refuse(why: &str) -> BackupError {
    BackupError::Archive(why.to_owned())
}

fn broken(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => refuse("the backup ends too early: it is not whole. Use another one"),
        io::ErrorKind::InvalidData => refuse(&error.to_string()),
        _ => BackupError::Io {
            path: "the backup".to_owned(),
            source: error,
        },
    }
}

//! A stream sealed in pieces with XChaCha20-Poly1305.
//!
//! Each piece has a nonce of its own: 19 random bytes of the stream, the piece's number, and whether it is the last.
//! So pieces cannot be changed, exchanged, left out at the end or put together from two archives without being told.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::seal::Key;

const PREFIX_BYTES: usize = 19;
/// Content of one piece.
const PIECE_BYTES: usize = 64 << 10;
/// What sealing adds to a piece.
const TAG_BYTES: usize = 16;
/// The use that the key is derived for: a backup sealed with the host's own key file shares nothing with its secrets.
const PURPOSE: &str = "backup";

struct Cipher {
    cipher: XChaCha20Poly1305,
    prefix: [u8; PREFIX_BYTES],
    number: u32,
}

impl Cipher {
    fn new(key: &Key, prefix: [u8; PREFIX_BYTES]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&key.derive(PURPOSE).into()),
            prefix,
            number: 0,
        }
    }

    fn nonce(&mut self, last: bool) -> io::Result<XNonce> {
        let mut nonce = [0; 24];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..23].copy_from_slice(&self.number.to_be_bytes());
        nonce[23] = u8::from(last);
        let next = self.number.checked_add(1);
        self.number = next.ok_or_else(|| io::Error::other("the backup is too large to be sealed"))?;
        Ok(XNonce::from(nonce))
    }
}

pub(super) struct SealedWriter {
    out: BufWriter<File>,
    cipher: Cipher,
    piece: Vec<u8>,
}

impl SealedWriter {
    pub(super) fn new(mut out: BufWriter<File>, key: &Key) -> io::Result<Self> {
        let mut prefix = [0; PREFIX_BYTES];
        getrandom::fill(&mut prefix).map_err(io::Error::from)?;
        out.write_all(&prefix)?;
        Ok(Self {
            out,
            cipher: Cipher::new(key, prefix),
            piece: Vec::with_capacity(PIECE_BYTES),
        })
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // A full piece waits until it is known not to be the last.
            if self.piece.len() == PIECE_BYTES {
                self.seal(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<BufWriter<File>> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.cipher.nonce(last)?;
        let sealed = self.cipher.cipher.encrypt(&nonce, self.piece.as_slice());
        self.piece.clear();
        self.out
            .write_all(&sealed.map_err(|_| io::Error::other("a piece cannot be sealed"))?)
    }
}

pub(super) struct SealedReader {
    from: BufReader<File>,
    cipher: Cipher,
    /// The sealed piece that comes next; empty after the last.
    next: Vec<u8>,
    piece: Vec<u8>,
    read: usize,
}

impl SealedReader {
    pub(super) fn new(mut from: BufReader<File>, key: &Key) -> io::Result<Self> {
        let mut prefix = [0; PREFIX_BYTES];
        from.read_exact(&mut prefix)?;
        let next = sealed_piece(&mut from)?;
        Ok(Self {
            from,
            cipher: Cipher::new(key, prefix),
            next,
            piece: Vec::new(),
            read: 0,
        })
    }

    fn open_next(&mut self) -> io::Result<()> {
        let following = sealed_piece(&mut self.from)?;
        let sealed = std::mem::replace(&mut self.next, following);
        let nonce = self.cipher.nonce(self.next.is_empty())?;
        let opened = self.cipher.cipher.decrypt(&nonce, sealed.as_slice());
        self.piece = opened.map_err(|_| {
            let why = "the backup cannot be opened: the key is not the one that it was made with, or it is damaged";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        self.read = 0;
        Ok(())
    }
}

impl Read for SealedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            if self.next.is_empty() {
                return Ok(0);
            }
            self.open_next()?;
        }
        let left = &self.piece[self.read..];
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}

fn sealed_piece(from: &mut BufReader<File>) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    from.take((PIECE_BYTES + TAG_BYTES) as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

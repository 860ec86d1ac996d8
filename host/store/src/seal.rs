//! Secrets at rest: XChaCha20-Poly1305 under one key of the operator.
//!
//! A sealed value is bound to its place (table, row, name), so that it cannot be moved to another row
//! and still open. The key lies in a file beside the database, or wherever the operator put it; whoever
//! has only the database reads nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mantle_model::secret::Secret;
use sha2::{Digest, Sha256};

use crate::StoreError;

/// A fresh random one per value; 192 bits, so chance alone never repeats it.
const NONCE_BYTES: usize = 24;

/// The key that seals secrets. Does not print.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[key]")
    }
}

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key file {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error(
        "key file {path} does not hold 64 hexadecimal digits; restore the file that the database was started with, \
         or point [secrets] key_file to it"
    )]
    Malformed { path: String },
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Key {
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key, or makes it (readable by the owner alone) if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io {
            path: path.display().to_string(),
            source,
        };
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(KeyError::Random)?;
                create(path, &key).map_err(io)?;
                Ok(Self(key))
            }
            other => other,
        }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let mut text = String::new();
        File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|source| KeyError::Io {
                path: path.display().to_string(),
                source,
            })?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| KeyError::Malformed {
            path: path.display().to_string(),
        })?;
        Ok(Self(key))
    }

    /// Tells whether two keys are the same without telling the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.derive("fingerprint")[..8])
    }

    /// A key for another purpose than sealing, such as signing the addresses of files; tells nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"mantle derived key\0");
        hash.update(purpose.as_bytes());
        hash.update([0]);
        hash.update(self.0);
        hash.finalize().into()
    }

    /// Tells keys apart in a row, so that a later rotation knows which rows are still to be sealed anew.
    fn id(&self) -> u8 {
        let mut hash = Sha256::new();
        hash.update(b"mantle key id");
        hash.update(self.0);
        hash.finalize()[0]
    }

    /// # Errors
    /// The operating system gives no random numbers.
    pub(crate) fn seal(&self, place: Place<'_>, secret: &Secret) -> Result<Sealed, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(std::io::Error::from)?;
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &place.bytes(),
        };
        let sealed = XChaCha20Poly1305::new(&self.0.into())
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| StoreError::Files(std::io::Error::other("a secret is too long to be sealed")))?;
        Ok(Sealed {
            key_id: self.id(),
            nonce: nonce.to_vec(),
            sealed,
        })
    }

    /// # Errors
    /// [`StoreError::Undecipherable`]: sealed with another key, or for another place.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<Secret, StoreError> {
        let refused = || StoreError::Undecipherable(place.name.to_owned());
        if sealed.key_id != self.id() {
            return Err(refused());
        }
        let nonce: [u8; NONCE_BYTES] = sealed.nonce.as_slice().try_into().map_err(|_| refused())?;
        let payload = Payload {
            msg: &sealed.sealed,
            aad: &place.bytes(),
        };
        let plain = XChaCha20Poly1305::new(&self.0.into())
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| refused())?;
        String::from_utf8(plain).map(Secret::new).map_err(|_| refused())
    }
}

fn create(path: &Path, key: &[u8; 32]) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        crate::folder::create_private(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(hex::encode(key).as_bytes())?;
    file.write_all(b"\n")?;
    // A key that is lost takes every token with it: on disk before the first secret is.
    file.sync_all()
}

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub owner: &'static str,
    pub id: i64,
    pub name: &'a str,
}

impl Place<'_> {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.owner.len() + self.name.len() + 10);
        bytes.extend_from_slice(self.owner.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }
}

#[derive(Debug)]
pub(crate) struct Sealed {
    pub key_id: u8,
    pub nonce: Vec<u8>,
    pub sealed: Vec<u8>,
}

impl Sealed {
    /// All of it in one column: key id, nonce, sealed value.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + self.sealed.len());
        bytes.push(self.key_id);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.sealed);
        bytes
    }

    /// None: too short to be one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key_id, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        Some(Self {
            key_id: *key_id,
            nonce: nonce.to_vec(),
            sealed: sealed.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: i64) -> Place<'static> {
        Place {
            owner: "channel",
            id,
            name: "bot_token",
        }
    }

    #[test]
    fn a_sealed_value_opens_in_its_place_with_its_key_only() -> Result<(), StoreError> {
        let key = Key::from_bytes([7; 32]);
        let sealed = key.seal(place(1), &Secret::new("123:abc".into()))?;
        assert_eq!(key.open(place(1), &sealed)?.expose(), "123:abc");
        assert!(key.open(place(2), &sealed).is_err());
        assert!(Key::from_bytes([8; 32]).open(place(1), &sealed).is_err());
        // The same id byte by chance does not help.
        let other = Key::from_bytes([8; 32]);
        let claimed = Sealed {
            key_id: other.id(),
            ..sealed
        };
        assert!(other.open(place(1), &claimed).is_err());
        Ok(())
    }

    #[test]
    fn the_key_file_is_made_once_and_private() -> Result<(), Box<dyn std::error::Error>> {
        use std::os::unix::fs::PermissionsExt;
        let folder = crate::testing::TempFolder::new()?;
        let path = folder.path().join("deep/secret.key");
        let first = Key::load_or_create(&path)?;
        let second = Key::load_or_create(&path)?;
        assert_eq!(first.0, second.0);
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "not a key")?;
        assert!(matches!(Key::load_or_create(&path), Err(KeyError::Malformed { .. })));
        Ok(())
    }
}

//! Compiled components on disk, so that a start takes milliseconds instead of seconds.
//!
//! Invariants: loading compiled code runs whatever is in the file, so only files that this host wrote are
//! loaded: named by the component's digest and the engine's settings, behind a MAC whose key lies beside them
//! and is readable by this user alone. A file that does not fit is compiled anew. Nothing is ever fatal here
//! but a folder that cannot be made.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of the key and of the MAC before the compiled code.
const MAC_BYTES: usize = 32;

pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; MAC_BYTES],
    /// What the engine's settings come to.
    settings: u64,
}

impl Cache {
    /// # Errors
    /// One sentence that names the folder or file and the fix.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, String> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            format!(
                "the folder of compiled connectors {}: {what} ({error}); check its owner and rights",
                folder.display()
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| fail("cannot be made", &error))?;
        // It may have been made earlier, by somebody more generous.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| fail("cannot be closed to others", &error))?;
        let key = key(&folder.join("cache.key")).map_err(|error| fail("the key in it cannot be used", &error))?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: folder.to_owned(),
            key,
            settings: hasher.finish(),
        })
    }

    /// The component, if it was kept.
    pub(crate) fn find(&self, engine: &Engine, digest: &str) -> Option<Component> {
        self.read(engine, &self.name(digest))
    }

    /// The component of this machine code, which the compiler has just made, and kept for the next start.
    ///
    /// # Errors
    /// It is none of this engine's.
    pub(crate) fn keep(&self, engine: &Engine, digest: &str, compiled: &[u8]) -> Result<Component, String> {
        let component = trusted::deserialize(engine, compiled).map_err(|error| format!("{error:#}"))?;
        let name = self.name(digest);
        if let Err(error) = self.write(&name, compiled) {
            tracing::warn!(file = %name, "A compiled connector could not be kept, the next start is slower: {error}");
        }
        Ok(component)
    }

    fn name(&self, digest: &str) -> String {
        format!("{digest}-{:016x}.cwasm", self.settings)
    }

    fn read(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.folder.join(name);
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %name, "A compiled connector could not be read and is compiled anew: {error}");
                return None;
            }
        };
        let genuine = file.split_at_checked(MAC_BYTES).and_then(|(mac, compiled)| {
            let expected = self.mac(name, compiled)?;
            expected.verify_slice(mac).is_ok().then_some(compiled)
        });
        let Some(compiled) = genuine else {
            tracing::warn!(file = %name, "A compiled connector was changed on disk and is compiled anew");
            return None;
        };
        trusted::deserialize(engine, compiled)
            .inspect_err(|error| tracing::warn!(file = %name, "A compiled connector does not fit: {error:#}"))
            .ok()
    }

    /// In one step, so that another process never reads half a file.
    fn write(&self, name: &str, compiled: &[u8]) -> Result<(), String> {
        let mac = self.mac(name, compiled).ok_or("no MAC")?.finalize().into_bytes();
        let written = private_file(&self.folder, &[&mac, compiled])
            .and_then(|file| file.persist(self.folder.join(name)).map_err(|error| error.error));
        written.map(drop).map_err(|error| error.to_string())
    }

    fn mac(&self, name: &str, compiled: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).ok()?;
        mac.update(name.as_bytes());
        mac.update(compiled);
        Some(mac)
    }
}

/// A file of this user alone, under a name that no other process or thread writes to. Gone unless it is persisted.
fn private_file(folder: &Path, pieces: &[&[u8]]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    Ok(file)
}

/// The key in the file, made when there is none. A file of another length is refused, not overwritten.
fn key(path: &Path) -> std::io::Result<[u8; MAC_BYTES]> {
    let read = || -> std::io::Result<[u8; MAC_BYTES]> {
        let mut key = [0; MAC_BYTES];
        fs::File::open(path)?.read_exact(&mut key)?;
        Ok(key)
    };
    if path.exists() {
        return read();
    }
    let mut key = [0; MAC_BYTES];
    getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
    // Under its final name only when it is whole, and never over the key of another.
    let folder = path.parent().unwrap_or(Path::new("."));
    match private_file(folder, &[&key])?.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => read(),
        Err(error) => Err(error.error),
    }
}

mod trusted {
    //! The one place where compiled code is taken as it is.

    use wasmtime::component::Component;
    use wasmtime::{Engine, Result};

    /// Only for bytes whose MAC has been checked, or that the compiler has just made.
    pub(super) fn deserialize(engine: &Engine, compiled: &[u8]) -> Result<Component> {
        #[expect(
            unsafe_code,
            reason = "the bytes are the compiler's, from its own pipe or as their MAC has proven"
        )]
        // SAFETY: `compiled` came from `Engine::precompile_component` of this program: it was read from the process that
        // was started for it, or its MAC is made with a key that only this user can read. wasmtime itself checks its
        // version and settings.
        unsafe {
            Component::deserialize(engine, compiled)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component there is: a header.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn only_file(folder: &Path) -> PathBuf {
        let mut files = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .collect::<Vec<_>>();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    #[test]
    fn a_second_start_takes_the_cache_and_a_changed_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("cache");
        let (engine, _) = crate::engine::build(&crate::engine::Resources::default().pools).unwrap();
        let compiled = engine.precompile_component(EMPTY).unwrap();
        let found = |digest: &str| Cache::open(&folder, &engine).unwrap().find(&engine, digest).is_some();
        let keep = || {
            let cache = Cache::open(&folder, &engine).unwrap();
            drop(cache.keep(&engine, "digest", &compiled).unwrap());
        };
        assert!(!found("digest"));
        keep();
        assert!(found("digest"));
        let file = only_file(&folder);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(folder.join("cache.key")).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert!(!found("digest"));
        keep();
        assert!(found("digest"));
        fs::write(&file, b"short").unwrap();
        assert!(!found("digest"));
        keep();
        // A genuine file under another name is refused as well.
        fs::rename(
            &file,
            file.with_file_name(file.file_name().unwrap().to_str().unwrap().replace("digest", "other")),
        )
        .unwrap();
        assert!(!found("other"));
    }

    /// The process that compiles has no pool, and machines differ in how large a pool they have room for.
    #[test]
    fn what_an_engine_without_a_pool_compiles_fits_every_other() {
        let compiling = crate::engine::for_compiling().unwrap();
        let compiled = compiling.precompile_component(EMPTY).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let names = [Some(1_000), Some(100), None].map(|slots| {
            let (engine, _) = crate::engine::build(&[slots]).unwrap();
            let cache = Cache::open(folder.path(), &engine).unwrap();
            drop(cache.keep(&engine, "digest", &compiled).unwrap());
            cache.name("digest")
        });
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        let rubbish = Cache::open(folder.path(), &compiling).unwrap();
        assert!(rubbish.keep(&compiling, "other", b"rubbish").is_err());
        assert!(rubbish.find(&compiling, "other").is_none(), "it is not kept");
    }

    #[test]
    fn hosts_that_start_at_once_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..16).map(|_| scope.spawn(|| key(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

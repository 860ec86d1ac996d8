//! The host as a connector sees it: the imports of the interface behind one trait, so that a connector runs
//! natively in its tests exactly as it runs in the sandbox.

use crate::values::{MediaId, TimeMs};
use crate::{config, crypto, http, kv, log, media};

/// All that a connector may ask of its surroundings. Two implementations: the imports of the component, and
/// [`golden::Script`](crate::golden::Script) for tests. In `receive` only `config`, `hook_url`, `now`, `log` and
/// what computes with secrets answer; everything else is refused there.
pub trait Host {
    /// One call to the provider. At most 20 in one call of the connector.
    ///
    /// # Errors
    /// `request_sent` tells whether the provider may have acted; `CallError::from` draws the conclusion.
    fn fetch(&self, request: http::Request) -> Result<http::Response, http::Error>;

    /// As [`Host::fetch`], but the body of a good answer goes into the host's keeping.
    ///
    /// # Errors
    /// As [`Host::fetch`].
    fn download(&self, request: http::Request) -> Result<http::DownloadResponse, http::Error>;

    /// # Errors
    /// The file was not given to this call.
    fn media_stat(&self, file: MediaId) -> Result<media::FileInfo, media::Error>;

    /// At most 65,536 bytes a call.
    ///
    /// # Errors
    /// The file was not given to this call, or the offset lies beyond its end.
    fn media_read(&self, file: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, media::Error>;

    /// A public, expiring address of the file, for providers that fetch it themselves.
    ///
    /// # Errors
    /// The file was not given to this call.
    fn media_link(&self, file: MediaId) -> Result<String, media::Error>;

    /// # Errors
    /// The manifest names no such secret, or the channel has none.
    fn hmac(&self, secret: &str, algorithm: crypto::Algorithm, data: &[u8]) -> Result<Vec<u8>, crypto::Error>;

    /// Whether `code` is the HMAC of `data`.
    ///
    /// # Errors
    /// As [`Host::hmac`].
    fn verify(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        data: &[u8],
        code: &[u8],
    ) -> Result<bool, crypto::Error>;

    /// Whether `digest` is the hash of the parts and the secret, sorted and joined. 1 to 8 parts, none empty.
    ///
    /// # Errors
    /// As [`Host::hmac`].
    fn verify_sorted(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        parts: &[Vec<u8>],
        digest: &[u8],
    ) -> Result<bool, crypto::Error>;

    /// AES-256-CBC. With [`crypto::InitialVector::OfKey`] the first block of the text is left out.
    ///
    /// # Errors
    /// See [`crypto::DecryptError`].
    fn decrypt_aes256_cbc(
        &self,
        secret: &str,
        start: &crypto::InitialVector,
        data: &[u8],
    ) -> Result<Vec<u8>, crypto::DecryptError>;

    /// # Errors
    /// See [`kv::Error`].
    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error>;

    /// `ttl_ms` none: until deleted.
    ///
    /// # Errors
    /// See [`kv::Error`].
    fn kv_set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), kv::Error>;

    /// Writes only if the present value is `expected` (none: absent). Tells whether it wrote.
    ///
    /// # Errors
    /// See [`kv::Error`].
    fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, kv::Error>;

    /// # Errors
    /// See [`kv::Error`].
    fn kv_delete(&self, key: &str) -> Result<(), kv::Error>;

    /// A field of the set-up form that is not secret.
    fn config(&self, field: &str) -> Option<String>;

    /// The public address of this channel's hook.
    fn hook_url(&self) -> String;

    /// The host's clock.
    fn now(&self) -> TimeMs;

    /// Never message texts or personal data.
    fn log(&self, level: log::Level, message: &str);
}

/// The imports of the component. Only meaningful inside the sandbox: natively every method stops the program.
#[derive(Debug, Clone, Copy)]
pub struct Imports;

impl Host for Imports {
    fn fetch(&self, request: http::Request) -> Result<http::Response, http::Error> {
        http::fetch(&request)
    }

    fn download(&self, request: http::Request) -> Result<http::DownloadResponse, http::Error> {
        http::download(&request)
    }

    fn media_stat(&self, file: MediaId) -> Result<media::FileInfo, media::Error> {
        media::stat(file)
    }

    fn media_read(&self, file: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, media::Error> {
        media::read(file, offset, length)
    }

    fn media_link(&self, file: MediaId) -> Result<String, media::Error> {
        media::link(file)
    }

    fn hmac(&self, secret: &str, algorithm: crypto::Algorithm, data: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        crypto::hmac(secret, algorithm, data)
    }

    fn verify(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        data: &[u8],
        code: &[u8],
    ) -> Result<bool, crypto::Error> {
        crypto::verify(secret, algorithm, data, code)
    }

    fn verify_sorted(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        parts: &[Vec<u8>],
        digest: &[u8],
    ) -> Result<bool, crypto::Error> {
        crypto::verify_sorted(secret, algorithm, parts, digest)
    }

    fn decrypt_aes256_cbc(
        &self,
        secret: &str,
        start: &crypto::InitialVector,
        data: &[u8],
    ) -> Result<Vec<u8>, crypto::DecryptError> {
        crypto::decrypt_aes256_cbc(secret, start, data)
    }

    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        kv::get(key)
    }

    fn kv_set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), kv::Error> {
        kv::set(key, value, ttl_ms)
    }

    fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, kv::Error> {
        kv::compare_and_set(key, expected, value, ttl_ms)
    }

    fn kv_delete(&self, key: &str) -> Result<(), kv::Error> {
        kv::delete(key)
    }

    fn config(&self, field: &str) -> Option<String> {
        config::get(field)
    }

    fn hook_url(&self) -> String {
        config::hook_url()
    }

    fn now(&self) -> TimeMs {
        config::now()
    }

    fn log(&self, level: log::Level, message: &str) {
        log::write(level, message);
    }
}

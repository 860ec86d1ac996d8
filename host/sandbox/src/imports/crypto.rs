//! Arithmetic with secrets that the guest names but never sees.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::bindings::mantle::connector::crypto::{Algorithm, Error, Host};
use crate::call::CallState;

impl Host for CallState {
    async fn hmac(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.count_host_call()?;
        let Some(secret) = self.channel.secrets.get(&secret) else {
            return Ok(Err(Error::UnknownSecret));
        };
        let key = secret.expose().as_bytes();
        let code = match algorithm {
            Algorithm::Sha1 => code::<Hmac<Sha1>>(key, &data),
            Algorithm::Sha256 => code::<Hmac<Sha256>>(key, &data),
        };
        Ok(code.ok_or(Error::UnknownSecret))
    }
}

fn code<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

//! Arithmetic with secrets that the guest names but never sees.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use mantle_model::secret::Secret;
use sha1::Sha1;
use sha2::Sha256;

use crate::bindings::mantle::connector::crypto::{Algorithm, Error, Host};
use crate::call::CallState;
use crate::manifest::raw;

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

/// The code as text, for a credential; None for a key that no such code takes.
pub(super) fn written(
    (algorithm, encoding): (raw::Algorithm, raw::Encoding),
    key: &Secret,
    data: &Secret,
) -> Option<Secret> {
    let (key, data) = (key.expose().as_bytes(), data.expose().as_bytes());
    let code = match algorithm {
        raw::Algorithm::Sha1 => code::<Hmac<Sha1>>(key, data),
        raw::Algorithm::Sha256 => code::<Hmac<Sha256>>(key, data),
    };
    let text = match encoding {
        raw::Encoding::Hex => hex::encode(code?),
        raw::Encoding::Base64 => STANDARD.encode(code?),
    };
    Some(Secret::new(text))
}

fn code<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the provider's document.
    #[test]
    fn the_proof_of_a_token_is_its_code_under_the_app_secret() {
        let key = Secret::new("9f2c4b7e1a6d8035c4e1f7a2b8d90e36".to_owned());
        let token = Secret::new("EAAGexampleToken123".to_owned());
        let proof = written((raw::Algorithm::Sha256, raw::Encoding::Hex), &key, &token).unwrap();
        assert_eq!(
            proof.expose(),
            "fab3d296c15829a139f29a301df0e86090c5fe63312132276436ef2c674853ee"
        );
    }
}

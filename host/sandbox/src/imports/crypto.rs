//! Arithmetic with secrets that the guest names but never sees.
//!
//! What is answered must not tell the secret either, whatever a guest asks and however often: hashes in which the
//! secret stands plainly are compared here and not told, and no block is decrypted over a secret.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::Decryptor;
use hmac::{Hmac, KeyInit, Mac};
use mantle_model::secret::Secret;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::bindings::mantle::connector::crypto::{Algorithm, DecryptError, Error, Host, InitialVector};
use crate::call::CallState;
use crate::limits::SORTED_PARTS_MAX;
use crate::manifest::raw;

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// The longest padding that is taken off: WeChat pads to 32 bytes instead of to a block.
const PADDING_MAX: u8 = 32;
/// WeChat's key is base64 of 32 bytes without its padding, and its last letter has bits of no meaning.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Host for CallState {
    async fn hmac(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        self.count_host_call()?;
        let secret = self.secrets(&secret).first();
        let code = secret.and_then(|secret| hmac(algorithm, secret, &data));
        Ok(code.ok_or(Error::UnknownSecret))
    }

    async fn verify(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        data: Vec<u8>,
        code: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, Error>> {
        self.count_host_call()?;
        // While a secret is being changed, the old and the new one pass, as in a recipe.
        let secrets = self.secrets(&secret);
        if secrets.is_empty() {
            return Ok(Err(Error::UnknownSecret));
        }
        let mut codes = secrets.iter().filter_map(|secret| hmac(algorithm, secret, &data));
        Ok(Ok(codes.any(|own| own.ct_eq(&code).into())))
    }

    async fn verify_sorted(
        &mut self,
        secret: String,
        algorithm: Algorithm,
        parts: Vec<Vec<u8>>,
        digest: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, Error>> {
        self.count_host_call()?;
        let secrets = self.secrets(&secret);
        if secrets.is_empty() {
            return Ok(Err(Error::UnknownSecret));
        }
        if !(1..=SORTED_PARTS_MAX).contains(&parts.len()) || parts.iter().any(Vec::is_empty) {
            return Ok(Ok(false));
        }
        let mut digests = secrets.iter().map(|secret| sorted(algorithm, secret, &parts));
        Ok(Ok(digests.any(|own| own.ct_eq(&digest).into())))
    }

    async fn decrypt_aes256_cbc(
        &mut self,
        secret: String,
        start: InitialVector,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, DecryptError>> {
        self.count_host_call()?;
        let secrets = self.secrets(&secret);
        let mut last = DecryptError::UnknownSecret;
        for secret in secrets {
            match decrypted(secret, &start, data.clone()) {
                Ok(text) => return Ok(Ok(text)),
                Err(error) => last = error,
            }
        }
        Ok(Err(last))
    }
}

fn hmac(algorithm: Algorithm, secret: &Secret, data: &[u8]) -> Option<Vec<u8>> {
    let key = secret.expose().as_bytes();
    match algorithm {
        Algorithm::Sha1 => code::<Hmac<Sha1>>(key, data),
        Algorithm::Sha256 => code::<Hmac<Sha256>>(key, data),
    }
}

fn sorted(algorithm: Algorithm, secret: &Secret, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = parts.iter().map(Vec::as_slice).collect::<Vec<_>>();
    all.push(secret.expose().as_bytes());
    all.sort_unstable();
    match algorithm {
        Algorithm::Sha1 => Sha1::digest(all.concat()).to_vec(),
        Algorithm::Sha256 => Sha256::digest(all.concat()).to_vec(),
    }
}

fn decrypted(secret: &Secret, start: &InitialVector, mut data: Vec<u8>) -> Result<Vec<u8>, DecryptError> {
    let key = key(secret).ok_or(DecryptError::UnusableSecret)?;
    let (first, left_out) = match start {
        InitialVector::Given(bytes) => (bytes.as_slice(), 0),
        InitialVector::OfKey => (&key[..BLOCK], BLOCK),
    };
    let mut cipher = Decryptor::<Aes256>::new_from_slices(&key, first).map_err(|_| DecryptError::Unreadable)?;
    let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
    if !rest.is_empty() {
        return Err(DecryptError::Unreadable);
    }
    for block in blocks {
        cipher.decrypt_block(block.into());
    }
    let padding = data.last().copied().unwrap_or(0);
    let text = data.len().checked_sub(padding.into()).filter(|text| *text >= left_out);
    let Some(text) = text.filter(|_| (1..=PADDING_MAX).contains(&padding)) else {
        return Err(DecryptError::Unreadable);
    };
    if data[text..].iter().any(|byte| *byte != padding) {
        return Err(DecryptError::Unreadable);
    }
    data.truncate(text);
    data.drain(..left_out);
    Ok(data)
}

/// 32 bytes, written in hex or base64.
fn key(secret: &Secret) -> Option<[u8; 32]> {
    let text = secret.expose();
    let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 32);
    bytes.or_else(|| KEY_BASE64.decode(text).ok())?.try_into().ok()
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
    use aes::cipher::BlockModeEncrypt;

    use super::*;

    const KEY: [u8; 32] = *b"0123456789abcdefFEDCBA9876543210";

    /// WeChat's spelling: 43 letters.
    fn wechat() -> Secret {
        Secret::new(STANDARD.encode(KEY).trim_end_matches('=').to_owned())
    }

    fn encrypted(start: &[u8], text: &[u8], padding: u8) -> Vec<u8> {
        let mut data = [text, &vec![padding; padding.into()]].concat();
        let mut cipher = cbc::Encryptor::<Aes256>::new_from_slices(&KEY, start).unwrap();
        for block in data.as_chunks_mut::<BLOCK>().0 {
            cipher.encrypt_block(block.into());
        }
        data
    }

    #[test]
    fn a_text_is_decrypted_by_name() {
        let start = [7; BLOCK];
        let given = InitialVector::Given(start.to_vec());
        let open = |data: Vec<u8>| decrypted(&wechat(), &given, data);
        assert_eq!(open(encrypted(&start, b"hello", 11)).unwrap(), b"hello");
        assert_eq!(open(encrypted(&start, b"", 16)).unwrap(), b"");
        // As WeChat pads.
        assert_eq!(open(encrypted(&start, b"hello", 27)).unwrap(), b"hello");
        let hex = Secret::new(hex::encode(KEY));
        assert_eq!(
            decrypted(&hex, &given, encrypted(&start, b"hello", 11)).unwrap(),
            b"hello"
        );
        for broken in [
            vec![],
            vec![0; 15],
            vec![0; 16],
            encrypted(&start, &[0; 15], 0)[..15].to_vec(),
        ] {
            assert_eq!(open(broken), Err(DecryptError::Unreadable));
        }
        let short = InitialVector::Given(vec![0; 12]);
        let data = encrypted(&start, b"hello", 11);
        assert_eq!(
            decrypted(&wechat(), &short, data.clone()),
            Err(DecryptError::Unreadable)
        );
        let no_key = Secret::new("a password".to_owned());
        assert_eq!(decrypted(&no_key, &given, data), Err(DecryptError::UnusableSecret));
    }

    /// The first block under the key's own bytes, beside the same block under others, would be those bytes.
    #[test]
    fn pv_4_no_two_answers_together_tell_of_the_key() {
        let random = [9; BLOCK];
        let data = encrypted(&KEY[..BLOCK], &[&random, &*b"hello".to_vec()].concat(), 11);
        let text = decrypted(&wechat(), &InitialVector::OfKey, data.clone()).unwrap();
        assert_eq!(text, b"hello", "the random bytes are left out");
        let one = decrypted(&wechat(), &InitialVector::OfKey, encrypted(&KEY[..BLOCK], b"hello", 11));
        assert_eq!(one, Err(DecryptError::Unreadable), "there is no text without them");
    }

    #[test]
    fn sorted_parts_are_compared() {
        let secret = Secret::new("QDG6eK".to_owned());
        let parts = |parts: &[&str]| parts.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>();
        let told = sorted(Algorithm::Sha1, &secret, &parts(&["1409659589", "263014780", "b"]));
        let joined = Sha1::digest(b"1409659589263014780QDG6eKb").to_vec();
        assert_eq!(told, joined);
        assert_eq!(
            sorted(Algorithm::Sha1, &secret, &parts(&["b", "263014780", "1409659589"])),
            joined
        );
        assert_ne!(
            sorted(Algorithm::Sha256, &secret, &parts(&["b", "263014780", "1409659589"])),
            joined
        );
    }

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

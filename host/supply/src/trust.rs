//! Ed25519 signatures over the bytes of a component, and the keys that an operator trusts.
//!
//! The signature is 64 bytes in base64 on one line: beside a file as `<component>.sig`, beside an address as the same
//! address with `.sig`, in a registry as the annotation [`ANNOTATION`] of the manifest or of the layer. It covers the
//! bytes of the component and nothing else, so that one signature serves all three, and so that other tools can make
//! and check it (`openssl pkeyutl -sign -rawin`). Private keys are PKCS #8 in PEM, as openssl writes them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::SupplyError;
use crate::limits::{KEY_BYTES_MAX, SIGNATURE_BYTES_MAX};

/// What is added to the name of a component for that of its signature.
pub const SIGNATURE_SUFFIX: &str = ".sig";
/// Under which a registry's manifest or layer carries the signature.
pub(crate) const ANNOTATION: &str = "dev.mantle.signature.ed25519";
/// Bytes of a public key.
const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Characters of a line of PEM.
const PEM_LINE_CHARS: usize = 64;

/// `[trust]` of `plugins.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Names that the operator gave, and public keys.
    keys: BTreeMap<String, [u8; PUBLIC_KEY_BYTES]>,
    /// Whether a component without a signature is refused.
    require: bool,
}

/// What a component's signature came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// The name of the key.
    By(String),
    /// There is none, and none is needed.
    None,
}

impl Seal {
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        match self {
            Self::By(name) => Some(name),
            Self::None => None,
        }
    }
}

impl Trust {
    /// No key yet.
    #[must_use]
    pub fn requiring(require: bool) -> Self {
        Self {
            keys: BTreeMap::new(),
            require,
        }
    }

    /// # Errors
    /// A sentence that says how a key is written.
    pub fn add(&mut self, name: &str, key: &str) -> Result<(), String> {
        let bytes = STANDARD.decode(key.trim()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; PUBLIC_KEY_BYTES]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| {
            format!(
                "`{name}` is no public key. Write its {PUBLIC_KEY_BYTES} bytes in base64, as `mantle plugin keygen` \
                 prints them"
            )
        })?;
        self.keys.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Whether signatures are looked at.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.require || !self.keys.is_empty()
    }

    /// Judges the component by the signature that came with it. A signature that is there must be good, whether one is
    /// required or not.
    ///
    /// # Errors
    /// What does not fit, and the fix.
    pub fn judge(&self, component: &[u8], signature: Option<&str>) -> Result<Seal, SupplyError> {
        if !self.is_set_up() {
            return Ok(Seal::None);
        }
        let Some(signature) = signature else {
            if self.require {
                return Err(SupplyError::new(
                    "it has no signature, and [trust] has `require = true`. Sign it with `mantle plugin sign`, take a \
                     signed one, or set `require = false`",
                ));
            }
            return Ok(Seal::None);
        };
        let bytes = STANDARD.decode(signature.trim()).ok();
        let bytes = bytes.filter(|bytes| bytes.len() == SIGNATURE_BYTES).ok_or_else(|| {
            SupplyError::new(format!(
                "its signature is not {SIGNATURE_BYTES} bytes in base64; make it with `mantle plugin sign`, or take it away"
            ))
        })?;
        let signer = self.keys.iter().find(|(_, key)| {
            UnparsedPublicKey::new(&ED25519, key.as_slice())
                .verify(component, &bytes)
                .is_ok()
        });
        signer.map(|(name, _)| Seal::By(name.clone())).ok_or_else(|| {
            let known = self.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            SupplyError::new(format!(
                "its signature was made by none of the keys of [trust] ({known}), or for other bytes. Take the component \
                 that was signed; if you trust another signer, add the public key to [trust] keys"
            ))
        })
    }
}

/// A new private key, in PEM.
///
/// # Errors
/// The system gives no random numbers.
pub fn generate_key() -> Result<String, SupplyError> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| SupplyError::new("the system gives no random numbers"))?;
    let text = STANDARD.encode(key.as_ref());
    let lines = text.as_bytes().chunks(PEM_LINE_CHARS);
    let lines = lines.map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    Ok(format!("{PEM_BEGIN}\n{lines}\n{PEM_END}\n"))
}

/// The public half, as `[trust] keys` has it.
///
/// # Errors
/// The text is no such key.
pub fn public_key(pem: &str) -> Result<String, SupplyError> {
    Ok(STANDARD.encode(pair(pem)?.public_key().as_ref()))
}

/// The signature, with a line end.
///
/// # Errors
/// The text is no such key.
pub fn sign(component: &[u8], pem: &str) -> Result<String, SupplyError> {
    let signature = pair(pem)?.sign(component);
    Ok(format!("{}\n", STANDARD.encode(signature.as_ref())))
}

fn pair(pem: &str) -> Result<Ed25519KeyPair, SupplyError> {
    let wrong = || {
        SupplyError::new(
            "this is no Ed25519 key in PEM; make one with `mantle plugin keygen` or `openssl genpkey -algorithm ed25519`",
        )
    };
    if pem.len() as u64 > KEY_BYTES_MAX {
        return Err(wrong());
    }
    let (_, rest) = pem.split_once(PEM_BEGIN).ok_or_else(wrong)?;
    let (body, _) = rest.split_once(PEM_END).ok_or_else(wrong)?;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).map_err(|_| wrong())?;
    // What openssl writes has no public half, which would be compared.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| wrong())
}

/// The text of a signature out of bytes that somebody else has chosen; None: it is none.
pub(crate) fn signature_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (text.len() <= SIGNATURE_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(key: &str, require: bool) -> Trust {
        let mut trust = Trust::requiring(require);
        trust.add("ours", &public_key(key).unwrap()).unwrap();
        trust
    }

    #[test]
    fn d18_a_signature_is_good_for_its_bytes_and_its_key_alone() {
        let (ours, other) = (generate_key().unwrap(), generate_key().unwrap());
        let trust = trusting(&ours, true);
        let signature = sign(b"component", &ours).unwrap();
        assert_eq!(
            trust.judge(b"component", Some(&signature)).unwrap(),
            Seal::By("ours".to_owned())
        );
        let check = |bytes: &[u8], signature: Option<&str>, words: &str| {
            let problem = trust.judge(bytes, signature).unwrap_err().to_string();
            assert!(problem.contains(words), "{problem}");
        };
        check(
            b"componenT",
            Some(&signature),
            "made by none of the keys of [trust] (ours)",
        );
        check(
            b"component",
            Some(&sign(b"component", &other).unwrap()),
            "add the public key to [trust] keys",
        );
        check(b"component", Some("xyz"), "not 64 bytes in base64");
        check(b"component", None, "`require = true`");
    }

    #[test]
    fn what_is_not_required_may_be_absent_but_not_wrong() {
        let key = generate_key().unwrap();
        let trust = trusting(&key, false);
        assert_eq!(trust.judge(b"x", None).unwrap(), Seal::None);
        assert!(trust.judge(b"x", Some(&sign(b"y", &key).unwrap())).is_err());
        // Who has set nothing up is asked nothing.
        assert_eq!(Trust::default().judge(b"x", Some("xyz")).unwrap(), Seal::None);
    }

    /// RFC 8032, 7.1, test 1, as openssl writes the key down.
    #[test]
    fn keys_of_openssl_are_taken() {
        let key = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        assert_eq!(public_key(key).unwrap(), "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        assert_eq!(
            sign(b"", key).unwrap().trim(),
            "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw=="
        );
        assert!(public_key("nothing").is_err());
    }
}

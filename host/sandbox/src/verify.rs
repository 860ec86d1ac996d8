//! Is this hook genuine? Answered from the manifest's recipe, in the host, before any guest code runs.
//!
//! Invariants: secrets are compared in constant time; every secret of a name passes, so that one can be
//! changed while old hooks are still on their way; a missing or empty secret lets nothing through.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{KeyInit, Mac};
use mantle_model::hook::{Answer, Hook};
use mantle_model::secret::{Secret, Secrets};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::limits::CHALLENGE_BYTES_MAX;
use crate::manifest::raw::{Algorithm, BodyDigest, Challenge, Encoding, Timestamp, UrlPorts};
use crate::manifest::{Hmac, Manifest, SignedPart, Verification};
use crate::values::Verdict;

/// The manifest's recipe over the raw hook.
pub(crate) fn verify(manifest: &Manifest, secrets: &Secrets, hook: &Hook, url: &str) -> Verdict {
    if let Some(verdict) = manifest
        .challenge
        .as_ref()
        .and_then(|challenge| answer_challenge(challenge, secrets, hook))
    {
        return verdict;
    }
    if !manifest.methods.contains(&hook.method) {
        return Verdict::WrongMethod;
    }
    let (genuine, secret) = match &manifest.verification {
        Verification::Hmac(recipe) => (signed(recipe, secrets, hook, url), &recipe.secret),
        Verification::SharedSecret { header, secret } => {
            let given = hook.header(header).ok_or(Flaw::Unproven("no secret"));
            let fits = |given: &str| same(accepted(secrets, secret), given.as_bytes());
            let genuine = given.and_then(|given| fits(given).ok_or(Flaw::Misfit("wrong secret")));
            (genuine, secret)
        }
        Verification::Basic { user, secret } => {
            let genuine = basic(user.as_deref(), accepted(secrets, secret), hook);
            (genuine, secret)
        }
        Verification::None => return Verdict::Genuine,
    };
    match genuine {
        Ok(()) => Verdict::Genuine,
        Err(Flaw::Unproven(why)) => Verdict::Forged { why },
        Err(Flaw::Misfit(why)) => Verdict::Misfit {
            secret: secret.clone(),
            why,
        },
    }
}

/// What is wrong with a hook, with the word for the counter.
enum Flaw {
    /// It carries no proof that could be compared.
    Unproven(&'static str),
    /// Its proof was made with another secret.
    Misfit(&'static str),
}

impl From<&'static str> for Flaw {
    fn from(why: &'static str) -> Self {
        Self::Unproven(why)
    }
}

fn accepted<'a>(secrets: &'a Secrets, name: &str) -> impl Iterator<Item = &'a Secret> {
    secrets.all(name).iter().filter(|secret| !secret.expose().is_empty())
}

/// All are compared, whichever fits.
fn same<'a>(secrets: impl Iterator<Item = &'a Secret>, given: &[u8]) -> Option<()> {
    let found = secrets.fold(subtle::Choice::from(0), |found, secret| {
        found | secret.expose().as_bytes().ct_eq(given)
    });
    bool::from(found).then_some(())
}

fn answer_challenge(challenge: &Challenge, secrets: &Secrets, hook: &Hook) -> Option<Verdict> {
    let Challenge::Query {
        method,
        when,
        token,
        answer,
    } = challenge;
    if hook.method != *method {
        return None;
    }
    let query = |name: &str| form_urlencoded::parse(hook.query().as_bytes()).find(|(known, _)| known == name);
    let asked = when
        .iter()
        .all(|(name, value)| query(name).is_some_and(|(_, given)| given == *value));
    if !asked {
        return None;
    }
    let Some((_, given)) = query(&token.parameter) else {
        return Some(Verdict::Forged { why: "no token" });
    };
    if same(accepted(secrets, &token.secret), given.as_bytes()).is_none() {
        return Some(Verdict::Misfit {
            secret: token.secret.clone(),
            why: "wrong token",
        });
    }
    let word = query(&answer.parameter).filter(|(_, word)| word.len() <= CHALLENGE_BYTES_MAX);
    Some(match word {
        Some((_, word)) => Verdict::Challenge(Answer {
            status: 200,
            content_type: Some(answer.content_type.clone()),
            body: word.into_owned().into_bytes(),
        }),
        None => Verdict::Forged { why: "no challenge" },
    })
}

fn basic<'a>(user: Option<&str>, secrets: impl Iterator<Item = &'a Secret>, hook: &Hook) -> Result<(), Flaw> {
    let given = hook.header("authorization").ok_or("no password")?;
    let (scheme, encoded) = given.split_once(' ').ok_or("no password")?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Flaw::Unproven("no password"));
    }
    let decoded = BASE64.decode(encoded.trim()).map_err(|_| "wrong password")?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or("wrong password")?;
    if user.is_some_and(|user| user.as_bytes() != &decoded[..colon]) {
        return Err(Flaw::Unproven("wrong password"));
    }
    same(secrets, &decoded[colon + 1..]).ok_or(Flaw::Misfit("wrong password"))
}

fn signed(recipe: &Hmac, secrets: &Secrets, hook: &Hook, url: &str) -> Result<(), Flaw> {
    let given = hook.header(&recipe.header).ok_or("no signature")?;
    let given = given.strip_prefix(&recipe.prefix).ok_or("malformed signature")?;
    let given = decode(recipe.encoding, given).ok_or("malformed signature")?;
    if let Some(digest) = &recipe.body_digest {
        check_body_digest(digest, hook)?;
    }
    if let Some(timestamp) = &recipe.timestamp {
        check_timestamp(timestamp, hook)?;
    }
    let url = url.split('#').next().unwrap_or_default();
    let spellings = match recipe.url_ports {
        UrlPorts::AsIs => vec![url.to_owned()],
        UrlPorts::Either => port_spellings(url),
    };
    let mut found = false;
    for spelling in &spellings {
        let message = message(recipe, hook, spelling);
        for secret in accepted(secrets, &recipe.secret) {
            let key = secret.expose().as_bytes();
            found |= match recipe.algorithm {
                Algorithm::Sha1 => fits::<hmac::Hmac<Sha1>>(key, &message, &given),
                Algorithm::Sha256 => fits::<hmac::Hmac<Sha256>>(key, &message, &given),
            };
        }
    }
    if found {
        Ok(())
    } else {
        Err(Flaw::Misfit("wrong signature"))
    }
}

fn fits<M: Mac + KeyInit>(key: &[u8], message: &[u8], given: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
        mac.update(message);
        mac.verify_slice(given).is_ok()
    })
}

fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => BASE64.decode(text).ok(),
    }
}

fn message(recipe: &Hmac, hook: &Hook, url: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(url.len() + hook.body.len());
    for part in &recipe.signed {
        match part {
            SignedPart::Body => message.extend_from_slice(&hook.body),
            SignedPart::Url => message.extend_from_slice(url.as_bytes()),
            SignedPart::Header(name) => message.extend_from_slice(hook.header(name).unwrap_or_default().as_bytes()),
            SignedPart::Literal(text) => message.extend_from_slice(text.as_bytes()),
            SignedPart::SortedForm if is_form(hook) => {
                // A name and value that come twice count once, and the values of one name are sorted.
                let pairs = form_urlencoded::parse(&hook.body).collect::<BTreeSet<_>>();
                for (name, value) in pairs {
                    message.extend_from_slice(name.as_bytes());
                    message.extend_from_slice(value.as_bytes());
                }
            }
            SignedPart::SortedForm => {}
        }
    }
    message
}

fn is_form(hook: &Hook) -> bool {
    let content_type = hook.header("content-type").unwrap_or_default();
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    hook.method != "GET" && bare.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Too old, too new or no time at all: a genuine hook that somebody sends again. Whole seconds, digits only.
fn check_timestamp(recipe: &Timestamp, hook: &Hook) -> Result<(), &'static str> {
    let given = hook.header(&recipe.header).ok_or("no timestamp")?;
    let is_digits = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit());
    let given = given.parse::<i64>().ok().filter(|_| is_digits);
    let given = given.ok_or("malformed timestamp")?;
    let now = hook.received_at.unix_ms().div_euclid(1_000);
    if now.abs_diff(given) > u64::from(recipe.tolerance_s) {
        return Err("timestamp outside its window");
    }
    Ok(())
}

/// A body that is no form is covered by its digest in the signed query, or by nothing at all.
fn check_body_digest(recipe: &BodyDigest, hook: &Hook) -> Result<(), &'static str> {
    let given = form_urlencoded::parse(hook.query().as_bytes()).find(|(name, _)| *name == recipe.parameter);
    let Some((_, given)) = given else {
        return if hook.body.is_empty() || is_form(hook) {
            Ok(())
        } else {
            Err("no body digest")
        };
    };
    let given = decode(recipe.encoding, &given).ok_or("malformed body digest")?;
    let found = match recipe.algorithm {
        Algorithm::Sha1 => Sha1::digest(&hook.body).to_vec(),
        Algorithm::Sha256 => Sha256::digest(&hook.body).to_vec(),
    };
    if bool::from(found.ct_eq(&given)) {
        Ok(())
    } else {
        Err("wrong body digest")
    }
}

/// The address as it is, without a port, and with the port of its scheme: some providers sign one, some the other.
fn port_spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else {
        return spellings;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // The colons of an IPv6 address stand before its bracket.
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    let port = if scheme == "http" { 80 } else { 443 };
    for authority in [host.to_owned(), format!("{host}:{port}")] {
        let mut spelling = String::with_capacity(url.len() + 4);
        // Writing to a string cannot fail.
        let _ = write!(spelling, "{scheme}://{authority}{path}");
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    }
    spellings
}

#[cfg(test)]
mod tests;

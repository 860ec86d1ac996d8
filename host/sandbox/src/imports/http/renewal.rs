//! Secrets that a provider renews: taken out of its answer before the guest sees it, and in use from then on.

use std::sync::Arc;

use mantle_model::secret::Secret;
use serde_json::Value;

use super::problem;
use crate::bindings::mantle::connector::http::{Error, ErrorKind, Kept};
use crate::call::{CallState, Kind};
use crate::leaks;
use crate::limits::{KEPT_BYTES_MAX, KEPT_MAX, LEAK_BYTES_MIN};
use crate::shelf::{RENEWED_HELD_MAX, RENEWED_KNOWN_FOR};

impl CallState {
    /// Refuses what the manifest does not declare, before anything leaves.
    pub(super) fn check_keep(&self, keep: &[Kept]) -> Result<(), Error> {
        if keep.len() > KEPT_MAX {
            let message = format!("more than {KEPT_MAX} secrets to keep of one answer");
            return Err(problem(ErrorKind::Invalid, message, false));
        }
        for kept in keep {
            let declared = self.parts.manifest.renewed(&kept.secret);
            if declared.is_none_or(|declared| declared.pointer != kept.pointer) {
                let message = format!("the manifest has no [[renewed]] `{}` at this pointer", kept.secret);
                return Err(problem(ErrorKind::Denied, message, false));
            }
        }
        Ok(())
    }

    /// The body with `[secret]` where the strings stood. What cannot be read or kept is not shown at all.
    pub(super) async fn take_out(&mut self, keep: &[Kept], body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut answer: Value = serde_json::from_slice(&body)
            .map_err(|_| hidden("a secret is expected in the answer, which is no JSON"))?;
        let mut found = Vec::new();
        for kept in keep {
            let Some(Value::String(place)) = answer.pointer_mut(&kept.pointer) else {
                continue;
            };
            if place.is_empty() {
                continue;
            }
            let value = std::mem::replace(place, leaks::REPLACEMENT.to_owned());
            let usable = value.bytes().all(|byte| byte.is_ascii_graphic());
            if !usable || !(LEAK_BYTES_MIN..=KEPT_BYTES_MAX).contains(&value.len()) {
                return Err(hidden(&format!(
                    "the secret in the answer has less than {LEAK_BYTES_MIN} or more than {KEPT_BYTES_MAX} letters, or \
                     others than ASCII has"
                )));
            }
            found.push((kept.secret.clone(), Secret::new(value)));
        }
        if found.is_empty() {
            return Ok(body);
        }
        self.renew(found).await?;
        serde_json::to_vec(&answer).map_err(|_| hidden("the answer cannot be written again"))
    }

    /// Whether it is what is used already.
    fn is_in_use(&self, name: &str, secret: &Secret) -> bool {
        let present = self.secrets(name).first();
        present.is_some_and(|present| present.expose() == secret.expose())
    }

    async fn renew(&mut self, mut found: Vec<(String, Secret)>) -> Result<(), Error> {
        found.retain(|(name, secret)| !self.is_in_use(name, secret));
        if found.is_empty() {
            return Ok(());
        }
        let until = self.parts.clock.now().after(RENEWED_KNOWN_FOR);
        for (name, secret) in &found {
            let secrets = &mut self.channel.secrets;
            secrets.renew(name.clone(), secret.clone(), until, RENEWED_HELD_MAX);
        }
        if self.kind == Kind::Prove {
            return Ok(());
        }
        let shelf = Arc::clone(&self.parts.shelf);
        let kept = shelf.renew_secrets(self.channel.channel, found).await;
        kept.map_err(|error| hidden(&format!("the renewed secret could not be kept: {error}")))
    }
}

/// The provider has answered, and the guest does not get to see it.
fn hidden(why: &str) -> Error {
    problem(ErrorKind::Broken, why, true)
}

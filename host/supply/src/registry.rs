//! Pulling one component by the OCI distribution protocol, in the CNCF's layout for WebAssembly: a manifest of an OCI
//! image with the configuration `application/vnd.wasm.config.v0+json` and one layer `application/wasm`.

use std::collections::BTreeMap;

use mantle_egress::{Injection, Response};
use mantle_model::secret::Secret;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::fetch::{Ask, Expected, Fetched, Fetcher, host, refused};
use crate::limits::{MANIFEST_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::reference::is_digest;
use crate::trust::{ANNOTATION, signature_text};
use crate::{Pointer, Reference, SupplyError};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What the manifest says of the one component.
struct Image {
    /// Hex, of the manifest.
    manifest: String,
    /// Hex, of the layer.
    sha256: String,
    bytes: u64,
    signature: Option<String>,
}

pub(crate) async fn pull(fetcher: &Fetcher, reference: &Reference) -> Result<Fetched, SupplyError> {
    let mut door = Door {
        fetcher,
        reference,
        key: None,
    };
    let image = image(&mut door).await?;
    let kept = match fetcher.depot.find(&image.sha256) {
        Some(kept) if kept.signature == image.signature => kept,
        Some(kept) => fetcher.depot.keep(kept.bytes, image.signature)?,
        None => {
            let digest = format!("sha256:{}", image.sha256);
            let response = door.get("blobs", &digest, LAYER).await?;
            if response.status != 200 {
                return Err(door.refused("blobs", &digest, response.status, "component")?);
            }
            let expected = Expected {
                sha256: &image.sha256,
                bytes: Some(image.bytes),
            };
            fetcher
                .download(response, &expected, image.signature, &reference.registry)
                .await?
        }
    };
    Ok(Fetched {
        kept,
        manifest: Some(image.manifest),
    })
}

async fn image(door: &mut Door<'_>) -> Result<Image, SupplyError> {
    let (fetcher, reference) = (door.fetcher, door.reference);
    let pointer = reference.pointer.in_path();
    let response = door.get("manifests", &pointer, MANIFEST).await?;
    if response.status != 200 {
        return Err(door.refused("manifests", &pointer, response.status, "manifest")?);
    }
    let bytes = fetcher
        .collect(response, MANIFEST_BYTES_MAX, &reference.registry)
        .await?;
    let found = hex::encode(Sha256::digest(&bytes));
    if let Pointer::Digest(expected) = &reference.pointer
        && *expected != found
    {
        return Err(SupplyError::new(format!(
            "{} sent a manifest with the SHA-256 {found} when asked for {expected}; nothing was taken",
            reference.registry
        )));
    }
    read(&bytes, found, reference)
}

fn read(bytes: &[u8], manifest: String, reference: &Reference) -> Result<Image, SupplyError> {
    let no_component = |why: &str| {
        SupplyError::new(format!(
            "{reference} {why}, and a component is one manifest with the configuration {CONFIGURATION} and one layer \
             {LAYER}; push it with `wkg oci push`, or name another"
        ))
    };
    let image: Manifest =
        serde_json::from_slice(bytes).map_err(|_| no_component("has a manifest that cannot be read"))?;
    if image.media_type.as_deref().is_some_and(|found| found != MANIFEST) {
        return Err(no_component("names several images or another kind of content"));
    }
    if image.config.is_none_or(|config| config.media_type != CONFIGURATION) {
        return Err(no_component("is an image of something else"));
    }
    let [layer] = image.layers.as_slice() else {
        return Err(no_component("has more or less than one layer"));
    };
    if layer.media_type != LAYER {
        return Err(no_component("has a layer of something else"));
    }
    let sha256 = layer.digest.strip_prefix("sha256:").filter(|hex| is_digest(hex));
    let sha256 = sha256.ok_or_else(|| no_component("has a layer without a SHA-256"))?;
    let signature = image
        .annotations
        .get(ANNOTATION)
        .or_else(|| layer.annotations.get(ANNOTATION));
    Ok(Image {
        manifest,
        sha256: sha256.to_ascii_lowercase(),
        bytes: layer.size,
        signature: signature.map(|text| signature_text(text.as_bytes()).unwrap_or_default()),
    })
}

/// One repository, and the key to it once it was asked for.
struct Door<'a> {
    fetcher: &'a Fetcher,
    reference: &'a Reference,
    key: Option<Injection>,
}

impl Door<'_> {
    /// Asks, and asks once more with a key if the registry wants one.
    async fn get(&mut self, what: &str, which: &str, accept: &str) -> Result<Response, SupplyError> {
        let ask = |url: Url, key: &Option<Injection>| Ask {
            url,
            accept: Some(accept.to_owned()),
            injection: key.clone(),
        };
        let url = self.url(what, which)?;
        let response = self.fetcher.ask(ask(url.clone(), &self.key)).await?;
        let wanted = response.header("www-authenticate").map(str::to_owned);
        let (401, None, Some(challenge)) = (response.status, &self.key, wanted) else {
            return Ok(response);
        };
        drop(response);
        self.key = Some(self.key_for(&challenge).await?);
        self.fetcher.ask(ask(url, &self.key)).await
    }

    fn url(&self, what: &str, which: &str) -> Result<Url, SupplyError> {
        let Reference { name, .. } = self.reference;
        let text = format!("https://{}/v2/{name}/{what}/{which}", self.reference.host());
        Url::parse(&text).map_err(|_| SupplyError::new(format!("`{}` is no registry", self.reference.registry)))
    }

    /// RFC 7235 in the form that registries use: `Bearer realm="…",service="…",scope="…"`, or `Basic`.
    async fn key_for(&self, challenge: &str) -> Result<Injection, SupplyError> {
        let registry = &self.reference.registry;
        let login = self.fetcher.login(self.reference);
        let basic = login.map(|login| Injection::Basic {
            user: login.user.clone(),
            password: login.password.clone(),
        });
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return basic.ok_or_else(|| {
                SupplyError::new(format!(
                    "{registry} wants a login; write [registries.\"{registry}\"] with `user` and `password`"
                ))
            });
        }
        let parameters = parameters_of(parameters);
        let realm = parameters.get("realm").and_then(|realm| Url::parse(realm).ok());
        let (true, Some(mut realm)) = (scheme.eq_ignore_ascii_case("bearer"), realm) else {
            return Err(SupplyError::new(format!(
                "{registry} asks for a kind of login that is not known here; take another registry"
            )));
        };
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = parameters.get("service") {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &format!("repository:{}:pull", self.reference.name));
        }
        let ask = Ask {
            url: realm.clone(),
            accept: None,
            injection: basic,
        };
        let response = self.fetcher.ask(ask).await?;
        if response.status != 200 {
            return Err(refused(&realm, response.status, "token"));
        }
        let bytes = self.fetcher.collect(response, TOKEN_BYTES_MAX, host(&realm)).await?;
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token = serde_json::from_slice::<Token>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        token
            .map(|token| Injection::Bearer(Secret::new(token)))
            .ok_or_else(|| SupplyError::new(format!("{} answered with something else than a token", host(&realm))))
    }

    fn refused(&self, what: &str, which: &str, status: u16, thing: &str) -> Result<SupplyError, SupplyError> {
        if status == 404 {
            return Ok(SupplyError::new(format!(
                "{} has no {thing} of {}; correct the name or the tag, or push it",
                self.reference.registry, self.reference
            )));
        }
        Ok(refused(&self.url(what, which)?, status, thing))
    }
}

/// `a="b",c="d"`; values without quotes as well.
fn parameters_of(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        found.insert(name, value.trim().to_owned());
        text = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let found = parameters_of(r#"realm="https://auth.example/token?a=b",service="registry, one",scope=x"#);
        let expected = [
            ("realm", "https://auth.example/token?a=b"),
            ("scope", "x"),
            ("service", "registry, one"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }
}

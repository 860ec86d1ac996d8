//! Components from elsewhere: bounded in bytes and time, digests proven while the bytes come in.
//!
//! Everything leaves through `egress`: https alone, public addresses alone, unless `[egress.redirect]` of the operator
//! leads elsewhere.

use std::collections::BTreeMap;
use std::io::Write as _;

use futures_util::StreamExt as _;
use http::Method;
use mantle_egress::{
    Body, Credential, Egress, EgressConfig, EgressError, Holds, Injection, Policy, Request, Response, Rule, collect,
};
use mantle_model::secret::Secret;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use url::Url;

use crate::limits::{REDIRECTS_MAX, SIGNATURE_BYTES_MAX};
use crate::registry;
use crate::trust::signature_text;
use crate::{Depot, Kept, Limits, Reference, SIGNATURE_SUFFIX, SupplyError};

/// The name under which a login may be used at a registry and where it hands tokens out.
const CREDENTIAL: &str = "registry";
const HTTPS_PORT: u16 = 443;

/// Who the host is at a registry.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: Secret,
}

/// A component that was fetched, and lies in the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub kept: Kept,
    /// Of a registry's manifest, hex.
    pub manifest: Option<String>,
}

/// The way to the world.
#[derive(Debug)]
pub struct Fetcher {
    egress: Egress,
    /// By registry.
    logins: BTreeMap<String, Login>,
    pub(crate) depot: Depot,
    pub(crate) limits: Limits,
}

/// What is asked for.
pub(crate) struct Ask {
    pub url: Url,
    pub accept: Option<String>,
    pub injection: Option<Injection>,
}

/// What a download must come to.
pub(crate) struct Expected<'a> {
    /// Hex.
    pub sha256: &'a str,
    /// None: anything within the limit.
    pub bytes: Option<u64>,
}

impl Fetcher {
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(
        redirects: &[(Url, Url)],
        logins: BTreeMap<String, Login>,
        depot: Depot,
        limits: Limits,
    ) -> Result<Self, SupplyError> {
        let egress = Egress::new(&EgressConfig {
            redirects: redirects.to_vec(),
        });
        Ok(Self {
            egress: egress.map_err(|error| SupplyError::new(format!("components cannot be fetched: {error}")))?,
            logins,
            depot,
            limits,
        })
    }

    /// The component of this digest from this address. What lies in the depot is not fetched again. The signature is
    /// asked for when `signed`.
    ///
    /// # Errors
    /// One sentence with the address's host and the fix.
    pub async fn https(&self, url: &Url, sha256: &str, signed: bool) -> Result<Fetched, SupplyError> {
        let signature = if signed { self.signature(url).await? } else { None };
        let kept = match self.depot.find(sha256) {
            Some(kept) if kept.signature == signature => kept,
            Some(kept) => self.depot.keep(kept.bytes, signature)?,
            None => {
                let ask = Ask {
                    url: url.clone(),
                    accept: None,
                    injection: None,
                };
                let response = self.ask(ask).await?;
                if response.status != 200 {
                    return Err(refused(url, response.status, "component"));
                }
                let expected = Expected { sha256, bytes: None };
                self.download(response, &expected, signature, host(url)).await?
            }
        };
        Ok(Fetched { kept, manifest: None })
    }

    /// What the reference names now.
    ///
    /// # Errors
    /// One sentence with the registry and the fix.
    pub async fn registry(&self, reference: &Reference) -> Result<Fetched, SupplyError> {
        registry::pull(self, reference).await
    }

    /// The signature beside the address; None: there is none.
    async fn signature(&self, url: &Url) -> Result<Option<String>, SupplyError> {
        let mut beside = url.clone();
        beside.set_path(&format!("{}{SIGNATURE_SUFFIX}", url.path()));
        let ask = Ask {
            url: beside.clone(),
            accept: None,
            injection: None,
        };
        let response = self.ask(ask).await?;
        match response.status {
            200 => {
                let bytes = self.collect(response, SIGNATURE_BYTES_MAX, host(url)).await?;
                Ok(Some(signature_text(&bytes).unwrap_or_default()))
            }
            404 | 410 => Ok(None),
            status => Err(refused(&beside, status, "signature")),
        }
    }

    pub(crate) fn login(&self, reference: &Reference) -> Option<&Login> {
        self.logins.get(&reference.registry)
    }

    /// One GET, to the head of its answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Response, SupplyError> {
        let name = host(&ask.url).to_owned();
        let here = rule(&name, ask.url.port().unwrap_or(HTTPS_PORT), &[CREDENTIAL]);
        let request = Request {
            method: Method::GET,
            url: ask.url.to_string(),
            headers: ask
                .accept
                .map(|accept| ("accept".to_owned(), accept))
                .into_iter()
                .collect(),
            body: Body::Empty,
            credential: ask.injection.map(|injection| Credential {
                name: CREDENTIAL.to_owned(),
                injections: vec![injection],
            }),
            timeout: self.limits.component_time,
            redirects_max: REDIRECTS_MAX,
        };
        // Where a registry keeps its blobs is its own affair: any public host, and never with the login.
        let policy = Policy {
            rules: vec![here, rule("*", HTTPS_PORT, &[])],
        };
        match timeout(self.limits.answer_time, self.egress.send(request, &policy)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unreachable(&name, &error)),
            Err(_) => Err(self.silent(&name)),
        }
    }

    /// A small answer, whole.
    pub(crate) async fn collect(&self, response: Response, cap: usize, name: &str) -> Result<Vec<u8>, SupplyError> {
        match timeout(self.limits.answer_time, collect(response.body, cap)).await {
            Ok(Ok(bytes)) => Ok(bytes.to_vec()),
            Ok(Err(error)) => Err(unreachable(name, &error)),
            Err(_) => Err(self.silent(name)),
        }
    }

    /// The body into the depot. Nothing is left of one that does not come to what is expected.
    pub(crate) async fn download(
        &self,
        response: Response,
        expected: &Expected<'_>,
        signature: Option<String>,
        name: &str,
    ) -> Result<Kept, SupplyError> {
        let most = self.limits.component_bytes;
        let too_large = || {
            SupplyError::new(format!(
                "what {name} sends is larger than {most} bytes, and no larger component is taken; build it smaller"
            ))
        };
        if response.content_length.is_some_and(|bytes| bytes > most) {
            return Err(too_large());
        }
        let (mut file, mut hash, mut whole) = (self.depot.temporary()?, Sha256::new(), Vec::new());
        let mut body = response.body;
        loop {
            let Ok(next) = timeout(self.limits.silence, body.next()).await else {
                return Err(self.silent(name));
            };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|error| {
                SupplyError::new(format!("{name} broke off ({error}); it is tried again by itself"))
            })?;
            if (whole.len() + chunk.len()) as u64 > most {
                return Err(too_large());
            }
            hash.update(&chunk);
            whole.extend_from_slice(&chunk);
            file.write_all(&chunk).map_err(|error| {
                SupplyError::new(format!("the download cannot be written down ({error}); make room"))
            })?;
        }
        if expected.bytes.is_some_and(|bytes| bytes != whole.len() as u64) {
            return Err(SupplyError::new(format!(
                "{name} sent {} bytes where its manifest announces {}; nothing was taken, push the component again",
                whole.len(),
                expected.bytes.unwrap_or_default()
            )));
        }
        let sha256 = hex::encode(hash.finalize());
        if sha256 != expected.sha256 {
            return Err(SupplyError::new(format!(
                "what {name} sends has the SHA-256 {sha256}, expected is {}; nothing was taken. Take the right address, or \
                 change the digest if you trust this one",
                expected.sha256
            )));
        }
        let path = self.depot.put(file, &sha256, signature.as_deref())?;
        Ok(Kept {
            path,
            sha256,
            bytes: whole,
            signature,
        })
    }

    fn silent(&self, name: &str) -> SupplyError {
        SupplyError::new(format!(
            "{name} is too slow: nothing came for {:?}; it is tried again by itself",
            self.limits.silence.min(self.limits.answer_time)
        ))
    }
}

fn rule(host: &str, port: u16, credentials: &[&str]) -> Rule {
    Rule {
        scheme: "https".to_owned(),
        host: host.to_owned(),
        port,
        methods: vec!["GET".to_owned()],
        paths: Vec::new(),
        credentials: credentials.iter().map(|name| (*name).to_owned()).collect(),
        holds: Holds::Always,
    }
}

pub(crate) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

pub(crate) fn refused(url: &Url, status: u16, what: &str) -> SupplyError {
    let name = host(url);
    let fix = match status {
        401 | 403 => "it wants a login, or does not let this one in; for a registry add [registries.\"NAME\"]",
        404 | 410 => "there is none; correct the address",
        429 | 500..=599 => "it is tried again by itself",
        _ => "correct the address",
    };
    SupplyError::new(format!("{name} answered {status} when asked for the {what}: {fix}"))
}

fn unreachable(name: &str, error: &EgressError) -> SupplyError {
    SupplyError::new(format!(
        "{name} cannot be asked ({error}). Correct the address, or the network; a place that is not public is reached \
         through [egress.redirect] alone"
    ))
}
